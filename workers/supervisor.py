"""Places one camera's actors and keeps their work in flight bounded. `chain` is a `pipeline.local.Chain`.

A batch is four calls, chained by reference: frames never pass through this process. At most `window` batches are under
way, and a batch's references are gone as soon as it is stored, so the object store stays small and nothing spills.
"""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError
from ray.util.placement_group import placement_group, remove_placement_group
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from pipeline.config import RayConfig
from pipeline.errors import FoveaError, JobError
from pipeline.graph import CameraPlan, Counters
from pipeline.local import CameraReport, Chain
from workers.camera import CameraActor
from workers.codec import CodecActor
from workers.detector import DetectorActor
from workers.sink import SinkActor

PLACEMENT_S = 60.0
CLOSE_S = 60.0
POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Share:
    """What of a node's resources one camera's codec takes."""

    cpus: float
    gpus: float


def fair_share(config: RayConfig, *, cameras: int, cpus: float, gpus: float) -> Share:
    """The configured share, or less where that would leave a camera without a place. GPUs are shared by slots: with
    three cameras on two GPUs each GPU is cut in two, not in thirds."""
    cpu = max(0.01, min(config.codec_cpus, cpus / cameras))
    if gpus < 1 or config.codec_gpus == 0:
        return Share(cpu, 0.0)
    slots = -(-cameras // int(gpus))
    gpu = config.codec_gpus if config.codec_gpus * slots <= 1 or slots == 1 else int(10_000 / slots) / 10_000
    return Share(cpu, gpu)


def ray_chain(config: RayConfig, *, cameras: int) -> Chain:
    """The chain of one camera on the Ray that is running."""
    total = ray.cluster_resources()
    share = fair_share(config, cameras=cameras, cpus=total.get("CPU", 1.0), gpus=total.get("GPU", 0.0))

    def chain(plan: CameraPlan, report: CameraReport, stop: threading.Event) -> None:
        with errors(), ExitStack() as stack:
            _run(plan, report, stop, window=config.window, actors=_Actors(plan, share, stack))

    return chain


class _Actors:
    """One camera's actors: all on one node (frames never cross), but the sink, which is where the archive is."""

    def __init__(self, plan: CameraPlan, share: Share, stack: ExitStack) -> None:
        self._plan, self._share, self._stack = plan, share, stack
        bundle = {"CPU": share.cpus} | ({"GPU": share.gpus} if share.gpus else {})
        self._group = placement_group([bundle], strategy="STRICT_PACK")
        stack.callback(remove_placement_group, self._group)
        if not self._group.wait(PLACEMENT_S):
            raise JobError(f"no node has {bundle} free for this camera")
        self._here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)

    def start(self, actor: Any, *args: object, cpus: float = 0.0, gpus: float = 0.0, here: bool = False) -> Any:
        """A handle of a new actor, which is closed and ended with the stack."""
        strategy = self._here if here else PlacementGroupSchedulingStrategy(self._group, 0)
        handle = actor.options(num_cpus=cpus, num_gpus=gpus, scheduling_strategy=strategy).remote(self._plan, *args)
        self._stack.callback(ray.kill, handle)
        self._stack.callback(_close, handle)
        return handle

    def codec(self, facts: object) -> Any:
        return self.start(CodecActor, facts, cpus=self._share.cpus, gpus=self._share.gpus)


def _run(plan: CameraPlan, report: CameraReport, stop: threading.Event, *, window: int, actors: _Actors) -> None:
    camera, detector = actors.start(CameraActor), actors.start(DetectorActor)
    line = detector.setup.remote()
    facts = ray.get(camera.setup.remote())
    codec, sink = actors.codec(facts), actors.start(SinkActor, here=True)
    ray.get(sink.setup.remote(codec.setup.remote()))
    report.detector = ray.get(line)

    def submit() -> tuple[Any, Any]:
        frames, counts = camera.process.options(num_returns=2).remote()
        turn = next(turns)
        coded = codec.process.remote(turn, frames, detector.process.remote(frames))
        return counts, sink.process.remote(turn, coded)

    flight: deque[tuple[Any, Any]] = deque()
    turns = count()
    ended = False
    while True:
        while len(flight) < window and not ended and not stop.is_set():
            flight.append(submit())
        if not flight:
            return
        counts, stored = flight[0]  # batches are stored in order, so the first is the next to be ready
        if not ray.wait([stored], timeout=POLL_S)[0]:
            continue
        flight.popleft()
        batch = ray.get(counts)
        report.counters = report.counters.read(batch)
        report.counters = _sum(report.counters, ray.get(stored))
        ended = ended or batch.ended


def _sum(total: Counters, added: Counters) -> Counters:
    return Counters(
        frames_in=total.frames_in, dropped=total.dropped, lost=total.lost,
        coded=total.coded + added.coded,
        bytes_foreground=total.bytes_foreground + added.bytes_foreground,
        bytes_background=total.bytes_background + added.bytes_background,
    )  # fmt: skip


def _close(handle: Any) -> None:
    """Let an actor finish what it holds. One that is dead, or whose set-up failed, has nothing to finish."""
    try:
        ray.get(handle.close.remote(), timeout=CLOSE_S)
    except RayTaskError:
        raise
    except (RayActorError, GetTimeoutError):
        return


@contextmanager
def errors() -> Iterator[None]:
    """Errors from inside an actor as what they were there."""
    try:
        yield
    except RayError as error:
        cause: BaseException = error
        while isinstance(cause, RayTaskError):  # an actor whose argument failed wraps what it was given
            cause = cause.cause
        if isinstance(cause, FoveaError):
            raise cause from None
        if isinstance(cause, RayActorError):
            raise JobError(f"a worker process of this camera died ({_class_name(cause)})") from error
        raise JobError(f"{type(cause).__name__}: {(str(cause).splitlines() or [''])[0]}") from error


def _class_name(error: RayActorError) -> str:
    """Which actor it was, from the only place where Ray says it."""
    found = re.search(r"class_name: (\w+)", str(error))
    return found[1].lower() if found else "unknown"
