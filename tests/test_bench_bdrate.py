"""BD-rates of curves that are known: what is saved, what does not count, and what is not told."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.interpolate import PchipInterpolator

from pipeline.bench.bdrate import Curve, Envelope, background_holds, bd_rate, mean_over_clips
from pipeline.bench.rd import Point

PSNR = (30.0, 32.5, 36.0, 39.0)
BYTES = (10_000, 14_000, 31_000, 70_000)


def point(
    psnr: float, nbytes: float, *, background: float = 40.0, gop: int = 20, codec: str = "x", foreground: float = 0
) -> Point:
    return Point(
        codec=codec, setting=1, gop=gop, nbytes=round(nbytes), bits_per_pixel=0.1, kbps=1, rgb_psnr=psnr, ms_ssim=0.9,
        foreground_psnr=foreground or psnr, background_psnr=background, weighted_psnr=psnr,
    )  # fmt: skip


def curve(*, times: float = 1.0, **others: float) -> list[Point]:
    return [point(p, b * times, **others) for p, b in zip(PSNR, BYTES, strict=True)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "y", [(9.1, 9.5, 10.3, 11.2, 11.3), (9.1, 9.1, 9.0, 12.0, 11.0), (1.0, 5.0, 5.1, 5.1, 90.0)], ids=str
)
def test_curves_are_pchip(y: tuple[float, ...]) -> None:
    x = np.array((28.0, 30.5, 31.0, 36.0, 40.0))
    at = np.linspace(28, 40, 97)
    assert Curve.through(zip(x, y, strict=True))(at) == pytest.approx(PchipInterpolator(x, y)(at), rel=1e-12)


def test_curves_end_with_their_points() -> None:
    found = Curve.through([(30, 1), (31, 2), (30, 0.5)])
    assert found.x.tolist() == [30, 31]
    assert found(np.array([29.99, 30, 30.5, 31, 31.01])) == pytest.approx(
        [math.nan, 0.5, 1.25, 2, math.nan], nan_ok=True
    )


def test_of_itself_nothing_is_saved() -> None:
    rate = bd_rate(curve(), curve(), "weighted_psnr")
    assert rate.percent == pytest.approx(0, abs=1e-9)
    assert (rate.counted, rate.overlap_db, rate.overlap_share) == (4, pytest.approx(9), pytest.approx(1))


def test_half_the_bytes_save_half() -> None:
    rate = bd_rate(curve(times=0.5), curve(), "foreground_psnr")
    assert rate.percent == pytest.approx(-50, abs=0.01)


def test_only_what_overlaps_is_compared() -> None:
    own = [point(p + 6, b, foreground=p) for p, b in zip(PSNR, BYTES, strict=True)]
    rate = bd_rate(own, curve(), "weighted_psnr")
    assert rate.overlap_db == pytest.approx(3, abs=0.02)
    assert rate.overlap_share == pytest.approx(1 / 3, abs=0.01)
    assert rate.percent is not None


def test_without_overlap_there_is_no_number() -> None:
    own = [point(p + 8.5, b, background=60) for p, b in zip(PSNR, BYTES, strict=True)]
    rate = bd_rate(own, [point(p, b, foreground=p + 8.5) for p, b in zip(PSNR, BYTES, strict=True)], "weighted_psnr")
    assert rate.percent is None
    assert "share 0.5 dB, 1 are needed" in rate.reason


def test_two_points_are_no_curve() -> None:
    rate = bd_rate(curve()[:2], curve(), "weighted_psnr")
    assert (rate.percent, rate.reason) == (None, "2 points, 3 are needed")


def test_points_whose_background_was_thrown_away_do_not_count() -> None:
    theirs = curve(background=40)
    kept, lost = curve(times=0.5, background=37.01), curve(times=0.5, background=36.99)
    assert all(background_holds(p, theirs) for p in kept)
    assert not any(background_holds(p, theirs) for p in lost)
    rate = bd_rate(lost, theirs, "foreground_psnr")
    assert (rate.percent, rate.counted) == (None, 0)
    assert rate.reason == "the background rule leaves 0 of 4 points"
    assert rate.any_background == pytest.approx(-50, abs=0.01)
    mixed = bd_rate([lost[0], *kept[1:]], theirs, "foreground_psnr")
    assert (mixed.counted, mixed.percent) == (3, pytest.approx(-50, abs=1))  # the curve has a point less
    assert mixed.overlap_share == pytest.approx(6.5 / 9, abs=0.01)


def test_a_foreground_that_they_do_not_reach_does_not_count() -> None:
    assert not background_holds(point(39.1, 1, background=90), curve())


def test_without_a_foreground_every_point_counts() -> None:
    own = curve(times=0.5, background=30, foreground=math.nan)
    theirs = curve(background=40, foreground=math.nan)
    assert bd_rate(own, theirs, "weighted_psnr").percent == pytest.approx(-50, abs=0.01)
    assert bd_rate(own, theirs, "foreground_psnr").reason == "the clip has no foreground"


def test_an_opponent_is_as_good_as_the_best_of_its_curves() -> None:
    long, short = curve(gop=100), curve(gop=20, times=2)
    cheaper_when_coarse = [point(29, 4_000, gop=50), point(31, 9_000, gop=50)]
    best = Envelope([*short, *cheaper_when_coarse, *long], "weighted_psnr")
    assert best.nbytes(36) == pytest.approx(31_000)
    assert best.nbytes(31) == pytest.approx(9_000)
    assert best.nbytes(29.5) < 9_000
    assert math.isnan(best.nbytes(28.9))
    assert math.isnan(best.nbytes(39.1))
    assert bd_rate(curve(), [*short, *long], "weighted_psnr").percent == pytest.approx(0, abs=1e-9)


def test_a_better_picture_for_fewer_bytes_serves_for_a_worse_one() -> None:
    dear = [point(28, 20_000, gop=50), point(32, 40_000, gop=50)]
    best = Envelope([*curve(gop=100), *dear], "weighted_psnr")
    assert best.nbytes(29) == pytest.approx(10_000)
    assert best.other(29, "weighted_psnr") == pytest.approx(30)


def test_the_mean_says_how_many_clips_it_has() -> None:
    rates = [bd_rate(curve(times=t, codec="fovea"), curve(), "weighted_psnr") for t in (0.5, 0.7)]
    rates.append(bd_rate(curve(background=30, codec="fovea"), curve(), "weighted_psnr"))
    (mean,) = mean_over_clips(rates)
    assert (mean.percent, mean.counted, mean.clips) == (pytest.approx(-40, abs=0.01), 2, 3)
    assert mean.any_background == pytest.approx(-80 / 3, abs=0.01)
