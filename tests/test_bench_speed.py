"""What the speed benchmark counts, not how fast anything is."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pipeline.bench.clip import Clip
from pipeline.bench.speed import STAGES, as_text, measure_activity, measure_speed, stages
from pipeline.cli import call
from pipeline.types import Masked
from tests.codec.clips import walk


def clip(count: int = 4) -> Clip:
    return Clip("walk", tuple(Masked(frame, mask) for frame, mask in walk(count, 64, 96)), 25.0)


def test_every_task_of_every_codec_is_timed() -> None:
    said: list[str] = []
    found = measure_speed(clip(), quality=40, names=("x264-veryfast-zl",), rounds=2, report=said.append)
    tasks = {(timing.codec, timing.task) for timing in found.timings}
    assert tasks == {
        ("fovea", "encode"), ("fovea", "decode"), ("fovea", "decode foreground"),
        ("x264-veryfast-zl", "encode"), ("x264-veryfast-zl", "decode"),
    }  # fmt: skip
    assert len(said) == len(tasks)
    assert all(timing.cpu_seconds > 0 for timing in found.timings)
    table = as_text(found)
    assert len(table) == 1 + len(tasks) + len(STAGES) + 1
    assert table[1][3] == "1.00"


def test_stages_add_up_to_the_whole() -> None:
    found = stages(clip(), 40)
    assert list(found) == [*STAGES, "rest"]
    assert sum(found.values()) == pytest.approx(1)
    assert all(0 < share < 1 for share in found.values()), found


def test_activity_covers_the_shares_asked_for() -> None:
    found = measure_activity(clip(3), quality=40, shares=(0.0, 0.3, 1.0))
    shares = [share for share, _ in found.points]
    assert shares[0] == 0
    assert shares[2] == 1
    assert 0.1 < shares[1] < 0.5
    assert np.isfinite([found.constant, found.slope, found.r_squared]).all()
    assert "R2" in str(found)


def test_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--frames", "3", "--detector", "motion", "--opponents", "x264-veryfast-zl", "--rounds", "1", "--json"]
    assert call(["bench", "speed", "demo://street?size=96x64", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["clips"]) == 1
    assert found["clips"][0]["activity"] is None
