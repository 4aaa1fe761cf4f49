"""Coded block flags: which positions of a layer's cells have symbols."""

from __future__ import annotations

import numpy as np

from pipeline.codec.decisions import (
    MAGNITUDE,
    Bytes,
    Cells,
    Ints,
    Scored,
    as_bytes,
    code_bits,
    reading,
    setting,
    writing,
)
from pipeline.codec.modes import MOVED, PLATE, SPLIT, STILL, Vectors, is_moving
from pipeline.codec.native import compiled
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.scores import HERE, LEVELS, Places, Square
from pipeline.codec.tables import FIRST_FLAG, CodingTables

_CELLS_AROUND = Square(reach=1, step=2, centre=False)
_SQUARES = (
    (Square(reach=2, centre=False),),  # the flags so far
    (
        Square(reach=1),  # the last flags
        *(HERE for _ in range(4)),  # magnitudes, how many; magnitudes and flags where the vector comes from
        *(HERE for _ in range(6)),  # still, moves, plate, split; the vector's length, and whether it has a fraction
        *(HERE for _ in range(2)),  # which position of its cell
        Square(reach=1),  # habit
        *(_CELLS_AROUND for _ in range(2)),  # in the map, moves
        *(HERE for _ in range(3)),  # of the cell before: moved, in the map, frames since
    ),
)
_PLANES = 1 + len(_SQUARES[1])
_CODED, _SIZE, _FILLED, _HABIT = 1, 2, 3, 14


def write_flags(writer: SymbolWriter, moment: Moment, flags: Cells, cells: Cells, vectors: Vectors, past: Past) -> None:
    """Code which positions have symbols. `flags` (2R,2C), `cells` (R,C)."""
    scored, now = _scored(writer.tables, moment, cells, vectors, past)
    bits = flags[scored.places.inside].astype(np.int64)
    code_bits(scored, now, writing(writer, moment, "flag", bits))


def read_flags(reader: SymbolReader, moment: Moment, cells: Cells, vectors: Vectors, past: Past) -> Cells:
    """The inverse of `write_flags`. Raises StreamError."""
    scored, now = _scored(reader.tables, moment, cells, vectors, past)
    return code_bits(scored, now, reading(reader))


def _scored(tables: CodingTables, moment: Moment, cells: Cells, vectors: Vectors, past: Past) -> tuple[Scored, Bytes]:
    """The score, and the plane that its decisions fill (2R,2C)."""
    places = Places(cells.repeat(2, 0).repeat(2, 1))
    planes, within = places.planes(_PLANES)
    within[_CODED] = as_bytes(past.coded)
    within[_SIZE] = MAGNITUDE[past.total]
    within[_FILLED] = np.minimum(past.filled, 15) * np.uint8(17)
    within[_HABIT] = past.coded_habit
    _fill(
        within, *np.divmod(np.flatnonzero(cells), cells.shape[1]), vectors.mode, vectors.vector, _of_cells(cells, past)
    )
    count = len(vectors.mode)
    shared = setting(
        moment,
        255 * np.count_nonzero(past.coded & places.inside) // len(places),
        255 * np.count_nonzero(is_moving(vectors.mode)) // count,
        min(255, count),
    )
    first = FIRST_FLAG + int(moment.layer) * LEVELS
    return Scored(tables, "flag", first, places, planes, _SQUARES, shared), within[0]


def _of_cells(cells: Cells, past: Past) -> Bytes:
    """What is known of each of n cells before: moved, in the map, frames since, (3,n)."""
    return np.stack(
        (as_bytes(is_moving(past.mode[cells])), as_bytes(past.cells[cells]), past.since[cells] * np.uint8(17))
    )


@compiled
def _fill(within: Bytes, row: Ints, col: Ints, mode: Ints, vector: Ints, before: Bytes) -> None:
    """Fill the planes `within` (_PLANES,2R,2C) of `_SQUARES` at the positions of n cells, but for the four that hold
    the last frame already. `vector` (n,4,2); `before` as of `_of_cells`."""
    rows, cols = within.shape[1], within.shape[2]
    for n in range(len(row)):
        moving = mode[n] == MOVED or mode[n] == SPLIT
        for inner in range(4):
            r, c = 2 * row[n] + inner // 2, 2 * col[n] + inner % 2
            y, x = vector[n, inner, 0], vector[n, inner, 1]
            down = min(max(r + (y + 16 >> 5), 0), rows - 1)
            across = min(max(c + (x + 16 >> 5), 0), cols - 1)
            within[4, r, c] = within[_SIZE, down, across]
            within[5, r, c] = within[_CODED, down, across]
            within[6, r, c] = 255 * (mode[n] == STILL)
            within[7, r, c] = 255 * moving
            within[8, r, c] = 255 * (mode[n] == PLATE)
            within[9, r, c] = 255 * (mode[n] == SPLIT)
            within[10, r, c] = 4 * min(max(abs(y), abs(x)), 63)
            within[11, r, c] = 255 * (y % 4 != 0 or x % 4 != 0)
            within[12, r, c] = 255 * (inner // 2)
            within[13, r, c] = 255 * (inner % 2)
            within[15, r, c] = 255
            within[16, r, c] = 255 * moving
            for k in range(3):
                within[17 + k, r, c] = before[k, n]
