"""Interpolation against a plain integer implementation of H.265's."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch

from pipeline.codec.motion import fetch, fetch_by_tensors, fetch_luma, mirrored
from pipeline.codec.state import Sides

LUMA = ((0, 0, 0, 64, 0, 0, 0, 0), (-1, 4, -10, 58, 17, -5, 1, 0), (-1, 4, -11, 40, 40, -11, 4, -1),
        (0, 1, -5, 17, 58, -10, 4, -1))  # fmt: skip
CHROMA = ((0, 64, 0, 0), (-2, 58, 10, -2), (-4, 54, 16, -2), (-6, 46, 28, -4), (-4, 36, 36, -4), (-4, 28, 46, -6),
          (-2, 16, 54, -4), (-2, 10, 58, -2))  # fmt: skip


def sample(plane: np.ndarray, y: int, x: int, taps: tuple[tuple[int, ...], ...]) -> int:
    """One sample at (y, x) in units of 1/len(taps)."""
    parts, length = len(taps), len(taps[0])
    total = 0
    for i, down in enumerate(taps[y % parts]):
        for j, across in enumerate(taps[x % parts]):
            row = min(max(y // parts + i - (length // 2 - 1), 0), plane.shape[0] - 1)
            col = min(max(x // parts + j - (length // 2 - 1), 0), plane.shape[1] - 1)
            total += down * across * int(plane[row, col])
    return min(max((total + 2048) >> 12, 0), 255)


@pytest.mark.parametrize("way", [fetch, fetch_by_tensors])
@pytest.mark.parametrize("contrast", [False, True])
def test_interpolation_is_the_integer_one(contrast, way):
    rng = np.random.default_rng(0)
    shapes = ((32, 48), (16, 24), (16, 24))
    planes = [rng.integers(0, 256, shape).astype(np.uint8) for shape in shapes]
    if contrast:
        planes = [(plane // 128 * 255).astype(np.uint8) for plane in planes]
    places = [(0, 0), (3, 5), (1, 2), (2, 4), (0, 3), (3, 0), (2, 1)]
    vectors = [(0, 0), (5, -7), (-3, 2), (-511, 511), (511, -511), (17, 30), (1022, -1023)]
    row, col = (torch.tensor([p[k] for p in places]) for k in (0, 1))
    tensors = [torch.from_numpy(p)[None] for p in planes]
    found = way((tensors[0], tensors[1], tensors[2]), torch.zeros_like(row), row, col, torch.tensor(vectors))
    for n, ((r, c), (dy, dx)) in enumerate(zip(places, vectors, strict=True)):
        expected = [
            sample(planes[0], (r * 8 + i) * 4 + dy, (c * 8 + j) * 4 + dx, LUMA) for i in range(8) for j in range(8)
        ]
        for plane in planes[1:]:
            expected += [
                sample(plane, (r * 4 + i) * 8 + dy, (c * 4 + j) * 8 + dx, CHROMA) for i in range(4) for j in range(4)
            ]
        assert found[n].int().tolist() == expected


def test_every_fraction_of_both_filters():
    rng = np.random.default_rng(1)
    luma, chroma = rng.integers(0, 256, (16, 16)).astype(np.uint8), rng.integers(0, 256, (8, 8)).astype(np.uint8)
    vectors = [(dy, dx) for dy in range(8) for dx in range(8)]
    ones = torch.ones(len(vectors), dtype=torch.int64)
    tensors = torch.from_numpy(luma)[None], torch.from_numpy(chroma)[None], torch.from_numpy(chroma)[None]
    found = fetch(tensors, 0 * ones, ones, 0 * ones, torch.tensor(vectors))
    for n, (dy, dx) in enumerate(vectors):
        assert int(found[n, 9]) == sample(luma, 36 + dy, 4 + dx, LUMA)
        assert int(found[n, 64 + 5]) == sample(chroma, 40 + dy, 8 + dx, CHROMA)
        assert int(found[n, 80 + 5]) == sample(chroma, 40 + dy, 8 + dx, CHROMA)


def test_a_vector_of_whole_pixels_copies():
    plane = torch.randint(0, 256, (1, 48, 48), dtype=torch.uint8)
    one = torch.tensor([2])
    block = fetch_luma(plane, torch.tensor([0]), one, one, torch.tensor([[8, -12]]))
    assert torch.equal(block.view(8, 8).to(torch.uint8), plane[0, 18:26, 13:21])


def test_both_ways_find_the_same():
    rng = np.random.default_rng(1)
    planes = [
        torch.from_numpy(rng.integers(0, 256, (2, *shape)).astype(np.uint8)) for shape in ((48, 64), (24, 32), (24, 32))
    ]
    picture, row, col = (torch.from_numpy(rng.integers(0, most, 2000)) for most in (2, 6, 8))
    vector = torch.from_numpy(rng.integers(-80, 80, (2000, 2)) // rng.choice((1, 4, 40), (2000, 1)))
    places = (picture, row, col, vector)
    assert torch.equal(fetch(tuple(planes), *places), fetch_by_tensors(tuple(planes), *places))


@pytest.mark.parametrize(("near", "far"), [(1, 1), (1, 2), (2, 1), (3, 4), (7, 8)])
def test_what_moves_goes_on_as_it_did(near, far):
    """The other way, to the nearest quarter pixel: halves of a pixel's move up and left."""
    vectors = torch.arange(-511, 512).view(-1, 1).expand(-1, 2)
    expected = [-math.floor(Fraction(far * v, near) + Fraction(1, 2)) for v in range(-511, 512)]
    assert [mirrored(v, near, far) for v in range(-511, 512)] == expected
    empty = (torch.empty(0), torch.empty(0), torch.empty(0))
    assert Sides(empty, empty, near, far).mirrored(vectors)[:, 1].tolist() == expected
