"""The state of a running site as data: what each camera does, how long its frames take, what room the archive has.

`Monitor` is told of every stored batch by the cameras' threads and asked from any other. Knows no HTTP and no Ray.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from pipeline.budget import NodeLoad
from pipeline.footage import Counters, Receipt
from pipeline.local import CameraReport, SiteRun
from pipeline.machine import GpuUse, MachineUse, machine_use
from pipeline.store import Store

WINDOW_S = 10.0  # rates and latencies are of so long
LATENCY_BOUNDS_S = (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class CameraState:
    """One camera. Rates are frames a second lately; latencies are seconds from a live frame's arrival until it was
    durable, lately, None where none became so. `buckets` counts all latencies up to each of LATENCY_BOUNDS_S, then
    all. `relief` says what it goes without while its node is over its budget, which `background_every` and `keep` are
    in numbers; `effort` what its encoder does (see pipeline.codec.effort), empty where it has coded nothing."""

    camera: str
    state: str
    trouble: str
    place: str
    detector: str
    counters: Counters
    fps_in: float
    fps_coded: float
    bits_a_pixel: float
    queue_age_s: float
    latency_p50_s: float | None
    latency_p99_s: float | None
    buckets: tuple[int, ...]
    latency_sum_s: float
    relief: str
    background_every: int
    keep: float
    effort: str


@dataclass(frozen=True, slots=True)
class NodeState:
    """One machine, `node` its address and Ray's id. `load` is the share of its busiest lane's time that its live
    `cameras` need (see pipeline.budget), None where it is not known; `relief` what they go without. What the machine
    did not answer is None."""

    node: str
    cameras: tuple[str, ...]
    load: float | None
    relief: str
    cpu: float | None
    memory_used_bytes: int | None
    memory_bytes: int | None
    gpus: tuple[GpuUse, ...]


@dataclass(frozen=True, slots=True)
class StoreState:
    """The archive. `oldest_wall_us` is None while it is empty."""

    free_bytes: int
    used_bytes: int
    oldest_wall_us: int | None


@dataclass(frozen=True, slots=True)
class SiteState:
    """Everything, at one moment. `cpu` is this machine's use, 0..1; `memory_bytes` that of this process and its
    children, shared memory counted once for each that touched it."""

    seconds: float
    cpu: float
    memory_bytes: int
    cameras: tuple[CameraState, ...]
    nodes: tuple[NodeState, ...]
    store: StoreState

    @property
    def ready(self) -> bool:
        """Whether every camera that has not ended records."""
        return all(camera.state in ("recording", "ended") for camera in self.cameras)


@dataclass(slots=True)
class _Seen:
    """What was told of one camera. `marks`: when, and frames in and coded by then."""

    pixels: int = 0
    marks: deque[tuple[float, int, int]] = field(default_factory=lambda: deque(maxlen=1000))
    latencies: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=5000))
    buckets: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_BOUNDS_S) + 1))
    latency_sum_s: float = 0.0


class Monitor:
    """Watches a site. `stored` is for SiteRun(watch=...)."""

    def __init__(
        self,
        root: Path,
        *,
        loads: Callable[[], tuple[NodeLoad, ...]] = tuple,
        machines: Callable[[], Mapping[str, MachineUse]] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`loads` of the nodes that have live cameras, `machines` by node; without them this machine alone."""
        self._root, self._now = root, now
        self._loads, self._machines = loads, machines or (lambda: {"": machine_use()})
        self._mutex = threading.Lock()
        self._seen: dict[str, _Seen] = {}
        psutil.cpu_percent()  # begins the span that the next call is about

    def stored(self, report: CameraReport, receipt: Receipt) -> None:
        """A batch of a camera was stored."""
        now_s = self._now()
        with self._mutex:
            seen = self._seen.setdefault(report.camera, _Seen())
            seen.pixels += receipt.pixels
            seen.marks.append((now_s, report.counters.frames_in, report.counters.coded))
            for latency_s in receipt.latencies_s:
                seen.latencies.append((now_s, latency_s))
                seen.latency_sum_s += latency_s
                for number, bound_s in enumerate((*LATENCY_BOUNDS_S, float("inf"))):
                    seen.buckets[number] += latency_s <= bound_s

    def state(self, job: SiteRun) -> SiteState:
        """Everything, now. Raises StoreError."""
        cameras = tuple(self._camera(report) for report in job.cameras.values())
        cpu = psutil.cpu_percent() / 100
        return SiteState(job.seconds, cpu, _memory_bytes(), cameras, self._nodes(), self._store())

    def _nodes(self) -> tuple[NodeState, ...]:
        loads, machines = {item.node: item for item in self._loads()}, dict(self._machines())
        return tuple(_node(name, loads.get(name), machines.get(name)) for name in sorted({*loads, *machines}))

    def _camera(self, report: CameraReport) -> CameraState:
        counters, since_s = report.counters, self._now() - WINDOW_S
        with self._mutex:
            seen = self._seen.get(report.camera, _Seen())
            marks = [mark for mark in seen.marks if mark[0] >= since_s]
            lately = sorted(latency for at_s, latency in seen.latencies if at_s >= since_s)
            buckets, latency_sum_s, pixels = tuple(seen.buckets), seen.latency_sum_s, seen.pixels
        span_s = marks[-1][0] - marks[0][0] if len(marks) > 1 else 0.0
        fps_in, fps_coded = (((marks[-1][i] - marks[0][i]) / span_s if span_s else 0.0) for i in (1, 2))
        stored_bytes = counters.bytes_foreground + counters.bytes_background
        return CameraState(
            report.camera, report.state, str(report.error or report.trouble), report.place, report.detector, counters,
            fps_in, fps_coded, 8 * stored_bytes / pixels if pixels else 0.0, report.queue_age_s,
            _quantile(lately, 0.5), _quantile(lately, 0.99), buckets, latency_sum_s,
            str(report.relief), report.relief.background_every, report.relief.keep, report.effort,
        )  # fmt: skip

    def _store(self) -> StoreState:
        with Store(self._root, readonly=True) as store:
            held = store.summary()
        oldest = [item.first_wall_us for item in held if item.first_wall_us is not None]
        used = sum(item.bytes_foreground + item.bytes_background for item in held)
        return StoreState(shutil.disk_usage(self._root).free, used, min(oldest, default=None))


def _node(name: str, load: NodeLoad | None, use: MachineUse | None) -> NodeState:
    shown = " ".join(filter(None, (use.address if use else "", name[:8]))) or "this machine"
    return NodeState(
        shown, load.cameras if load else (), load.load if load else None, str(load.relief) if load else "",
        use.cpu if use else None, use.memory_used_bytes if use else None, use.memory_bytes if use else None,
        use.gpus if use else (),
    )  # fmt: skip


def _quantile(ordered: list[float], share: float) -> float | None:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else None


def _memory_bytes() -> int:
    total, own = 0, psutil.Process()
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total
