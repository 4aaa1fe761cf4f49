"""The actor that reads a camera: one a camera, for FFmpeg may hang or crash. Thin: see pipeline.graph.SourceStage."""

from __future__ import annotations

import ray

from pipeline.footage import Footage, Relief, SourceCounts
from pipeline.graph import CameraPlan


class Camera:
    def __init__(self, plan: CameraPlan, skip: int) -> None:
        self._stage = plan.source(skip=skip)

    def setup(self) -> bool:
        return self._stage.setup()

    def process(self, relief: Relief) -> tuple[Footage, SourceCounts]:
        """Two objects: the frames, which only the next actors fetch, and the counts for the supervisor."""
        return self._stage.process(relief)

    def close(self) -> None:
        self._stage.close()


CameraActor = ray.remote(max_restarts=0)(Camera)
