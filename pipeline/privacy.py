"""What must never be seen: polygons of a camera's picture are black before anything looks at it. Knows no files.

What is black here is black in every layer, for every detector and in every archive: nothing of it is stored.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.config import Polygon
from pipeline.types import Frame

_BLACK = {False: 16, True: 0}  # luma, by full_range


class Blackout:
    """Blacks out polygons (points as shares of width and height). Every pixel that a polygon touches is black; chroma
    is grey where any of its four pixels is."""

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        self._polygons = tuple(polygons)
        self._size: tuple[int, int] | None = None
        self._luma = self._chroma = np.zeros((0, 0), np.bool_)

    def __call__(self, frame: Frame, *, full_range: bool = False) -> Frame:
        """The frame, or a copy with its polygons black."""
        if not self._polygons:
            return frame
        if self._size != (frame.width, frame.height):
            self._size = frame.width, frame.height
            self._luma = covered(self._polygons, frame.width, frame.height)
            padded = np.pad(self._luma, ((0, frame.height % 2), (0, frame.width % 2)))
            self._chroma = padded.reshape(frame.u.shape[0], 2, frame.u.shape[1], 2).any((1, 3))
        y, u, v = frame.y.copy(), frame.u.copy(), frame.v.copy()
        np.putmask(y, self._luma, _BLACK[full_range])
        for plane in (u, v):
            np.putmask(plane, self._chroma, 128)
        return replace(frame, y=y, u=u, v=v)


def covered(polygons: Sequence[Polygon], width: int, height: int) -> npt.NDArray[np.bool_]:
    """The pixels (H,W) that any of the polygons touches."""
    picture = np.zeros((height, width), np.uint8)
    shift = 8  # fractional bits, so that a thin polygon is not rounded away
    for polygon in polygons:
        points = np.array(polygon, np.float64) * (width, height) - 0.5
        fixed = np.round(points * (1 << shift)).astype(np.int32)
        cv2.fillPoly(picture, [fixed], 1, shift=shift)
        cv2.polylines(picture, [fixed], True, 1, thickness=2, shift=shift)  # the pixels that its edge only grazes
    return picture.astype(np.bool_)
