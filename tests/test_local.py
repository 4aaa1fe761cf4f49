"""The local runner on tiny chains: order, accounting, failures, stopping."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from pipeline.errors import CodecError, JobError, SourceError
from pipeline.footage import Relief
from pipeline.local import SiteRun, run_chain
from tests.chains import Tight, TinyPlan

LIMIT_S = 30.0


@pytest.fixture
def plan(tmp_path: Path) -> TinyPlan:
    return TinyPlan("one", tmp_path / "one")


def finish(plans: Sequence[TinyPlan]) -> SiteRun:
    job = SiteRun(plans)
    job.start()
    assert job.wait(LIMIT_S)
    return job


def test_every_frame_in_order(plan: TinyPlan) -> None:
    counters = finish([plan]).cameras["one"].counters
    assert plan.written() == plan.expected()
    assert (counters.frames_in, counters.coded, counters.dropped) == (50, 50, 0)
    assert (counters.bytes_foreground, counters.bytes_background) == (50 * 4, 50 * 2)


def test_a_source_that_ends_on_a_batch(plan: TinyPlan) -> None:
    plan = plan.but(count=8)
    assert finish([plan]).cameras["one"].counters.coded == 8
    assert plan.written() == plan.expected()


def test_a_failing_camera_leaves_the_others_alone(plan: TinyPlan, tmp_path: Path) -> None:
    closed = plan.but(camera="closed", out=tmp_path / "closed", source_fails_at=-1)
    codec = plan.but(camera="codec", out=tmp_path / "codec", codec_fails_at=10)
    job = finish([closed, plan, codec])
    assert plan.written() == plan.expected()
    assert codec.written() == codec.expected(8)  # whole batches before the one that failed
    assert {report.camera for report in job.failed} == {"closed", "codec"}
    assert isinstance(job.cameras["closed"].error, SourceError)
    assert isinstance(job.cameras["codec"].error, CodecError)
    counters = job.cameras["codec"].counters
    assert counters.frames_in == counters.coded + counters.dropped == 12


def test_no_frames_is_an_error(plan: TinyPlan) -> None:
    job = finish([plan.but(count=0)])
    assert isinstance(job.cameras["one"].error, SourceError)
    assert "no frames" in str(job.cameras["one"].error)


def test_an_unexpected_error_is_a_line(plan: TinyPlan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.chains.checksum", lambda item: 1 / 0)
    report = finish([plan]).cameras["one"]
    assert type(report.error) is JobError
    assert str(report.error) == "ZeroDivisionError: division by zero"
    assert isinstance(report.unexpected, ZeroDivisionError)


def test_stop_stores_what_was_coded(plan: TinyPlan) -> None:
    plan = plan.but(count=1_000_000)
    job = SiteRun([plan])
    job.start()
    while job.cameras["one"].counters.coded < 20:
        assert not job.wait(0.01)
    job.stop()
    assert job.wait(LIMIT_S)
    counters = job.cameras["one"].counters
    assert not job.failed
    assert counters.frames_in == counters.coded
    assert plan.written() == plan.expected(counters.coded)


def test_a_live_source_drops_and_counts(plan: TinyPlan) -> None:
    plan = plan.but(count=400, live=True, codec_pause_s=0.01)
    job = finish([plan])
    counters = job.cameras["one"].counters
    assert counters.dropped > 0
    assert counters.frames_in == 400 == counters.coded + counters.dropped
    indices = [line[0] for line in plan.written()[:-1] if isinstance(line, list)]
    assert indices == sorted(set(indices))
    assert indices[-1] == 399  # the newest frames are kept


def test_a_budget_thins_live_cameras_alone(plan: TinyPlan, tmp_path: Path) -> None:
    budget, live = Tight(), plan.but(camera="live", out=tmp_path / "live", count=400, live=True)
    job = SiteRun([plan, live], chain=partial(run_chain, budget=budget))
    job.start()
    assert job.wait(LIMIT_S)
    assert plan.written() == plan.expected()
    counters = job.cameras["live"].counters
    assert counters.thinned > 0
    assert counters.frames_in == 400 == counters.coded + counters.dropped
    assert counters.dropped >= counters.thinned
    assert job.cameras["live"].relief == Relief(4, 0.25)
    assert job.cameras["one"].relief == Relief()
    assert budget.nodes_of == {"live": ""}
    assert (budget.done["live"], budget.lanes) == (counters.coded, {"one", "live"})
