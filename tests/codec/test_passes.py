"""Passes over whole pictures: the same to the bit as plain tensors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from pipeline.codec.blocks import square_means
from pipeline.codec.passes import block_sums, cell_errors, cell_peaks, follow, mean_in_cells

ROWS, COLS = 5, 7


def noise(seed: int, size: int = 16) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (ROWS * size, COLS * size), np.uint8)


@pytest.mark.parametrize(("side", "size"), [(16, 4), (8, 2)])
def test_block_sums(side: int, size: int):
    plane = noise(0, side)
    sums = np.empty((4 * ROWS, 4 * COLS), np.int16)
    block_sums(plane, np.int16(3), sums)
    expected = square_means(torch.from_numpy(plane)[None], size)[0].numpy() * (3 * size**2)
    assert np.array_equal(sums, expected)


def test_cell_peaks():
    rng = np.random.default_rng(1)
    a, b = rng.integers(0, 4081, (2, 3, 4 * ROWS, 4 * COLS), np.int16)
    peaks = np.empty((ROWS, COLS), np.float32)
    cell_peaks(a, b, np.float32(1 / 16), peaks)
    expected = np.abs(a - b).reshape(3, ROWS, 4, COLS, 4).max((0, 2, 4)) / 16
    assert np.array_equal(peaks, expected)


@pytest.mark.parametrize("side", [16, 8])
def test_a_mean_follows_as_interpolation_has_it(side: int):
    rng, plane = np.random.default_rng(2), noise(2, side)
    rate = rng.choice(np.array([0, 1 / 16, 1], np.float32), (ROWS, COLS))
    mean = rng.uniform(0, 255, plane.shape).astype(np.float32)
    weight = torch.from_numpy(rate.repeat(side, 0).repeat(side, 1))
    expected = torch.from_numpy(mean).lerp(torch.from_numpy(plane).float(), weight).numpy()
    follow(plane, rate, mean)
    assert np.array_equal(mean, expected)


@pytest.mark.parametrize("side", [16, 8])
def test_the_mean_of_two_is_in_these_cells_alone(side: int):
    plane, other = noise(4, side), noise(5, side)
    plane[:2, :2], other[:2, :2] = [[0, 1], [255, 255]], [[1, 1], [255, 254]]  # halves up, and no sum is cut off
    cells = np.random.default_rng(6).random((ROWS, COLS)) < 0.5
    cells[0, 0] = True
    expected = np.where(cells.repeat(side, 0).repeat(side, 1), (plane.astype(int) + other + 1) // 2, plane)
    mean_in_cells(other, cells, plane)
    assert np.array_equal(plane, expected)
    assert plane[:2, :2].tolist() == [[1, 1], [255, 255]]


def test_cell_errors():
    planes = [noise(seed) for seed in range(3)]
    planes[2][:16, :16] = 255 - np.where(planes[0][:16, :16] > 127, 255, 0)  # as large as an error can be
    cells = np.random.default_rng(3).random((ROWS, COLS)) < 0.5
    cells[0, 0] = False
    errors = np.empty((ROWS, COLS), np.float32)
    cell_errors(*planes, cells, errors)
    picture, chosen, other = (torch.from_numpy(plane).float() for plane in planes)
    shown = torch.where(torch.from_numpy(cells.repeat(16, 0).repeat(16, 1)), chosen, other)
    assert np.array_equal(errors, F.avg_pool2d((picture - shown).square()[None], 16)[0].numpy())
