"""Measures and opponents: known errors give known values, every opponent gives back every frame in order."""

from __future__ import annotations

import math

import av
import numpy as np
import pytest
import torch
from pytorch_msssim import ms_ssim as reference_ms_ssim

from pipeline.bench import fovea, opponents, rd
from pipeline.bench.agreement import Agreement, Witness, bytes_for, f1_at, same_objects
from pipeline.bench.clip import Clip, cut
from pipeline.bench.demo import DemoMeter
from pipeline.bench.opponents import OPPONENTS, Attempt, rectangles
from pipeline.bench.quality import BEST_DB, Distortion, RgbDistortion, psnr
from pipeline.bench.structure import ms_ssim
from pipeline.errors import JobError, UsageError
from pipeline.types import Detection, Frame, Masked, RoiMask


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


def clip(count: int, **size: int) -> Clip:
    return Clip("gradient", tuple(masked(count, **size)), 10)


def noisy_clip(count: int) -> Clip:
    """Noise costs bits everywhere, so that there is something to allocate."""
    noise = np.random.default_rng(1).integers(0, 255, (count, 64, 96), np.uint8)
    items = [
        Masked(Frame(y, m.frame.u, m.frame.v, k, m.frame.pts_us, 0), m.mask)
        for k, (y, m) in enumerate(zip(noise, masked(count), strict=True))
    ]
    return Clip("noise", tuple(items), 10)


def measured(name: str, of: Clip, setting: int, offset: float = 0.0) -> rd.Point:
    coded = opponents.code(OPPONENTS[name], of, Attempt(setting, len(of), offset))
    return rd.measure(of, coded, codec=name, setting=setting, gop=len(of), offset=offset)


def test_psnr_of_known_errors() -> None:
    assert psnr(0.0) == BEST_DB
    assert psnr(255.0**2) == 0.0
    assert psnr(1.0) == pytest.approx(48.13, abs=0.01)
    assert math.isnan(psnr(math.nan))


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
    assert math.isnan(distortion.foreground_psnr)
    assert distortion.weighted_psnr == distortion.background_psnr


def test_frames_that_do_not_belong_together_are_refused() -> None:
    with pytest.raises(ValueError, match="frame 0 compared with frame 1"):
        Distortion().add(frame(0), frame(1), np.zeros((4, 6), np.bool_))


def test_grey_that_is_ten_brighter_is_ten_brighter_in_rgb() -> None:
    grey = np.full((64, 64), 100, np.uint8)
    half = np.full((32, 32), 128, np.uint8)
    rgb = RgbDistortion(full_range=True)
    rgb.add(Frame(grey, half, half, 0, 0, 0), Frame(grey + 10, half, half, 0, 0, 0))
    assert rgb.psnr == pytest.approx(psnr(100))


def test_ms_ssim_of_a_whole_picture_is_the_known_one() -> None:
    chance = np.random.default_rng(1)
    x = np.cumsum(chance.normal(0, 6, (256, 256)), axis=1) + 128
    source = np.clip(x, 0, 255).astype(np.uint8)
    decoded = np.clip(source + chance.normal(0, 12, x.shape), 0, 255).astype(np.uint8)
    a, b = (torch.from_numpy(p[None, None].astype(np.float32)) for p in (source, decoded))
    known = float(reference_ms_ssim(a, b, data_range=255))
    assert 0.5 < known < 0.99
    assert ms_ssim(source, decoded, np.ones((16, 16), np.bool_)) == pytest.approx(known, abs=0.01)


def test_ms_ssim_looks_at_the_region_only() -> None:
    source = np.random.default_rng(1).integers(0, 255, (250, 320), np.uint8)
    decoded = source.copy()
    decoded[:, 160:] = 128
    left = np.zeros((16, 20), np.bool_)
    left[:, :4] = True
    assert ms_ssim(source, decoded, left) > 0.999
    assert ms_ssim(source, decoded, ~left) < 0.9
    assert math.isnan(ms_ssim(source, decoded, left & ~left))


def box(x: float, label: str = "car", score: float = 0.9) -> Detection:
    return Detection(x, 0, x + 10, 10, label, score)


def test_boxes_agree_once_each_by_class_and_overlap() -> None:
    assert same_objects([box(0), box(50)], [box(3), box(50)]) == 2
    assert same_objects([box(0)], [box(4)]) == 0  # IoU 6/14
    assert same_objects([box(0)], [box(0, "bus")]) == 0
    assert same_objects([box(0)], [box(0), box(1)]) == 1
    assert same_objects([box(0), box(4)], [box(4, score=0.5), box(3, score=0.9)]) == 1  # the surer one took it
    assert same_objects([], [box(0)]) == same_objects([box(0)], []) == 0


def test_agreement_is_scored() -> None:
    seen = Agreement(source=4, decoded=5, same=3)
    assert (seen.precision, seen.recall, seen.f1) == (0.6, 0.75, pytest.approx(2 / 3))
    assert Agreement(0, 0, 0).f1 == 1
    witness = Witness(lambda f: [box(f.index)] if f.y[0, 0] < 100 else [], [frame(0), frame(1)])
    assert witness.compare(frame(1)) == Agreement(1, 1, 1)
    assert witness.compare(frame(1, offset=150)) == Agreement(1, 0, 0)


def test_f1_is_read_off_between_points_only() -> None:
    curve = [(400, 0.95), (100, 0.85)]
    assert bytes_for(curve, 0.9) == pytest.approx(200)
    assert math.isnan(bytes_for(curve, 0.8))
    assert f1_at(curve, 200) == pytest.approx(0.9)
    assert math.isnan(f1_at(curve, 99))


@pytest.mark.parametrize("name", sorted(OPPONENTS))
def test_opponents_give_back_every_frame(name: str) -> None:
    settings, frames = OPPONENTS[name].settings, clip(6)
    offset = OPPONENTS[name].offsets[0]
    coarse, fine = (measured(name, frames, setting, offset) for setting in (settings[0], settings[-1]))
    assert fine.foreground_psnr > coarse.foreground_psnr > 10
    assert fine.nbytes > coarse.nbytes > 0
    assert fine.bits_per_pixel == pytest.approx(fine.nbytes * 8 / (6 * 96 * 64))
    assert fine.kbps == pytest.approx(fine.nbytes * 8 / 600)


def test_opponents_take_odd_sizes() -> None:
    assert measured("x264-veryfast-zl", clip(3, width=97, height=65), 15).weighted_psnr > 35


@pytest.mark.parametrize("name", ["x264-medium", "x265-medium", "svt-av1-8", "mjpeg"])
def test_bytes_are_told_by_frame(name: str) -> None:
    frames = clip(6)
    coded = opponents.code(OPPONENTS[name], frames, Attempt(OPPONENTS[name].settings[4], 6))
    assert sum(coded.layers["stream"]) == coded.nbytes
    assert len(coded.layers["stream"]) == 6
    assert min(coded.layers["stream"]) > 0
    assert len(list(coded.frames)) == 6


@pytest.mark.parametrize("name", ["x264-medium", "x265-medium"])
def test_opponents_do_not_pay_for_their_signature(name: str) -> None:
    """x264 signs with 700 bytes and x265 with 2,300."""
    assert measured(name, clip(1), 51).nbytes < 300


@pytest.mark.parametrize("name", ["x264-roi", "x265-roi"])
def test_addroi_shifts_bits_to_the_foreground(name: str) -> None:
    frames = noisy_clip(3)
    plain, slight, strong = (measured(name, frames, 43, offset) for offset in (0.0, -0.1, -0.3))
    assert strong.foreground_psnr > slight.foreground_psnr + 1 > plain.foreground_psnr + 2
    assert strong.background_psnr < plain.background_psnr + 1
    assert strong.nbytes > plain.nbytes


def test_a_frozen_background_stands_still() -> None:
    frames = noisy_clip(4)
    plain, frozen = measured("x265-medium", frames, 31), measured("x265-frozen", frames, 31)
    assert frozen.background_psnr < plain.background_psnr - 5
    assert frozen.foreground_psnr > plain.foreground_psnr - 2
    assert frozen.nbytes < plain.nbytes


def test_a_frozen_background_is_as_clean_as_the_clip_allows() -> None:
    """What stands in the first frame is replaced by what is seen when it has gone."""
    first, then = masked(2)
    gone = Masked(then.frame, RoiMask.empty(64, 96))
    shown = list(opponents._frozen([first, gone]))
    assert (shown[1].y[16:48, 32:64] == then.frame.y[16:48, 32:64]).all()
    assert (shown[1].y[:16] == first.frame.y[:16]).all()
    assert (shown[0].y == first.frame.y).all()


def test_rectangles_cover_the_mask_once() -> None:
    cells = np.random.default_rng(3).random((9, 13)) < 0.6
    cells[2:5, 4:8] = True
    count = np.zeros(cells.shape, int)
    for row, col, rows, cols in rectangles(cells):
        count[row : row + rows, col : col + cols] += 1
    assert (count == cells).all()
    assert rectangles(np.ones((4, 5), np.bool_)) == [(0, 0, 4, 5)]
    assert rectangles(np.zeros((4, 5), np.bool_)) == []


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    assert opponents.missing(OPPONENTS["x265-roi"]) == ""
    monkeypatch.setattr(av, "codecs_available", {"libx264", "h264"})
    monkeypatch.setattr(av.filter, "filters_available", set())
    assert opponents.missing(OPPONENTS["x264-medium"]) == opponents.missing(OPPONENTS["mjpeg"]) == ""
    assert "libx265, hevc, the filter addroi" in opponents.missing(OPPONENTS["x265-roi"])
    with pytest.raises(UsageError, match="svt-av1-8: this PyAV was built without libsvtav1"):
        opponents.code(OPPONENTS["svt-av1-8"], clip(2), Attempt(40, 2))


def test_opponents_are_measured_around_our_quality() -> None:
    frames = clip(4)
    asked: list[str] = []
    own = [measured("x264-medium", frames, setting) for setting in (29, 33)]
    points = rd.measure_opponents(frames, ["x264-veryfast-zl"], own=own, report=asked.append)
    psnrs = [point.weighted_psnr for point in points]
    assert psnrs == sorted(psnrs)
    assert psnrs[0] <= min(p.weighted_psnr for p in own) < max(p.weighted_psnr for p in own) <= psnrs[-1]
    assert len(asked) == len(points) < len(OPPONENTS["x264-veryfast-zl"].settings)
    again = rd.measure_opponents(frames, ["x264-veryfast-zl"], own=own, known=points, report=asked.append, jobs=2)
    assert again == points
    assert len(asked) == len(points)


def test_gops_are_two_and_ten_seconds() -> None:
    x264 = OPPONENTS["x264-medium"]
    assert rd.gops(x264, clip(150)) == [20, 100]
    assert rd.gops(x264, clip(60)) == [20, 60]
    assert rd.gops(x264, clip(12)) == [12]
    assert rd.gops(OPPONENTS["mjpeg"], clip(60)) == [1]


def test_fovea_is_measured_with_its_container() -> None:
    frames = clip(3)
    coded = fovea.code(frames, 50)
    assert sum(map(sum, coded.layers.values())) == coded.nbytes
    assert min(coded.layers["container"]) >= 0 < coded.layers["container"][0]
    point = rd.measure(frames, coded, codec="fovea", setting=50, gop=20)
    assert point.nbytes > 200
    assert point.foreground_psnr > 15
    assert 0 < point.ms_ssim <= 1


def test_cuts_begin_anew() -> None:
    taken = cut((frame(i) for i in range(9)), skip=4, count=3)
    assert [(f.index, f.pts_us) for f in taken] == [(0, 0), (1, 100_000), (2, 200_000)]
    assert (taken[0].y == frame(4).y).all()


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
