"""The actor that decodes a camera's stored range, and a generator that reads it. Thin: see pipeline.replay.Replay."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import ray

from pipeline.replay import MakeDecoder, Replay
from pipeline.store import Store, StoreFault
from pipeline.types import Frame, LayerName, StreamInfo


@dataclass(frozen=True, slots=True)
class ReplayPlan:
    """What to show: a camera's frames in the wall time [from_us, to_us)."""

    store: Path
    camera: str
    from_us: int
    to_us: int
    layer: LayerName = "full"
    device: str = "auto"
    threads: int | None = None
    batch: int = 8

    def decoder(self) -> MakeDecoder:
        from pipeline.codec import Decoder

        return partial(Decoder, device=self.device, threads=self.threads)


class Player:
    def __init__(self, plan: ReplayPlan) -> None:
        self._plan = plan
        self._store = Store(plan.store, readonly=True)
        make_decoder = plan.decoder()
        self._replay = Replay(
            self._store, plan.camera, plan.from_us, plan.to_us, make_decoder=make_decoder, layer=plan.layer
        )
        self._frames = iter(self._replay)

    def setup(self) -> StreamInfo:
        return self._replay.info()

    def process(self) -> tuple[Frame, ...]:
        """The next frames; fewer than a batch at the end."""
        return tuple(islice(self._frames, self._plan.batch))

    def close(self) -> tuple[StoreFault, ...]:
        """What was damaged in the frames shown."""
        self._store.close()
        return tuple(self._replay.faults)


ReplayActor = ray.remote(max_restarts=0, max_task_retries=0)(Player)


def play(plan: ReplayPlan, *, window: int = 2) -> Iterator[Frame]:
    """Frames of a range, decoded by an actor at most `window` batches ahead of the taker. Raises FoveaError."""
    from workers.failures import errors

    with errors():
        actor: Any = ReplayActor.options(num_cpus=0).remote(plan)
        try:
            flight = deque(actor.process.remote() for _ in range(window))
            while True:
                frames: tuple[Frame, ...] = ray.get(flight.popleft())
                flight.append(actor.process.remote())
                yield from frames
                if len(frames) < plan.batch:
                    return
        finally:
            ray.kill(actor)
