"""What the speed benchmark counts, not how fast anything is."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.bench.chain import BATCH, CAMERA, as_video, by_stage, chain_times, plan_chain, throughput
from pipeline.bench.clip import Clip
from pipeline.bench.run import Plan
from pipeline.bench.sizes import at_sizes, parse_size
from pipeline.bench.speed import as_text, measure_activity, measure_speed, stages
from pipeline.bench.stages import STAGES
from pipeline.cli import call
from pipeline.config import DetectorConfig
from pipeline.errors import JobError, UsageError
from pipeline.local import run_chain
from pipeline.recording import ArchiveSink
from pipeline.store import Store
from pipeline.types import Masked
from tests.codec.clips import walk


def clip(count: int = 4) -> Clip:
    return Clip("walk", tuple(Masked(frame, mask) for frame, mask in walk(count, 64, 96)), 25.0)


def test_every_task_of_every_codec_is_timed() -> None:
    said: list[str] = []
    found = measure_speed(clip(), quality=40, names=("x264-veryfast-zl",), rounds=2, report=said.append)
    tasks = {(timing.codec, timing.task) for timing in found.timings}
    assert tasks == {
        ("fovea", "encode"), ("fovea", "encode balanced"), ("fovea", "encode fast"),
        ("fovea", "decode"), ("fovea", "decode foreground"),
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


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--frames", "6", "--size", "96x64,128x96", "--detector", "motion", "--opponents", "x264-veryfast-zl"]
    more = ["--rounds", "1", "--activity", "--chain", "--footprint", "--out", str(tmp_path / "out"), "--json"]
    assert call(["bench", "speed", "demo://street?seed=3", *options, *more]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(c["speed"]["width"], c["speed"]["height"]) for c in found["clips"]] == [(96, 64), (128, 96)]
    first = found["clips"][0]
    assert list(first["chain"]) == ["source", "detector", *STAGES, "rest of the codec", "write"]
    assert all(seconds >= 0 for seconds in first["chain"].values())
    assert [each["codec"] for each in first["footprints"]] == ["fovea", "x264-veryfast-zl"]
    ours, theirs = first["footprints"]
    assert theirs["idle_mib"] < ours["idle_mib"] <= ours["peak_mib"], "a process of its own each, without torch there"
    assert ours["first_s"] > 0
    assert theirs["first_s"] is None
    assert json.loads((tmp_path / "out" / "speed.json").read_text()) == found
    for name in ("speed-stages.png", "speed-activity.png"):
        assert (tmp_path / "out" / name).read_bytes().startswith(b"\x89PNG")


def test_a_clip_is_scaled_and_its_regions_are_found_anew(tmp_path: Path) -> None:
    whole = clip(6)
    video = as_video(whole, tmp_path / "walk.mp4")
    plan = Plan(detector=DetectorConfig(kind="none"), qualities=(40.0,), opponents=(), frames=4)
    small, large, as_it_is = [*at_sizes(str(video), plan, [(64, 64), (192, 128)]), *at_sizes(str(video), plan, [])]
    assert [(c.width, c.height, len(c)) for c in (small, large, as_it_is)] == [(64, 64, 4), (192, 128, 4), (96, 64, 4)]
    assert large.masked[0].mask.cells.shape == (8, 12)
    shrunk = cv2.resize(large.masked[0].frame.y, (96, 64), interpolation=cv2.INTER_AREA)
    assert np.abs(shrunk.astype(float) - as_it_is.masked[0].frame.y).mean() < 3


@pytest.mark.parametrize("text", ["640", "axb", "10x10", "5000x100", "64x"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="size"):
        parse_size(text)


def test_a_chain_is_timed_without_its_first_batch(tmp_path: Path) -> None:
    whole = clip(BATCH * 2 + 1)
    video = as_video(whole, tmp_path / "walk.mp4")
    plan = plan_chain(video, tmp_path / "store", detector=DetectorConfig(kind="motion"), quality=40)
    times = chain_times(plan)
    assert times.frames == BATCH + 1
    assert times.whole == pytest.approx(times.source + times.detector + times.codec + times.write)
    assert sum(by_stage(times, stages(whole, 40)).values()) == pytest.approx(times.whole)
    with Store(tmp_path / "store", readonly=True) as store:
        assert store.summary()[0].frames == len(whole), "all of it was recorded"
    assert throughput(replace(plan, opener=partial(ArchiveSink, tmp_path / "again", CAMERA)), run_chain) > 0
    short = plan_chain(
        as_video(clip(3), tmp_path / "short.mp4"), tmp_path / "s", detector=DetectorConfig(kind="none"), quality=40
    )
    with pytest.raises(JobError, match="more than 4 frames"):
        chain_times(short)
    with pytest.raises(JobError, match="more than 4 frames"):
        throughput(replace(short, opener=partial(ArchiveSink, tmp_path / "t", CAMERA)), run_chain)
