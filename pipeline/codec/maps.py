"""Cell maps: which cells of the picture a layer codes."""

from __future__ import annotations

import numpy as np

from pipeline.codec.decisions import (
    Bytes,
    Cells,
    Scored,
    as_bytes,
    code_bits,
    flags_in_cells,
    reading,
    setting,
    writing,
)
from pipeline.codec.modes import is_moving
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.scores import LEVELS, Places, Square
from pipeline.codec.tables import FIRST_MAP, CodingTables

_SQUARES = (
    (Square(reach=2, centre=False),),  # the map so far
    (Square(reach=2), *(Square(reach=1) for _ in range(4))),  # the last map; then flags, frames since, moved, habit
)


def write_map(writer: SymbolWriter, moment: Moment, cells: Cells, past: Past) -> None:
    """Code `cells` (rows, cols)."""
    scored, now = _scored(writer.tables, moment, past)
    code_bits(scored, now, writing(writer, moment, "map", cells.ravel().astype(np.int64)))


def read_map(reader: SymbolReader, moment: Moment, past: Past) -> Cells:
    """The inverse of `write_map`. Raises StreamError."""
    scored, now = _scored(reader.tables, moment, past)
    return code_bits(scored, now, reading(reader))


def _scored(tables: CodingTables, moment: Moment, past: Past) -> tuple[Scored, Bytes]:
    """The score, and the plane that its decisions fill (R,C)."""
    places = Places.everywhere(past.shape)
    planes, within = places.planes(6)
    within[1] = as_bytes(past.cells)
    within[2] = flags_in_cells(past)
    within[3] = past.since * np.uint8(17)
    within[4] = as_bytes(is_moving(past.mode))
    within[5] = past.habit
    shared = setting(moment, 255 * np.count_nonzero(past.cells) // past.cells.size)
    first = FIRST_MAP + int(moment.layer) * LEVELS
    return Scored(tables, "map", first, places, planes, _SQUARES, shared), within[0]
