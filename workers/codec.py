"""The actor that codes one camera. Thin: see pipeline.graph.CodecStage.

It holds what encoder and decoder know of each other, so a call is never repeated: a retry would lose the order.
"""

from __future__ import annotations

import ray

from pipeline.graph import CameraPlan, Roi, SourceFacts
from pipeline.types import CodedFrame, Frame, StreamInfo
from workers.turn import Turn


class Codec:
    def __init__(self, plan: CameraPlan, facts: SourceFacts) -> None:
        self._stage = plan.codec(facts)
        self._turn = Turn()

    def setup(self) -> StreamInfo:
        return self._stage.setup()

    def process(self, turn: int, frames: tuple[Frame, ...], rois: tuple[Roi, ...]) -> tuple[CodedFrame, ...]:
        with self._turn.of(turn):
            return self._stage.process(frames, rois)

    def close(self) -> None:
        self._stage.close()


CodecActor = ray.remote(max_restarts=0, max_task_retries=0)(Codec)
