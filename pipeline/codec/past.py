"""What the coding of side information knows of a layer's earlier frames: integers that both ends hold alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.types import Layer

Cells = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

LONG_AGO = 15  # frames; see `Past.since`
_HABIT = 31  # what a frame adds to a habit, of which each frame takes an eighth


@dataclass(frozen=True, slots=True)
class Moment:
    """What a frame's side information belongs to: its layer, its quality 0..63, frames since the key frame."""

    layer: Layer
    q: int
    age: int


@dataclass(frozen=True, slots=True)
class Past:
    """A layer's last frame over R x C cells, and a little of those before; all nothing at a key frame.

    `cells` (R,C): its map; `mode` (R,C): -1 where not in it; `vector` (R,C,2): of each cell's first position; `since`
    (R,C): frames since the cell was last in a map, 0 to 15; `habit` (R,C): how often it was, 0..248. Over positions,
    (2R,2C): `coded` the flags, `coded_habit` as `habit`, `total` the sum of the absolute symbols, 0..255, `filled` how
    many symbols are not zero.
    """

    cells: Cells
    mode: Ints
    vector: Ints
    since: Bytes
    habit: Bytes
    coded: Cells
    coded_habit: Bytes
    total: Bytes
    filled: Bytes

    @classmethod
    def none(cls, shape: tuple[int, int]) -> Past:
        """Before the first frame; `shape` (R, C)."""
        rows, cols = shape
        fine = (rows * 2, cols * 2)
        small, large = np.zeros(shape, np.uint8), np.zeros(fine, np.uint8)
        nothing, still = np.zeros(shape, np.bool_), np.zeros((*shape, 2), np.int64)
        since = np.full(shape, LONG_AGO, np.uint8)
        return cls(
            nothing, np.full(shape, -1, np.int64), still, since, small, large.astype(np.bool_), large, large, large
        )

    @property
    def shape(self) -> tuple[int, int]:
        """(R, C)."""
        rows, cols = self.cells.shape
        return rows, cols

    def then(self, cells: Cells, mode: Ints, vector: Ints, coded: Cells, total: Bytes, filled: Bytes) -> Past:
        """After a frame with these; shapes as the fields'."""
        since = np.where(cells, 0, np.minimum(self.since, LONG_AGO - 1) + 1).astype(np.uint8)
        habits = _grown(self.habit, cells), _grown(self.coded_habit, coded)
        return Past(cells, mode, vector, since, habits[0], coded, habits[1], total, filled)

    def then_nothing(self) -> Past:
        """After a frame without cells."""
        new = Past.none(self.shape)
        return self.then(new.cells, new.mode, new.vector, new.coded, new.total, new.filled)


def _grown(habit: Bytes, now: Cells) -> Bytes:
    return (habit - (habit >> 3) + now.astype(np.uint8) * _HABIT).astype(np.uint8)
