"""`fovea bench fleet`: how many frames a second a machine codes for several cameras at once.

A process a camera, as when it records; on a GPU they share it. Each holds its frames in memory and plays them to and
fro, so that what moves goes on moving and time goes on. First frames, with their plates and with all that a device does
once, are over before the clock starts, which is then the same for all. Knows no Ray and no video library.
"""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import chain, count, cycle, product
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from pipeline.bench.clip import Clip
from pipeline.bench.clipfile import load_clip
from pipeline.codec import Decoder, Encoder
from pipeline.errors import JobError
from pipeline.machine import MachineUse, machine_use
from pipeline.types import Masked, Packet

GOP_S = 2.0
_LOOK_S = 0.1  # how often the machine is looked at
_PATIENCE_S = 300.0  # to import, to load and to code the first frames

Task = Literal["encode", "decode"]


@dataclass(frozen=True, slots=True)
class Work:
    """What every camera does: `clip` is a file as `clipfile` writes it, `device` cpu or cuda; each task for `seconds`;
    `bf16` and `effort` are the encoder's."""

    clip: Path
    tasks: tuple[Task, ...]
    device: str
    quality: float
    seconds: float
    bf16: bool = False
    effort: str = "best"


@dataclass(frozen=True, slots=True)
class CameraSpeed:
    """One camera's part. `cpu_seconds` of its process in all, which on CUDA spins while it waits; `latency_s` the
    middle, the 95th percentile and the largest of a frame; `first_s` from the made encoder or decoder to its first
    frame, a device's start in it; `nbytes` of the packets; `device_mib` of the device's memory that torch took, None on
    a CPU."""

    frames: int
    seconds: float
    cpu_seconds: float
    latency_s: tuple[float, float, float]
    first_s: float
    nbytes: int
    device_mib: float | None

    @property
    def fps(self) -> float:
        return self.frames / self.seconds


@dataclass(frozen=True, slots=True)
class FleetSpeed:
    """All cameras at one task. `cpu` and `gpu` are the shares of the machine's cores and of its first GPU that were
    busy, 0..1; `gpu` None where there is none that tells."""

    task: Task
    device: str
    cameras: tuple[CameraSpeed, ...]
    cpu: float
    gpu: float | None

    @property
    def fps(self) -> float:
        """Frames a second of all together."""
        return sum(camera.fps for camera in self.cameras)

    @property
    def cpu_seconds_a_frame(self) -> float:
        return sum(c.cpu_seconds for c in self.cameras) / sum(c.frames for c in self.cameras)

    def __str__(self) -> str:
        middle = float(np.median([camera.latency_s[0] for camera in self.cameras]))
        gpu = "" if self.gpu is None else f", GPU {self.gpu:.0%} busy"
        return (
            f"{self.task}, {len(self.cameras)} cameras on {self.device}: {self.fps:.1f} frames a second, "
            f"{1000 * middle:.0f} ms a frame in the middle, {1000 * self.cpu_seconds_a_frame:.1f} ms of CPU, "
            f"CPU {self.cpu:.0%}{gpu}"
        )


def measure_fleet(work: Work, counts: Sequence[int]) -> Iterator[FleetSpeed]:
    """Every task with so many cameras, each number in turn, out of the same processes: those that are not asked wait.
    Raises JobError where one of them fails."""
    context = multiprocessing.get_context("spawn")  # a forked process cannot use CUDA
    with ExitStack() as stack:
        connections: list[Connection] = []
        for _ in range(max(counts)):
            here, there = context.Pipe()
            process = context.Process(target=_camera, args=(there, work), daemon=True)
            process.start()
            stack.callback(process.join)
            stack.callback(process.terminate)
            there.close()
            connections.append(here)
        for connection in connections:
            _answer(connection)
        for task, count in product(work.tasks, counts):
            yield _measured(task, work.device, connections[:count])


def _measured(task: Task, device: str, connections: Sequence[Connection]) -> FleetSpeed:
    for connection in connections:
        connection.send(task)
    used = _watch(connections)
    speeds = tuple(found for connection in connections if (found := _answer(connection)) is not None)
    gpus = [use.gpus[0].busy for use in used if use.gpus]
    cpu = float(np.mean([use.cpu for use in used])) if used else 0.0
    return FleetSpeed(task, device, speeds, cpu, float(np.mean(gpus)) if gpus else None)


def _watch(connections: Sequence[Connection]) -> list[MachineUse]:
    """How busy the machine is until the first camera is done."""
    machine_use()  # the processor's share counts from here
    used = []
    while not wait(connections, _LOOK_S):
        used.append(machine_use())
    return used


def _answer(connection: Connection) -> CameraSpeed | None:
    """What a camera measured, None when it is ready. Raises JobError where it failed, with what it says of that, and
    where it died without a word."""
    if not connection.poll(_PATIENCE_S):
        raise JobError(f"a camera's process has not answered for {_PATIENCE_S:.0f} s")
    try:
        said = connection.recv()
    except EOFError:
        raise JobError("a camera's process died") from None
    if isinstance(said, str):
        raise JobError(f"a camera's process failed: {said}")
    found: CameraSpeed | None = said
    return found


def _camera(connection: Connection, work: Work) -> None:
    """A camera's process."""
    try:
        steps = prepared(load_clip(work.clip), work)
        connection.send(None)
        while True:
            connection.send(_timed(steps[connection.recv()], work))
    except EOFError:  # nobody asks any more
        return
    except Exception as error:  # the outermost loop
        connection.send(f"{type(error).__name__}: {error}")


def _timed(step: Step, work: Work) -> CameraSpeed:
    latencies, nbytes = [], 0
    began, cpu = time.perf_counter(), time.process_time()
    now = began
    while now - began < work.seconds:
        nbytes += step.run()
        before, now = now, time.perf_counter()
        latencies.append(now - before)
    cpu_seconds = time.process_time() - cpu
    middle, high = np.percentile(latencies, (50, 95)).tolist()
    mib = torch.cuda.max_memory_reserved() / 2**20 if work.device == "cuda" else None
    return CameraSpeed(
        len(latencies), now - began, cpu_seconds, (middle, high, max(latencies)), step.first_s, nbytes, mib
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Step:
    """`run` codes the next frame and says its bytes; the first time that took `first_s`."""

    run: Callable[[], int]
    first_s: float


def prepared(clip: Clip, work: Work) -> dict[Task, Step]:
    """Both tasks, after a round of the clip each, for a device takes memory and prepares kernels when it first meets a
    size. What is decoded are the packets of that round, which starts anew with a key frame on the same plate."""
    encoder = Encoder(
        width=clip.width, height=clip.height, quality=work.quality, gop_us=round(GOP_S * 1e6), device=work.device,
        threads=1, fps=clip.fps, bf16=work.bf16, effort=work.effort,
    )  # fmt: skip
    items, packets = to_and_fro(clip), list[Packet]()

    def encode() -> int:
        item = next(items)
        packet = encoder.encode(item.frame, item.mask)
        if len(packets) < len(clip):
            packets.append(packet)
        return packet.nbytes

    found: dict[Task, Step] = {"encode": _warmed(encode, len(clip))}
    if "decode" in work.tasks:
        decoder = Decoder(encoder.info, device=work.device, threads=1)
        waiting = chain(packets, cycle([replace(packets[0], plate=b""), *packets[1:]]))

        def decode() -> int:
            packet = next(waiting)
            decoder.decode(packet)
            return packet.nbytes

        found["decode"] = _warmed(decode, len(clip))
    return found


def _warmed(run: Callable[[], int], frames: int) -> Step:
    began = time.perf_counter()
    run()
    first_s = time.perf_counter() - began
    for _ in range(frames - 1):
        run()
    return Step(run, first_s)


def to_and_fro(clip: Clip) -> Iterator[Masked]:
    """A clip's frames forwards, backwards, and so on for ever, with index and time going on."""
    step_us, last = round(1e6 / clip.fps), len(clip) - 1
    for index in count():
        item = clip.masked[last - abs(index % (2 * last) - last)] if last else clip.masked[0]
        yield replace(item, frame=replace(item.frame, index=index, pts_us=index * step_us, wall_us=index * step_us))
