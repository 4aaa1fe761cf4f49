"""Tables that follow what is coded: right distributions, the same at both ends, nearer to what comes."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from pipeline.codec.adaptive import MOST, TRUST, AdaptiveTables
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.tables import FIRST_DOWN, FIRST_FLAG, FIRST_TAKEN, ROWS, initial_tables

TABLES = initial_tables()


def sample(seed: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of all kinds and symbols that they hold, and some that they do not."""
    rng = np.random.default_rng(seed)
    rows = rng.choice([1, 20, 40, FIRST_FLAG + 9, FIRST_TAKEN + 3, FIRST_DOWN + 2], count)
    return rows, np.where(rows < FIRST_FLAG, rng.integers(-9, 9, count), rng.integers(0, 2, count))


def expected(row: int, symbols: list[int]) -> list[int]:
    """A table by the rule, without halving."""
    start, offset = TABLES.rows[row], TABLES.offsets[row]
    size = len(start) - 1
    counts = [0] * size
    for symbol in symbols:
        place = symbol - offset
        counts[place if 0 <= place < size - 1 else size - 1] += 1
    total = TRUST + len(symbols)
    shares = [Fraction(TRUST * (start[k + 1] - start[k]), 1 << 16) + counts[k] for k in range(size)]
    found = [1 + int(share * ((1 << 16) - size) / total) for share in shares]
    found[found.index(max(found))] += (1 << 16) - sum(found)
    return np.cumsum([0, *found]).tolist()


def test_a_table_follows_by_the_rule():
    tables, (rows, symbols) = AdaptiveTables(TABLES), sample(1, 800)
    tables.learn(rows[:300], symbols[:300])
    tables.learn(rows[300:], symbols[300:])
    for row in range(ROWS):
        mine = symbols[rows == row].tolist()
        assert tables.rows[row] == (expected(row, mine) if mine else TABLES.rows[row])


def test_prices_are_those_of_the_tables():
    tables, (rows, symbols) = AdaptiveTables(TABLES), sample(2, 500)
    before = tables.bits(rows, symbols)
    tables.learn(rows, symbols)
    assert tables.bits(rows, symbols) < before
    row, symbol = 20, 1
    place = symbol - tables.offsets[row]
    share = (tables.rows[row][place + 1] - tables.rows[row][place]) / (1 << 16)
    assert tables.costs(np.array([row]), np.array([symbol]))[0] == pytest.approx(-np.log2(share))
    assert AdaptiveTables(TABLES).bits(rows, symbols) == before, "tables as they ship stay as they are"


def test_old_symbols_fade():
    tables, row = AdaptiveTables(TABLES), FIRST_FLAG + 30
    zeros, ones = np.zeros(MOST, np.int64), np.ones(MOST, np.int64)
    rows = np.full(MOST, row)
    for _ in range(4):
        tables.learn(rows, zeros)
    for _ in range(3):
        tables.learn(rows, ones)
    assert tables.costs(np.array([row]), np.array([1]))[0] < 0.25, "an eighth of what counts is still zeros"


def test_a_reader_that_learns_reads_what_a_writer_wrote():
    ours, theirs = AdaptiveTables(TABLES), AdaptiveTables(TABLES)
    for seed in range(4):
        rows, symbols = sample(seed, 3000)
        writer = SymbolWriter(ours)
        writer.add(rows, symbols)
        data, zeros = writer.finish()
        reader = SymbolReader(theirs, data, zeros, most=3000)
        assert np.array_equal(reader.read(rows[:1200]), symbols[:1200])
        assert np.array_equal(reader.read(rows[1200:]), symbols[1200:])
        ours.learn(*writer.collected())
        theirs.learn(*reader.end())
        reader.finish()
    assert ours.rows == theirs.rows
