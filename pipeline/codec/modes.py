"""What each cell of a layer is predicted from: in place, moved, the plate, or moved block by block."""

from __future__ import annotations

from functools import partial

import numpy as np
import numpy.typing as npt

from pipeline.codec.decisions import (
    MAGNITUDE,
    Bytes,
    Cells,
    Ints,
    Scored,
    as_bytes,
    column,
    flags_in_cells,
    in_cells,
    read_bits,
    setting,
)
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.scores import LEVELS, PHASES, Places
from pipeline.codec.tables import DECISIONS, FIRST_MODE, Tables

STILL, MOVED, PLATE, SPLIT = range(4)
# Of each mode the decisions still? moved? split?, -1 where not asked.
_DECIDED = np.array(((1, -1, -1), (0, 1, 0), (0, 0, -1), (0, 1, 1)), np.int64)


def is_moving(mode: Ints) -> Cells:
    """Which modes have a vector; of a mode -1 none. Shape as `mode`'s."""
    moving: Cells = (mode == MOVED) | (mode == SPLIT)
    return moving


def places_of(cells: Cells) -> Ints:
    """Row and column of each coded cell in raster order, (n,2)."""
    return np.argwhere(cells).astype(np.int64)


class Vectors:
    """Modes and vectors of a layer's coded cells.

    `places` (n,2): row and column of each coded cell in raster order; `mode` (n,) of STILL, MOVED, PLATE, SPLIT;
    `vector` (n,4,2) quarter pixels, one a position (all four alike unless split, zero unless moved).
    """

    def __init__(self, places: Ints, mode: Ints, vector: Ints) -> None:
        self.places, self.mode, self.vector = places, mode, vector

    @classmethod
    def still(cls, places: Ints) -> Vectors:
        """Everything in place."""
        return cls(places, np.zeros(len(places), np.int64), np.zeros((len(places), 4, 2), np.int64))


class ModeField:
    """The modes of a layer's cells, phase by phase: first `rows` or `bits` of one, then what it `holds`."""

    def __init__(self, tables: Tables, moment: Moment, cells: Cells, past: Past) -> None:
        self.places, self._tables = Places(cells), tables
        self._fixed = _fixed(moment, self.places, past)
        first = FIRST_MODE + int(moment.layer) * DECISIONS * LEVELS
        self._scored = Scored(tables, "mode", first, self._fixed)
        self._still, self._moved, self._split = (self.places.pad(np.zeros(cells.shape, np.uint8)) for _ in range(3))
        self._counts = [0, 0]

    def rows(self, phase: int) -> Ints:
        """The tables of the three decisions at each place of a phase, (n,3)."""
        return self._scored.rows(self._near(phase), self.places.here[phase])

    def inputs(self, phase: int) -> Bytes:
        """What the score knows there, (n,F)."""
        return np.concatenate((self._near(phase), self._fixed[self.places.here[phase]]), axis=1)

    def bits(self, phase: int) -> npt.NDArray[np.float64]:
        """What each of the four modes takes at each place of a phase, (n,4)."""
        rows = self.rows(phase)
        both = np.repeat(np.arange(2), rows.size)
        cost = self._tables.costs(np.tile(rows.ravel(), 2), both).reshape(2, *rows.shape)
        not_still = cost[0, :, 0]
        moving = not_still + cost[1, :, 1]
        return np.stack(
            (cost[1, :, 0], moving + cost[0, :, 2], not_still + cost[0, :, 1], moving + cost[1, :, 2]), axis=1
        )

    def holds(self, phase: int, mode: Ints) -> None:
        """The modes of a phase, (n,)."""
        here = self.places.here[phase]
        where = self.places.row[here] + Places.REACH, self.places.col[here] + Places.REACH
        moved = is_moving(mode)
        self._still[where] = (mode == STILL) * 255
        self._moved[where] = moved * 255
        self._split[where] = (mode == SPLIT) * 255
        self._counts = [self._counts[0] + int((mode == STILL).sum()), self._counts[1] + int(moved.sum())]

    def _near(self, phase: int) -> Bytes:
        here = self.places.here[phase]
        near = [self.places.near(grid, 2, here, centre=False) for grid in (self._still, self._moved)]
        near.append(self.places.near(self._split, 1, here, centre=False))
        return np.concatenate((*near, self.places.begin_phase(phase, (self._counts[0], self._counts[1]))), axis=1)


def _fixed(moment: Moment, places: Places, past: Past) -> Bytes:
    moved, here = is_moving(past.mode), (places.row, places.col)
    size = MAGNITUDE[in_cells(past.total).max(2).clip(max=15)]
    around = [as_bytes(past.mode == STILL), as_bytes(moved), flags_in_cells(past)]
    fixed: Bytes = np.concatenate(
        (
            *(places.near(places.pad(grid), 1) for grid in around),
            places.near(places.pad(as_bytes(places.inside)), 1, centre=False),
            column(past.mode[here] == SPLIT),
            column(past.mode[here] == PLATE),
            column(4 * np.abs(past.vector[here]).max(1).clip(max=63)),
            column(size[here]),
            column(past.since[here] * 17),
            column(past.habit[here]),
            setting(moment, len(places), 255 * int(moved[here].sum()) // max(1, len(places)), min(255, len(places))),
        ),
        axis=1,
    )
    return fixed


def write_modes(writer: SymbolWriter, moment: Moment, cells: Cells, mode: Ints, past: Past) -> None:
    """`mode` (n,) of the cells."""
    field = ModeField(writer.tables, moment, cells, past)
    for phase in range(PHASES):
        now = mode[field.places.here[phase]]
        if len(now):
            rows, decided = field.rows(phase), _DECIDED[now]
            for k in range(DECISIONS):
                asked = decided[:, k] >= 0
                writer.add(rows[asked, k], decided[asked, k])
            writer.note("mode", int(moment.layer), partial(field.inputs, phase), decided)
            field.holds(phase, now)


def read_modes(reader: SymbolReader, moment: Moment, cells: Cells, past: Past) -> Ints:
    """The inverse of `write_modes`. Raises StreamError."""
    field = ModeField(reader.tables, moment, cells, past)
    mode = np.zeros(len(field.places), np.int64)
    for phase in range(PHASES):
        here = field.places.here[phase]
        if len(here):
            rows, now = field.rows(phase), np.zeros(len(here), np.int64)
            left = np.flatnonzero(read_bits(reader, rows[:, 0]) == 0)
            moving = read_bits(reader, rows[left, 1]) == 1
            now[left] = np.where(moving, MOVED, PLATE)
            moved = left[moving]
            now[moved] = np.where(read_bits(reader, rows[moved, 2]) == 1, SPLIT, MOVED)
            field.holds(phase, now)
            mode[here] = now
    return mode
