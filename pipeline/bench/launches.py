"""What one camera asks of a GPU: how long it is busy for a frame, with what, how often it is asked and waited for. One
that is idle most of the time waits for the host, and more cameras fit on it; one that is busy is full.
"""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

from torch.profiler import ProfilerActivity, profile

from pipeline.bench.clipfile import load_clip
from pipeline.bench.fleet import Task, Work, prepared
from pipeline.bench.stages import shares

FRAMES = 16
_SHOWN = 12
_LAUNCH = ("cudaLaunchKernel", "cuLaunchKernel")  # and what begins so
_WAIT = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Kernel:
    """One of the device's programs: seconds and calls a frame."""

    name: str
    seconds: float
    calls: float


@dataclass(frozen=True, slots=True)
class Launches:
    """Of a frame in the mean. `seconds` with nothing watching, `blocking_seconds` where the host waits for every
    kernel; `busy_seconds` of the device, `launches` of kernels, `waits` for it, `copies` between it and the host. The
    last four are 0 on a CPU. `stages`: shares of the encoder's time where the host waits for every kernel."""

    task: str
    frames: int
    seconds: float
    blocking_seconds: float
    busy_seconds: float
    launches: float
    waits: float
    copies: float
    kernels: tuple[Kernel, ...]
    stages: Mapping[str, float]

    def rows(self) -> list[list[str]]:
        """As a table."""
        found = [
            [f"{self.task}, one camera", "ms a frame", "a frame"],
            ["whole", f"{1000 * self.seconds:.2f}", ""],
            ["whole, every kernel waited for", f"{1000 * self.blocking_seconds:.2f}", ""],
            ["device busy", f"{1000 * self.busy_seconds:.2f}", f"{self.launches:.0f} launches"],
            ["waits for the device", "", f"{self.waits:.0f}"],
            ["copies from and to it", "", f"{self.copies:.0f}"],
        ]
        found += [[f"  {k.name[:90]}", f"{1000 * k.seconds:.3f}", f"{k.calls:.1f}"] for k in self.kernels]
        whole = self.blocking_seconds
        return found + [
            [f"  {name}", f"{1000 * share * whole:.2f}", f"{share:.0%}"] for name, share in self.stages.items()
        ]


def measure_launches(work: Work, task: Task, frames: int = FRAMES) -> Launches:
    """Of the frames after a clip's first round, in processes of their own."""
    seconds, busy = _alone(_watched, work, task, frames)
    blocking_seconds, stages = _alone(_blocking, work, task, frames)
    launches, waits, copies, kernels = busy
    return Launches(
        task, frames, seconds, blocking_seconds, sum(k.seconds for k in kernels), launches, waits, copies,
        kernels[:_SHOWN], stages,
    )  # fmt: skip


def _alone(function: Callable[[Work, Task, int], Result], work: Work, task: Task, frames: int) -> Result:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, work, task, frames).result()


def _watched(work: Work, task: Task, frames: int) -> tuple[float, tuple[float, float, float, tuple[Kernel, ...]]]:
    step = prepared(load_clip(work.clip), work)[task].run
    seconds = _seconds(step, frames)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (work.device == "cuda")
    with profile(activities=activities) as seen:
        _seconds(step, frames)
    return seconds, _summed(seen.key_averages(), frames)


def _blocking(work: Work, task: Task, frames: int) -> tuple[float, dict[str, float]]:
    os.environ["CUDA_LAUNCH_BLOCKING"] = "1"  # CUDA reads it when it is first used
    step = prepared(load_clip(work.clip), work)[task].run
    seconds = _seconds(step, frames)
    return seconds, shares(lambda: _seconds(step, frames)) if task == "encode" else {}


def _seconds(step: Callable[[], int], frames: int) -> float:
    began = time.perf_counter()
    for _ in range(frames):
        step()
    return (time.perf_counter() - began) / frames


def _summed(events: Iterable[Any], frames: int) -> tuple[float, float, float, tuple[Kernel, ...]]:
    """Launches, waits and copies a frame, and what the device did, the dearest first. `events`: of torch's profiler."""
    launches = waits = copies = 0
    kernels = []
    for event in events:
        if event.device_type.name == "CUDA":
            seconds, calls = event.self_device_time_total / 1e6, event.count
            kernels.append(Kernel(event.key, seconds / frames, calls / frames))
            copies += calls if event.key.startswith("Memcpy") and "DtoD" not in event.key else 0
        elif event.key.startswith(_LAUNCH):
            launches += event.count
        elif event.key in _WAIT:
            waits += event.count
    kernels.sort(key=lambda kernel: -kernel.seconds)
    return launches / frames, waits / frames, copies / frames, tuple(kernels)
