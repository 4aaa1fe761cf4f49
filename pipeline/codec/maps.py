"""Cell maps: which cells of the picture a layer codes."""

from __future__ import annotations

import numpy as np

from pipeline.codec.decisions import (
    Bytes,
    Cells,
    Ints,
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
from pipeline.codec.scores import LEVELS, Places
from pipeline.codec.tables import FIRST_MAP, Tables


def write_map(writer: SymbolWriter, moment: Moment, cells: Cells, past: Past) -> None:
    """Code `cells` (rows, cols)."""
    places = Places.everywhere(past.shape)
    code_bits(_scored(writer.tables, moment, places, past), places, writing(writer, moment, "map", _bits(cells)))


def read_map(reader: SymbolReader, moment: Moment, past: Past) -> Cells:
    """The inverse of `write_map`. Raises StreamError."""
    places = Places.everywhere(past.shape)
    return code_bits(_scored(reader.tables, moment, places, past), places, reading(reader))


def _bits(cells: Cells) -> Ints:
    return cells.ravel().astype(np.int64)


def _scored(tables: Tables, moment: Moment, places: Places, past: Past) -> Scored:
    last, moved = as_bytes(past.cells), as_bytes(is_moving(past.mode))
    around = [places.near(places.pad(last), 2)]
    around += [
        places.near(places.pad(g), 1) for g in (flags_in_cells(past), past.since * np.uint8(17), moved, past.habit)
    ]
    share = 255 * int(past.cells.sum()) // past.cells.size
    fixed: Bytes = np.concatenate((*around, setting(moment, len(places), share)), axis=1)
    return Scored(tables, "map", FIRST_MAP + int(moment.layer) * LEVELS, fixed)
