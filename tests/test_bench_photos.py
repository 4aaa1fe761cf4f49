"""Photos as plates."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.bench.photos import MBT2018_MEAN, PhotoPoint, measure_photos, read_photos, saving
from pipeline.cli import call
from pipeline.errors import SourceError, UsageError
from tests.codec.clips import small_brain, texture


def put_photos(folder: Path) -> Path:
    """Two, one of them upright and of odd size."""
    for number, shape in enumerate(((64, 96), (75, 67))):
        picture = np.stack([texture(*shape, seed) for seed in range(3)], -1) // 2 + 64
        cv2.imwrite(str(folder / f"{number}.png"), picture)
    return folder


def test_better_quality_costs_more(tmp_path: Path) -> None:
    said: list[str] = []
    points = measure_photos(small_brain(), read_photos(put_photos(tmp_path)), (20, 60), report=said.append)
    assert len(said) == 2
    assert points[0].bits_per_pixel < points[1].bits_per_pixel
    assert 20 < points[0].rgb_psnr < points[1].rgb_psnr


def test_a_curve_of_half_the_bits_saves_half() -> None:
    half = [PhotoPoint(50, bits / 2, decibels) for bits, decibels in MBT2018_MEAN[2:6]]
    percent, overlap = saving(half, MBT2018_MEAN) or (0, 0)
    assert percent == pytest.approx(-50, abs=0.5)
    assert overlap == pytest.approx(MBT2018_MEAN[5][1] - MBT2018_MEAN[2][1])
    assert saving([PhotoPoint(1, 0.1, 10.0), PhotoPoint(2, 0.2, 20.0)], MBT2018_MEAN) is None


def test_what_is_no_photo_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no photos"):
        read_photos(tmp_path)
    (tmp_path / "a.png").write_bytes(b"no")
    with pytest.raises(SourceError, match=r"a\.png: not an image"):
        read_photos(tmp_path)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["bench", "photos", str(put_photos(tmp_path)), "--quality", "30", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["photos"], len(found["points"]), found["mbt2018_mean"]) == (2, 1, None)
