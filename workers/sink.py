"""The actor that stores packets of a group of cameras, on the node where the archive lies. Thin: see
pipeline.graph.SinkStage."""

from __future__ import annotations

import ray

from pipeline.footage import CodedFootage, Receipt
from pipeline.graph import CameraPlan, SinkStage
from workers.turn import Turn


class Sink:
    def __init__(self) -> None:
        self._stages: dict[str, tuple[SinkStage, Turn]] = {}

    def open(self, plan: CameraPlan, life: int) -> None:
        self.close(plan.camera)
        self._stages[plan.camera] = (plan.sink(), Turn(life))

    def process(self, camera: str, life: int, turn: int, coded: CodedFootage) -> Receipt:
        """Store a batch, once and in its turn. Returns what it adds to the camera's counters."""
        stage, turns = self._stages[camera]
        with turns.of(life, turn):
            return stage.process(coded)

    def close(self, camera: str) -> None:
        stage, _ = self._stages.pop(camera, (None, None))
        if stage is not None:
            stage.close()


SinkActor = ray.remote(max_restarts=0, max_task_retries=0)(Sink)
