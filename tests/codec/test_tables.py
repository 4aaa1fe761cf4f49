"""Tables: right distributions, packed and back, fitted to counts."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from pipeline.codec.rans import SymbolWriter
from pipeline.codec.tables import (
    ALL_STILL,
    CODED,
    DEPTHS,
    FIRST_ACROSS,
    FIRST_DOWN,
    FIRST_FLAG,
    FIRST_MAP,
    FIRST_MODE,
    FIRST_TAKEN,
    QUALITY,
    ROWS,
    SAME_MAP,
    SIDE,
    VECTOR_SPAN,
    Counts,
    Tables,
    cumulative,
    fit,
    initial_tables,
)


def test_rows_have_their_places():
    # Frozen: they stand in FORMAT.md.
    assert (FIRST_MAP, FIRST_MODE, FIRST_FLAG, FIRST_TAKEN) == (64, 192, 576, 704)
    assert (FIRST_DOWN, FIRST_ACROSS, ROWS, SIDE) == (812, 836, 956, 956)
    assert (ALL_STILL, SAME_MAP, QUALITY, CODED, DEPTHS) == (957, 958, 959, 960, 5)
    tables = initial_tables()
    assert (tables.rows[SIDE], tables.offsets[SIDE]) == ([0, 32768, 49152, 65535, 65536], 0)
    assert tables.rows[ALL_STILL] == tables.rows[SAME_MAP] == [0, 32768, 65535, 65536]
    assert tables.rows[QUALITY][7:11] == [6656, 10752, 50752, 54848]
    assert tables.offsets[957:] == [0, 0, -8, *[0] * 10]
    assert [row[1] for row in tables.rows[CODED:]] == [
        5535, 20535, 29535, 39535, 51535, 9535, 43535, 53535, 58535, 62035,
    ]  # fmt: skip


def test_every_table_is_a_distribution():
    tables = initial_tables()
    assert len(tables.rows) == len(tables.sizes) == len(tables.offsets) == ROWS + 14
    for row, size in zip(tables.rows, tables.sizes, strict=True):
        assert row[0] == 0
        assert row[-1] == 65536
        assert len(row) == size
        assert all(a < b for a, b in pairwise(row))


def test_cumulative_gives_every_symbol_a_place():
    row = cumulative(np.array([1.0, 0.0, 1e-12, 0.0]))
    assert row[-1] == 65536
    assert np.diff(row).min() == 1


def test_latent_tables_are_symmetric_and_widen():
    tables = initial_tables()
    for index in range(64):
        counts = np.diff(tables.rows[index])[:-1]
        assert tables.offsets[index] == -(len(counts) // 2)
        uneven = np.abs(counts - counts[::-1]) > 1
        assert uneven.sum() <= 2, "only the largest count takes what rounding left"
    tops = [np.diff(tables.rows[index]).max() for index in range(0, 64, 8)]
    assert tops == sorted(tops, reverse=True)


def test_pack_and_unpack():
    tables = initial_tables()
    back = Tables.unpack(tables.pack())
    assert back.rows == tables.rows
    assert back.offsets == tables.offsets


@pytest.mark.parametrize(("place", "value"), [(0, 1), (1, 0), (2, 70000)])
def test_bad_tables_are_refused(place, value):
    packed = initial_tables().pack()
    packed["tables.values"][place] = value
    with pytest.raises(ValueError, match="not a cumulative"):
        Tables.unpack(packed)
    with pytest.raises(ValueError, match="expected"):
        Tables([], [])


def test_fit_moves_towards_what_was_counted():
    tables = initial_tables()
    counts = Counts()
    counts.add([20] * 1000 + [FIRST_MAP], [1] * 990 + [1000] * 10 + [1])
    assert counts.rows == {20: {1: 990, 1000: 10}, FIRST_MAP: {1: 1}}
    fitted = fit(tables, counts)
    place = 1 - tables.offsets[20]
    share = (fitted.rows[20][place + 1] - fitted.rows[20][place]) / 65536
    assert 0.9 < share < 1
    assert np.abs(np.array(fitted.rows[21]) - tables.rows[21]).max() <= 1
    assert fitted.offsets == tables.offsets
    assert Tables.unpack(fitted.pack()).rows == fitted.rows
    assert torch.equal(fitted.pack()["tables.offsets"], tables.pack()["tables.offsets"])


def test_rare_vectors_lean_on_all():
    """A table that was never used takes the shape that the others of its kind were found to have."""
    counts = Counts()
    counts.add([FIRST_DOWN] * 900, [7] * 900)
    fitted = fit(initial_tables(), counts)
    place = 7 + VECTOR_SPAN
    used, unused = (fitted.rows[row][place + 1] - fitted.rows[row][place] for row in (FIRST_DOWN, FIRST_DOWN + 1))
    assert used > unused > 65536 / 4 > 3 * (fitted.rows[FIRST_ACROSS][place + 1] - fitted.rows[FIRST_ACROSS][place])


def test_bits_are_what_the_coder_takes():
    """Also of escapes: the estimate is the stream's length, to within the coder's last word."""
    tables = initial_tables()
    rng = np.random.default_rng(3)
    rows = rng.integers(1, FIRST_MAP, 4000)
    symbols = np.round(rng.standard_t(1.5, 4000) * 3).astype(np.int64).clip(-2047, 2047)
    writer = SymbolWriter(tables)
    writer.add(rows, symbols)
    data, zeros = writer.finish()
    assert abs(tables.bits(rows, symbols) - 8 * (len(data) + zeros)) < 80
