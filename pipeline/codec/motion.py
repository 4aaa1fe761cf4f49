"""Block motion: quarter-pel interpolation in integers, so that it is the same everywhere.

Vectors are (dy, dx) in quarter luma pixels and point from the current block into the reference. Interpolation is
HEVC's: 8 taps on luma, 4 taps at eighth-pel on chroma, ITU-T H.265 tables 8-11 and 8-12; every sum stays below 2^24,
so float32 holds it exactly on any device.
"""

from __future__ import annotations

from functools import cache

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
    lines = _filter(patch, taps[:, left % fractions], size, axis=1)
    blocks = _filter(lines, taps[:, top % fractions], size, axis=0)
    return torch.floor((blocks + 2048) / 4096).clamp(0, 255).flatten(0, 1).T.contiguous()


@cache
def _on(device: torch.device, taps: Tensor) -> Tensor:
    """Taps on a device, brought there once: the host waits for all that is under way whenever it sends something."""
    return taps.to(device)


def _filter(samples: Tensor, taps: Tensor, size: int, *, axis: int) -> Tensor:
    """Each block's own taps (length,N) along an axis of (rows,cols,N) -> `size` samples on that axis."""
    total = samples.narrow(axis, 0, size) * taps[0]
    for k in range(1, len(taps)):
        total.addcmul_(samples.narrow(axis, k, size), taps[k])
    return total


def fetch(planes: tuple[Tensor, Tensor, Tensor], picture: Tensor, row: Tensor, col: Tensor, vector: Tensor) -> Tensor:
    """Prediction of latent positions from a reference: (N,96) float32 holding integers.

    `planes` (B,H,W), (B,H/2,W/2) x2 uint8; `picture`, `row`, `col` (N,) int64; `vector` (N,2) int64 quarter pixels.
    """
    dy, dx = vector[:, 0], vector[:, 1]
    luma = fetch_luma(planes[0], picture, row, col, vector)
    chroma = [_interpolate(p, picture, row * 32 + dy, col * 32 + dx, 4, _CHROMA_TAPS) for p in planes[1:]]
    return torch.cat((luma, *chroma), dim=1)


def fetch_luma(plane: Tensor, picture: Tensor, row: Tensor, col: Tensor, vector: Tensor) -> Tensor:
    """The luma part of `fetch`: (N,64)."""
    return _interpolate(plane, picture, row * 32 + vector[:, 0], col * 32 + vector[:, 1], 8, LUMA_TAPS)
