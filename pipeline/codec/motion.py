"""Block motion: quarter-pel interpolation in integers, so that it is the same everywhere.

Vectors are (dy, dx) in quarter luma pixels and point from the current block into the reference. Interpolation is
HEVC's: 8 taps on luma, 4 taps at eighth-pel on chroma, ITU-T H.265 tables 8-11 and 8-12; every sum stays below 2^24,
so float32 holds it exactly on any device.
"""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec.blocks import copy_block
from pipeline.codec.native import compiled

MAX_VECTOR = 511  # quarter pixels, either way

Planes = tuple[Tensor, Tensor, Tensor]
Bytes = npt.NDArray[np.uint8]
HostPlanes = tuple[Bytes, Bytes, Bytes]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
_V = TypeVar("_V", int, Ints, Tensor)

LUMA_TAPS = torch.tensor(
    [
        [0, 0, 0, 64, 0, 0, 0, 0],
        [-1, 4, -10, 58, 17, -5, 1, 0],
        [-1, 4, -11, 40, 40, -11, 4, -1],
        [0, 1, -5, 17, 58, -10, 4, -1],
    ],
    dtype=torch.float32,
)
_CHROMA_TAPS = torch.tensor(
    [[0, 64, 0, 0], [-2, 58, 10, -2], [-4, 54, 16, -2], [-6, 46, 28, -4],
     [-4, 36, 36, -4], [-4, 28, 46, -6], [-2, 16, 54, -4], [-2, 10, 58, -2]],
    dtype=torch.float32,
)  # fmt: skip
_LUMA, _CHROMA = LUMA_TAPS.numpy(), _CHROMA_TAPS.numpy()  # for `fetch_block`
_WHOLE = np.float32(64)  # the tap of a sample that is where it is wanted


def host_planes(planes: Planes) -> HostPlanes:
    """Planes (1,H,W) as compiled loops take them, (H,W)."""
    y, u, v = (plane[0].cpu().numpy() for plane in planes)
    return y, u, v


def _interpolate(plane: Tensor, picture: Tensor, top: Tensor, left: Tensor, size: int, taps: Tensor) -> Tensor:
    """Blocks of `size` at (top, left), in units of 1/len(taps) of a sample -> (N, size*size) float32 integers.

    `plane` (B,H,W) uint8, `picture` (N,) which of the B. Beyond the border the edge sample repeats.
    """
    fractions, length = taps.shape
    reach = length // 2 - 1
    _, height, width = plane.shape
    span = torch.arange(size + length - 1, device=plane.device)[:, None] - reach
    rows = (torch.div(top, fractions, rounding_mode="floor") + span).clamp(0, height - 1)
    cols = (torch.div(left, fractions, rounding_mode="floor") + span).clamp(0, width - 1)
    # Blocks lie along the last axis, the one that vector units run over: their own taps then cost nothing.
    place = (picture * height + rows)[:, None] * width + cols
    patch = plane.reshape(-1).index_select(0, place.flatten()).view(place.shape).float()
    taps = _on(plane.device, taps).T
    lines = filtered(patch, taps[:, left % fractions], size, axis=1)
    blocks = filtered(lines, taps[:, top % fractions], size, axis=0)
    return torch.floor((blocks + 2048) / 4096).clamp(0, 255).flatten(0, 1).T.contiguous()


@cache
def _on(device: torch.device, taps: Tensor) -> Tensor:
    """Taps on a device, brought there once: the host waits for all that is under way whenever it sends something."""
    return taps.to(device)


def filtered(samples: Tensor, taps: Tensor, size: int, *, axis: int) -> Tensor:
    """Each block's own taps (length,N) along an axis of (rows,cols,N) -> `size` samples on that axis."""
    total = samples.narrow(axis, 0, size) * taps[0]
    for k in range(1, len(taps)):
        total.addcmul_(samples.narrow(axis, k, size), taps[k])
    return total


def fetch(planes: tuple[Tensor, Tensor, Tensor], picture: Tensor, row: Tensor, col: Tensor, vector: Tensor) -> Tensor:
    """Prediction of latent positions from a reference: (N,96) float32 holding integers.

    `planes` (B,H,W), (B,H/2,W/2) x2 uint8; `picture`, `row`, `col` (N,) int64; `vector` (N,2) int64 quarter pixels.
    """
    if row.device.type != "cpu":
        return fetch_by_tensors(planes, picture, row, col, vector)
    found = torch.empty(len(row), 96)
    y, u, v = (plane.contiguous().numpy() for plane in planes)
    which, down, across = (part.contiguous().numpy() for part in (picture, row, col))
    _fetch_blocks(y, u, v, which, down, across, vector.contiguous().numpy(), found.numpy())
    return found


def scaled(vector: _V, distance: int, span: int) -> _V:
    """How far what has moved by `vector` in `span` frames moves in `distance` of them. Integers, halves up."""
    return (2 * distance * vector + span) // (2 * span)


_scaled = compiled(scaled)


@compiled
def mirrored(vector: int, near: int, far: int) -> int:
    """Where what has moved by a component since a frame `near` frames ago will be in `far` frames."""
    return -_scaled(vector, far, near)


def fetch_by_tensors(
    planes: tuple[Tensor, Tensor, Tensor], picture: Tensor, row: Tensor, col: Tensor, vector: Tensor
) -> Tensor:
    """`fetch` on any device, where the host reads nothing."""
    dy, dx = vector[:, 0], vector[:, 1]
    luma = fetch_luma(planes[0], picture, row, col, vector)
    chroma = [_interpolate(p, picture, row * 32 + dy, col * 32 + dx, 4, _CHROMA_TAPS) for p in planes[1:]]
    return torch.cat((luma, *chroma), dim=1)


def fetch_luma(plane: Tensor, picture: Tensor, row: Tensor, col: Tensor, vector: Tensor) -> Tensor:
    """The luma part of `fetch`: (N,64)."""
    return _interpolate(plane, picture, row * 32 + vector[:, 0], col * 32 + vector[:, 1], 8, LUMA_TAPS)


@compiled
def _fetch_blocks(
    y: Bytes, u: Bytes, v: Bytes, picture: Ints, row: Ints, col: Ints, vector: Ints, found: Floats
) -> None:
    area, small, lines = np.empty((15, 15), np.float32), np.empty((7, 7), np.float32), np.empty((15, 8), np.float32)
    for n in range(len(row)):
        b = picture[n]
        fetch_block(y[b], u[b], v[b], row[n], col[n], vector[n, 0], vector[n, 1], area, small, lines, found[n])


@compiled
def fetch_block(
    y: Bytes, u: Bytes, v: Bytes, row: int, col: int, dy: int, dx: int, area: Floats, small: Floats, lines: Floats,
    found: Floats,
) -> None:  # fmt: skip
    """`fetch` of one position from planes (H,W), to `found` (96,). `area` (15,15), `small` (7,7) and `lines` (15,8) are
    scratch."""
    if dy == 0 and dx == 0:
        copy_block(y, u, v, row, col, found)
        return
    fetch_luma_block(y, row, col, dy, dx, area, lines, found)
    top, left, down, across = 4 * row + (dy >> 3), 4 * col + (dx >> 3), _CHROMA[dy & 7], _CHROMA[dx & 7]
    _chroma_block(u, top, left, down, across, small, lines, found[64:80])
    _chroma_block(v, top, left, down, across, small, lines, found[80:])


@compiled
def fetch_luma_block(
    y: Bytes, row: int, col: int, dy: int, dx: int, area: Floats, lines: Floats, found: Floats
) -> None:
    """The luma part of `fetch_block`, to the first 64 of `found`."""
    _luma_block(y, 8 * row + (dy >> 2), 8 * col + (dx >> 2), _LUMA[dy & 3], _LUMA[dx & 3], area, lines, found)


@compiled
def window(plane: Bytes, top: int, left: int, area: Floats) -> None:
    """The part of a plane (H,W) at (top, left) to an `area` of its size; beyond the border the edge sample repeats."""
    (height, width), (rows, cols) = plane.shape, area.shape
    if top >= 0 and left >= 0 and top + rows <= height and left + cols <= width:
        for i in range(rows):
            for j in range(cols):
                area[i, j] = plane[top + i, left + j]
    else:
        for i in range(rows):
            line = plane[min(max(top + i, 0), height - 1)]
            for j in range(cols):
                area[i, j] = line[min(max(left + j, 0), width - 1)]


@compiled
def _luma_block(
    plane: Bytes, top: int, left: int, down: Floats, across: Floats, area: Floats, lines: Floats, found: Floats
) -> None:
    window(plane, top - 3, left - 3, area)
    if across[3] == _WHOLE:  # whole samples
        for i in range(15):
            for j in range(8):
                lines[i, j] = _WHOLE * area[i, j + 3]
    else:
        for i in range(15):
            for j in range(8):
                lines[i, j] = (
                    across[0] * area[i, j] + across[1] * area[i, j + 1] + across[2] * area[i, j + 2]
                    + across[3] * area[i, j + 3] + across[4] * area[i, j + 4] + across[5] * area[i, j + 5]
                    + across[6] * area[i, j + 6] + across[7] * area[i, j + 7]
                )  # fmt: skip
    if down[3] == _WHOLE:
        for i in range(8):
            for j in range(8):
                found[8 * i + j] = _rounded(_WHOLE * lines[i + 3, j])
    else:
        for i in range(8):
            for j in range(8):
                found[8 * i + j] = _rounded(
                    down[0] * lines[i, j] + down[1] * lines[i + 1, j] + down[2] * lines[i + 2, j]
                    + down[3] * lines[i + 3, j] + down[4] * lines[i + 4, j] + down[5] * lines[i + 5, j]
                    + down[6] * lines[i + 6, j] + down[7] * lines[i + 7, j]
                )  # fmt: skip


@compiled
def _chroma_block(
    plane: Bytes, top: int, left: int, down: Floats, across: Floats, area: Floats, lines: Floats, found: Floats
) -> None:
    window(plane, top - 1, left - 1, area)
    for i in range(7):
        for j in range(4):
            lines[i, j] = (
                across[0] * area[i, j] + across[1] * area[i, j + 1] + across[2] * area[i, j + 2]
                + across[3] * area[i, j + 3]
            )  # fmt: skip
    for i in range(4):
        for j in range(4):
            found[4 * i + j] = _rounded(
                down[0] * lines[i, j]
                + down[1] * lines[i + 1, j]
                + down[2] * lines[i + 2, j]
                + down[3] * lines[i + 3, j]
            )


@compiled
def _rounded(total: np.float32) -> np.float32:
    """A sum of products with taps of both axes -> grey levels."""
    return min(max(np.floor((total + np.float32(2048)) * np.float32(1 / 4096)), np.float32(0)), np.float32(255))
