"""What has changed in the background, judged source against source: against the picture as it was when a cell was last
coded, not against the decoded plane, whose own coding error would mark nearly every cell.

Also keeps the clean scene from which the next plate is made.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from pipeline.codec.blocks import square_means
from pipeline.codec.state import Cells, Planes, cell_tensor, mix
from pipeline.types import CELL

_BLOCK = 4  # means over 4x4 pixels: noise averages out, edges do not
_NOISE, _NOISE_MOVING = 4.5, 2.5  # deviations of a block mean's difference that may be noise
_AROUND = np.ones((3, 3), np.uint8)  # cells
_SETTLE = 1 / 16  # how fast the clean scene follows a quiet picture


def _cell_max(values: Tensor) -> Tensor:
    """(1,h,w) block values -> (rows,cols) the largest of each cell."""
    pooled = torch.nn.functional.max_pool2d(values[:, None], CELL // _BLOCK)
    return pooled[0, 0]


Means = tuple[Tensor, Tensor, Tensor]


def _block_means(picture: Planes) -> Means:
    """Means over 4x4 luma pixels and the 2x2 chroma samples under them."""
    y, u, v = (square_means(p, size) for p, size in zip(picture, (_BLOCK, _BLOCK // 2, _BLOCK // 2), strict=True))
    return y, u, v


def _cell_peak(a: Means, b: Means) -> Tensor:
    """(rows, cols): the largest difference of a block mean in each cell, grey levels."""
    luma, u, v = ((x - y).abs() for x, y in zip(a, b, strict=True))
    return _cell_max(torch.maximum(luma, torch.maximum(u, v)))


class ChangeDetector:
    """Compares pictures with the one kept for each cell. The noise level is learned from one picture to the next, so
    that slow drift counts as change and not as noise."""

    def __init__(self) -> None:
        self._noise = 1.0  # standard deviation of a block mean's difference, grey levels
        self._last: Means | None = None

    def changed(self, picture: Planes, kept: Planes, *, step: float, busy: Cells, moving: Cells) -> Cells:
        """Cells (rows, cols) that differ by more than noise and more than the quantiser would hide. Call it once a
        picture, in order: it learns, from cells that are not `busy`. Around those that were `moving`, less is held for
        noise: where a camera turns or zooms, what is not coded anew is soon wrong."""
        means = _block_means(picture)
        peak = _cell_peak(means, _block_means(kept))
        recent = peak if self._last is None else _cell_peak(means, self._last)
        if not busy.all():
            # Of the 48 blocks of a quiet cell the largest difference is about 2.5 deviations; the median cell is quiet.
            quiet = recent[torch.from_numpy(~busy).to(recent.device)]
            self._noise = min(12.0, 0.9 * self._noise + 0.1 * float(quiet.median()) / 2.5)
        self._last = means
        found = self._beyond(peak, step)
        if moving.any():
            near = cv2.dilate(moving.view(np.uint8), _AROUND) > 0
            found |= near & self._beyond(peak, step, _NOISE_MOVING)
        return found

    def differs(self, picture: Planes, other: Planes, *, step: float, slack: float = 1.0) -> Cells:
        """The same of any two pictures, without learning. `slack` times the usual difference is allowed."""
        return self._beyond(_cell_peak(_block_means(picture), _block_means(other)) / slack, step)

    def _beyond(self, peak: Tensor, step: float, noise: float = _NOISE) -> Cells:
        found: Cells = (peak > max(noise * self._noise, 1.0 + 0.05 * step)).cpu().numpy()
        return found


class CleanScene:
    """The scene without its objects: follows quiet cells, waits under objects, and knows which it has never seen
    empty."""

    def __init__(self, first: Planes, busy: Cells) -> None:
        self._mean: tuple[Tensor, Tensor, Tensor] = (first[0].float(), first[1].float(), first[2].float())
        self.unclean: Cells = busy.copy()

    def update(self, picture: Planes, *, busy: Cells, changed: Cells) -> None:
        """`busy`: cells under objects; `changed`: empty cells whose content is new."""
        device = picture[0].device
        fresh = ~busy & (changed | self.unclean)
        rate = np.where(busy, 0.0, np.where(fresh, 1.0, _SETTLE)).astype(np.float32)
        weights = torch.from_numpy(rate)[None].to(device)
        for plane, mean, size in zip(picture, self._mean, (CELL, CELL // 2, CELL // 2), strict=True):
            weight = weights.repeat_interleave(size, 1).repeat_interleave(size, 2)
            mean.lerp_(plane.float(), weight)
        self.unclean &= busy

    def picture(self) -> Planes:
        """The scene as planes (1,H,W) uint8."""
        y, u, v = (mean.round().clamp(0, 255).to(torch.uint8) for mean in self._mean)
        return y, u, v


class KeptSource:
    """The source as it was when each cell was last coded."""

    def __init__(self, planes: Planes) -> None:
        self.planes = planes

    def keep(self, picture: Planes, cells: Cells) -> None:
        """These cells were just coded."""
        if cells.any():
            self.planes = mix(cell_tensor(cells, picture[0].device), picture, self.planes)
