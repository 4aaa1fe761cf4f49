"""The actor that codes a group of cameras. Thin: see pipeline.graph.CodecStage.

It holds what encoder and decoder know of each other, so a call is never repeated: a retry would lose the order.
"""

from __future__ import annotations

import ray

from pipeline.footage import CodedFootage, Footage, Roi
from pipeline.graph import CameraPlan, CodecStage
from workers.turn import Turn


class Codec:
    def __init__(self) -> None:
        self._stages: dict[str, tuple[CodecStage, Turn]] = {}

    def open(self, plan: CameraPlan, life: int) -> None:
        stage = plan.codec()
        stage.setup()
        self._stages[plan.camera] = (stage, Turn(life))

    def process(self, camera: str, life: int, turn: int, footage: Footage, rois: tuple[Roi, ...]) -> CodedFootage:
        stage, turns = self._stages[camera]
        with turns.of(life, turn):
            return stage.process(footage, rois)

    def close(self, camera: str) -> None:
        stage, _ = self._stages.pop(camera, (None, None))
        if stage is not None:
            stage.close()


CodecActor = ray.remote(max_restarts=0, max_task_retries=0)(Codec)
