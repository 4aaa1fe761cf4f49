"""The actor that stores packets, on the node where the archive lies. Thin: see pipeline.graph.SinkStage."""

from __future__ import annotations

import ray

from pipeline.graph import CameraPlan, Counters
from pipeline.types import CodedFrame, StreamInfo


class Sink:
    def __init__(self, plan: CameraPlan) -> None:
        self._stage = plan.sink()

    def setup(self, info: StreamInfo) -> None:
        self._stage.setup(info)

    def process(self, coded: tuple[CodedFrame, ...]) -> Counters:
        """Store; returns what this batch adds to the camera's counters."""
        self._stage.process(coded)
        return Counters().plus(coded)

    def close(self) -> None:
        self._stage.close()


SinkActor = ray.remote(max_restarts=0, max_task_retries=0)(Sink)
