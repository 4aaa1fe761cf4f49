"""The actor that finds what matters, for a group of cameras. Thin: see pipeline.graph.DetectStage."""

from __future__ import annotations

import time

import ray

from pipeline.footage import Footage, Roi
from pipeline.graph import CameraPlan, DetectStage


class Detector:
    def __init__(self) -> None:
        self._stages: dict[str, DetectStage] = {}

    def open(self, plan: CameraPlan) -> str:
        stage = plan.detect()
        line = stage.setup()
        self._stages[plan.camera] = stage
        return line

    def process(self, camera: str, footage: Footage) -> tuple[tuple[Roi, ...], float]:
        """Two objects: masks alone, for the frames are in the object store already, and the seconds that it took."""
        begin_s = time.perf_counter()
        rois = self._stages[camera].process(footage)
        return rois, time.perf_counter() - begin_s

    def close(self, camera: str) -> None:
        stage = self._stages.pop(camera, None)
        if stage is not None:
            stage.close()


DetectorActor = ray.remote(max_restarts=0)(Detector)
