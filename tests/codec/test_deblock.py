"""The filter over edges: what it smooths, what it leaves, and that a second one written from FORMAT.md agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.codec.deblock import how_predicted, smooth
from pipeline.codec.modes import AFTER, BEFORE, BOTH, MOVED, PLATE, SPLIT, STILL
from tests import reference_decoder

ROWS, COLS = 3, 4  # cells


def planes(luma: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    chroma = np.ascontiguousarray(luma[::2, ::2])
    y, u, v = (torch.from_numpy(plane.astype(np.uint8))[None] for plane in (luma, chroma, chroma))
    return y, u, v.clone()


def blocky(rng: np.random.Generator, spread: float) -> np.ndarray:
    """Smooth, but each position is off by some levels of its own."""
    rows, cols = np.mgrid[: 16 * ROWS, : 16 * COLS]
    own = rng.normal(size=(2 * ROWS, 2 * COLS)).repeat(8, 0).repeat(8, 1) * spread
    return (128 + 40 * np.sin(rows / 9 + cols / 7) + own + rng.normal(size=rows.shape) * 0.7).round().clip(0, 255)


@pytest.mark.parametrize("q", [0, 13, 30, 44, 63])
@pytest.mark.parametrize("spread", [2.0, 9.0, 60.0])
def test_a_second_filter_agrees(q, spread):
    rng = np.random.default_rng(q)
    cells = rng.random((ROWS, COLS)) < 0.8
    n = np.count_nonzero(cells)
    mode, side, vector = rng.integers(0, 4, n), rng.integers(0, 3, n), rng.integers(-1, 2, (n, 4, 2)) * 511
    vector[mode != SPLIT] = vector[mode != SPLIT][:, :1]
    coded = (rng.random((2 * ROWS, 2 * COLS)) < 0.3) & cells.repeat(2, 0).repeat(2, 1)
    ours = planes(blocky(rng, spread))
    before, theirs = [p[0].numpy().copy() for p in ours], [p[0].numpy().astype(int) for p in ours]
    smooth(ours, how_predicted(cells, mode, vector, side), coded, q)
    grids = np.full((ROWS, COLS), -1), np.zeros((ROWS, COLS), int), np.zeros((ROWS, COLS, 4, 2), int)
    for grid, told in zip(grids, (mode, side, vector), strict=True):
        grid[cells] = told
    reference_decoder.smooth(theirs, reference_decoder.told_apart(*grids), coded, q)
    for mine, other, was in zip(ours, theirs, before, strict=True):
        assert np.array_equal(mine[0].numpy(), other)
        assert q == 63 or not np.array_equal(other, was)


def steps(height: float) -> np.ndarray:
    """A picture of two halves."""
    luma = np.full((16 * ROWS, 16 * COLS), 100.0)
    luma[:, 16 * COLS // 2 :] += height
    return luma


@pytest.mark.parametrize(("height", "smoothed"), [(6, True), (120, False)])
def test_a_small_step_is_smoothed_and_a_large_one_is_the_pictures(height, smoothed):
    found, alike = planes(steps(height)), np.zeros((2 * ROWS, 2 * COLS), np.int64)
    smooth(found, alike, np.ones(alike.shape, np.bool_), 30)
    assert (not np.array_equal(found[0][0].numpy(), steps(height))) == smoothed
    luma = found[0][0].numpy().astype(int)
    assert np.abs(np.diff(luma, axis=1)).max() == (height if not smoothed else np.abs(np.diff(luma[0])).max())
    assert not smoothed or np.abs(np.diff(luma, axis=1)).max() < height


def test_what_is_predicted_alike_and_not_coded_has_no_edge():
    found, alike = planes(steps(6)), np.zeros((2 * ROWS, 2 * COLS), np.int64)
    smooth(found, alike, np.zeros(alike.shape, np.bool_), 30)
    assert np.array_equal(found[0][0].numpy(), steps(6))


def test_outside_of_the_map_nothing_changes():
    cells = np.ones((ROWS, COLS), np.bool_)
    cells[:, COLS // 2 :] = False
    n = np.count_nonzero(cells)
    how = how_predicted(cells, np.zeros(n, np.int64), np.zeros((n, 4, 2), np.int64), np.zeros(n, np.int64))
    found = planes(steps(6))
    smooth(found, how, np.ones(how.shape, np.bool_), 30)
    assert np.array_equal(found[0][0].numpy(), steps(6)), "the edge of the map is none of its edges"


def test_what_makes_a_prediction_another():
    def number(mode: int, vector: tuple[int, int] = (0, 0), side: int = BOTH) -> int:
        one = np.ones((1, 1), np.bool_)
        return int(how_predicted(one, np.array([mode]), np.tile(np.array(vector), (1, 4, 1)), np.array([side]))[0, 0])

    assert number(MOVED, (4, -7)) == number(SPLIT, (4, -7))
    others = [number(MOVED, vector) for vector in ((0, 0), (1, 0), (0, 1), (-1, 0))]
    others += [number(STILL), number(STILL, (1, 0)), number(PLATE)]
    others += [number(MOVED, side=side) for side in (BEFORE, AFTER)]
    assert len(set(others)) == len(others)
    assert min(others) >= 0
    assert number(MOVED, (-16383, 16383)) != number(MOVED, (-16382, -16383))
