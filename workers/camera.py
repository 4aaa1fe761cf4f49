"""The actor that reads a camera. Thin: see pipeline.graph.SourceStage."""

from __future__ import annotations

from dataclasses import replace

import ray

from pipeline.graph import CameraPlan, FrameBatch, SourceFacts
from pipeline.types import Frame


class Camera:
    def __init__(self, plan: CameraPlan) -> None:
        self._stage = plan.source()

    def setup(self) -> SourceFacts:
        return self._stage.setup()

    def process(self) -> tuple[tuple[Frame, ...], FrameBatch]:
        """Two objects: the frames, which only the next actors fetch, and the counts for the supervisor."""
        batch = self._stage.process()
        return batch.frames, replace(batch, frames=())

    def close(self) -> None:
        self._stage.close()


CameraActor = ray.remote(max_restarts=0)(Camera)
