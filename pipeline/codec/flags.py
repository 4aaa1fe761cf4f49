"""Coded block flags: which positions of a layer's cells have symbols."""

from __future__ import annotations

import numpy as np

from pipeline.codec.decisions import (
    MAGNITUDE,
    Bytes,
    Cells,
    Scored,
    as_bytes,
    code_bits,
    column,
    reading,
    setting,
    writing,
)
from pipeline.codec.modes import PLATE, SPLIT, STILL, Vectors, is_moving
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.scores import LEVELS, Places
from pipeline.codec.tables import FIRST_FLAG, Tables


def write_flags(writer: SymbolWriter, moment: Moment, flags: Cells, cells: Cells, vectors: Vectors, past: Past) -> None:
    """Code which positions have symbols. `flags` (2R,2C), `cells` (R,C)."""
    places = Places(cells.repeat(2, 0).repeat(2, 1))
    bits = flags[places.row, places.col].astype(np.int64)
    code_bits(
        _scored(writer.tables, moment, places, cells, vectors, past), places, writing(writer, moment, "flag", bits)
    )


def read_flags(reader: SymbolReader, moment: Moment, cells: Cells, vectors: Vectors, past: Past) -> Cells:
    """The inverse of `write_flags`. Raises StreamError."""
    places = Places(cells.repeat(2, 0).repeat(2, 1))
    return code_bits(_scored(reader.tables, moment, places, cells, vectors, past), places, reading(reader))


def _scored(tables: Tables, moment: Moment, places: Places, cells: Cells, vectors: Vectors, past: Past) -> Scored:
    rows, cols = cells.shape
    coarse = Places(cells)
    # Of the n cells, then of their 4 n positions in raster order.
    which = np.zeros(cells.shape, np.int64)
    which[cells] = np.arange(len(coarse))
    of = which[places.row // 2, places.col // 2]
    inner = places.row % 2 * 2 + places.col % 2
    vector = vectors.vector[of, inner]
    mode = vectors.mode[of]
    moved = np.zeros(cells.shape, np.uint8)
    moved[cells] = is_moving(vectors.mode) * 255
    behind = (
        (places.row + (vector[:, 0] + 16 >> 5)).clip(0, 2 * rows - 1),
        (places.col + (vector[:, 1] + 16 >> 5)).clip(0, 2 * cols - 1),
    )
    here, size = (places.row, places.col), MAGNITUDE[past.total.clip(max=15)]
    of_cells = np.concatenate(
        (
            coarse.near(coarse.pad(as_bytes(cells)), 1, centre=False),
            coarse.near(coarse.pad(moved), 1, centre=False),
            column(is_moving(past.mode[cells])),
            column(past.cells[cells]),
            column(past.since[cells] * 17),
        ),
        axis=1,
    )
    fixed: Bytes = np.concatenate(
        (
            places.near(places.pad(as_bytes(past.coded)), 1),
            column(size[here]),
            column(past.filled[here].clip(max=15) * 17),
            column(size[behind]),
            column(past.coded[behind]),
            column(mode == STILL),
            column(is_moving(mode)),
            column(mode == PLATE),
            column(mode == SPLIT),
            column(4 * np.abs(vector).max(1).clip(max=63)),
            column((vector % 4 != 0).any(1)),
            column(places.row % 2 == 1),
            column(places.col % 2 == 1),
            places.near(places.pad(past.coded_habit), 1),
            of_cells[of],
            setting(
                moment,
                len(places),
                255 * int(past.coded[here].sum()) // len(places),
                int(moved.sum(dtype=np.int64)) // len(coarse),
                min(255, len(coarse)),
            ),
        ),
        axis=1,
    )
    return Scored(tables, "flag", FIRST_FLAG + int(moment.layer) * LEVELS, fixed)
