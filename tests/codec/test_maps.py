"""Cell maps, vectors and flags: there and back, and what may not be."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.codec.maps import (
    MOVED,
    PLATE,
    SPLIT,
    STILL,
    Vectors,
    _odd_context,
    _row_context,
    predict_vector,
    read_flags,
    read_map,
    read_vectors,
    write_flags,
    write_map,
    write_vectors,
)
from pipeline.codec.motion import MAX_VECTOR
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.tables import FIRST_FLAG, FIRST_MAP, FIRST_MODE, FIRST_VECTOR, initial_tables
from pipeline.errors import StreamError
from pipeline.types import Layer

TABLES = initial_tables()


def reader_of(writer: SymbolWriter, most: int = 100_000) -> SymbolReader:
    data, zeros = writer.finish()
    return SymbolReader(TABLES, data, zeros, most=most)


@pytest.mark.parametrize("layer", list(Layer))
@pytest.mark.parametrize("shape", [(4, 4), (5, 7), (4, 9), (1, 1), (7, 2), (3, 1)])
def test_maps_round_trip(layer, shape):
    rng = np.random.default_rng(1)
    for share in (0.0, 0.1, 0.6, 1.0):
        before, cells = rng.random(shape) < 0.4, rng.random(shape) < share
        writer = SymbolWriter(TABLES)
        write_map(writer, layer, cells, before)
        assert np.array_equal(read_map(reader_of(writer), layer, before), cells)


def test_contexts_are_those_of_the_format():
    rng = np.random.default_rng(2)
    cells, before = rng.random((6, 7)) < 0.5, rng.random((6, 7)) < 0.5

    def at(grid, row, col):
        inside = 0 <= row < grid.shape[0] and 0 <= col < grid.shape[1]
        return int(grid[row, col]) if inside else 0

    writer = SymbolWriter(TABLES)
    write_map(writer, Layer.BACKGROUND, cells, before)
    rows, symbols = writer.collected()
    expected = []
    for r in range(6):
        for c in [*range(0, 7, 2), *range(1, 7, 2)]:
            near = [(cells, r - 1, c - 1), (cells, r - 1, c), (cells, r - 1, c + 1), (before, r, c), (before, r, c - 1),
                    (before, r, c + 1), (before, r - 1, c), (before, r + 1, c)]  # fmt: skip
            context = sum(at(*n) << k for k, n in enumerate(near))
            if c % 2:
                context += 256 + (at(cells, r, c - 1) << 8) + (at(cells, r, c + 1) << 9)
            expected.append((FIRST_MAP + 1280 + context, int(cells[r, c])))
    assert list(zip(rows.tolist(), symbols.tolist(), strict=True)) == expected


@pytest.mark.parametrize("cols", [1, 2, 3, 8, 9])
def test_odd_columns_know_both_neighbours(cols):
    now = np.ones(cols + 2, np.int64)
    now[0] = now[-1] = 0
    context = _row_context(np.zeros(cols + 2, np.int64), np.zeros(cols, np.int64))
    odd = _odd_context(context, now)
    assert len(odd) == cols // 2
    assert all(value == 256 + 256 + 512 for value in odd[: (cols - 1) // 2])
    if cols % 2 == 0:
        assert odd[-1] == 256 + 256


def test_an_unchanged_map_is_cheap():
    cells = np.zeros((36, 64), np.bool_)
    cells[10:20, 10:20] = True
    writer = SymbolWriter(TABLES)
    write_map(writer, Layer.FOREGROUND, cells, cells)
    assert len(writer.finish()[0]) < 36 * 64 / 8 / 2


def test_a_map_of_other_things_than_bits_is_refused():
    writer = SymbolWriter(TABLES)
    writer.add(np.full(2, FIRST_MAP), np.array([0, 5]))
    with pytest.raises(StreamError, match="bit"):
        read_map(reader_of(writer), Layer.FOREGROUND, np.zeros((1, 3), np.bool_))


def random_vectors(rng: np.random.Generator, cells: np.ndarray, limit: int) -> Vectors:
    places = np.argwhere(cells).astype(np.int64)
    mode = rng.integers(0, 4, len(places))
    vector = np.zeros((len(places), 4, 2), np.int64)
    one = rng.integers(-limit, limit + 1, (len(places), 1, 2))
    vector[mode == MOVED] = one[mode == MOVED]
    vector[mode == SPLIT] = rng.integers(-limit, limit + 1, (int((mode == SPLIT).sum()), 4, 2))
    return Vectors(places, mode, vector)


@pytest.mark.parametrize("limit", [3, 40, MAX_VECTOR])
@pytest.mark.parametrize("layer", list(Layer))
def test_vectors_round_trip(layer, limit):
    rng = np.random.default_rng(limit)
    cells = rng.random((6, 9)) < 0.6
    vectors = random_vectors(rng, cells, limit)
    n = len(vectors.places)
    before = rng.integers(-1, 4, n), rng.integers(-20, 20, (n, 2))
    writer = SymbolWriter(TABLES)
    write_vectors(writer, layer, vectors, before)
    back = read_vectors(reader_of(writer), layer, vectors.places, before, (6, 9))
    assert np.array_equal(back.mode, vectors.mode)
    assert np.array_equal(back.vector, vectors.vector)


def test_median_prediction():
    field, known = np.zeros((3, 3, 2), np.int64), np.zeros((3, 3), np.bool_)
    assert predict_vector(field, known, 1, 1).tolist() == [0, 0]
    field[1, 0], known[1, 0] = (5, -7), True
    assert predict_vector(field, known, 1, 1).tolist() == [5, -7]
    field[0, 1], known[0, 1] = (2, -8), True
    assert predict_vector(field, known, 1, 1).tolist() == [3, -7], "halves go towards zero"
    field[0, 2], known[0, 2] = (100, 0), True
    assert predict_vector(field, known, 1, 1).tolist() == [5, -7]
    assert predict_vector(field, known, 0, 2).tolist() == [2, -8], "beyond the border there is nothing"


def read_one(mode: int, first: tuple[int, int], inner: list[tuple[int, int]]) -> Vectors:
    writer = SymbolWriter(TABLES)
    writer.add(np.array([FIRST_MODE + 4]), np.array([mode]))
    if mode in (MOVED, SPLIT):
        writer.add(np.array([FIRST_VECTOR, FIRST_VECTOR]), np.array(first))
    if mode == SPLIT:
        writer.add(np.full((3, 2), FIRST_VECTOR + 3), np.array(inner))
    before = np.array([-1]), np.zeros((1, 2), np.int64)
    return read_vectors(reader_of(writer), Layer.FOREGROUND, np.array([[0, 0]]), before, (1, 1))


def test_vectors_out_of_range_are_refused():
    assert read_one(MOVED, (MAX_VECTOR, -MAX_VECTOR), []).vector[0, 3].tolist() == [MAX_VECTOR, -MAX_VECTOR]
    for wrong in ((MAX_VECTOR + 1, 0), (0, -MAX_VECTOR - 1), (2**29, 0)):
        with pytest.raises(StreamError, match="vector"):
            read_one(MOVED, wrong, [])
    with pytest.raises(StreamError, match="vector"):
        read_one(SPLIT, (500, 0), [(0, 0), (0, 0), (12, 0)])
    for mode in (4, -1, 300):
        with pytest.raises(StreamError, match="mode"):
            read_one(mode, (0, 0), [])
    for mode in (STILL, PLATE):
        assert not read_one(mode, (0, 0), []).vector.any()


@pytest.mark.parametrize("layer", list(Layer))
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (1, 1)])
def test_flags_round_trip(layer, shape):
    rng = np.random.default_rng(5)
    for share in (0.0, 0.2, 1.0):
        cells, mode = rng.random(shape) < 0.6, rng.integers(0, 4, shape)
        fine = cells.repeat(2, 0).repeat(2, 1)
        before, flags = rng.random(fine.shape) < 0.4, fine & (rng.random(fine.shape) < share)
        writer = SymbolWriter(TABLES)
        write_flags(writer, layer, flags, cells, mode, before)
        assert len(writer.collected()[0]) == fine.sum()
        assert np.array_equal(read_flags(reader_of(writer), layer, cells, mode, before), flags)


def test_flag_contexts_are_those_of_the_format():
    rng = np.random.default_rng(6)
    cells, mode = rng.random((4, 5)) < 0.7, rng.integers(0, 4, (4, 5))
    fine = cells.repeat(2, 0).repeat(2, 1)
    before, flags = rng.random(fine.shape) < 0.4, fine & (rng.random(fine.shape) < 0.5)
    writer = SymbolWriter(TABLES)
    write_flags(writer, Layer.BACKGROUND, flags, cells, mode, before)
    diagonal = ((-1, -1), (-1, 1), (1, -1), (1, 1))
    axial = ((-1, 0), (1, 0), (0, -1), (0, 1))

    def count(grid, r, c, offsets):
        wide = np.pad(grid, 1)
        return sum(int(wide[1 + r + a, 1 + c + b]) for a, b in offsets)

    expected = []
    for phase, near in enumerate(((), diagonal, axial)):
        for r, c in np.argwhere(fine).tolist():
            if phase == (2 if (r + c) % 2 else r % 2):
                crowd = (0, 1, 1, 2, 2, 2, 3, 3, 3)[count(before, r, c, diagonal + axial)]
                context = 160 * phase + 80 * before[r, c] + 20 * crowd + 5 * mode[r // 2, c // 2]
                expected.append((FIRST_FLAG + 480 + context + count(flags, r, c, near), int(flags[r, c])))
    rows, symbols = writer.collected()
    assert list(zip(rows.tolist(), symbols.tolist(), strict=True)) == expected
