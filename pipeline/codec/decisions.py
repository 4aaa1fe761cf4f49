"""Decisions over a grid, in five phases, by a learned score: what maps, modes and coded block flags have in common."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.scores import HIDDEN, Places, Square, begin, choose, steps_of
from pipeline.codec.tables import CodingTables
from pipeline.errors import StreamError

Cells = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
_T = TypeVar("_T", bound=np.generic)

# (rows, inputs, which places) -> what is decided there
Decide = Callable[[Ints, Callable[[], Bytes], Ints], Ints]

# Squares of the planes that decisions fill, and of those known before.
Squares = tuple[tuple[Square, ...], tuple[Square, ...]]

# How a symbol's magnitude 0..255 enters: as in the index net.
MAGNITUDE = np.full(256, 255, np.uint8)
MAGNITUDE[:15] = 0, 64, 104, 136, 160, 180, 196, 208, 220, 228, 236, 242, 246, 250, 253


class Scored:
    """A score over places, of each of which it sees squares of `planes`: first of those that its decisions fill, then
    of those that are known before."""

    def __init__(
        self,
        tables: CodingTables,
        name: str,
        first: int,
        places: Places,
        planes: Bytes,
        squares: Squares,
        shared: Bytes,
    ) -> None:
        """`first`: the table of level 0 of the first decision. `planes` as of `places`, one for each of the `squares`;
        `shared` (k,): what all places see."""
        now, before = squares
        self._score, self._first, self.places, self._planes = tables.scores[name], first, places, planes.reshape(-1)
        self._near, self._fixed = steps_of(now, 0, places.shape), steps_of(before, len(now), places.shape)
        self._shared, self._begun = shared, np.empty((len(places), HIDDEN), np.float32)
        score, inputs = self._score, len(self._score.columns) - len(self._fixed) - len(shared)
        begin(score.columns, score.hidden_bias, inputs, self._planes, self._fixed, places.at, shared, self._begun)

    def rows(self, phase: int, shares: tuple[int, ...]) -> Ints:
        """The tables of the decisions at each place of a phase, (n,K); `shares` as in `Places.begin_phase`."""
        score, here = self._score, self.places.here[phase]
        rows = np.empty((len(here), len(score.out)), np.int64)
        choose(
            score.columns, score.out, score.out_bias, self._begun, self._planes, self._near, self.places.at, here,
            self.places.begin_phase(phase, shares), self._first, rows,
        )  # fmt: skip
        return rows

    def inputs(self, phase: int, shares: tuple[int, ...]) -> Bytes:
        """What the score knows there, (n,F)."""
        at = self.places.at[self.places.here[phase], None]
        parts = (self._near, self.places.begin_phase(phase, shares)), (self._fixed, self._shared)
        seen = [(self._planes[at + steps], np.tile(shared, (len(at), 1))) for steps, shared in parts]
        return np.concatenate((*seen[0], *seen[1]), axis=1)


def code_bits(scored: Scored, now: Bytes, decide: Decide) -> Cells:
    """One bit a place, written or read by `decide`, into the empty plane `now` (rows, cols). Returns their grid."""
    places, count = scored.places, 0
    for phase, here in enumerate(places.here):
        if len(here):
            bits = decide(scored.rows(phase, (count,))[:, 0], partial(scored.inputs, phase, (count,)), here)
            now[places.row[here], places.col[here]] = bits * 255
            count += int(bits.sum())
    return now != 0


def writing(writer: SymbolWriter, moment: Moment, name: str, values: Ints) -> Decide:
    """`values` (n,): the bit of each place."""

    def decide(rows: Ints, inputs: Callable[[], Bytes], here: Ints) -> Ints:
        bits = values[here]
        writer.add(rows, bits)
        writer.note(name, int(moment.layer), inputs, bits[:, None])
        return bits

    return decide


def reading(reader: SymbolReader) -> Decide:
    """Raises StreamError on what is not a bit."""
    return lambda rows, inputs, here: read_bits(reader, rows)


def read_bits(reader: SymbolReader, rows: Ints) -> Ints:
    """Raises StreamError on what is not a bit."""
    symbols = reader.read(rows)
    if symbols.size and (symbols.min() < 0 or symbols.max() > 1):
        raise StreamError("a decision is something that is not a bit")
    return symbols


def setting(moment: Moment, *more: int) -> Bytes:
    """What all places of a frame share, (4 + k,): layer, quality, age, and `more` numbers 0..255."""
    foreground = 255 * (int(moment.layer) == 0)
    return np.array([foreground, 4 * moment.q, 255 * (moment.age == 0), 17 * min(moment.age, 15), *more], np.uint8)


def as_bytes(grid: Cells) -> Bytes:
    """Bits as 0 and 255."""
    return grid.view(np.uint8) * np.uint8(255)


def corners(fine: npt.NDArray[_T]) -> list[npt.NDArray[_T]]:
    """(2R,2C) -> the four positions of each cell, (R,C) each."""
    return [fine[down::2, across::2] for down in range(2) for across in range(2)]


def flags_in_cells(past: Past) -> Bytes:
    """60 for every flag that was set in a cell, (R,C)."""
    a, b, c, d = corners(past.coded.view(np.uint8))
    return (a + b + c + d) * np.uint8(60)
