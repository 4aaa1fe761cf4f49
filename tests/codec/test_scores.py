"""Scores: exact integers, the grid's phases, and a fit that learns."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.codec.decisions import Scored
from pipeline.codec.past import LONG_AGO, Past
from pipeline.codec.scores import (
    AROUND,
    HERE,
    HIDDEN,
    LEVELS,
    MARGIN,
    PHASES,
    Places,
    Score,
    Square,
    begin,
    phase_grid,
    steps_of,
)
from pipeline.codec.tables import FIRST_FLAG, SCORES, Counts, initial_scores, initial_tables
from pipeline.training.scores import fit_all, fit_score


def worst(inputs: int, sign: int) -> Score:
    full = np.full((HIDDEN, inputs), sign * 127.0, np.float32)
    bias = np.full(HIDDEN, sign * 2.0**20, np.float32)
    return Score(full, bias, np.full((1, HIDDEN), 127, np.float32), np.full(1, -(2.0**20), np.float32))


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_stay_exact_at_the_very_worst(sign):
    """Everything that is seen is 255."""
    score, places = worst(256, sign), Places(np.ones((1, 1), np.bool_))
    planes, begun = np.full(places.shape, 255, np.uint8).ravel(), np.empty((1, HIDDEN), np.float32)
    steps, shared = np.zeros(200, np.int64), np.full(56, 255, np.uint8)
    begin(score.columns, score.hidden_bias, 0, planes, steps, places.at, shared, begun)
    total = 256 * 127 * 255 + 2**20
    assert total < 2**24
    assert (begun == sign * total).all()


def some_score(rng: np.random.Generator, inputs: int, decisions: int) -> Score:
    return Score(
        rng.integers(-127, 128, (HIDDEN, inputs)).astype(np.float32),
        rng.integers(-5000, 5000, HIDDEN).astype(np.float32),
        rng.integers(-127, 128, (decisions, HIDDEN)).astype(np.float32),
        rng.integers(20_000, 40_000, decisions).astype(np.float32),
    )


def test_levels_are_those_of_plain_integers():
    rng = np.random.default_rng(0)
    score, x = some_score(rng, 40, 3), rng.integers(0, 256, (200, 40))
    w, b, v, c = (part.astype(np.int64) for part in score.parts())
    inner = ((x @ w.T + b) >> 7).clip(0, 255)
    expected = ((inner @ v.T + c) >> 10).clip(0, LEVELS - 1)
    found = score.levels(x.astype(np.uint8))
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 10


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (12, 17)])
@pytest.mark.parametrize("share", [0.05, 0.9])
def test_compiled_tables_are_those_of_what_is_seen(shape, share):
    """With grids sparse and dense, and as `inputs` has it, which is seen square by square in plain steps."""
    rng = np.random.default_rng(7)
    squares = (Square(2, centre=False), Square(1, step=2)), (Square(1), Square(), Square(1, centre=False))
    score, cells = some_score(rng, 24 + 9 + PHASES + 1 + 9 + 1 + 8 + 3, 3), rng.random(shape) < 0.7
    places, shared = Places(cells), np.array((3, 0, 255), np.uint8)
    planes, within = places.planes(5)
    within[:] = rng.integers(0, 256, within.shape) * (rng.random(within.shape) < share)
    tables = initial_tables()
    tables.scores["some"] = score
    scored = Scored(tables, "some", 1000, places, planes, squares, shared)
    for phase, here in enumerate(places.here):
        inputs, counts = scored.inputs(phase, (1,)), places.begin_phase(phase, (1,))
        assert np.array_equal(scored.rows(phase, (1,)), 1000 + np.arange(3) * LEVELS + score.levels(inputs))
        for row, col, seen in zip(places.row[here], places.col[here], inputs, strict=True):
            near, fixed = (
                [planes[k, row + MARGIN + y, col + MARGIN + x] for k, square in enumerate(part, first)
                 for y, x in square.steps()] for first, part in ((0, squares[0]), (2, squares[1]))
            )  # fmt: skip
            assert seen.tolist() == [*near, *counts, *fixed, *shared]


@pytest.mark.parametrize("change", [("hidden", 128), ("hidden_bias", 1 << 21), ("out", -128), ("out", 3000)])
def test_scores_that_could_overflow_are_refused(change):
    name, value = change
    packed = initial_scores()["map"].pack("x")
    packed[f"x.{name}"].view(-1)[0] = value
    with pytest.raises(ValueError, match="score"):
        Score.unpack("x", packed)
    packed[f"x.{name}"] = packed[f"x.{name}"][:-1]
    with pytest.raises(ValueError, match="score"):
        Score.unpack("x", packed)


def test_phases_are_a_pyramid():
    grid = phase_grid((8, 8))
    assert np.bincount(grid.ravel(), minlength=PHASES).tolist() == [4, 4, 8, 16, 32]
    assert grid[:3, :3].tolist() == [[0, 4, 2], [4, 3, 4], [2, 4, 1]]


def test_squares_around_places():
    grid = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    places = Places(grid > 11)
    planes, within = places.planes(2)
    within[1] = grid
    seen = planes.ravel()[places.at[0] + steps_of((Square(1), HERE), 0, places.shape)]
    assert seen.tolist() == [0] * 9 + [12]
    seen = planes.ravel()[places.at[0] + steps_of((Square(1), AROUND), 1, places.shape)[:9]]
    assert seen.tolist() == [7, 8, 0, 11, 12, 0, 0, 0, 0]
    assert Square(2, centre=False).steps()[12] == (0, 1)
    assert Square(1, step=2).steps()[:4] == [(-2, -2), (-2, 0), (-2, 2), (0, -2)]


def test_places_are_in_raster_order_and_in_phases():
    inside = np.random.default_rng(1).random((9, 6)) < 0.5
    places = Places(inside)
    assert np.array_equal(np.stack((places.row, places.col), axis=1), np.argwhere(inside))
    assert [here.tolist() for here in places.here] == [
        np.flatnonzero(phase_grid((9, 6))[inside] == phase).tolist() for phase in range(PHASES)
    ]


def test_shares_are_of_what_is_known():
    places = Places(np.ones((4, 4), np.bool_))
    assert places.known_before(0) == 0
    assert places.begin_phase(0, (0,)).tolist() == [255, 0, 0, 0, 0, 0]
    assert places.begin_phase(3, (2,)).tolist() == [0, 0, 0, 255, 0, 255 * 2 // 4]


def test_what_is_kept_of_earlier_frames():
    past = Past.none((1, 2))
    assert past.since.tolist() == [[LONG_AGO, LONG_AGO]]
    cells = np.array([[True, False]])
    for _ in range(100):
        past = past.then(cells, past.mode, past.vector, past.coded, past.total, past.filled)
    assert past.since.tolist() == [[0, LONG_AGO]]
    assert past.habit.tolist() == [[248, 0]]
    past = past.then_nothing()
    assert past.since.tolist() == [[1, LONG_AGO]]
    assert past.habit.tolist() == [[217, 0]]
    assert not past.cells.any()


def test_a_score_learns_and_tables_follow():
    rng = np.random.default_rng(2)
    inputs = rng.integers(0, 2, (120_000, SCORES["flag"][0])).astype(np.uint8) * 255
    decided = ((inputs[:, 3] > 0) ^ (inputs[:, 9] > 0)).astype(np.int8)[:, None]  # nothing linear
    labels = np.concatenate((np.zeros_like(decided), decided), axis=1)
    score = fit_score(inputs, decided)
    assert ((score.levels(inputs) > 31) == decided).all()
    fitted = fit_all(initial_tables(), Counts(examples={"flag": [(inputs, labels)]}))
    assert np.array_equal(fitted.scores["flag"].hidden, score.hidden)
    assert np.array_equal(fitted.scores["map"].hidden, initial_scores()["map"].hidden)
    ones = [1 - row[1] / 65536 for row in fitted.rows[FIRST_FLAG : FIRST_FLAG + LEVELS]]
    assert min(ones) < 0.01
    assert max(ones) > 0.99
