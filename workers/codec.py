"""The actor that codes a group of cameras. Thin: see pipeline.graph.CodecStage.

It holds what encoder and decoder know of each other, so a call is never repeated: a retry would lose the order.
"""

from __future__ import annotations

import time

import ray

from pipeline.footage import CodedFootage, Footage, Roi
from pipeline.graph import CameraPlan, CodecStage
from pipeline.pace import Lane
from workers.turn import Turn


class Codec:
    def __init__(self) -> None:
        self._stages: dict[str, tuple[CodecStage, Turn]] = {}
        self._lane = Lane()

    def warm(self) -> None:
        """Load what every camera needs."""
        import pipeline.codec  # noqa: F401 - torch, which takes seconds

    def open(self, plan: CameraPlan, life: int) -> None:
        stage = plan.codec(self._lane)
        stage.setup()
        self._stages[plan.camera] = (stage, Turn(life))

    def process(
        self, camera: str, life: int, turn: int, footage: Footage, rois: tuple[Roi, ...]
    ) -> tuple[CodedFootage, tuple[int, float, bool]]:
        """Two objects: the packets for the sink, and for the supervisor how many, the seconds that they took, and
        whether they can take less."""
        stage, turns = self._stages[camera]
        begin_s = time.perf_counter()
        with turns.of(life, turn):
            coded = stage.process(footage, rois)
        return coded, (len(coded.frames), time.perf_counter() - begin_s, coded.easing)

    def close(self, camera: str) -> None:
        stage, _ = self._stages.pop(camera, (None, None))
        if stage is not None:
            stage.close()


CodecActor = ray.remote(max_restarts=0, max_task_retries=0)(Codec)
