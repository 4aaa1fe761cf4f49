"""Block matching: where in a reference the content of each cell, and of each of its four blocks, lies. Encoder only.

Cell by cell in raster order. Whole pixels are looked for around where the cell lay last, where its neighbours lie and
where it is, and at half size over a wide range; over a wider one where that finds little and the reference is some
frames away. Then halves and quarters of pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.codec.effort import BEST, Effort
from pipeline.codec.motion import LUMA_TAPS, MAX_VECTOR, mirrored, window
from pipeline.codec.native import compiled

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_COARSE, _WIDE = 16, 62  # pixels at half size, either way
_WIDE_FROM = 4  # frames between a picture and its reference
_POOR, _BETTER = np.float32(64), np.float32(0.7)  # bits that an error is worth; what a wider search has to leave of it
_QUARTERS = 3  # quarter pixels, either way
_REACH = 4  # pixels around a block that its interpolation needs
_AREA = 8 + 2 * _REACH
_LIMIT = (MAX_VECTOR - _QUARTERS) // 4  # pixels
_STEPS = 16  # of a descent to the least error
_STARTS = 16  # of it, at most
_INNER = np.array(((0, 0), (0, 8), (8, 0), (8, 8)))
_AROUND = np.array([(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)])
# What a sample takes of those from _REACH before to _REACH after it, at each shift by quarters.
_TAPS = np.zeros((2 * _QUARTERS + 1, 2 * _REACH + 1), np.float32)
for _shift in range(-_QUARTERS, _QUARTERS + 1):
    _first = _shift // 4 + _REACH - (LUMA_TAPS.shape[1] // 2 - 1)
    _TAPS[_shift + _QUARTERS, _first : _first + LUMA_TAPS.shape[1]] = LUMA_TAPS[_shift % 4].numpy() / 64
_BITS = (2 * np.log2(1 + np.arange(4 * MAX_VECTOR))).astype(np.float32)  # about what a component costs


class _Planes(NamedTuple):
    """Luma (H,W): what is looked for, and where. With `paired` in the mean of the reference, `near` frames away, and of
    what is `after`, `far` frames on the other side."""

    current: Bytes
    reference: Bytes
    paired: bool
    after: Bytes
    near: int
    far: int


@dataclass(frozen=True, slots=True)
class Matches:
    """`whole` (n,2): one vector a cell; `own` (n,4,2): one a block. Quarter pixels."""

    whole: Ints
    own: Ints

    @classmethod
    def none(cls, n: int) -> Matches:
        """Nothing moves."""
        return cls(np.zeros((n, 2), np.int64), np.zeros((n, 4, 2), np.int64))


def match(
    current: Bytes, reference: Bytes, places: Ints, last: Ints, *, price: float, distance: int = 1,
    effort: Effort = BEST, mirror: tuple[Bytes, int, int] | None = None,
) -> Matches:  # fmt: skip
    """Match cells at `places` (n,2), in raster order, of the luma planes (H,W). `last` (n,2): vectors worth trying,
    quarter pixels. `price`: the squared error that a bit of vector is worth. `distance` in frames. `mirror`: what comes
    after, how far the reference is and how far that: cells are matched with the mean of both, as they go on moving."""
    found = Matches.none(len(places))
    after, near, far = mirror or (reference, 1, 1)
    planes = _Planes(current, reference, mirror is not None, after, near, far)
    wide = distance >= _WIDE_FROM
    _match(planes, places, last, np.float32(price), effort.split, wide, found.whole, found.own)
    return found


@compiled
def _match(
    planes: _Planes, places: Ints, last: Ints, price: np.float32, split: bool, wide: bool, whole: Ints, own: Ints
) -> None:
    rows, cols = planes.current.shape[0] // 16, planes.current.shape[1] // 16
    near = np.zeros((rows + 1, cols + 2, 2), np.int64)  # what was found for the cells before, whole pixels
    known = np.zeros((rows + 1, cols + 2), np.bool_)
    area, small = np.empty((16, 16), np.float32), np.empty((8, 8), np.float32)
    starts, around = np.empty((_STARTS, 2), np.int64), np.empty((2, 9), np.float32)
    lines, shifted = np.empty((3, _AREA, 8), np.float32), np.empty((2, 9, 8, 8), np.float32)
    around_it, errors = _range(_COARSE)
    around_it_wide, errors_wide = _range(_WIDE if wide else 0)
    for n in range(len(places)):
        row, col = places[n, 0], places[n, 1]
        top, left = 16 * row, 16 * col
        middle_y, middle_x = _middle(near, row, col)
        count = _starts(starts, near, known, row, col, last[n])
        y, x, cost = _descend(planes, top, left, 16, area, starts[:count], 4 * middle_y, 4 * middle_x, price)
        for farther in range(2 if wide else 1):
            if farther and cost <= _POOR * price:
                break
            reach, room, line = (_WIDE, around_it_wide, errors_wide) if farther else (_COARSE, around_it, errors)
            starts[count, 0], starts[count, 1] = _far(
                planes.current, planes.reference, top, left, reach, price, room, line
            )
            far_y, far_x, far_cost = _descend(
                planes, top, left, 16, area, starts[count : count + 1], 4 * middle_y, 4 * middle_x, price
            )
            if far_cost < (_BETTER * cost if farther else cost):
                y, x, cost = far_y, far_x, far_cost
        near[row + 1, col + 1, 0], near[row + 1, col + 1, 1] = y, x
        known[row + 1, col + 1] = True
        whole[n, 0], whole[n, 1] = 4 * y, 4 * x
        for k in range(4):
            own[n, k, 0], own[n, k, 1] = 4 * y, 4 * x
        if split:
            for k in range(9):  # what neither the cell nor its neighbours do
                starts[count + 1 + k, 0], starts[count + 1 + k, 1] = y + 4 * _AROUND[k, 0], x + 4 * _AROUND[k, 1]
            for k in range(4):
                dy, dx = _INNER[k, 0], _INNER[k, 1]
                y_own, x_own, _ = _descend(
                    planes, top + dy, left + dx, 8, small, starts[: count + 10], 4 * y, 4 * x, price
                )
                own[n, k, 0], own[n, k, 1] = 4 * y_own, 4 * x_own
        for size in (2, 1):  # quarter pixels
            _refine(
                planes, area, lines, shifted, top, left, whole[n], own[n], size, price, split, 4 * middle_y,
                4 * middle_x, around,
            )  # fmt: skip


@compiled
def _middle(near: Ints, row: int, col: int) -> tuple[int, int]:
    """The median of the vectors of the cells at the left, above and above at the right; of those that are unknown 0."""
    a, b, c = near[row + 1, col], near[row, col + 1], near[row, col + 2]
    y = max(min(a[0], b[0]), min(max(a[0], b[0]), c[0]))
    x = max(min(a[1], b[1]), min(max(a[1], b[1]), c[1]))
    return y, x


@compiled
def _starts(starts: Ints, near: Ints, known: npt.NDArray[np.bool_], row: int, col: int, last: Ints) -> int:
    """Where to begin to look: each place once. Returns how many there are."""
    starts[0, 0] = starts[0, 1] = 0
    starts[1, 0], starts[1, 1] = (last[0] + 2) >> 2, (last[1] + 2) >> 2
    count = 1 + int(starts[1, 0] != 0 or starts[1, 1] != 0)
    for dy, dx in ((0, -1), (-1, 0), (-1, 1), (-1, -1)):
        if known[row + 1 + dy, col + 1 + dx]:
            y, x = near[row + 1 + dy, col + 1 + dx, 0], near[row + 1 + dy, col + 1 + dx, 1]
            new = True
            for k in range(count):
                if starts[k, 0] == y and starts[k, 1] == x:
                    new = False
            if new:
                starts[count, 0], starts[count, 1] = y, x
                count += 1
    return count


@compiled
def _descend(
    planes: _Planes, top: int, left: int, size: int, area: Floats, starts: Ints, middle_y: int, middle_x: int,
    price: np.float32,
) -> tuple[int, int, np.float32]:  # fmt: skip
    """From the best of `starts` to where no neighbour is better. For a square of `size` at (top, left).
    Whole pixels; bits are counted from the middle, in quarters."""
    best_y, best_x, best = 0, 0, np.float32(np.inf)
    for k in range(len(starts)):
        y, x = min(max(starts[k, 0], -_LIMIT), _LIMIT), min(max(starts[k, 1], -_LIMIT), _LIMIT)
        cost = price * (_BITS[abs(4 * y - middle_y)] + _BITS[abs(4 * x - middle_x)])
        cost += _error(planes, top, left, size, y, x, area)
        if cost < best:
            best_y, best_x, best = y, x, cost
    came_y, came_x = 0, 0
    for step in range(_STEPS):
        from_y, from_x = best_y, best_x
        for dy in (-1, 0, 1):
            for dx in (-1, 0, 1):
                y, x = from_y + dy, from_x + dx
                # What lies around where the last step came from is known already.
                seen = (dy == 0 and dx == 0) or (step > 0 and abs(dy + came_y) <= 1 and abs(dx + came_x) <= 1)
                if not seen and abs(y) <= _LIMIT and abs(x) <= _LIMIT:
                    cost = price * (_BITS[abs(4 * y - middle_y)] + _BITS[abs(4 * x - middle_x)])
                    if cost < best:
                        cost += _error(planes, top, left, size, y, x, area)
                        if cost < best:
                            best_y, best_x, best = y, x, cost
        came_y, came_x = best_y - from_y, best_x - from_x
        if came_y == 0 and came_x == 0:
            break
    return best_y, best_x, best


@compiled
def _error(planes: _Planes, top: int, left: int, size: int, dy: int, dx: int, area: Floats) -> np.float32:
    """The squared error of a square of 16 or 8 at (top, left) against what it moves to."""
    if planes.paired:
        return _error_of_both(planes, top, left, size, dy, dx)
    current, reference, y, x = planes.current, planes.reference, top + dy, left + dx
    total = np.int32(0)
    if y < 0 or x < 0 or y + size > reference.shape[0] or x + size > reference.shape[1]:
        window(reference, y, x, area)
        for i in range(size):
            for j in range(size):
                d = np.int32(current[top + i, left + j]) - np.int32(area[i, j])
                total = np.int32(total + d * d)
    else:
        for i in range(size):
            line = np.int32(0)  # the compiler makes vectors of 32 bits only where all sums have them
            for j in range(size):
                d = np.int32(np.int32(current[top + i, left + j]) - np.int32(reference[y + i, x + j]))
                line = np.int32(line + np.int32(d * d))
            total = np.int32(total + line)
    return np.float32(total)


@compiled
def _error_of_both(planes: _Planes, top: int, left: int, size: int, dy: int, dx: int) -> np.float32:
    """The same against the mean of what it moves from and what it moves on to."""
    current, before, after, total = planes.current, planes.reference, planes.after, np.int32(0)
    height, width = before.shape
    y, x = top + dy, left + dx
    down, across = top + mirrored(dy, planes.near, planes.far), left + mirrored(dx, planes.near, planes.far)
    if min(y, x, down, across) < 0 or max(y, down) + size > height or max(x, across) + size > width:
        for i in range(size):
            one = before[min(max(y + i, 0), height - 1)]
            other = after[min(max(down + i, 0), height - 1)]
            for j in range(size):
                a, b = one[min(max(x + j, 0), width - 1)], other[min(max(across + j, 0), width - 1)]
                mean = (np.int32(a) + np.int32(b) + np.int32(1)) >> np.int32(1)
                d = np.int32(current[top + i, left + j]) - mean
                total = np.int32(total + d * d)
    else:
        for i in range(size):
            line = np.int32(0)
            for j in range(size):
                both = np.int32(np.int32(before[y + i, x + j]) + np.int32(after[down + i, across + j]))
                mean = np.int32(np.int32(both + np.int32(1)) >> np.int32(1))
                d = np.int32(np.int32(current[top + i, left + j]) - mean)
                line = np.int32(line + np.int32(d * d))
            total = np.int32(total + line)
    return np.float32(total)


@compiled
def _range(reach: int) -> tuple[Floats, Floats]:
    """What `_far` needs: room for what lies around a cell, and for the errors of a row of shifts, which are filled up
    to whole vector registers."""
    columns = (2 * reach + 8) // 8 * 8
    return np.empty((8 + 2 * reach, 8 + columns), np.float32), np.empty(columns, np.float32)


@compiled
def _far(
    current: Bytes, reference: Bytes, top: int, left: int, reach: int, price: np.float32, area: Floats, errors: Floats
) -> tuple[int, int]:
    """Even pixels: where a cell lies, found at half size, so many pixels either way."""
    height, width = reference.shape[0] - 1, reference.shape[1] - 1
    for i in range(area.shape[0]):
        upper = min(max(top + 2 * (i - reach), 0), height - 1)
        for j in range(area.shape[1]):
            x = min(max(left + 2 * (j - reach), 0), width - 1)
            area[i, j] = _four(reference, upper, x)
    best_y, best_x, best = 0, 0, np.float32(np.inf)
    for y in range(2 * reach + 1):
        for x in range(len(errors)):
            errors[x] = 0
        for i in range(8):
            for j in range(8):
                sample = _four(current, top + 2 * i, left + 2 * j)
                for x in range(len(errors)):
                    d = area[y + i, x + j] - sample
                    errors[x] += d * d
        for x in range(2 * reach + 1):
            # Sums of four pixels: a fourth of their squared error is that of the four.
            cost = errors[x] / np.float32(4) + price * (_BITS[8 * abs(y - reach)] + _BITS[8 * abs(x - reach)])
            if cost < best:
                best_y, best_x, best = y, x, cost
    return 2 * (best_y - reach), 2 * (best_x - reach)


@compiled
def _four(plane: Bytes, y: int, x: int) -> np.float32:
    """The sum of four pixels."""
    return (
        np.float32(plane[y, x])
        + np.float32(plane[y, x + 1])
        + np.float32(plane[y + 1, x])
        + np.float32(plane[y + 1, x + 1])
    )


@compiled
def _refine(
    planes: _Planes, area: Floats, lines: Floats, shifted: Floats, top: int, left: int, whole: Ints, own: Ints,
    size: int, price: np.float32, split: bool, middle_y: int, middle_x: int, around: Floats,
) -> None:  # fmt: skip
    """A cell's vector, and its blocks', to where the error is least within `size` quarter pixels."""
    total, error = around[0], around[1]
    whole_y, whole_x = whole[0], whole[1]
    for n in range(9):
        total[n] = 0
    for k in range(4):
        dy, dx = _INNER[k, 0], _INNER[k, 1]
        _errors(planes, top + dy, left + dx, area, lines, shifted, whole_y, whole_x, size, error)
        for n in range(9):
            total[n] += error[n]
        if split:
            y, x = own[k, 0], own[k, 1]
            if y != whole_y or x != whole_x:
                _errors(planes, top + dy, left + dx, area, lines, shifted, y, x, size, error)
            best, least = 4, np.float32(np.inf)
            for n in range(9):
                cost = error[n] + price * (
                    _BITS[abs(y + size * _AROUND[n, 0] - whole_y)] + _BITS[abs(x + size * _AROUND[n, 1] - whole_x)]
                )
                if cost < least:
                    best, least = n, cost
            own[k, 0], own[k, 1] = y + size * _AROUND[best, 0], x + size * _AROUND[best, 1]
    best, least = 4, np.float32(np.inf)
    for n in range(9):
        y, x = whole_y + size * _AROUND[n, 0], whole_x + size * _AROUND[n, 1]
        cost = total[n] + price * (_BITS[abs(y - middle_y)] + _BITS[abs(x - middle_x)])
        if cost < least:
            best, least = n, cost
    whole[0], whole[1] = whole_y + size * _AROUND[best, 0], whole_x + size * _AROUND[best, 1]


@compiled
def _errors(
    planes: _Planes, top: int, left: int, area: Floats, lines: Floats, shifted: Floats, y: int, x: int, size: int,
    errors: Floats,
) -> None:  # fmt: skip
    """Squared errors (9,) of the block at (top, left) moved by (y, x) quarter pixels, and by `size` more either way."""
    _around(planes.reference, top, left, area, lines, y, x, size, shifted[0])
    if planes.paired:
        down, across = mirrored(y, planes.near, planes.far), mirrored(x, planes.near, planes.far)
        _around(planes.after, top, left, area, lines, down, across, size, shifted[1])
    for n in range(9):
        error, found, other = np.float32(0), shifted[0, n], shifted[1, 8 - n]
        for i in range(8):
            for j in range(8):
                value = (found[i, j] + other[i, j]) * np.float32(0.5) if planes.paired else found[i, j]
                d = value - planes.current[top + i, left + j]
                error += d * d
        errors[n] = error


@compiled
def _around(
    reference: Bytes, top: int, left: int, area: Floats, lines: Floats, y: int, x: int, size: int, found: Floats
) -> None:
    """The block that is moved by (y, x) quarter pixels, and by `size` more either way, (9,8,8)."""
    whole_y, whole_x = (y + 2) >> 2, (x + 2) >> 2
    window(reference, top + whole_y - _REACH, left + whole_x - _REACH, area)
    for c in range(3):
        taps = _TAPS[x - 4 * whole_x + size * (c - 1) + _QUARTERS]
        for i in range(_AREA):
            for j in range(8):
                lines[c, i, j] = (
                    taps[0] * area[i, j] + taps[1] * area[i, j + 1] + taps[2] * area[i, j + 2]
                    + taps[3] * area[i, j + 3] + taps[4] * area[i, j + 4] + taps[5] * area[i, j + 5]
                    + taps[6] * area[i, j + 6] + taps[7] * area[i, j + 7] + taps[8] * area[i, j + 8]
                )  # fmt: skip
    for r in range(3):
        taps = _TAPS[y - 4 * whole_y + size * (r - 1) + _QUARTERS]
        for c in range(3):
            for i in range(8):
                for j in range(8):
                    found[3 * r + c, i, j] = (
                        taps[0] * lines[c, i, j] + taps[1] * lines[c, i + 1, j] + taps[2] * lines[c, i + 2, j]
                        + taps[3] * lines[c, i + 3, j] + taps[4] * lines[c, i + 4, j] + taps[5] * lines[c, i + 5, j]
                        + taps[6] * lines[c, i + 6, j] + taps[7] * lines[c, i + 7, j] + taps[8] * lines[c, i + 8, j]
                    )  # fmt: skip
