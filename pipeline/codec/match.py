"""Block matching: where in a reference the content of each cell, and of each of its four blocks, lies. Encoder only.

Coarse to fine: whole cells at half size over a wide range, blocks pixel by pixel around that, then quarter pixels.
Everything runs on all cells at once, on any device.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.codec.blocks import square_means
from pipeline.codec.effort import BEST, Effort
from pipeline.codec.motion import LUMA_TAPS, MAX_VECTOR, filtered

_COARSE = 16  # pixels at half size, either way
_FINE = 4  # pixels, either way
_QUARTERS = 3  # quarter pixels, either way
_REACH = 4  # pixels around a block that its interpolation needs
_MARGIN = 2 * _COARSE // 16  # the same in cells
_CHUNK = 512  # cells that are matched at a time: bounds the memory
_LIMIT = (MAX_VECTOR - _QUARTERS) // 4 - _FINE  # pixels


@dataclass(frozen=True, slots=True)
class Matches:
    """`whole` (n,2): one vector a cell; `own` (n,4,2): one a block. Quarter pixels, int64."""

    whole: Tensor
    own: Tensor


def match(
    current: Tensor, reference: Tensor, places: Tensor, last: Tensor, *, price: float, effort: Effort = BEST
) -> Matches:
    """Match cells at `places` (n,2) of the luma planes (1,H,W) uint8. `last` (n,2): vectors worth trying, quarter
    pixels. `price`: the squared error that a bit of vector is worth."""
    parts = [slice(first, first + _CHUNK) for first in range(0, len(places), _CHUNK)]
    found = [_match(current, reference, places[part], last[part], price, effort) for part in parts]
    return Matches(torch.cat([m.whole for m in found]), torch.cat([m.own for m in found]))


def _match(current: Tensor, reference: Tensor, places: Tensor, last: Tensor, price: float, effort: Effort) -> Matches:
    blocks = _patches(current, _corners(places), 8)
    coarse, last = _coarse(current, reference, places, price), torch.round(last / 4).long()
    starts = torch.stack((coarse, last, torch.zeros_like(last))).clamp(-_LIMIT, _LIMIT)
    new = torch.ones(starts.shape[:2], dtype=torch.bool, device=places.device)  # the same start is tried once
    new[1] = (starts[1] != starts[0]).any(-1)
    new[2] = (starts[2] != starts[0]).any(-1) & (starts[2] != starts[1]).any(-1)
    cell, start = new.nonzero()[:, 1], starts[new]
    surface = _surface(blocks.view(-1, 4, 8, 8)[cell].flatten(0, 1), reference, _corners(places[cell], start), _FINE)
    surface = surface.view(len(cell), 4, -1)
    bits = price * _bits((start[:, None] + _shifts(_FINE, places.device)) * 4)
    both = surface.sum(1, keepdim=True) + bits[:, None]
    if effort.split:
        both = torch.cat((both, surface + bits[:, None]), 1)
    errors = both.new_full((*new.shape, both.shape[1]), torch.inf)
    vectors = starts[:, :, None].repeat(1, 1, both.shape[1], 1)
    errors[new], vectors[new] = both.amin(2), start[:, None] + _best(both, _FINE)
    chosen = errors.argmin(0)  # (n,5): of the cell, then of its blocks if they count
    vector = vectors.gather(0, chosen[None, :, :, None].expand(1, -1, -1, 2))[0].expand(-1, 5, -1)
    return _between_pixels(blocks, reference, places, vector, price, effort)


def _coarse(current: Tensor, reference: Tensor, places: Tensor, price: float) -> Tensor:
    """(n,2) even pixels: where each cell lies, found at half size."""
    top, left = ((places.amin(0) - _MARGIN).clamp(min=0) * 16).tolist()
    bottom, right = ((places.amax(0) + 1 + _MARGIN) * 16).tolist()
    halves = [square_means(plane[:, top:bottom, left:right], 2) for plane in (current, reference)]
    corner = places * 8 - torch.tensor((top // 2, left // 2), device=places.device)
    surface = _surface(_patches(halves[0], corner, 8), halves[1], corner, _COARSE)
    return 2 * _best(surface * 4 + price * _bits(_shifts(_COARSE, places.device) * 8), _COARSE)


def _between_pixels(
    blocks: Tensor, reference: Tensor, places: Tensor, vector: Tensor, price: float, effort: Effort
) -> Matches:
    """From whole pixels (n,5,2) to halves and, if that is asked for, to quarters, of a cell and its blocks."""
    fine = 4 * torch.stack((vector[:, :1].expand(-1, 4, -1), vector[:, 1:]))  # (2,n,4,2)
    corner, around = _corners(places), _shifts(1, places.device)
    share = torch.tensor((0.25, 1.0), device=fine.device).view(2, 1, 1, 1)  # of a vector's bits
    for size in (2, 1) if effort.finest == 1 else (2,):
        error, errors = torch.empty(*fine.shape[:3], 9, device=fine.device), _errors if size == 1 else _half_errors
        error[0] = errors(blocks, reference, corner, fine[0].flatten(0, 1)).view_as(error[0])
        own = (fine[1] != fine[0]).any(-1)  # most blocks move as their cell does
        error[1] = error[0]
        if effort.split:
            error[1][own] = errors(blocks[own.flatten()], reference, corner[own.flatten()], fine[1][own])
        error += price * share * _bits(fine[..., None, :] + size * around)
        best = torch.cat((_best(error[:1].sum(2, keepdim=True), 1).expand(-1, -1, 4, -1), _best(error[1:], 1)))
        fine = fine + size * best
    return Matches(fine[0, :, 0], fine[1])


def _half_errors(blocks: Tensor, reference: Tensor, corner: Tensor, vector: Tensor) -> Tensor:
    """Squared errors (m,9) of blocks (m,8,8) at `corner` (m,2), moved by `vector` (m,2), which is of whole pixels, and
    by up to half a pixel more either way. As `_errors`, but all blocks have the same taps, and half a pixel to one side
    of a sample is half a pixel to the other side of the next."""
    area = _patches(reference, corner + torch.div(vector, 4, rounding_mode="floor") - _REACH, 8 + 2 * _REACH)
    area, now = area.permute(1, 2, 0).contiguous(), blocks.permute(1, 2, 0).contiguous()
    straight, between = area.narrow(1, _REACH, 8), _halves(area, axis=1)
    columns = [
        (column.narrow(0, _REACH, 8), _halves(column, axis=0))
        for column in (between.narrow(1, 0, 8), straight, between.narrow(1, 1, 8))
    ]
    moved = [
        [half.narrow(0, 0, 8) for _, half in columns],
        [whole for whole, _ in columns],
        [half.narrow(0, 1, 8) for _, half in columns],
    ]
    return torch.stack([(shown - now).square_().sum((0, 1)) for line in moved for shown in line], 1)


def _halves(samples: Tensor, *, axis: int) -> Tensor:
    """Half-way values between the samples of an axis, nine of its sixteen: from half a sample before the fifth on."""
    taps = LUMA_TAPS[2].tolist()
    total = samples.narrow(axis, 0, 9) * (taps[0] / 64)
    for k in range(1, len(taps)):
        total.add_(samples.narrow(axis, k, 9), alpha=taps[k] / 64)
    return total


def _errors(blocks: Tensor, reference: Tensor, corner: Tensor, vector: Tensor) -> Tensor:
    """Squared errors (m,9) of blocks (m,8,8) at `corner` (m,2), moved by `vector` (m,2) quarter pixels and by up to one
    more either way."""
    whole = torch.div(vector + 2, 4, rounding_mode="floor")
    area = _patches(reference, corner + whole - _REACH, 8 + 2 * _REACH)
    # Blocks lie along the last axis, the one that vector units run over: their own taps then cost nothing.
    area, now = area.permute(1, 2, 0).contiguous(), blocks.permute(1, 2, 0).contiguous()
    down, across = (
        [_taps(area.device)[:, part + shift] for shift in (-1, 0, 1)]
        for part in (vector - 4 * whole + _QUARTERS).unbind(1)
    )
    columns = [filtered(area, taps, 8, axis=1) for taps in across]
    moved = (filtered(column, taps, 8, axis=0) for taps in down for column in columns)
    return torch.stack([shown.sub_(now).square_().sum((0, 1)) for shown in moved], 1)


@lru_cache
def _taps(device: torch.device) -> Tensor:
    """(2 _REACH + 1, 2 _QUARTERS + 1): what a sample takes of those from _REACH before to _REACH after it, at each
    shift by quarters."""
    length = LUMA_TAPS.shape[1]
    taps = torch.zeros(2 * _REACH + 1, 2 * _QUARTERS + 1)
    for shift in range(-_QUARTERS, _QUARTERS + 1):
        first = shift // 4 + _REACH - (length // 2 - 1)
        taps[first : first + length, shift + _QUARTERS] = LUMA_TAPS[shift % 4] / 64
    return taps.to(device)


def _corners(places: Tensor, start: Tensor | None = None) -> Tensor:
    """The corners of the four blocks of each cell, in pixels, (4n,2); moved by `start` (n,2)."""
    inner = torch.tensor([(0, 0), (0, 8), (8, 0), (8, 8)], device=places.device)
    corner = places * 16 if start is None else places * 16 + start
    return (corner[:, None] + inner).reshape(-1, 2)


def _bits(vector: Tensor) -> Tensor:
    """(...,2) quarter pixels -> about how many bits it costs."""
    return (2 * torch.log2(1 + vector.abs().float())).sum(-1)


@lru_cache
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
    last = torch.tensor(plane.shape[1:], device=plane.device) - size
    inside = ((corner >= 0) & (corner <= last)).all(1)
    if bool(inside.all()):
        return _inner_patches(plane, corner, size).float()
    found = plane.new_empty(len(corner), size, size)
    if bool(inside.any()):
        found[inside] = _inner_patches(plane, corner[inside], size)
    span = torch.arange(size, device=plane.device)
    rows = (corner[~inside, :1] + span).clamp(0, plane.shape[1] - 1)
    cols = (corner[~inside, 1:] + span).clamp(0, plane.shape[2] - 1)
    found[~inside] = plane[0, rows[:, :, None], cols[:, None, :]]
    return found.float()


def _inner_patches(plane: Tensor, corner: Tensor, size: int) -> Tensor:
    """`_patches` that lie within the plane, in its own dtype."""
    every = plane[0].unfold(0, size, 1).unfold(1, size, 1)
    if plane.device.type == "cpu":  # NumPy copies line by line, torch sample by sample: three times as long
        return torch.from_numpy(every.numpy()[corner[:, 0].numpy(), corner[:, 1].numpy()])
    return every[corner[:, 0], corner[:, 1]]


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
