"""Boxes to the cells that matter. Geometry and, in `HeldMask`, a little memory; knows no detector and no codec."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt

from pipeline.config import MaskConfig
from pipeline.types import CELL, Detection, RoiMask, cell_grid

_FULL = 255


def paint_importance(
    height: int,
    width: int,
    detections: Iterable[Detection],
    *,
    classes: Mapping[str, float],
    unknown: float = 0.0,
    dilate: int = 0,
) -> npt.NDArray[np.uint8]:
    """(rows, cols) uint8: every cell that a box, grown by `dilate` pixels and cut at the picture's bounds, touches gets
    its class's importance, the highest where boxes overlap. Classes that are not in `classes` count as `unknown`."""
    rows, cols = cell_grid(height, width)
    importance = np.zeros((rows, cols), np.uint8)
    for box in detections:
        weight = classes.get(box.label, unknown)
        x0, x1 = max(box.x0 - dilate, 0.0), min(box.x1 + dilate, float(width))
        y0, y1 = max(box.y0 - dilate, 0.0), min(box.y1 + dilate, float(height))
        if weight <= 0 or x0 >= x1 or y0 >= y1:
            continue
        touched = importance[int(y0 // CELL) : math.ceil(y1 / CELL), int(x0 // CELL) : math.ceil(x1 / CELL)]
        np.maximum(touched, max(1, round(min(weight, 1.0) * _FULL)), out=touched)
    return importance


def exact_mask(height: int, width: int, detections: Iterable[Detection], classes: Mapping[str, float]) -> RoiMask:
    """Exactly the cells that the boxes touch; a class without a set importance has 1.0."""
    importance = paint_importance(height, width, detections, classes=classes, unknown=1.0)
    return RoiMask(importance > 0, importance)


class HeldMask:
    """Masks of one camera: boxes are grown, and a cell stays foreground for a while after its last box, so that a
    missed detection does not flicker. Frames must come in order."""

    def __init__(self, config: MaskConfig, classes: Mapping[str, float]) -> None:
        self._dilate = config.dilate
        self._hold_us = round(config.hold_s * 1e6)
        self._classes = dict(classes)
        self._importance = np.zeros((0, 0), np.uint8)
        self._until_us = np.zeros((0, 0), np.int64)

    def update(self, height: int, width: int, pts_us: int, detections: Iterable[Detection]) -> RoiMask:
        """The mask of the frame at `pts_us` (microseconds of stream time)."""
        if self._importance.shape != cell_grid(height, width):
            self._importance = np.zeros(cell_grid(height, width), np.uint8)
            self._until_us = np.zeros(cell_grid(height, width), np.int64)
        seen = paint_importance(height, width, detections, classes=self._classes, dilate=self._dilate)
        self._importance[self._until_us < pts_us] = 0
        now = seen > 0
        self._importance[now] = seen[now]
        self._until_us[now] = pts_us + self._hold_us
        return RoiMask(self._importance > 0, self._importance.copy())
