"""The actor that finds what matters. Thin: see pipeline.graph.DetectStage."""

from __future__ import annotations

import ray

from pipeline.graph import CameraPlan, Roi
from pipeline.types import Frame


class Detector:
    def __init__(self, plan: CameraPlan) -> None:
        self._stage = plan.detect()

    def setup(self) -> str:
        return self._stage.setup()

    def process(self, frames: tuple[Frame, ...]) -> tuple[Roi, ...]:
        """Masks alone: the frames are in the object store already."""
        return self._stage.process(frames)

    def close(self) -> None:
        self._stage.close()


DetectorActor = ray.remote(max_restarts=0)(Detector)
