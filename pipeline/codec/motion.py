"""Block motion: quarter-pel interpolation in integers, so that it is the same everywhere.

Vectors are (dy, dx) in quarter luma pixels and point from the current block into the reference. Interpolation is
HEVC's: 8 taps on luma, 4 taps at eighth-pel on chroma, ITU-T H.265 tables 8-11 and 8-12; every sum stays below 2^24,
so float32 holds it exactly on any device.
"""

from __future__ import annotations

import torch
from torch import Tensor

MAX_VECTOR = 511  # quarter pixels, either way

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


def squares(plane: Tensor, picture: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """Squares of `size` samples at (top, left), (N,) int64 -> (N,size,size) uint8 (what `plane` is).

    `plane` (B,H,W), `picture` (N,) which of the B. Beyond the border the edge sample repeats.
    """
    height, width = plane.shape[1:]
    inside = (top >= 0) & (left >= 0) & (top <= height - size) & (left <= width - size)
    if bool(inside.all()):
        return _inner_squares(plane, picture, top, left, size)
    span = torch.arange(size, device=plane.device)
    rows = (top[:, None] + span).clamp(0, height - 1)
    cols = (left[:, None] + span).clamp(0, width - 1)
    if not bool(inside.any()):
        return plane[picture[:, None, None], rows[:, :, None], cols[:, None, :]]
    found = plane.new_empty(len(top), size, size)
    found[inside] = _inner_squares(plane, picture[inside], top[inside], left[inside], size)
    beyond = ~inside
    found[beyond] = plane[picture[beyond, None, None], rows[beyond, :, None], cols[beyond, None, :]]
    return found


def _inner_squares(plane: Tensor, picture: Tensor, top: Tensor, left: Tensor, size: int) -> Tensor:
    """`squares` that lie within the plane."""
    every = plane.unfold(1, size, 1).unfold(2, size, 1)
    if plane.device.type == "cpu":  # NumPy copies square by square, torch sample by sample: three times as long
        return torch.from_numpy(every.numpy()[picture.numpy(), top.numpy(), left.numpy()])
    return every[picture, top, left]


def _filters(taps: Tensor, size: int) -> Tensor:
    """`taps` (fractions,length) -> (fractions,size+length-1,size): a product with one of them filters a line."""
    fractions, length = taps.shape
    filters = torch.zeros(fractions, size + length - 1, size)
    for k in range(size):
        filters[:, k : k + length, k] = taps
    return filters


_LUMA_FILTERS, _CHROMA_FILTERS = _filters(LUMA_TAPS, 8), _filters(_CHROMA_TAPS, 4)


def _interpolate(plane: Tensor, picture: Tensor, top: Tensor, left: Tensor, filters: Tensor) -> Tensor:
    """Blocks at (top, left), in units of 1/fractions of a sample -> (N, size*size) float32 integers. `filters` as
    `_filters` makes them."""
    fractions, span, size = filters.shape
    reach = (span - size) // 2
    row, col = (torch.div(place, fractions, rounding_mode="floor") - reach for place in (top, left))
    patch = squares(plane, picture, row, col, span).float()
    filters = filters.to(plane.device)
    with torch.autocast(plane.device.type, enabled=False):
        blocks = filters.mT[top % fractions] @ (patch @ filters[left % fractions])
    return torch.floor((blocks + 2048) / 4096).clamp(0, 255).flatten(1)


def fetch(planes: tuple[Tensor, Tensor, Tensor], picture: Tensor, row: Tensor, col: Tensor, vector: Tensor) -> Tensor:
    """Prediction of latent positions from a reference: (N,96) float32 holding integers.

    `planes` (B,H,W), (B,H/2,W/2) x2 uint8; `picture`, `row`, `col` (N,) int64; `vector` (N,2) int64 quarter pixels.
    """
    dy, dx = vector[:, 0], vector[:, 1]
    luma = fetch_luma(planes[0], picture, row, col, vector)
    chroma = [_interpolate(p, picture, row * 32 + dy, col * 32 + dx, _CHROMA_FILTERS) for p in planes[1:]]
    return torch.cat((luma, *chroma), dim=1)


def fetch_luma(plane: Tensor, picture: Tensor, row: Tensor, col: Tensor, vector: Tensor) -> Tensor:
    """The luma part of `fetch`: (N,64)."""
    return _interpolate(plane, picture, row * 32 + vector[:, 0], col * 32 + vector[:, 1], _LUMA_FILTERS)
