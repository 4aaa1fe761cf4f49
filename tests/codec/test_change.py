"""Change in the background: noise is none, a thing is some; the clean scene waits under things."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.codec.change import ChangeDetector, CleanScene, KeptSource, block_means
from pipeline.codec.state import Geometry, Planes
from tests.codec.clips import frame_of, texture

GEOMETRY = Geometry(64, 96)
CPU = torch.device("cpu")
NONE = np.zeros((4, 6), np.bool_)


def picture(y: np.ndarray) -> Planes:
    return GEOMETRY.pad(frame_of(np.clip(y, 0, 255).astype(np.uint8), 0), CPU)


def means(y: np.ndarray) -> Tensor:
    return block_means(picture(y))


def test_noise_is_not_change():
    rng = np.random.default_rng(0)
    wall = texture(64, 96, 1).astype(float)
    detector = ChangeDetector()
    kept = means(wall + rng.normal(scale=3, size=wall.shape))
    found = []
    for _ in range(20):
        now = means(wall + rng.normal(scale=3, size=wall.shape))
        detector.see(now, kept, NONE)
        found.append(detector.changed(now, kept, step=10, moving=NONE))
    assert np.mean(found[10:]) < 0.02


def noisy(detector: ChangeDetector, wall: np.ndarray, rng: np.random.Generator, busy: np.ndarray) -> None:
    """Twenty pictures of noise, ten times as strong where it is `busy`."""
    scale = np.where(busy, 30.0, 3.0).repeat(16, 0).repeat(16, 1)
    for _ in range(20):
        now = means(wall + rng.normal(size=wall.shape) * scale)
        detector.see(now, now, busy)


def test_what_moves_under_the_mask_is_not_noise():
    wall, rng, busy = np.full((64, 96), 128.0), np.random.default_rng(0), np.ones((4, 6), np.bool_)
    busy[0] = False
    detectors = ChangeDetector(), ChangeDetector()
    noisy(detectors[0], wall, rng, busy)
    noisy(detectors[1], wall, rng, NONE)
    for detector in detectors:
        assert detector.changed(means(wall + 8.0), means(wall), step=10, moving=NONE).all()


def test_to_look_for_change_teaches_nothing():
    """A frame between others is looked at again after those beside it."""
    wall, rng = np.full((64, 96), 128.0), np.random.default_rng(0)
    detector = ChangeDetector()
    noisy(detector, wall, rng, NONE)
    before = detector._noise, detector._last
    assert before[0] != 1.0, "it has learned"
    detector.changed(means(wall + 40.0), means(wall), step=10, moving=NONE)
    detector.differs(means(wall + 40.0), means(wall), step=10)
    assert (detector._noise, detector._last) == before
    detector.see(means(wall + 40.0), means(wall), NONE)
    assert detector._noise != before[0]


def test_less_is_noise_around_what_moved():
    wall, rng, moving = np.full((64, 96), 128.0), np.random.default_rng(0), NONE.copy()
    moving[1, 1] = True
    detector = ChangeDetector()
    noisy(detector, wall, rng, NONE)
    found = detector.changed(means(wall + 3.0), means(wall), step=10, moving=moving)
    expected = NONE.copy()
    expected[:3, :3] = True
    assert np.array_equal(found, expected)


def test_a_thing_is_change_where_it_is():
    wall = texture(64, 96, 1).astype(float)
    thing = wall.copy()
    thing[16:32, 32:48] = 255 - thing[16:32, 32:48] + 40
    found = ChangeDetector().changed(means(thing), means(wall), step=10, moving=NONE)
    expected = np.zeros((4, 6), np.bool_)
    expected[1, 2] = True
    assert np.array_equal(found, expected)


def test_colour_alone_is_change():
    wall = texture(64, 96, 1)
    a, b = (block_means(GEOMETRY.pad(frame_of(wall, 0, tint=t), CPU)) for t in (0, 30))
    assert ChangeDetector().changed(b, a, step=10, moving=NONE).all()


def test_a_coarse_step_hides_small_change():
    wall = texture(64, 96, 1, contrast=20)
    assert ChangeDetector().changed(means(wall + 6.0), means(wall), step=4, moving=NONE).all()
    assert not ChangeDetector().changed(means(wall + 6.0), means(wall), step=128, moving=NONE).any()


def test_clean_scene_waits_under_things_and_takes_what_is_seen_at_once():
    wall = texture(64, 96, 1)
    covered = wall.copy()
    covered[:16, :16] = 0
    busy = np.zeros((4, 6), np.bool_)
    busy[0, 0] = True
    scene = CleanScene(picture(covered), busy)
    assert np.array_equal(scene.unclean, busy)
    scene.update(picture(covered), busy=busy, changed=np.zeros_like(busy))
    assert not scene.picture()[0][0, :16, :16].any()
    scene.update(picture(wall), busy=np.zeros_like(busy), changed=np.zeros_like(busy))
    assert not scene.unclean.any()
    assert np.array_equal(scene.picture()[0][0, :16, :16].numpy(), wall[:16, :16])


def test_clean_scene_follows_slowly():
    scene = CleanScene(picture(np.full((64, 96), 100)), np.zeros((4, 6), np.bool_))
    none = np.zeros((4, 6), np.bool_)
    scene.update(picture(np.full((64, 96), 116)), busy=none, changed=none)
    assert int(scene.picture()[0][0, 5, 5]) == 101
    for _ in range(200):
        scene.update(picture(np.full((64, 96), 116)), busy=none, changed=none)
    assert int(scene.picture()[0][0, 5, 5]) == 116


def test_kept_source_keeps_only_the_cells_named():
    kept = KeptSource(means(np.full((64, 96), 10)))
    cells = np.zeros((4, 6), np.bool_)
    kept.keep(means(np.full((64, 96), 200)), cells)
    assert int(kept.means[0].max()) == 160
    cells[3, 5] = True
    kept.keep(means(np.full((64, 96), 200)), cells)
    assert int(kept.means[0, 12:, 20:].min()) == 3200
    assert int((kept.means[0] == 3200).sum()) == 16
