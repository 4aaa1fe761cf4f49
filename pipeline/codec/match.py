"""Block matching: where in a reference the content of each cell, and of each of its four blocks, lies. Encoder only.

Coarse to fine: whole cells at half size over a wide range, blocks pixel by pixel around that, then quarter pixels.
Everything runs on all cells at once, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.codec.motion import LUMA_TAPS, MAX_VECTOR

_COARSE = 16  # pixels at half size, either way
_FINE = 4  # pixels, either way
_QUARTERS = 3  # quarter pixels, either way
_REACH = 4  # pixels around a block that its interpolation needs
_CHUNK = 512  # cells that are matched at a time: bounds the memory
_LIMIT = (MAX_VECTOR - _QUARTERS) // 4 - _FINE  # pixels


@dataclass(frozen=True, slots=True)
class Matches:
    """`whole` (n,2): one vector a cell; `own` (n,4,2): one a block. Quarter pixels, int64."""

    whole: Tensor
    own: Tensor


def match(current: Tensor, reference: Tensor, places: Tensor, last: Tensor, *, price: float) -> Matches:
    """Match cells at `places` (n,2) of the luma planes (1,H,W) uint8. `last` (n,2): vectors worth trying, quarter
    pixels. `price`: the squared error that a bit of vector is worth."""
    halves = F.avg_pool2d(torch.stack((current, reference)).float(), 2)
    parts = [slice(first, first + _CHUNK) for first in range(0, len(places), _CHUNK)]
    found = [_match(current, reference, halves, places[part], last[part], price) for part in parts]
    return Matches(torch.cat([m.whole for m in found]), torch.cat([m.own for m in found]))


def _match(current: Tensor, reference: Tensor, halves: Tensor, places: Tensor, last: Tensor, price: float) -> Matches:
    surface = _surface(_patches(halves[0], places * 8, 8), halves[1], places * 8, _COARSE)
    surface = surface * 4 + price * _bits(_shifts(_COARSE, places.device) * 8)
    blocks = _patches(current, _corners(places), 8)
    starts = (2 * _best(surface, _COARSE), torch.round(last / 4).long(), torch.zeros_like(last))
    errors, vectors = [], []
    for start in starts:
        start = start.clamp(-_LIMIT, _LIMIT)
        surface = _surface(blocks, reference, _corners(places, start), _FINE).view(len(places), 4, -1)
        bits = price * _bits((start[:, None] + _shifts(_FINE, places.device)) * 4)
        both = torch.cat((surface.sum(1, keepdim=True) + bits[:, None], surface + bits[:, None]), 1)
        errors.append(both.amin(2))
        vectors.append(start[:, None] + _best(both, _FINE))
    chosen = torch.stack(errors).argmin(0)  # (n,5): of the cell, then of its blocks
    vector = torch.stack(vectors).gather(0, chosen[None, :, :, None].expand(1, -1, -1, 2))[0]
    return _between_pixels(blocks, reference, places, vector, price)


def _between_pixels(blocks: Tensor, reference: Tensor, places: Tensor, vector: Tensor, price: float) -> Matches:
    """From whole pixels (n,5,2) to halves to quarters, of a cell and its blocks."""
    both = torch.stack((vector[:, :1].expand(-1, 4, -1), vector[:, 1:]))  # (2,n,4,2)
    corner = _corners(places).view(-1, 4, 2) + both
    area = _patches(reference, corner.reshape(-1, 2) - _REACH, 8 + 2 * _REACH)
    filters, around = _filters(reference.device), _shifts(1, places.device)
    share = torch.tensor((0.25, 1.0), device=area.device).view(2, 1, 1, 1)  # of a vector's bits
    part = torch.zeros_like(both)
    for size in (2, 1):
        shift = part[..., None] + size * torch.arange(-1, 2, device=part.device)
        down, across = filters[shift + _QUARTERS].flatten(-3, -2).view(-1, 2, 24, 8 + 2 * _REACH).unbind(1)
        moved = (down @ area @ across.mT).view(2, -1, 4, 3, 8, 3, 8)
        error = (moved - blocks.view(-1, 4, 1, 8, 1, 8)).square().sum((4, 6)).flatten(3)
        error += price * share * _bits((4 * both + part)[..., None, :] + size * around)
        best = torch.cat((_best(error[:1].sum(2, keepdim=True), 1).expand(-1, -1, 4, -1), _best(error[1:], 1)))
        part = part + size * best
    fine = 4 * both + part
    return Matches(fine[0, :, 0], fine[1])


def _filters(device: torch.device) -> Tensor:
    """(2 _QUARTERS + 1, 8, 8 + 2 _REACH): eight samples at each shift by quarters, from those around."""
    taps = LUMA_TAPS.shape[1]
    filters = torch.zeros(2 * _QUARTERS + 1, 8, 8 + 2 * _REACH)
    for shift in range(-_QUARTERS, _QUARTERS + 1):
        for k in range(8):
            first = k + shift // 4 + _REACH - (taps // 2 - 1)
            filters[shift + _QUARTERS, k, first : first + taps] = LUMA_TAPS[shift % 4] / 64
    return filters.to(device)


def _corners(places: Tensor, start: Tensor | None = None) -> Tensor:
    """The corners of the four blocks of each cell, in pixels, (4n,2); moved by `start` (n,2)."""
    inner = torch.tensor([(0, 0), (0, 8), (8, 0), (8, 8)], device=places.device)
    corner = places * 16 if start is None else places * 16 + start
    return (corner[:, None] + inner).reshape(-1, 2)


def _bits(vector: Tensor) -> Tensor:
    """(...,2) quarter pixels -> about how many bits it costs."""
    return (2 * torch.log2(1 + vector.abs().float())).sum(-1)


def _shifts(reach: int, device: torch.device) -> Tensor:
    """All shifts of up to `reach`, ((2 reach + 1)^2, 2), row by row."""
    span = torch.arange(-reach, reach + 1, device=device)
    return torch.cartesian_prod(span, span)


def _best(surface: Tensor, reach: int) -> Tensor:
    """(...,shifts) -> (...,2) the shift of least error."""
    place = surface.argmin(-1)
    side = 2 * reach + 1
    return torch.stack((place // side - reach, place % side - reach), -1)


def _patches(plane: Tensor, corner: Tensor, size: int) -> Tensor:
    """Squares of a plane (1,H,W) at corners (m,2) -> (m,size,size) float32; the edge sample repeats."""
    span = torch.arange(size, device=plane.device)
    rows = (corner[:, :1] + span).clamp(0, plane.shape[1] - 1)
    cols = (corner[:, 1:] + span).clamp(0, plane.shape[2] - 1)
    return plane[0, rows[:, :, None], cols[:, None, :]].float()


def _eights(values: Tensor, axis: int) -> Tensor:
    """Sums of eight neighbours along an axis, by doubling."""
    for step in (1, 2, 4):
        size = values.shape[axis] - step
        values = values.narrow(axis, 0, size) + values.narrow(axis, step, size)
    return values


def _surface(blocks: Tensor, reference: Tensor, corner: Tensor, reach: int) -> Tensor:
    """Squared error of blocks (m,8,8) against the reference at every shift around corners (m,2): (m,shifts)."""
    area = _patches(reference, corner - reach, 8 + 2 * reach)
    squares = _eights(_eights(area.square(), 1), 2)
    cross = F.conv2d(area[None], blocks[:, None], groups=len(blocks))[0]
    return (squares - 2 * cross).flatten(1) + blocks.square().sum((1, 2))[:, None]
