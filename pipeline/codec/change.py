"""What has changed in the background, judged source against source: against the picture as it was when a cell was last
coded, not against the decoded plane, whose own coding error would mark nearly every cell.

Also keeps the clean scene from which the next plate is made.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.codec.blocks import grown, square_means
from pipeline.codec.native import on_host
from pipeline.codec.passes import block_sums, cell_peaks, follow
from pipeline.codec.state import Cells, Planes, cell_tensor
from pipeline.types import CELL

_BLOCK = 4  # means over 4x4 pixels: noise averages out, edges do not
_NOISE, _NOISE_MOVING = 4.5, 2.5  # deviations of a block mean's difference that may be noise
_SETTLE = 1 / 16  # how fast the clean scene follows a quiet picture
_UNIT = np.float32(1 / _BLOCK**2)
_WEIGHTS = np.int16(1), np.int16(_BLOCK), np.int16(_BLOCK)  # of the samples of luma and chroma


def block_means(picture: Planes) -> Tensor:
    """Means over 4x4 luma pixels and the 2x2 chroma samples under them, (3,H/4,W/4) int16, in 16ths of a grey level."""
    luma = picture[0]
    means = luma.new_empty((3, luma.shape[1] // _BLOCK, luma.shape[2] // _BLOCK), dtype=torch.int16)
    for plane, weight, found in zip(picture, _WEIGHTS, means, strict=True):
        if on_host(plane):
            block_sums(plane[0].numpy(), weight, found.numpy())
        else:
            found.copy_(square_means(plane, plane.shape[1] // len(found))[0] * _BLOCK**2)
    return means


def _cell_peak(a: Tensor, b: Tensor) -> Tensor:
    """(rows, cols): the largest difference of a block mean in each cell, grey levels."""
    side = CELL // _BLOCK
    if on_host(a):
        peaks = torch.empty(a.shape[1] // side, a.shape[2] // side)
        cell_peaks(a.numpy(), b.numpy(), _UNIT, peaks.numpy())
        return peaks
    largest = (a - b).abs().amax(0).float() * float(_UNIT)
    return torch.nn.functional.max_pool2d(largest[None], side)[0]


class ChangeDetector:
    """Compares pictures, of which it sees the block means, with the one kept for each cell. The noise level is learned
    from one picture to the next, so that slow drift counts as change and not as noise."""

    def __init__(self) -> None:
        self._noise = 1.0  # standard deviation of a block mean's difference, grey levels
        self._last: Tensor | None = None

    def see(self, means: Tensor, before: Tensor, busy: Cells) -> None:
        """Learn from cells that are not `busy`: once a picture, in order. `before`: what to compare the first with."""
        recent = _cell_peak(means, before if self._last is None else self._last)
        if not busy.all():
            # Of the 48 blocks of a quiet cell the largest difference is about 2.5 deviations; the median cell is quiet.
            quiet = recent[torch.from_numpy(~busy).to(recent.device)]
            self._noise = min(12.0, 0.9 * self._noise + 0.1 * float(quiet.median()) / 2.5)
        self._last = means

    def changed(self, means: Tensor, kept: Tensor, *, step: float, moving: Cells) -> Cells:
        """Cells (rows, cols) that differ by more than noise and more than the quantiser would hide. Around those that
        were `moving`, less is held for noise: where a camera turns or zooms, what is not coded anew is soon wrong."""
        peak = _cell_peak(means, kept)
        found = self._beyond(peak, step)
        if moving.any():
            near = grown(moving)
            found |= near & self._beyond(peak, step, _NOISE_MOVING)
        return found

    def differs(self, means: Tensor, other: Tensor, *, step: float, slack: float = 1.0) -> Cells:
        """The same of any two pictures, without learning. `slack` times the usual difference is allowed."""
        return self._beyond(_cell_peak(means, other) / slack, step)

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
        fresh = ~busy & (changed | self.unclean)
        rate = np.where(busy, 0.0, np.where(fresh, 1.0, _SETTLE)).astype(np.float32)
        for plane, mean in zip(picture, self._mean, strict=True):
            if on_host(plane):
                follow(plane[0].numpy(), rate, mean[0].numpy())
            else:
                size = plane.shape[1] // len(rate)
                weight = torch.from_numpy(rate)[None].to(plane.device)
                mean.lerp_(plane.float(), weight.repeat_interleave(size, 1).repeat_interleave(size, 2))
        self.unclean &= busy

    def picture(self) -> Planes:
        """The scene as planes (1,H,W) uint8."""
        y, u, v = (mean.round().clamp(0, 255).to(torch.uint8) for mean in self._mean)
        return y, u, v


class KeptSource:
    """The block means of the source as it was when each cell was last coded."""

    def __init__(self, means: Tensor) -> None:
        self.means = means

    def keep(self, means: Tensor, cells: Cells) -> None:
        """These cells were just coded."""
        blocks = cell_tensor(cells, means.device).repeat_interleave(CELL // _BLOCK, 1)
        self.means = torch.where(blocks.repeat_interleave(CELL // _BLOCK, 2), means, self.means)
