"""Learned integer scores: which of 64 tables codes a decision, from what both ends know around it.

A score is a small net of integers (two linear layers of `entropy.IntegerLinear`'s law), so that it is exact on every
machine. Decisions are made over a grid in five phases, each of which sees the ones before: what a decision knows is a
*fixed* part, the same in all phases, and a *near* part, read in its phase.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import torch

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

    def __post_init__(self) -> None:
        k, f = len(self.out), self.hidden.shape[-1]
        shapes = self.hidden.shape, self.hidden_bias.shape, self.out.shape, self.out_bias.shape
        if shapes != ((HIDDEN, f), (HIDDEN,), (k, HIDDEN), (k,)) or f > 256:
            raise ValueError(f"score of shapes {shapes}")
        for values, limit in zip(self.parts(), (WEIGHT_LIMIT, BIAS_LIMIT) * 2, strict=True):
            if np.abs(values).max() > limit or (values != np.rint(values)).any():
                raise ValueError(f"score with values beyond {limit}, or with fractions")

    def parts(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.hidden, self.hidden_bias, self.out, self.out_bias

    def begin(self, fixed: Floats) -> Floats:
        """The fixed part of n decisions, (n,G) -> (n,HIDDEN)."""
        return _product(fixed, self.hidden[:, self.hidden.shape[1] - fixed.shape[1] :]) + self.hidden_bias

    def levels(self, begun: Floats, near: Floats) -> Ints:
        """The near part (n,F-G) of what was begun -> tables 0..63, (n,K)."""
        inner = np.floor((begun + _product(near, self.hidden[:, : near.shape[1]])) / 2**HIDDEN_SHIFT).clip(0, 255)
        total = _product(inner, self.out) + self.out_bias
        return np.floor(total / 2**OUT_SHIFT).clip(0, LEVELS - 1).astype(np.int64)

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


def _product(values: Floats, weights: Floats) -> Floats:
    """`values` (n,F) times `weights` (K,F) -> (n,K). By torch, whose threads can be bounded: those of NumPy's library
    spin while they wait, which took a quarter of an encoder's processor time."""
    return torch.mm(torch.from_numpy(values), torch.from_numpy(weights).T).numpy()


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


class Places:
    """Some places of a grid in raster order, and what lies around them. `row`, `col` (n,); `phase` (n,)."""

    REACH = 2

    def __init__(self, inside: npt.NDArray[np.bool_]) -> None:
        """`inside` (rows, cols) marks them."""
        self.inside = inside
        self.row, self.col = inside.nonzero()
        self.phase = phase_grid((inside.shape[0], inside.shape[1]))[self.row, self.col]
        self._wide = inside.shape[1] + 2 * self.REACH
        self._place = (self.row + self.REACH) * self._wide + self.col + self.REACH
        self.here = [np.flatnonzero(self.phase == phase) for phase in range(PHASES)]
        self._known = np.cumsum([0, *(len(here) for here in self.here)])

    def __len__(self) -> int:
        return len(self.row)

    def pad(self, grid: Bytes) -> Bytes:
        """What `near` takes of a grid (rows, cols)."""
        return np.pad(grid, self.REACH)

    def near(self, padded: Bytes, reach: int, which: Ints | None = None, *, centre: bool = True) -> Bytes:
        """The square of side 2 `reach` + 1 around all of them, or `which`, row by row: (n, side^2), without the centre
        one fewer. Zero outside the grid."""
        span = np.arange(-reach, reach + 1)
        offsets = (span[:, None] * self._wide + span).ravel()
        if not centre:
            offsets = np.delete(offsets, len(offsets) // 2)
        place = self._place if which is None else self._place[which]
        return padded.ravel()[place[:, None] + offsets]

    def known_before(self, phase: int) -> int:
        """How many of them earlier phases hold."""
        return int(self._known[phase])

    def begin_phase(self, phase: int, shares: tuple[int, ...]) -> Bytes:
        """(n of the phase, PHASES + k): which phase it is, and for each of k counts its share of what is known."""
        known = max(1, self.known_before(phase))
        row = [255 * (phase == k) for k in range(PHASES)] + [255 * share // known for share in shares]
        return np.tile(np.array(row, np.uint8), (len(self.here[phase]), 1))
