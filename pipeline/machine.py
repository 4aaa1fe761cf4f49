"""How busy the machine is that asks: processor, memory, GPUs. Knows nothing of cameras."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import psutil


@dataclass(frozen=True, slots=True)
class GpuUse:
    """One GPU; `busy` is the share of the last moment, 0..1, in which it worked."""

    busy: float
    memory_used_bytes: int
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class MachineUse:
    """One machine. `cpu` is the share of all cores since the last asking of this process, 0..1."""

    address: str
    cpu: float
    memory_used_bytes: int
    memory_bytes: int
    gpus: tuple[GpuUse, ...] = ()


def machine_use(address: str = "") -> MachineUse:
    """Of this machine, now. `address` is how others know it. What NVIDIA's library cannot say of GPUs is left out."""
    memory = psutil.virtual_memory()
    return MachineUse(address, psutil.cpu_percent() / 100, memory.total - memory.available, memory.total, _gpus())


def _gpus() -> tuple[GpuUse, ...]:
    try:
        import pynvml
    except ImportError:
        return ()
    try:
        pynvml.nvmlInit()
        try:
            return tuple(_gpu(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:  # no driver, no GPU, or one that has failed
        return ()


def _gpu(nvml: Any, index: int) -> GpuUse:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    return GpuUse(nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100, int(memory.used), int(memory.total))
