"""Learned integer scores: which of 64 tables codes a decision, from what both ends know around it.

A score is a small net of integers (two linear layers of `entropy.IntegerLinear`'s law), so that it is exact on every
machine. Decisions are made over a grid in five phases, each of which sees the ones before. What a decision knows is, in
this order: a *near* part, read in its phase from planes that the decisions fill, and a *fixed* part, the same in all.
Of both the score sees squares around the place; what all places share follows each part.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional as F

from pipeline.codec.native import compiled

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

LEVELS = 64  # tables of a decision
HIDDEN = 16
PHASES = 5
HIDDEN_SHIFT, OUT_SHIFT = 7, 10
WEIGHT_LIMIT, BIAS_LIMIT = 127, 1 << 20
LEVEL_LOGIT = 5.0  # levels to a factor e of odds
MIDDLE = (LEVELS - 1) / 2


@dataclass(frozen=True, slots=True)
class Score:
    """Weights as float32 arrays that hold integers: `hidden` (HIDDEN, F), `hidden_bias` (HIDDEN,), `out` (K, HIDDEN),
    `out_bias` (K,) for K decisions. Inputs are 0..255, so every sum stays below 2^24 and float32 is exact."""

    hidden: Floats
    hidden_bias: Floats
    out: Floats
    out_bias: Floats
    columns: Floats = field(init=False, repr=False, compare=False)  # (F, HIDDEN): `hidden`, input by input

    def __post_init__(self) -> None:
        k, f = len(self.out), self.hidden.shape[-1]
        shapes = self.hidden.shape, self.hidden_bias.shape, self.out.shape, self.out_bias.shape
        if shapes != ((HIDDEN, f), (HIDDEN,), (k, HIDDEN), (k,)) or f > 256:
            raise ValueError(f"score of shapes {shapes}")
        for values, limit in zip(self.parts(), (WEIGHT_LIMIT, BIAS_LIMIT) * 2, strict=True):
            if np.abs(values).max() > limit or (values != np.rint(values)).any():
                raise ValueError(f"score with values beyond {limit}, or with fractions")
        object.__setattr__(self, "columns", np.array(self.hidden.T, np.float32, order="C"))

    def parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.hidden, self.hidden_bias, self.out, self.out_bias

    def levels(self, inputs: Bytes) -> Ints:
        """The table 0..63 of each decision, (n,F) -> (n,K): in plain steps what `begin` and `choose` do."""
        # Torch's products, for those of NumPy keep a thread of their own on every core that spins for more.
        x, hidden, bias, out, out_bias = (torch.from_numpy(part) for part in (inputs, *self.parts()))
        inner = F.linear(x.float(), hidden, bias).mul_(2.0**-HIDDEN_SHIFT).floor_().clamp_(0, 255)
        total = F.linear(inner, out, out_bias)
        levels: Ints = total.mul_(2.0**-OUT_SHIFT).floor_().clamp_(0, LEVELS - 1).long().numpy()
        return levels

    def pack(self, name: str) -> dict[str, torch.Tensor]:
        """As tensors for the weights file."""
        return {f"{name}.{p}": torch.from_numpy(v.astype(np.int32)) for p, v in zip(_PARTS, self.parts(), strict=True)}

    @classmethod
    def unpack(cls, name: str, tensors: dict[str, torch.Tensor]) -> Score:
        """The inverse of `pack`. Raises ValueError, KeyError."""
        return cls(*(tensors[f"{name}.{part}"].numpy().astype(np.float32) for part in _PARTS))

    @classmethod
    def initial(cls, inputs: int, first: tuple[tuple[int, int, int], ...]) -> Score:
        """Before anything was learned: decision k has the level `low` or, where the input `place` is 255, `high`, for
        (place, low, high) = first[k]."""
        hidden, out = np.zeros((HIDDEN, inputs), np.float32), np.zeros((len(first), HIDDEN), np.float32)
        bias = np.zeros(len(first), np.float32)
        for k, (place, low, high) in enumerate(first):
            hidden[k, place] = WEIGHT_LIMIT
            out[k, k] = round((high - low) * 2**OUT_SHIFT / 253)
            bias[k] = low * 2**OUT_SHIFT + 2 ** (OUT_SHIFT - 1)
        return cls(hidden, np.zeros(HIDDEN, np.float32), out, bias)


_PARTS = ("hidden", "hidden_bias", "out", "out_bias")


@lru_cache(maxsize=8)
def phase_grid(shape: tuple[int, int]) -> npt.NDArray[np.int8]:
    """The phase 0..4 of each place of a grid: a quincunx pyramid, as of the symbols (`entropy.PHASES`)."""
    row, col = np.mgrid[: shape[0], : shape[1]]
    grid = np.full(shape, 4, np.int8)
    grid[(row % 2 == 1) & (col % 2 == 1)] = 3
    grid[(row % 2 == 0) & (col % 2 == 0)] = 2
    grid[(row % 4 == 2) & (col % 4 == 2)] = 1
    grid[(row % 4 == 0) & (col % 4 == 0)] = 0
    return grid


@dataclass(frozen=True, slots=True)
class Square:
    """What a score sees of a plane around a place: the square of side 2 `reach` + 1, row by row, of every `step`-th
    place; without the centre one fewer."""

    reach: int = 0
    step: int = 1
    centre: bool = True

    def steps(self) -> list[tuple[int, int]]:
        """Rows down and columns to the right from the place."""
        span = [self.step * k for k in range(-self.reach, self.reach + 1)]
        return [(down, across) for down in span for across in span if self.centre or (down, across) != (0, 0)]


HERE, AROUND = Square(), Square(reach=1, centre=False)
_NEAR = np.int64(0)  # the first input of the near part; a plain number would be compiled in
_AT_ONCE = 4  # inputs that are added
MARGIN = 2  # places that planes have more on each side, zero


@lru_cache(maxsize=32)
def steps_of(squares: tuple[Square, ...], first: int, shape: tuple[int, int]) -> Ints:
    """From a place in the first plane to all that is seen of the planes from `first` on, one square a plane. `shape`
    is that of a plane with its margins."""
    rows, wide = shape
    return np.array(
        [
            (plane * rows + down) * wide + across
            for plane, square in enumerate(squares, first)
            for down, across in square.steps()
        ],
        np.int64,
    )


class Places:
    """Some places of a grid in raster order. `row`, `col` (n,); `at` (n,): where they are in a plane with margins;
    `here`: those of each phase."""

    def __init__(self, inside: npt.NDArray[np.bool_]) -> None:
        """`inside` (rows, cols) marks them."""
        self.inside = inside
        rows, cols = inside.shape
        flat = np.flatnonzero(inside)
        self.row, self.col = np.divmod(flat, cols)
        self.shape = (rows + 2 * MARGIN, cols + 2 * MARGIN)
        self.at = flat + (2 * MARGIN * self.row + MARGIN * self.shape[1] + MARGIN)
        phases = phase_grid((rows, cols)).ravel()[flat]
        order = phases.argsort(kind="stable")
        self._known = np.cumsum([0, *np.bincount(phases, minlength=PHASES).tolist()]).tolist()
        self.here = [order[start:end] for start, end in pairwise(self._known)]

    @classmethod
    @lru_cache(maxsize=4)
    def everywhere(cls, shape: tuple[int, int]) -> Places:
        """All places of a grid."""
        return cls(np.ones(shape, np.bool_))

    def __len__(self) -> int:
        return len(self.row)

    def planes(self, count: int) -> tuple[Bytes, Bytes]:
        """Empty planes (count, rows + margins, cols + margins), and a view of what is within the margins."""
        planes = np.zeros((count, *self.shape), np.uint8)
        return planes, planes[:, MARGIN:-MARGIN, MARGIN:-MARGIN]

    def known_before(self, phase: int) -> int:
        """How many of them earlier phases hold."""
        return int(self._known[phase])

    def begin_phase(self, phase: int, shares: tuple[int, ...]) -> Bytes:
        """(PHASES + k,): which phase it is, and for each of k counts its share of what is known."""
        known = max(1, self.known_before(phase))
        row = [255 * (phase == k) for k in range(PHASES)] + [255 * share // known for share in shares]
        return np.array(row, np.uint8)


@compiled
def begin(
    columns: Floats, bias: Floats, first: int, planes: Bytes, steps: Ints, at: Ints, shared: Bytes, begun: Floats
) -> None:
    """The fixed part of n decisions, from the input `first` on: what `steps` lead to in the flat `planes` from the
    places `at` (n,), and what is `shared`. Fills `begun` (n,HIDDEN)."""
    base = np.empty(HIDDEN, np.float32)
    which, value = np.empty(len(steps) + _AT_ONCE, np.int64), np.empty(len(steps) + _AT_ONCE, np.float32)
    for h in range(HIDDEN):
        base[h] = bias[h]
    _add_shared(columns, first + len(steps), shared, base)
    for n in range(len(at)):
        total = begun[n]
        for h in range(HIDDEN):
            total[h] = base[h]
        _add_seen(columns, first, planes, steps, at[n], which, value, total)


@compiled
def choose(
    columns: Floats, out: Floats, out_bias: Floats, begun: Floats, planes: Bytes, steps: Ints, at: Ints, here: Ints,
    shared: Bytes, first: int, rows: Ints,
) -> None:  # fmt: skip
    """The rest of the decisions `here` (m,) of those `begun`, as `begin` from the input 0 on. Fills `rows` (m,K) with
    their tables; those of decision k begin at `first` + k LEVELS."""
    base, total = np.zeros(HIDDEN, np.float32), np.empty(HIDDEN, np.float32)
    which, value = np.empty(len(steps) + _AT_ONCE, np.int64), np.empty(len(steps) + _AT_ONCE, np.float32)
    _add_shared(columns, len(steps), shared, base)
    for m in range(len(here)):
        n = here[m]
        for h in range(HIDDEN):
            total[h] = begun[n, h] + base[h]
        _add_seen(columns, _NEAR, planes, steps, at[n], which, value, total)
        for h in range(HIDDEN):
            total[h] = min(max(int(total[h]) >> HIDDEN_SHIFT, 0), 255)
        for k in range(len(out)):
            level = out_bias[k]
            for h in range(HIDDEN):
                level += out[k, h] * total[h]
            rows[m, k] = first + k * LEVELS + min(max(int(level) >> OUT_SHIFT, 0), LEVELS - 1)


@compiled
def _add_shared(columns: Floats, first: int, shared: Bytes, total: Floats) -> None:
    for k in range(len(shared)):
        value = np.float32(shared[k])
        for h in range(HIDDEN):
            total[h] += columns[first + k, h] * value


@compiled
def _add_seen(
    columns: Floats,
    first: int | np.int64,
    planes: Bytes,
    steps: Ints,
    place: int,
    which: Ints,
    value: Floats,
    total: Floats,
) -> None:
    """`which` and `value` are room for as many as there are `steps`, and _AT_ONCE more."""
    count = 0
    for k in range(len(steps)):  # most are zero
        seen = planes[place + steps[k]]
        which[count], value[count] = first + k, np.float32(seen)
        count += seen != 0
    for k in range(count, count + _AT_ONCE - 1):
        which[k], value[k] = 0, np.float32(0)
    for k in range(0, count, _AT_ONCE):
        a, b, c, d = which[k], which[k + 1], which[k + 2], which[k + 3]
        x, y, z, w = value[k], value[k + 1], value[k + 2], value[k + 3]
        for h in range(HIDDEN):
            total[h] += columns[a, h] * x + columns[b, h] * y + columns[c, h] * z + columns[d, h] * w
