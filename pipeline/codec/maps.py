"""Cell maps, vectors and coded block flags: the side information of a layer, coded from what both ends know of it.

A map is coded row by row, even columns first: each cell's context is the row above and the same map in the last frame,
the odd columns' also the two neighbours beside them. Flags are coded in three phases of a quincunx.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from pipeline.codec.entropy import AXIAL, DIAGONAL
from pipeline.codec.motion import MAX_VECTOR
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.tables import FIRST_FLAG, FIRST_MAP, FIRST_MODE, FIRST_VECTOR, FLAG_CONTEXTS, MAP_CONTEXTS, MODES
from pipeline.errors import StreamError
from pipeline.types import Layer

Cells = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


def _last_context(before: Cells) -> Ints:
    """Context bits 3..7 of each cell (rows, cols): last frame here, left, right, above, below."""
    last = np.pad(before, 1).astype(np.int64)
    here = last[1:-1]
    parts = here[:, 1:-1], here[:, :-2], here[:, 2:], last[:-2, 1:-1], last[2:, 1:-1]
    return np.sum([part << k for k, part in enumerate(parts, 3)], axis=0)


def _row_context(above: Ints, last: Ints) -> Ints:
    """Context bits 0..7 of each cell of a row: above left, above, above right, then those of `_last_context`. `above`
    (cols+2) is padded with zeros."""
    return last + above[:-2] + 2 * above[1:-1] + 4 * above[2:]


def _odd_context(context: Ints, now: Ints) -> Ints:
    """Contexts of the odd columns: the even ones of the row (in `now`, padded) are known."""
    odd = 256 + context[1::2]
    return odd + 256 * now[1:-1:2][: len(odd)] + 512 * now[3::2][: len(odd)]


def write_map(writer: SymbolWriter, layer: Layer, cells: Cells, before: Cells) -> None:
    """Code `cells` (rows, cols) given the layer's map of the last frame."""
    first = FIRST_MAP + int(layer) * MAP_CONTEXTS
    padded, last = np.pad(cells, 1).astype(np.int64), _last_context(before)
    for row in range(cells.shape[0]):
        context = _row_context(padded[row], last[row])
        now = padded[row + 1]
        writer.add(first + context[::2], now[1:-1:2])
        writer.add(first + _odd_context(context, now), now[2:-1:2])


def read_map(reader: SymbolReader, layer: Layer, before: Cells) -> Cells:
    """The inverse of `write_map`."""
    first = FIRST_MAP + int(layer) * MAP_CONTEXTS
    rows, cols = before.shape
    padded, last = np.zeros((rows + 2, cols + 2), np.int64), _last_context(before)
    for row in range(rows):
        context = _row_context(padded[row], last[row])
        now = padded[row + 1]
        now[1:-1:2] = _bits(reader.read(first + context[::2]))
        now[2:-1:2] = _bits(reader.read(first + _odd_context(context, now)))
    return padded[1:-1, 1:-1].astype(np.bool_)


def _bits(symbols: Ints) -> Ints:
    if symbols.size and symbols.view(np.uint64).max() > 1:  # what is negative is large
        raise StreamError("a cell map holds something that is not a bit")
    return symbols


STILL, MOVED, PLATE, SPLIT = range(MODES)


def mode_rows(layer: Layer, before: Ints) -> Ints:
    """`before`: last frame's mode of each coded cell, -1 where it was not coded."""
    return FIRST_MODE + int(layer) * (MODES + 1) + np.where(before < 0, MODES, before)


def vector_rows(before: Ints) -> Ints:
    """Table of a cell's vector difference, from the length of its last vector. (n,2) -> (n,2)."""
    length = np.abs(before).max(1)
    return np.repeat(FIRST_VECTOR + (length > 0).astype(np.int64) + (length > 8), 2).reshape(-1, 2)


def predict_vector(field: Ints, known: Cells, row: int, col: int) -> Ints:
    """Median of the moved cells left, above and above right; of two the mean towards zero; of one itself; else zero.

    `field` (rows, cols, 2): each cell's first vector; `known` marks the moved cells already coded."""
    found = []  # as Python's integers: numpy takes longer than the arithmetic of so few
    for y, x in ((row, col - 1), (row - 1, col), (row - 1, col + 1)):
        if y >= 0 and 0 <= x < known.shape[1] and known[y, x]:
            found.append(field[y, x].tolist())
    if not found:
        return np.zeros(2, np.int64)
    if len(found) == 2:
        return np.array([int((a + b) / 2) for a, b in zip(*found, strict=True)], np.int64)
    return np.array([sorted(axis)[len(found) // 2] for axis in zip(*found, strict=True)], np.int64)


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


def write_vectors(writer: SymbolWriter, layer: Layer, vectors: Vectors, before: tuple[Ints, Ints]) -> None:
    """`before`: last mode (n,) and vector (n,2) at each coded cell."""
    shape = tuple(vectors.places.max(0) + 1)
    writer.add(mode_rows(layer, before[0]), vectors.mode)
    moved = np.isin(vectors.mode, (MOVED, SPLIT)).nonzero()[0]
    field, known = np.zeros((*shape, 2), np.int64), np.zeros(shape, np.bool_)
    differences = np.zeros((len(moved), 2), np.int64)
    for i, k in enumerate(moved.tolist()):
        row, col = vectors.places[k]
        differences[i] = vectors.vector[k, 0] - predict_vector(field, known, row, col)
        field[row, col], known[row, col] = vectors.vector[k, 0], True
    writer.add(vector_rows(before[1][moved]), differences)
    split = vectors.vector[vectors.mode == SPLIT]
    inner = split[:, 1:] - split[:, :1]
    writer.add(np.full(inner.shape, FIRST_VECTOR + 3, np.int64), inner)


def read_vectors(
    reader: SymbolReader, layer: Layer, places: Ints, before: tuple[Ints, Ints], shape: tuple[int, int]
) -> Vectors:
    """The inverse of `write_vectors`. Raises StreamError on a vector out of bounds."""
    mode = reader.read(mode_rows(layer, before[0]))
    if mode.size and (mode.min() < 0 or mode.max() >= MODES):
        raise StreamError("a cell's mode is out of range")
    vectors = Vectors(places, mode, np.zeros((len(places), 4, 2), np.int64))
    moved = np.isin(mode, (MOVED, SPLIT)).nonzero()[0]
    differences = reader.read(vector_rows(before[1][moved]))
    split = (mode == SPLIT).nonzero()[0]
    inner = reader.read(np.full((len(split), 3, 2), FIRST_VECTOR + 3, np.int64))
    field, known = np.zeros((*shape, 2), np.int64), np.zeros(shape, np.bool_)
    for i, k in enumerate(moved.tolist()):
        row, col = places[k]
        first = differences[i] + predict_vector(field, known, row, col)
        field[row, col], known[row, col] = first, True
        vectors.vector[k] = first
    vectors.vector[split, 1:] += inner
    if vectors.vector.size and np.abs(vectors.vector).max() > MAX_VECTOR:
        raise StreamError("a motion vector is out of range")
    return vectors


# Neighbours that are known in each phase: even rows and columns, odd rows and columns, the rest.
_FLAG_PHASES: tuple[tuple[tuple[int, int], ...], ...] = ((), DIAGONAL, AXIAL)
_CROWD = np.array((0, 1, 1, 2, 2, 2, 3, 3, 3))  # how many of eight neighbours -> context


def _flag_steps(layer: Layer, cells: Cells, mode: Ints, before: Cells, now: Cells) -> Iterator[tuple[Ints, Ints, Ints]]:
    """(rows, columns, tables) of the flags of each phase. `now` (padded by one) must have the phases before it."""
    row, col = cells.repeat(2, 0).repeat(2, 1).nonzero()
    crowd = _count(np.pad(before, 1), row, col, DIAGONAL + AXIAL)
    fixed = ((before[row, col] * 4 + _CROWD[crowd]) * MODES + mode[row // 2, col // 2]) * 5
    phases = np.where((row + col) % 2 == 1, 2, row % 2)
    for phase, offsets in enumerate(_FLAG_PHASES):
        here = phases == phase
        r, c = row[here], col[here]
        first = FIRST_FLAG + int(layer) * FLAG_CONTEXTS + phase * (FLAG_CONTEXTS // len(_FLAG_PHASES))
        yield r, c, first + fixed[here] + _count(now, r, c, offsets)


def _count(padded: Cells, row: Ints, col: Ints, offsets: tuple[tuple[int, int], ...]) -> Ints:
    """How many of each place's neighbours are set, in a grid padded by one."""
    total = np.zeros(len(row), np.int64)
    for dy, dx in offsets:
        total += padded[1 + dy + row, 1 + dx + col]
    return total


def write_flags(writer: SymbolWriter, layer: Layer, flags: Cells, cells: Cells, mode: Ints, before: Cells) -> None:
    """Code which positions of the coded cells have symbols. `flags` and `before` (the last frame's) (2 rows, 2 cols),
    `cells` and `mode` (rows, cols)."""
    now = np.pad(flags, 1)
    for row, col, tables in _flag_steps(layer, cells, mode, before, now):
        writer.add(tables, flags[row, col].astype(np.int64))


def read_flags(reader: SymbolReader, layer: Layer, cells: Cells, mode: Ints, before: Cells) -> Cells:
    """The inverse of `write_flags`."""
    now = np.pad(np.zeros_like(before), 1)
    for row, col, tables in _flag_steps(layer, cells, mode, before, now):
        now[1 + row, 1 + col] = _bits(reader.read(tables))
    return now[1:-1, 1:-1].copy()
