"""What a frame between two others begins with: their mean and, in the foreground, what moves as it does on both sides
of it. Normative: encoder and decoder make it of planes and vectors that both have, and it takes no bits."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from pipeline.codec.blocks import grown
from pipeline.codec.motion import HostPlanes, Planes, fetch_block, fetch_luma_block, host_planes, mirrored
from pipeline.codec.native import compiled, on_host
from pipeline.codec.passes import mean_in_cells

Bytes = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_AROUND = np.array(((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), (-1, -1), (-1, 1), (1, -1), (1, 1)))
# A cell moves only if what lies before and after then differs by so much less than in place: noise moves too.
_SHARE, _WHOLE, _LESS = 7, 10, 12_800  # tenths of its squared error of luma, and 50 grey levels squared a sample less


def mean_of(before: Planes, after: Planes, apart: Cells) -> Planes:
    """The mean of two pictures that are alike but in the cells `apart`, halves up. uint8."""
    means = []
    for ours, theirs in zip(before, after, strict=True):
        if on_host(ours):
            mean = ours.clone()
            mean_in_cells(theirs[0].numpy(), apart, mean[0].numpy())
        else:
            mean = ((ours.short() + theirs.short() + 1) >> 1).to(torch.uint8)
        means.append(mean)
    return means[0], means[1], means[2]


def follow(
    before: Planes, after: Planes, distances: tuple[int, int], apart: Cells, motion: Ints, mean: Planes
) -> tuple[Planes, Ints]:
    """The `mean` of two planes with cells that move: as they do themselves, or one beside them does, wherever planes
    before and after agree best. `distances` to both, in frames; `motion` (rows,cols,2) since the plane before. And how
    each cell moves now."""
    moving = grown(motion.any(2))
    places, found = np.argwhere(moving & apart), np.zeros_like(motion)
    if not len(places):
        return mean, found
    near, far = distances
    here = host_planes(mean)
    _follow(host_planes(before), host_planes(after), near, far, places, motion, found, here)
    y, u, v = (torch.from_numpy(part)[None].to(mean[0].device) for part in here)
    return (y, u, v), found


@compiled
def _follow(
    before: HostPlanes, after: HostPlanes, near: int, far: int, places: Ints, motion: Ints, found: Ints,
    mean: HostPlanes,
) -> None:  # fmt: skip
    """Cells at `places` (n,2) that move, to `mean`; how they do, to `found`."""
    area, small, lines = np.empty((15, 15), np.float32), np.empty((7, 7), np.float32), np.empty((15, 8), np.float32)
    one, other = np.empty(96, np.float32), np.empty(96, np.float32)
    tried = np.empty((len(_AROUND), 2), np.int64)
    for n in range(len(places)):
        row, col = places[n, 0], places[n, 1]
        least = (
            _SHARE * _differ(before[0], after[0], near, far, row, col, 0, 0, area, lines, one, other) // _WHOLE - _LESS
        )
        count, moves = 0, False
        for k in range(len(_AROUND)):
            r, c = row + _AROUND[k, 0], col + _AROUND[k, 1]
            if least <= 0 or r < 0 or c < 0 or r >= motion.shape[0] or c >= motion.shape[1]:
                continue
            dy, dx = motion[r, c, 0], motion[r, c, 1]
            new = dy != 0 or dx != 0
            for m in range(count):
                new = new and (tried[m, 0] != dy or tried[m, 1] != dx)
            if new:
                tried[count, 0], tried[count, 1] = dy, dx
                count += 1
                error = _differ(before[0], after[0], near, far, row, col, dy, dx, area, lines, one, other)
                if error < least:
                    least, moves = error, True
                    found[row, col, 0], found[row, col, 1] = dy, dx
        if moves:
            dy, dx = found[row, col, 0], found[row, col, 1]
            on_y, on_x = mirrored(dy, near, far), mirrored(dx, near, far)
            for b in range(4):
                down, across = 2 * row + b // 2, 2 * col + b % 2
                fetch_block(before[0], before[1], before[2], down, across, dy, dx, area, small, lines, one)
                fetch_block(after[0], after[1], after[2], down, across, on_y, on_x, area, small, lines, other)
                for j in range(len(one)):
                    one[j] = np.floor((one[j] + other[j] + np.float32(1)) * np.float32(0.5))
                _put(one, down, across, mean)


@compiled
def _differ(
    before: Bytes, after: Bytes, near: int, far: int, row: int, col: int, dy: int, dx: int, area: Floats,
    lines: Floats, one: Floats, other: Floats,
) -> int:  # fmt: skip
    """The squared error of a cell's luma before against after, where it moves."""
    error = 0
    for b in range(4):
        down, across = 2 * row + b // 2, 2 * col + b % 2
        fetch_luma_block(before, down, across, dy, dx, area, lines, one)
        fetch_luma_block(after, down, across, mirrored(dy, near, far), mirrored(dx, near, far), area, lines, other)
        total = np.float32(0)
        for j in range(64):
            d = one[j] - other[j]
            total += d * d
        error += int(total)
    return error


@compiled
def _put(block: Floats, row: int, col: int, planes: HostPlanes) -> None:
    """A position's samples."""
    y, u, v = planes
    for i in range(8):
        for j in range(8):
            y[8 * row + i, 8 * col + j] = np.uint8(block[8 * i + j])
    for i in range(4):
        for j in range(4):
            u[4 * row + i, 4 * col + j] = np.uint8(block[64 + 4 * i + j])
            v[4 * row + i, 4 * col + j] = np.uint8(block[80 + 4 * i + j])
