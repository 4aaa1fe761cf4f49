"""What a batch is made of: random regions and cells, references that look decoded."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from pipeline.codec.model import CodecNets
from pipeline.training.batches import CELLS, Batches, Picture, degrade
from pipeline.training.data import CORE, CROP, Samples
from pipeline.training.losses import family_losses
from pipeline.training.regions import random_regions

CPU = torch.device("cpu")


@pytest.fixture
def samples() -> Samples:
    """Four moving samples, each of one grey level, and vectors that say which sample they are of."""
    grey = np.arange(4, dtype=np.uint8)[:, None, None, None]
    y, chroma = np.ones((4, 4, CROP, CROP), np.uint8) * grey, np.ones((4, 4, CROP // 2, CROP // 2), np.uint8) * grey
    y[..., : CROP // 2] += 100  # the left half is brighter
    vectors = np.ones((4, 3, CORE // 8, CORE // 8, 2), np.int8) * (grey[..., None] + 1).astype(np.int8)
    return Samples(y, chroma, chroma, vectors)


def test_regions_are_of_every_kind_and_within_bounds() -> None:
    maps = random_regions(np.random.default_rng(1), 400, 16)
    assert maps.shape == (400, 16, 16)
    assert maps.min() >= 0
    assert maps.max() <= 1
    levels = np.array([len(np.unique(m)) for m in maps])
    assert (maps == 1).all((1, 2)).mean() == pytest.approx(0.2, abs=0.06)  # one of five is all importance
    assert (levels == 1).mean() == pytest.approx(0.4, abs=0.1)
    assert (levels == 2).mean() == pytest.approx(0.4, abs=0.1)  # boxes and blobs
    assert (levels == 16).mean() == pytest.approx(0.2, abs=0.06)  # ramps, either way
    ramps = maps[levels == 16]
    assert {bool((m[0] == m[1]).all()) for m in ramps} == {True, False}


def test_regions_follow_the_seed() -> None:
    one, same, other = (random_regions(np.random.default_rng(seed), 8, 16) for seed in (1, 1, 2))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, other)


def test_coded_cells_are_never_none_and_often_the_changed_ones(samples: Samples) -> None:
    batches = Batches(samples, batch=64, device=CPU, seed=1)
    planes = tuple(torch.zeros(64, size, size, dtype=torch.uint8) for size in (CROP, CROP // 2, CROP // 2))
    still = Picture(planes, torch.zeros(64, CORE // 8, CORE // 8, 2))  # type: ignore[arg-type]
    assert batches.cells(still, still.planes).flatten(1).any(1).all()
    moved = planes[0].clone()
    moved[:, 24:56, 24:56] = 200  # the first 2x2 cells
    changed = torch.zeros(CELLS, CELLS, dtype=torch.bool)
    changed[:2, :2] = True
    found = batches.cells(Picture((moved, *planes[1:]), still.vectors), still.planes)  # type: ignore[arg-type]
    assert (found == changed).flatten(1).all(1).float().mean() == pytest.approx(0.45, abs=0.15)
    assert found.flatten(1).all(1).float().mean() > 0.15


def test_a_batch_is_of_whole_samples_mirrored_or_not(samples: Samples) -> None:
    batches = Batches(samples, batch=6, device=CPU, seed=1)
    mirrored = set()
    for _ in range(20):
        first, second, *_ = batches.draw()
        which = first.planes[1][:, 0, 0].long()
        left = bool(second.planes[0][0, 0, 0] > second.planes[0][0, 0, -1])
        down = bool(second.vectors[0, 0, 0, 0] > 0)
        mirrored.add((down, left))
        sign = torch.tensor([1 if down else -1, 1 if left else -1])
        assert torch.equal(second.vectors, (which + 1).view(-1, 1, 1, 1) * sign.expand(6, CORE // 8, CORE // 8, 2))
        assert not first.vectors.any()
    assert len(mirrored) == 4


def test_chosen_samples_come_as_they_are(samples: Samples) -> None:
    batches = Batches(samples, batch=6, device=CPU, seed=1)
    times = batches.draw(np.array([2, 0]))
    assert len(times) == 4
    assert torch.equal(times[3].planes[0], torch.from_numpy(samples.y[[2, 0], 3]))


def test_degraded_references_get_closer_with_quality() -> None:
    rng = np.random.default_rng(2)
    smooth = cv2.GaussianBlur(rng.integers(0, 255, (64, 64), np.uint8), (0, 0), 3)
    planes = tuple(
        torch.from_numpy(np.ascontiguousarray(p))[None] for p in (smooth, smooth[::2, ::2], smooth[::2, ::2])
    )
    errors = [
        (degrade(planes, torch.tensor([q]), torch.eye(96))[0].float() - planes[0]).square().mean()
        for q in (20.0, 40.0, 60.0)
    ]
    assert errors[0] > errors[1] > errors[2]


@pytest.mark.parametrize("family", ["intra", "inter"])
def test_padded_positions_are_coded_as_those_without_padding(family: str) -> None:
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    y = (
        cv2.resize(rng.integers(0, 256, (40, 40, 12), np.uint8), (CROP, CROP))
        .transpose(2, 0, 1)
        .reshape(4, 3, CROP, CROP)
    )
    vectors = rng.integers(-8, 8, (4, 2, CORE // 8, CORE // 8, 2)).astype(np.int8)
    batches = Batches(Samples(y, y[..., ::2, ::2], y[..., 1::2, ::2], vectors), batch=4, device=CPU, seed=3)
    batch = batches.next(family)
    nets = CodecNets(inter_channels=8, intra_channels=8, depth=(2, 1))
    with torch.no_grad():
        plain, padded, cut = (family_losses(nets, batch, most=most) for most in (None, 4 * 16 * 16, 40))
    assert torch.allclose(plain[1:], padded[1:], rtol=1e-4)
    assert torch.isfinite(cut).all()
    assert (cut[1] > plain[1]) == (family == "inter")  # the forty that are worth most
