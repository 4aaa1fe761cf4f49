"""Scores: exact integers, the grid's phases, and a fit that learns."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.codec.past import LONG_AGO, Past
from pipeline.codec.scores import HIDDEN, LEVELS, PHASES, Places, Score, phase_grid
from pipeline.codec.tables import FIRST_FLAG, SCORES, Counts, initial_scores, initial_tables
from pipeline.training.scores import fit_all, fit_score


def worst(inputs: int, sign: int) -> Score:
    full = np.full((HIDDEN, inputs), sign * 127.0, np.float32)
    bias = np.full(HIDDEN, sign * 2.0**20, np.float32)
    return Score(full, bias, np.full((1, HIDDEN), 127, np.float32), np.full(1, -(2.0**20), np.float32))


@pytest.mark.parametrize("sign", [1, -1])
def test_sums_stay_exact_at_the_very_worst(sign):
    """Parts of 0 and 255 alternate, so that any order of adding passes the largest sums."""
    score = worst(256, sign)
    x = np.full((3, 256), 255, np.float32)
    total = 256 * 127 * 255 + 2**20
    assert total < 2**24
    assert (score.begin(x) == sign * total).all()


def test_levels_are_those_of_plain_integers():
    rng = np.random.default_rng(0)
    score = Score(
        rng.integers(-127, 128, (HIDDEN, 40)).astype(np.float32),
        rng.integers(-5000, 5000, HIDDEN).astype(np.float32),
        rng.integers(-127, 128, (3, HIDDEN)).astype(np.float32),
        rng.integers(20_000, 40_000, 3).astype(np.float32),
    )
    x = rng.integers(0, 256, (200, 40))
    w, b, v, c = (part.astype(np.int64) for part in score.parts())
    inner = ((x @ w.T + b) >> 7).clip(0, 255)
    expected = ((inner @ v.T + c) >> 10).clip(0, LEVELS - 1)
    found = score.levels(score.begin(x[:, 15:].astype(np.float32)), x[:, :15].astype(np.float32))
    assert np.array_equal(found, expected)
    assert len(np.unique(found)) > 10


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
    assert places.near(places.pad(grid), 1)[0].tolist() == [7, 8, 0, 11, 12, 0, 0, 0, 0]
    assert len(places.near(places.pad(grid), 2, centre=False)[0]) == 24


def test_shares_are_of_what_is_known():
    places = Places(np.ones((4, 4), np.bool_))
    assert places.known_before(0) == 0
    assert places.begin_phase(0, (0,)).tolist() == [[255, 0, 0, 0, 0, 0]]
    assert places.begin_phase(3, (2,))[0].tolist() == [0, 0, 0, 255, 0, 255 * 2 // 4]


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
    assert (
        (score.levels(score.begin(inputs[:, :0].astype(np.float32)), inputs.astype(np.float32)) > 31) == decided
    ).all()
    fitted = fit_all(initial_tables(), Counts(examples={"flag": [(inputs, labels)]}))
    assert np.array_equal(fitted.scores["flag"].hidden, score.hidden)
    assert np.array_equal(fitted.scores["map"].hidden, initial_scores()["map"].hidden)
    ones = [1 - row[1] / 65536 for row in fitted.rows[FIRST_FLAG : FIRST_FLAG + LEVELS]]
    assert min(ones) < 0.01
    assert max(ones) > 0.99
