"""The filter over edges between positions, in the loop: where two that lie side by side were predicted differently, or
one of them is coded, a step that is small enough to be an artefact is smoothed. Normative integers; FORMAT.md,
"Edges". Decisions and taps are those of H.265 (8.7.2), strengths are our own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from pipeline.codec.modes import MOVED, SPLIT
from pipeline.codec.motion import HostPlanes, Planes, host_planes
from pipeline.codec.native import compiled
from pipeline.codec.nets import QUALITIES

Bytes = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Number = int | np.int64

_Q = np.arange(QUALITIES)
_MOST = np.floor(1 + 18 * np.exp2(-_Q / 12)).astype(np.int64)  # that a sample changes by, of each quality
_LIVELY = 8 * np.maximum(54 - _Q, 36 - _Q // 2) // 5  # texture, from which a step is taken for the picture's own
_OUTSIDE = np.int64(-1)
_WIDE = 1 << 14  # more than any component of motion, either way


def how_predicted(cells: Cells, mode: Ints, vector: Ints, side: Ints) -> Ints:
    """A number for how each position (2R,2C) is predicted, -1 outside of `cells` (R,C); of these `mode` and `side`
    (n,), `vector` (n,4,2)."""
    source = np.where(mode == SPLIT, MOVED, mode) * 4 + side
    whole = (source[:, None] * 2 * _WIDE + _WIDE + vector[..., 0]) * 2 * _WIDE + _WIDE + vector[..., 1]
    found = np.full((*cells.shape, 4), _OUTSIDE)
    found[cells] = whole
    rows, cols = cells.shape
    return found.reshape(rows, cols, 2, 2).transpose(0, 2, 1, 3).reshape(2 * rows, 2 * cols)


def smooth(planes: Planes, how: Ints, coded: Cells, q: int) -> None:
    """Smooth the edges of planes (1,H,W) uint8 in place. `how` as `how_predicted` has it, `coded` (2R,2C): which
    positions have symbols; `q`: the frame's quality."""
    host = host_planes(planes)
    _smooth(host, how, coded, _MOST[q], _LIVELY[q], 1)
    _smooth(host, np.ascontiguousarray(how.T), np.ascontiguousarray(coded.T), _MOST[q], _LIVELY[q], 0)
    if planes[0].device.type != "cpu":
        for plane, filtered in zip(planes, host, strict=True):
            plane[0].copy_(torch.from_numpy(filtered))


@compiled
def _smooth(planes: HostPlanes, how: Ints, coded: Cells, most: Number, lively: Number, upright: int) -> None:
    """The upright edges, or those that lie, of which `how` and `coded` are turned over."""
    y, u, v = planes
    width, half = y.shape[1], u.shape[1]
    samples, us, vs = y.reshape(-1), u.reshape(-1), v.reshape(-1)
    over, along = (1, width) if upright else (width, 1)
    over_half, along_half = (1, half) if upright else (half, 1)
    for r in range(how.shape[0]):
        for c in range(1, how.shape[1]):
            one, other = how[r, c - 1], how[r, c]
            if one < 0 or other < 0 or (one == other and not coded[r, c - 1] and not coded[r, c]):
                continue
            for part in range(2):
                _luma_edge(samples, (8 * r + 4 * part) * along + 8 * c * over, over, along, most, lively)
            first = 4 * r * along_half + 4 * c * over_half
            _chroma_edge(us, first, over_half, along_half, most >> 1)
            _chroma_edge(vs, first, over_half, along_half, most >> 1)


@compiled
def _between(value: Number, low: Number, high: Number) -> Number:
    return min(max(value, low), high)


@compiled
def _luma_edge(x: Bytes, at: int, over: int, along: int, most: Number, lively: Number) -> None:
    """Four lines across an edge, `along` apart, whose samples lie `over` apart; the first behind it is `at`."""
    bends = np.empty((2, 2), np.int64)  # of lines 0 and 3, before and behind the edge
    for n in range(2):
        k = at + 3 * n * along
        bends[n, 0] = abs(np.int64(x[k - 3 * over]) - 2 * np.int64(x[k - 2 * over]) + np.int64(x[k - over]))
        bends[n, 1] = abs(np.int64(x[k + 2 * over]) - 2 * np.int64(x[k + over]) + np.int64(x[k]))
    if bends[0, 0] + bends[0, 1] + bends[1, 0] + bends[1, 1] >= lively:
        return
    flat = True
    for n in range(2):
        k = at + 3 * n * along
        p0, p3 = np.int64(x[k - over]), np.int64(x[k - 4 * over])
        q0, q3 = np.int64(x[k]), np.int64(x[k + 3 * over])
        if 2 * (bends[n, 0] + bends[n, 1]) >= lively >> 2 or abs(p3 - p0) + abs(q0 - q3) >= lively >> 3:
            flat = False
        if abs(p0 - q0) >= (5 * most + 1) >> 1:
            flat = False
    calm = (lively + (lively >> 1)) >> 3
    calm_p, calm_q = bends[0, 0] + bends[1, 0] < calm, bends[0, 1] + bends[1, 1] < calm
    for n in range(4):
        k = at + n * along
        p0, p1, p2 = np.int64(x[k - over]), np.int64(x[k - 2 * over]), np.int64(x[k - 3 * over])
        q0, q1, q2 = np.int64(x[k]), np.int64(x[k + over]), np.int64(x[k + 2 * over])
        if flat:
            p3, q3 = np.int64(x[k - 4 * over]), np.int64(x[k + 3 * over])
            _flatten(x, k - over, -over, p0, p1, p2, p3, q0, q1, most)
            _flatten(x, k, over, q0, q1, q2, q3, p0, p1, most)
            continue
        change = (9 * (q0 - p0) - 3 * (q1 - p1) + 8) >> 4
        if abs(change) >= 10 * most:
            continue
        step = _between(change, -most, most)
        x[k - over], x[k] = _between(p0 + step, 0, 255), _between(q0 - step, 0, 255)
        if calm_p:
            x[k - 2 * over] = _second(p0, p1, p2, step, most)
        if calm_q:
            x[k + over] = _second(q0, q1, q2, -step, most)


@compiled
def _flatten(
    x: Bytes, first: int, away: int, a0: Number, a1: Number, a2: Number, a3: Number, b0: Number, b1: Number,
    most: Number,
) -> None:  # fmt: skip
    """One side of a line where both are flat: three samples from the `first` on, `away` apart, that were a0, a1, a2,
    with a3 behind them and b0, b1 on the other side."""
    x[first] = _between((a2 + 2 * a1 + 2 * a0 + 2 * b0 + b1 + 4) >> 3, a0 - 2 * most, a0 + 2 * most)
    x[first + away] = _between((a2 + a1 + a0 + b0 + 2) >> 2, a1 - 2 * most, a1 + 2 * most)
    x[first + 2 * away] = _between((2 * a3 + 3 * a2 + a1 + a0 + b0 + 4) >> 3, a2 - 2 * most, a2 + 2 * most)


@compiled
def _second(a0: Number, a1: Number, a2: Number, step: Number, most: Number) -> Number:
    """What the sample a1 becomes where a0, nearer to the edge, changes by a `step`."""
    more = _between((((a2 + a0 + 1) >> 1) - a1 + step) >> 1, -(most >> 1), most >> 1)
    return _between(a1 + more, 0, 255)


@compiled
def _chroma_edge(x: Bytes, at: int, over: int, along: int, most: Number) -> None:
    for n in range(4):
        k = at + n * along
        p0, p1, q0, q1 = np.int64(x[k - over]), np.int64(x[k - 2 * over]), np.int64(x[k]), np.int64(x[k + over])
        step = _between((((q0 - p0) << 2) + p1 - q1 + 4) >> 3, -most, most)
        x[k - over], x[k] = _between(p0 + step, 0, 255), _between(q0 - step, 0, 255)
