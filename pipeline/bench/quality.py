"""Squared error, pooled over frames: in 8-bit 4:2:0, as cameras deliver it, YUV weighted 6:1:1 and by region; and in
RGB, of the whole picture, for those who compare with photographs."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from pipeline.color import BT709, frame_to_rgb
from pipeline.types import CELL, Frame

FOREGROUND_SHARE = 0.8  # of the weighted measure: foreground PSNR alone can be won by throwing the background away
BEST_DB = 100.0  # what identical pictures count as

Cells = npt.NDArray[np.bool_]


def psnr(mse: float) -> float:
    """Decibels below 255; at most BEST_DB. NaN stays NaN."""
    if math.isnan(mse):
        return math.nan
    return min(BEST_DB, 10 * math.log10(255**2 / mse)) if mse > 0 else BEST_DB


class Distortion:
    """Squared errors of a sequence, summed over foreground and background."""

    def __init__(self) -> None:
        self._errors = np.zeros((2, 3))  # region x plane
        self._counts = np.zeros((2, 3))

    def add(self, source: Frame, decoded: Frame, cells: Cells) -> None:
        """`cells` (rows, cols): the foreground. Raises ValueError when the frames do not belong together."""
        if (source.height, source.width, source.index) != (decoded.height, decoded.width, decoded.index):
            raise ValueError(f"frame {source.index} compared with frame {decoded.index}")
        planes = ((source.y, decoded.y, CELL), (source.u, decoded.u, CELL // 2), (source.v, decoded.v, CELL // 2))
        for k, (a, b, size) in enumerate(planes):
            inside = cells.repeat(size, 0).repeat(size, 1)[: a.shape[0], : a.shape[1]]
            squared = np.square(a.astype(np.int32) - b)
            total, foreground = int(squared.sum()), int(squared[inside].sum())
            count, covered = inside.size, int(inside.sum())
            self._errors[:, k] += (foreground, total - foreground)
            self._counts[:, k] += (covered, count - covered)

    def mse(self, region: int) -> float:
        """6:1:1 mean squared error of the foreground (0) or background (1); NaN where there is none of it."""
        if not self._counts[region, 0]:
            return math.nan
        y, u, v = self._errors[region] / self._counts[region]
        return float((6 * y + u + v) / 8)

    @property
    def foreground_psnr(self) -> float:
        return psnr(self.mse(0))

    @property
    def background_psnr(self) -> float:
        return psnr(self.mse(1))

    @property
    def weighted_psnr(self) -> float:
        """The headline: 0.8 of the foreground's error and 0.2 of the background's; of one region where only one is."""
        foreground, background = self.mse(0), self.mse(1)
        if math.isnan(foreground):
            return psnr(background)
        if math.isnan(background):
            return psnr(foreground)
        return psnr(FOREGROUND_SHARE * foreground + (1 - FOREGROUND_SHARE) * background)


class RgbDistortion:
    """Squared errors of a sequence in RGB, every pixel alike."""

    def __init__(self, *, matrix: int = BT709, full_range: bool = False) -> None:
        self._matrix, self._full_range = matrix, full_range
        self._error = self._count = 0

    def add(self, source: Frame, decoded: Frame) -> None:
        a, b = (frame_to_rgb(f, matrix=self._matrix, full_range=self._full_range) for f in (source, decoded))
        self._error += int(np.square(a.astype(np.int32) - b).sum())
        self._count += a.size

    @property
    def psnr(self) -> float:
        return psnr(self._error / self._count if self._count else math.nan)
