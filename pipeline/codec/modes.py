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
    corners,
    flags_in_cells,
    read_bits,
    setting,
)
from pipeline.codec.native import compiled
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.scores import AROUND, HERE, LEVELS, PHASES, Places, Square
from pipeline.codec.tables import DECISIONS, FIRST_MODE, SIDE, CodingTables, symbol_cost
from pipeline.errors import StreamError

STILL, MOVED, PLATE, SPLIT = range(4)
SIDES = 3
BOTH, BEFORE, AFTER = range(SIDES)  # what moves, in a frame between two others
# Of each mode the decisions still? moved? split?, -1 where not asked.
_DECIDED = np.array(((1, -1, -1), (0, 1, 0), (0, 0, -1), (0, 1, 1)), np.int64)
_NO, _YES = np.int64(0), np.int64(1)
_SQUARES = (
    (Square(reach=2, centre=False), Square(reach=2, centre=False), AROUND),  # still, moves, split so far
    (
        *(Square(reach=1) for _ in range(3)),  # of the last frame: still, moved, flags
        AROUND,  # in the map
        *(HERE for _ in range(6)),  # before: split, plate, the vector's length, magnitudes, frames since, habit
    ),
)
_NOW = len(_SQUARES[0])
_PLANES = _NOW + len(_SQUARES[1])


def is_moving(mode: Ints) -> Cells:
    """Which modes have a vector; of a mode -1 none. Shape as `mode`'s."""
    moving: Cells = (mode == MOVED) | (mode == SPLIT)
    return moving


def places_of(cells: Cells) -> Ints:
    """Row and column of each coded cell in raster order, (n,2)."""
    return np.ascontiguousarray(np.argwhere(cells), np.int64)  # a loop is compiled once more for another layout


class Vectors:
    """Modes and vectors of a layer's coded cells.

    `places` (n,2): row and column of each coded cell in raster order; `mode` (n,) of STILL, MOVED, PLATE, SPLIT;
    `vector` (n,4,2) quarter pixels, one a position (all four alike unless split, zero unless moved); `side` (n,) of
    BOTH, BEFORE, AFTER: what of the two beside a frame is moved, BOTH unless it lies between two and the cell moves.
    """

    def __init__(self, places: Ints, mode: Ints, vector: Ints, side: Ints | None = None) -> None:
        self.places, self.mode, self.vector = places, mode, vector
        self.side = np.zeros(len(places), np.int64) if side is None else side

    @classmethod
    def still(cls, places: Ints) -> Vectors:
        """Everything in place."""
        return cls(places, np.zeros(len(places), np.int64), np.zeros((len(places), 4, 2), np.int64))


class ModeField:
    """The modes of a layer's cells, phase by phase: first `rows` or `bits` of one, then what it `holds`."""

    def __init__(self, tables: CodingTables, moment: Moment, cells: Cells, past: Past) -> None:
        self.places, self._tables = Places(cells), tables
        self._planes, within = self.places.planes(_PLANES)
        _fill(within[_NOW:], cells, past)
        places, moved = self.places, is_moving(past.mode)
        shared = setting(moment, 255 * np.count_nonzero(moved & cells) // max(1, len(places)), min(255, len(places)))
        first = FIRST_MODE + int(moment.layer) * DECISIONS * LEVELS
        self._scored = Scored(tables, "mode", first, places, self._planes, _SQUARES, shared)
        self._counts = np.zeros(2, np.int64)  # of those still, of those that move

    def rows(self, phase: int) -> Ints:
        """The tables of the three decisions at each place of a phase, (n,3)."""
        return self._scored.rows(phase, self._shares())

    def inputs(self, phase: int) -> Bytes:
        """What the score knows there, (n,F)."""
        return self._scored.inputs(phase, self._shares())

    def bits(self, phase: int) -> npt.NDArray[np.float64]:
        """What each of the four modes takes at each place of a phase, (n,4)."""
        rows = self.rows(phase)
        bits = np.empty((len(rows), 4))
        _mode_bits(*self._tables.prices, rows, bits)
        return bits

    def holds(self, phase: int, mode: Ints) -> None:
        """The modes of a phase, (n,)."""
        _hold(self._planes.reshape(_PLANES, -1), self.places.at, self.places.here[phase], mode, self._counts)

    def _shares(self) -> tuple[int, int]:
        return int(self._counts[0]), int(self._counts[1])


@compiled
def _mode_bits(edges: Ints, costs: npt.NDArray[np.float64], rows: Ints, bits: npt.NDArray[np.float64]) -> None:
    """What each mode takes, (n,4), of which `rows` (n,3) are the tables; the first two are `CodingTables.prices`."""
    for n in range(len(rows)):
        not_still = symbol_cost(edges, costs, rows[n, 0], _NO)
        moving = not_still + symbol_cost(edges, costs, rows[n, 1], _YES)
        bits[n, STILL] = symbol_cost(edges, costs, rows[n, 0], _YES)
        bits[n, MOVED] = moving + symbol_cost(edges, costs, rows[n, 2], _NO)
        bits[n, PLATE] = not_still + symbol_cost(edges, costs, rows[n, 1], _NO)
        bits[n, SPLIT] = moving + symbol_cost(edges, costs, rows[n, 2], _YES)


@compiled
def _hold(planes: Bytes, at: Ints, here: Ints, mode: Ints, counts: Ints) -> None:
    """Mark the modes (m,) of the places `here` (m,) in flat planes, and count them."""
    for m in range(len(here)):
        place, moving = at[here[m]], mode[m] == MOVED or mode[m] == SPLIT
        planes[0, place] = 255 * (mode[m] == STILL)
        planes[1, place] = 255 * moving
        planes[2, place] = 255 * (mode[m] == SPLIT)
        counts[0] += mode[m] == STILL
        counts[1] += moving


def _fill(within: Bytes, cells: Cells, past: Past) -> None:
    """The planes that are known before, (10,R,C), as `_SQUARES` has them."""
    within[0] = as_bytes(past.mode == STILL)
    within[1] = as_bytes(is_moving(past.mode))
    within[2] = flags_in_cells(past)
    within[3] = as_bytes(cells)
    within[4] = as_bytes(past.mode == SPLIT)
    within[5] = as_bytes(past.mode == PLATE)
    within[6] = 4 * np.maximum(*np.abs(past.vector).transpose(2, 0, 1)).clip(max=63)
    within[7] = MAGNITUDE[np.maximum.reduce(corners(past.total))]
    within[8] = past.since * np.uint8(17)
    within[9] = past.habit


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


def write_sides(writer: SymbolWriter, vectors: Vectors) -> None:
    """What moves in each cell that does."""
    side = vectors.side[is_moving(vectors.mode)]
    writer.add(np.full(len(side), SIDE), side)


def read_sides(reader: SymbolReader, mode: Ints) -> Ints:
    """The inverse of `write_sides`: (n,) of cells with these modes. Raises StreamError."""
    side, moving = np.zeros(len(mode), np.int64), is_moving(mode)
    found = reader.read(np.full(np.count_nonzero(moving), SIDE))
    if found.size and (found.min() < BOTH or found.max() > AFTER):
        raise StreamError("a cell moves on neither side")
    side[moving] = found
    return side
