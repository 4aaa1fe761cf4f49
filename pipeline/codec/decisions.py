"""Decisions over a grid, in five phases, by a learned score: what maps, modes and coded block flags have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.scores import LEVELS, PHASES, Places
from pipeline.codec.tables import Tables
from pipeline.errors import StreamError

Cells = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]
_T = TypeVar("_T", bound=np.generic)

# (rows, inputs, which places) -> what is decided there
Decide = Callable[[Ints, Callable[[], Bytes], Ints], Ints]

# How a symbol's magnitude enters: as in the index net.
MAGNITUDE = np.array((0, 64, 104, 136, 160, 180, 196, 208, 220, 228, 236, 242, 246, 250, 253, 255), np.uint8)


class Scored:
    """A score over places whose `fixed` inputs (n,G) are known. `first`: the table of level 0 of the first decision."""

    def __init__(self, tables: Tables, name: str, first: int, fixed: Bytes) -> None:
        self._score, self._first, self.fixed = tables.scores[name], first, fixed
        self._begun = self._score.begin(fixed)
        self._shift = np.arange(len(self._score.out)) * LEVELS

    def rows(self, near: Bytes, here: Ints) -> Ints:
        """The tables of the decisions (n,K) at the places `here`, of which `near` (n,F-G) tells the rest."""
        return self._first + self._shift + self._score.levels(self._begun[here], near)


def code_bits(scored: Scored, places: Places, decide: Decide) -> Cells:
    """One bit a place, written or read by `decide`. Returns the grid of them."""
    now = places.pad(np.zeros(places.inside.shape, np.uint8))
    inner = now[Places.REACH : -Places.REACH, Places.REACH : -Places.REACH]
    count = 0
    for phase in range(PHASES):
        here = places.here[phase]
        if len(here):
            near = np.concatenate(
                (places.near(now, Places.REACH, here, centre=False), places.begin_phase(phase, (count,))), axis=1
            )
            inputs = _inputs(near, scored.fixed, here)
            bits = decide(scored.rows(near, here)[:, 0], inputs, here)
            inner[places.row[here], places.col[here]] = bits * 255
            count += int(bits.sum())
    return inner != 0


def _inputs(near: Bytes, fixed: Bytes, here: Ints) -> Callable[[], Bytes]:
    return lambda: np.concatenate((near, fixed[here]), axis=1)


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


def setting(moment: Moment, count: int, *more: int) -> Bytes:
    """What all places of a frame share, (count, 4 + k): layer, quality, age, and `more` numbers 0..255."""
    foreground = 255 * (int(moment.layer) == 0)
    row = [foreground, 4 * moment.q, 255 * (moment.age == 0), 17 * min(moment.age, 15), *more]
    return np.tile(np.array(row, np.uint8), (count, 1))


def as_bytes(grid: Cells) -> Bytes:
    """Bits as 0 and 255."""
    return np.where(grid, np.uint8(255), np.uint8(0))


def column(values: npt.NDArray[np.generic]) -> Bytes:
    """(n,) of 0..255, or bool as 0 and 255 -> (n,1)."""
    return (as_bytes(values != 0) if values.dtype == np.bool_ else values.astype(np.uint8))[:, None]


def in_cells(fine: npt.NDArray[_T]) -> npt.NDArray[_T]:
    """(2R,2C) -> (R,C,4): the positions of each cell."""
    rows, cols = fine.shape
    return fine.reshape(rows // 2, 2, cols // 2, 2).transpose(0, 2, 1, 3).reshape(rows // 2, cols // 2, 4)


def flags_in_cells(past: Past) -> Bytes:
    """60 for every flag that was set in a cell, (R,C)."""
    return (in_cells(past.coded).sum(2) * 60).astype(np.uint8)
