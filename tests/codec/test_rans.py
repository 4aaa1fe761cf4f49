"""Symbols through the range coder, in few and in many, and hostile bytes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from pipeline.codec.adaptive import AdaptiveTables
from pipeline.codec.rans import SymbolReader, SymbolWriter, _encode_few, joined
from pipeline.codec.tables import FIRST_DOWN, FIRST_MAP, ROWS, initial_tables
from pipeline.errors import StreamError

TABLES = initial_tables()


def write(rows: np.ndarray, symbols: np.ndarray) -> tuple[bytes, int]:
    writer = SymbolWriter(TABLES)
    writer.add(rows, symbols)
    return writer.finish()


def read_through(reader: SymbolReader, rows: np.ndarray) -> None:
    reader.read(rows)
    reader.finish()


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 7, 100, 5000])
def test_round_trip(count):
    rng = np.random.default_rng(count)
    rows = rng.integers(0, FIRST_MAP, count)
    symbols = rng.integers(-3, 4, count)
    symbols[rng.random(count) < 0.3] = rng.integers(-2047, 2048)
    data, zeros = write(rows, symbols)
    assert 0 <= zeros <= 4
    reader = SymbolReader(TABLES, data, zeros, most=count)
    half = count // 2
    found = np.concatenate((reader.read(rows[:half]), reader.read(rows[half:])))
    assert np.array_equal(found, symbols)


def test_shapes_are_kept():
    rows = np.full((3, 4), 30)
    symbols = np.arange(12).reshape(3, 4) - 6
    data, zeros = write(rows, symbols)
    assert np.array_equal(SymbolReader(TABLES, data, zeros, most=12).read(rows), symbols)
    assert SymbolReader(TABLES, data, zeros, most=12).read(np.zeros((0, 3), np.int64)).shape == (0, 3)


def test_the_coder_for_few_symbols_writes_what_compressai_does():
    rng = np.random.default_rng(0)
    for count in (4, 9, 60):
        rows = rng.integers(0, ROWS, count)
        symbols = np.where(rows < FIRST_MAP, rng.integers(-40, 41, count), rng.integers(0, 2, count))
        symbols[:2] = 2047, -2047
        rows[:2] = 1, FIRST_DOWN
        sections = []
        for part in (slice(3), slice(3, count)):
            writer = SymbolWriter(TABLES)
            writer.add(rows[part], symbols[part])
            sections.append(writer.section())
        theirs, zeros = joined(sections)
        assert _encode_few(sections) == theirs[: 8 - zeros] + bytes(zeros) + theirs[8 - zeros :]


def test_sections_with_tables_that_change_are_one_stream():
    """A section is coded with the tables as they were when it was made."""
    rng, learning = np.random.default_rng(5), AdaptiveTables(TABLES)
    parts = [(rng.integers(0, FIRST_MAP, n), rng.integers(-3, 4, n)) for n in (40, 0, 3, 9000, 500)]
    sections, alone = [], 0
    for rows, symbols in parts:
        writer = SymbolWriter(learning)
        writer.add(rows, symbols)
        sections.append(writer.section())
        alone += len(writer.finish()[0])
        learning.learn(rows, symbols)
    data, zeros = joined(sections)
    assert len(data) < alone - 16

    def read(reader: SymbolReader) -> None:
        learning = AdaptiveTables(TABLES)
        for rows, symbols in parts:
            reader.begin(learning)
            assert np.array_equal(reader.read(rows), symbols)
            found = reader.end()
            assert np.array_equal(found[0], rows)
            learning.learn(*found)
        reader.finish()

    read(SymbolReader(TABLES, data, zeros, most=20_000))
    with pytest.raises(StreamError, match="follow"):
        read(SymbolReader(TABLES, data + bytes(4), zeros, most=20_000))


def test_nothing_at_all_is_the_empty_state():
    assert SymbolWriter(TABLES).finish() == (b"\0\0\0\x80", 4)


@pytest.mark.parametrize(
    ("data", "zeros"),
    [
        (b"", 0),
        (b"", 7),
        (b"\0\0\0\x80", 3),  # shorter than its state
        (b"\0\0\0\x7f", 4),  # a state no coder has
        (b"\0\0\0\x80\0\0\0\x80", 0),
        (b"\0\0\0\x80\1\2\3", 4),  # not whole words
        (b"\0\0\0\x80" + bytes(4000), 4),  # more than so few symbols can take
    ],
)
def test_what_no_writer_makes_is_refused(data, zeros):
    with pytest.raises(StreamError):
        SymbolReader(TABLES, data, zeros, most=10)


@pytest.mark.parametrize("fill", [b"", b"\xff", b"\xf0", b"\0", b"\x7f"])
@pytest.mark.parametrize("row", [0, 1, 40, FIRST_DOWN, FIRST_MAP])
def test_reading_far_past_the_end_stays_in_bounds(fill, row):
    """Chains of escapes ask for many bytes; what comes back is arbitrary, but the process lives and the end is seen."""
    reader = SymbolReader(TABLES, b"\xff" * 7 + b"\x7f" + fill * 4000, 0, most=50_000)
    with pytest.raises(StreamError):
        read_through(reader, np.full(50_000, row))


def test_data_that_is_left_or_missing_is_refused():
    rng = np.random.default_rng(1)
    rows, symbols = rng.integers(10, 40, 20_000), rng.integers(-2, 3, 20_000)
    data, zeros = write(rows, symbols)
    whole = SymbolReader(TABLES, data, zeros, most=20_000)
    assert np.array_equal(whole.read(rows), symbols)
    whole.finish()
    longer = SymbolReader(TABLES, data + bytes(4), zeros, most=20_000)
    longer.read(rows)
    with pytest.raises(StreamError, match="follow"):
        longer.finish()
    early = SymbolReader(TABLES, data, zeros, most=20_000)
    early.read(rows[:-40])
    with pytest.raises(StreamError, match="follow"):
        early.finish()
    shorter = SymbolReader(TABLES, data[:-4], zeros, most=20_000)
    with pytest.raises(StreamError, match="ends before"):
        read_through(shorter, rows)
    with pytest.raises(StreamError, match="ends before"):
        SymbolReader(TABLES, data[: 8 - zeros + 4000], zeros, most=20_000).read(rows)


def test_the_coder_comes_without_its_package() -> None:
    """In a process of its own; and who wants the package afterwards gets it, with the same coder."""
    code = (
        "import sys\n"
        "from pipeline.codec import Decoder, ans\n"
        "print(sorted({'compressai', 'scipy.stats', 'pandas', 'torchvision'} & set(sys.modules)))\n"
        "from compressai import ans as theirs\n"
        "print(theirs.RansDecoder is ans.RansDecoder)\n"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "True"]
