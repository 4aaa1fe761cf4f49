"""The actor that stores packets, on the node where the archive lies. Thin: see pipeline.graph.SinkStage."""

from __future__ import annotations

import ray

from pipeline.graph import CameraPlan, Counters
from pipeline.types import CodedFrame, StreamInfo
from workers.turn import Turn


class Sink:
    def __init__(self, plan: CameraPlan) -> None:
        self._stage = plan.sink()
        self._turn = Turn()

    def setup(self, info: StreamInfo) -> None:
        self._stage.setup(info)

    def process(self, turn: int, coded: tuple[CodedFrame, ...]) -> Counters:
        """Store; returns what this batch adds to the camera's counters."""
        with self._turn.of(turn):
            self._stage.process(coded)
        return Counters().plus(coded)

    def close(self) -> None:
        self._stage.close()


SinkActor = ray.remote(max_restarts=0, max_task_retries=0)(Sink)
