"""Modes and vectors: there and back, what candidates are, and what may not be."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.codec.modes import MOVED, PLATE, SPLIT, STILL, ModeField, Vectors, read_modes, write_modes
from pipeline.codec.motion import MAX_VECTOR
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolWriter
from pipeline.codec.scores import PHASES
from pipeline.codec.tables import (
    FIRST_ACROSS,
    FIRST_DOWN,
    FIRST_TAKEN,
    LENGTHS,
    SPREADS,
    TAKEN,
    initial_tables,
)
from pipeline.codec.vectors import FACTS, Guesses, VectorField, guess, read_vectors, vector_bits, write_vectors
from pipeline.errors import StreamError
from pipeline.types import Layer
from tests.codec.side import random_past, random_vectors, reader_of

TABLES = initial_tables()
SHAPE = (6, 9)


@pytest.mark.parametrize("limit", [3, 40, MAX_VECTOR])
@pytest.mark.parametrize("layer", list(Layer))
def test_modes_and_vectors_round_trip(layer, limit):
    rng = np.random.default_rng(limit)
    cells = rng.random(SHAPE) < 0.6
    vectors, past, moment = random_vectors(rng, cells, limit), random_past(rng, SHAPE), Moment(layer, 33, 2)
    writer = SymbolWriter(TABLES)
    write_modes(writer, moment, cells, vectors.mode, past)
    write_vectors(writer, moment, vectors, past)
    reader = reader_of(writer)
    mode = read_modes(reader, moment, cells, past)
    back = read_vectors(reader, moment, vectors.places, mode, past)
    reader.finish()
    assert np.array_equal(back.mode, vectors.mode)
    assert np.array_equal(back.vector, vectors.vector)


def test_prices_are_what_the_coder_takes():
    """What the search adds up, phase by phase, is what is written."""
    rng = np.random.default_rng(9)
    cells = rng.random(SHAPE) < 0.7
    vectors, past, moment = random_vectors(rng, cells, 30), random_past(rng, SHAPE), Moment(Layer.FOREGROUND, 33, 2)
    vectors.mode[vectors.mode == SPLIT] = MOVED
    vectors.vector[vectors.mode == MOVED] = vectors.vector[vectors.mode == MOVED, :1]
    writer = SymbolWriter(TABLES)
    write_modes(writer, moment, cells, vectors.mode, past)
    write_vectors(writer, moment, vectors, past)
    modes, field, bits = ModeField(TABLES, moment, cells, past), VectorField(moment, past), 0.0
    for phase in range(PHASES):
        here = modes.places.here[phase]
        mode = vectors.mode[here]
        bits += modes.bits(phase)[np.arange(len(here)), mode].sum()
        moving = here[mode == MOVED]
        row, col = vectors.places[moving].T
        bits += bits_of(field.guesses(phase, row, col), vectors.vector[moving, 0]).sum()
        modes.holds(phase, mode)
        field.holds(row, col, vectors.vector[moving, 0])
    assert bits == pytest.approx(TABLES.bits(*writer.collected()))


def bits_of(found: Guesses, wanted: np.ndarray) -> np.ndarray:
    """What `vector_bits` says of n vectors."""
    facts = np.column_stack((found.count, found.middle, found.taken, found.down, found.across))
    each = zip(found.vectors, facts, wanted.tolist(), strict=True)
    return np.array([vector_bits(*TABLES.prices, vectors, fact, *vector) for vectors, fact, vector in each])


def guesses(*vectors: tuple[int, int], last: tuple[int, int] | None = None, kind: int = 0) -> Guesses:
    """Of one vector; `last` is the candidate that is no middle."""
    candidates, there = np.zeros((TAKEN, 2), np.int64), np.zeros(TAKEN, np.bool_)
    for slot, vector in (*enumerate(vectors), *(((TAKEN - 1, last),) if last else ())):
        candidates[slot], there[slot] = vector, True
    found, facts = np.empty((1, TAKEN, 2), np.int64), np.empty((1, FACTS), np.int64)
    guess(candidates, there, kind, found[0], facts[0])
    return Guesses.found(found, facts)


def test_candidates_that_agree_come_first():
    found = guesses((1, 1), (5, -7), (1, 2), (5, -7), (1, 1))
    assert found.count.tolist() == [3]
    assert found.vectors[0, :3].tolist() == [[1, 1], [5, -7], [1, 2]]
    assert found.taken.tolist() == [FIRST_TAKEN + 2 * TAKEN + 1]
    assert found.place(np.array([[5, -7]])).tolist() == [1]
    assert found.place(np.array([[5, 7]])).tolist() == [TAKEN]


@pytest.mark.parametrize(
    ("vectors", "middle", "spread"),
    [
        ((), (0, 0), SPREADS - 1),
        (((5, -7),), (5, -7), 0),
        (((5, -7), (2, -8)), (3, -7), 2),
        (((5, -7), (2, -8), (100, 0)), (5, -7), 6),
        (((5, -7), (2, -8), (100, 0), (6, 0)), (5, -3), 6),
    ],
)
def test_the_middle_of_candidates(vectors, middle, spread):
    """Halves go towards zero."""
    found = guesses(*vectors, kind=1)
    assert found.middle.tolist() == [list(middle)]
    assert found.down.tolist() == [FIRST_DOWN + SPREADS + spread]
    assert found.across.tolist() == [FIRST_ACROSS + (SPREADS + spread) * LENGTHS]


def test_the_last_candidate_can_be_taken_but_is_no_middle():
    found = guesses((8, 8), last=(0, 0), kind=2)
    assert found.count.tolist() == [2]
    assert found.middle.tolist() == [[8, 8]]
    assert found.down.tolist() == [FIRST_DOWN + 2 * SPREADS]


def test_a_vector_costs_what_coding_it_takes():
    """Those that can be taken, near ones, far ones, and with nothing to guess from."""
    for found in (guesses((3, 4), (3, 4), (-8, 0), last=(0, 0)), guesses(kind=2)):
        for vector in ((3, 4), (-8, 0), (0, 0), (5, 9), (-500, 511)):
            writer = SymbolWriter(TABLES)

            def code(rows, symbols, writer=writer):
                writer.add(rows, symbols)
                return symbols

            found.code(code, np.array([vector]))
            assert bits_of(found, np.array([vector]))[0] == pytest.approx(TABLES.bits(*writer.collected()))


def read_one(first: tuple[int, int], taken: int | None = None) -> Vectors:
    """A cell whose last vector was (4, 4) if something is to be taken, else none."""
    past = Past.none((1, 1))
    if taken is not None:
        past = past.then(
            np.ones((1, 1), np.bool_), np.array([[MOVED]]), np.array([[[4, 4]]]), past.coded, past.total, past.filled
        )
    writer = SymbolWriter(TABLES)
    spread = SPREADS - 1
    if taken is not None:
        writer.add(np.array([FIRST_TAKEN]), np.array([taken]))
        spread = 0
    if taken is None or taken == TAKEN:
        length = int(np.searchsorted((1, 3, 9, 25), abs(first[0]), side="right"))
        rows = np.array([FIRST_DOWN + spread, FIRST_ACROSS + spread * LENGTHS + length])
        writer.add(rows, np.array(first))
    return read_vectors(reader_of(writer), Moment(Layer.FOREGROUND, 0, 0), np.array([[0, 0]]), np.array([MOVED]), past)


def test_vectors_out_of_range_are_refused():
    assert read_one((MAX_VECTOR, -MAX_VECTOR)).vector[0, 3].tolist() == [MAX_VECTOR, -MAX_VECTOR]
    for wrong in ((MAX_VECTOR + 1, 0), (0, -MAX_VECTOR - 1), (2**29, 0)):
        with pytest.raises(StreamError, match="out of range"):
            read_one(wrong)


def test_what_is_taken_must_be_there():
    assert read_one((0, 0), taken=0).vector[0].tolist() == [[4, 4]] * 4
    assert read_one((1, -1), taken=TAKEN).vector[0, 0].tolist() == [5, 3]
    for wrong in (1, 5, TAKEN + 1, -1):
        with pytest.raises(StreamError, match="taken"):
            read_one((0, 0), taken=wrong)


def test_what_does_not_move_has_no_vector():
    places, past = np.array([[0, 0], [0, 1]]), Past.none((1, 2))
    reader = reader_of(SymbolWriter(TABLES))
    assert not read_vectors(reader, Moment(Layer.FOREGROUND, 0, 0), places, np.array([STILL, PLATE]), past).vector.any()
    reader.finish()
