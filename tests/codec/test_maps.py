"""Cell maps and coded block flags: there and back, and what may not be."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.codec.flags import read_flags, write_flags
from pipeline.codec.maps import read_map, write_map
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.tables import FIRST_FLAG, FIRST_MAP, FIRST_TAKEN, LEVELS, SCORES, Counts, initial_tables
from pipeline.errors import StreamError
from pipeline.types import Layer
from tests.codec.side import random_past, random_vectors, reader_of

TABLES = initial_tables()


@pytest.mark.parametrize("layer", list(Layer))
@pytest.mark.parametrize("shape", [(4, 4), (5, 7), (4, 9), (1, 1), (7, 2), (3, 1)])
def test_maps_round_trip(layer, shape):
    rng = np.random.default_rng(1)
    for share in (0.0, 0.1, 0.6, 1.0):
        past, cells = random_past(rng, shape), rng.random(shape) < share
        moment = Moment(layer, 40, 3)
        writer = SymbolWriter(TABLES)
        write_map(writer, moment, cells, past)
        assert np.array_equal(read_map(reader_of(writer), moment, past), cells)


@pytest.mark.parametrize("layer", list(Layer))
@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (1, 1)])
def test_flags_round_trip(layer, shape):
    rng = np.random.default_rng(5)
    for share in (0.0, 0.2, 1.0):
        cells = rng.random(shape) < 0.6
        cells[0, 0] = True
        fine = cells.repeat(2, 0).repeat(2, 1)
        past, flags = random_past(rng, shape), fine & (rng.random(fine.shape) < share)
        vectors, moment = random_vectors(rng, cells, 300), Moment(layer, 20, 0)
        writer = SymbolWriter(TABLES)
        write_flags(writer, moment, flags, cells, vectors, past)
        rows, _ = writer.collected()
        assert len(rows) == fine.sum()
        first = FIRST_FLAG + LEVELS * int(layer)
        assert ((rows >= first) & (rows < first + LEVELS)).all()
        assert np.array_equal(read_flags(reader_of(writer), moment, cells, vectors, past), flags)


def test_an_unchanged_map_is_cheap():
    cells = np.zeros((36, 64), np.bool_)
    cells[10:20, 10:20] = True
    past = Past.none(cells.shape)
    past = past.then(cells, past.mode, past.vector, past.coded, past.total, past.filled)
    writer = SymbolWriter(TABLES)
    write_map(writer, Moment(Layer.FOREGROUND, 30, 1), cells, past)
    assert len(writer.finish()[0]) < 36 * 64 / 8 / 2


@pytest.mark.parametrize("value", [2, -1, 5])
def test_what_is_not_a_bit_is_refused(value):
    past, moment = Past.none((1, 3)), Moment(Layer.FOREGROUND, 0, 0)
    writer = SymbolWriter(TABLES)
    write_map(writer, moment, np.zeros((1, 3), np.bool_), past)
    rows, symbols = writer.collected()
    wrong = SymbolWriter(TABLES)
    wrong.add(rows, np.array([*symbols[:-1], value]))
    with pytest.raises(StreamError, match="bit"):
        read_map(reader_of(wrong), moment, past)


def test_what_scores_see_is_noted_for_fitting():
    """Each decision once, inputs as wide as the score, and only where someone counts."""
    rng, counts = np.random.default_rng(3), Counts()
    cells = rng.random((5, 6)) < 0.5
    past, moment = random_past(rng, (5, 6)), Moment(Layer.BACKGROUND, 63, 200)
    vectors = random_vectors(rng, cells, 40)
    flags = cells.repeat(2, 0).repeat(2, 1) & (rng.random((10, 12)) < 0.3)
    writer = SymbolWriter(TABLES, counts)
    write_map(writer, moment, cells, past)
    write_flags(writer, moment, flags, cells, vectors, past)
    for name, decided in (("map", cells), ("flag", flags)):
        inputs, labels = (np.concatenate(parts) for parts in zip(*counts.examples[name], strict=True))
        assert inputs.shape[1] == SCORES[name][0]
        assert (labels[:, 0] == 1).all()
        assert labels[:, 1].sum() == decided.sum()
    assert len(labels) == 4 * cells.sum()
    rows, _ = writer.collected()
    assert rows.min() >= FIRST_MAP + LEVELS
    assert rows.max() < FIRST_TAKEN


def test_a_reader_that_runs_out_says_so():
    reader = SymbolReader(TABLES, b"\0\0\0\x80", 4, most=100_000)
    read_map(reader, Moment(Layer.FOREGROUND, 0, 0), Past.none((60, 60)))
    with pytest.raises(StreamError):
        reader.finish()
