"""Measures and opponents: known errors give known decibels, every opponent gives back every frame in order."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipeline.bench import opponents
from pipeline.bench.demo import DemoMeter
from pipeline.bench.quality import BEST_DB, Distortion, psnr
from pipeline.bench.rd import Point, bytes_at, measure_fovea, measure_opponent
from pipeline.errors import JobError
from pipeline.types import Frame, Masked, RoiMask


def frame(index: int, *, width: int = 96, height: int = 64, offset: int = 0) -> Frame:
    """A gradient that slides."""
    x = (np.arange(width)[None] * 2 + np.arange(height)[:, None] + 3 * index + offset) % 200
    half = (-(-height // 2), -(-width // 2))
    grey = np.full(half, 128, np.uint8)
    return Frame(x.astype(np.uint8), grey, grey.copy(), index, index * 100_000, index * 100_000)


def masked(count: int, **size: int) -> list[Masked]:
    frames = [frame(i, **size) for i in range(count)]
    cells = np.zeros((-(-frames[0].height // 16), -(-frames[0].width // 16)), np.bool_)
    cells[1:3, 2:4] = True
    return [Masked(f, RoiMask(cells, cells.astype(np.uint8) * 255), ()) for f in frames]


def test_psnr_of_known_errors() -> None:
    assert psnr(0.0) == BEST_DB
    assert psnr(255.0**2) == 0.0
    assert psnr(1.0) == pytest.approx(48.13, abs=0.01)


def test_regions_are_measured_apart() -> None:
    source = frame(0)
    cells = np.zeros((4, 6), np.bool_)
    cells[0, 0] = True
    y = source.y.astype(np.int16)
    y[:16, :16] += 4
    decoded = Frame(y.astype(np.uint8), source.u, source.v, 0, 0, 0)
    distortion = Distortion()
    distortion.add(source, decoded, cells)
    assert distortion.mse(0) == pytest.approx(6 * 16 / 8)
    assert distortion.background_psnr == BEST_DB
    assert distortion.weighted_psnr == pytest.approx(psnr(0.8 * 12))


def test_without_a_foreground_the_background_is_the_measure() -> None:
    distortion = Distortion()
    distortion.add(frame(0), frame(0, offset=1), np.zeros((4, 6), np.bool_))
    assert math.isnan(distortion.mse(0))
    assert distortion.weighted_psnr == distortion.background_psnr


def test_frames_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="frame 0 compared with frame 1"):
        Distortion().add(frame(0), frame(1), np.zeros((4, 6), np.bool_))


def test_bytes_at_interpolates_and_never_extrapolates() -> None:
    points = [Point("x", 1, 100, 30, 30, 30), Point("x", 2, 400, 40, 40, 40)]
    assert bytes_at(points, 35) == pytest.approx(200)
    assert math.isnan(bytes_at(points, 29.9))
    assert math.isnan(bytes_at(points, 40.1))
    assert math.isnan(bytes_at([], 35))


@pytest.mark.parametrize("name", sorted(opponents.OPPONENTS))
def test_opponents_give_back_every_frame(name: str) -> None:
    opponent = opponents.OPPONENTS[name]
    frames = masked(6)
    fine = measure_opponent(opponent, frames, setting=opponent.settings[0], gop=6, fps=10)
    coarse = measure_opponent(opponent, frames, setting=opponent.settings[-1], gop=6, fps=10)
    low, high = (coarse, fine) if opponent.codec != "jpeg" else (fine, coarse)
    assert high.weighted_psnr > low.weighted_psnr > 10
    assert high.bytes > low.bytes > 0


def test_opponents_take_odd_sizes() -> None:
    opponent = opponents.OPPONENTS["x264-zerolatency"]
    point = measure_opponent(opponent, masked(3, width=97, height=65), setting=17, gop=3, fps=10)
    assert point.weighted_psnr > 35


def test_fovea_is_measured_with_its_container() -> None:
    point = measure_fovea(masked(3), quality=50)
    assert point.bytes > 200
    assert point.foreground_psnr > 15


def test_the_demo_meter_counts_what_passes() -> None:
    frames = masked(4)
    meter = DemoMeter(frames, fps=10)
    passed = list(meter.watch(item.frame for item in frames))
    report = meter.report()
    assert [f.index for f in passed] == [0, 1, 2, 3]
    assert report.foreground_psnr == BEST_DB
    assert report.raw_bytes == sum(f.nbytes for f in passed)
    assert not report.x264_known  # no curve reaches identity


def test_the_demo_meter_notices_missing_frames() -> None:
    frames = masked(3)
    meter = DemoMeter(frames, fps=10)
    list(meter.watch(item.frame for item in frames[:2]))
    with pytest.raises(JobError, match="2 of 3 frames"):
        meter.report()
