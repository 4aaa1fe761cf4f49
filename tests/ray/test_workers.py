"""The chain on Ray: the same as in one process, only elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.config import RayConfig
from pipeline.errors import CodecError, JobError, SourceError
from pipeline.local import SiteRun
from tests.chains import TinyPlan

pytestmark = pytest.mark.ray
LIMIT_S = 300.0


@pytest.fixture
def plan(tmp_path: Path) -> TinyPlan:
    return TinyPlan("one", tmp_path / "one")


def finish(plans: Sequence[TinyPlan], config: RayConfig) -> SiteRun:
    from workers.chain import ray_chain

    job = SiteRun(plans, chain=ray_chain(config))
    job.start()
    assert job.wait(LIMIT_S)
    return job


def test_every_frame_in_order(plan: TinyPlan, ray_config: RayConfig) -> None:
    report = finish([plan], ray_config).cameras["one"]
    assert report.error is None
    assert report.detector == "tiny detector"
    assert plan.written() == plan.expected()
    assert (report.counters.frames_in, report.counters.coded, report.counters.dropped) == (50, 50, 0)


def test_errors_keep_their_type_and_their_camera(plan: TinyPlan, tmp_path: Path, ray_config: RayConfig) -> None:
    closed = plan.but(camera="closed", out=tmp_path / "closed", source_fails_at=-1)
    codec = plan.but(camera="codec", out=tmp_path / "codec", codec_fails_at=10)
    job = finish([closed, plan, codec], ray_config)
    assert plan.written() == plan.expected()
    assert codec.written() == codec.expected(8)
    assert type(job.cameras["closed"].error) is SourceError
    assert type(job.cameras["codec"].error) is CodecError
    assert str(job.cameras["codec"].error) == "tiny: no room for frame 10"


def test_a_worker_that_dies_is_one_line(plan: TinyPlan, ray_config: RayConfig) -> None:
    plan = plan.but(codec_dies_at=10)
    error = finish([plan], ray_config).cameras["one"].error
    assert isinstance(error, JobError)
    assert "died" in str(error)
    assert "\n" not in str(error)
    assert plan.written() == plan.expected(8)


def test_a_file_goes_on_behind_its_last_stored_frame(plan: TinyPlan, tmp_path: Path, ray_config: RayConfig) -> None:
    plan = plan.but(codec_dies_at=10, once=tmp_path / "died")
    report = finish([plan], ray_config).cameras["one"]
    counters = report.counters
    assert report.error is None
    assert [line for line in plan.written() if line != "closed"] == plan.expected()[:-1]
    assert (counters.frames_in, counters.coded, counters.dropped, counters.killed) == (50, 50, 0, 0)
    assert counters.restarts == 1


def test_frames_of_a_live_camera_that_died_under_way_are_counted(
    plan: TinyPlan, tmp_path: Path, ray_config: RayConfig
) -> None:
    plan = plan.but(codec_dies_at=10, once=tmp_path / "died", live=True)
    report = finish([plan], ray_config).cameras["one"]
    counters = report.counters
    assert report.error is None
    assert counters.restarts == 1
    assert counters.killed > 0
    assert counters.frames_in == counters.coded + counters.dropped + counters.killed
    assert counters.coded == len([line for line in plan.written() if line != "closed"])


def test_a_death_spares_the_other_groups(plan: TinyPlan, tmp_path: Path, ray_config: RayConfig) -> None:
    """Two CPUs have room for more groups than there are cameras, so each has its own."""
    other = plan.but(camera="two", out=tmp_path / "two", codec_dies_at=10, once=tmp_path / "died")
    job = finish([plan, other], ray_config)
    assert not job.failed
    assert job.cameras["one"].counters.restarts == 0
    assert plan.written() == plan.expected()


def test_large_frames_neither_spill_nor_pile_up(plan: TinyPlan, ray_config: RayConfig) -> None:
    """200 frames of 640x360 are 66 MiB, through a window of 3 batches of 4."""
    import ray

    plan = plan.but(count=200, size=(640, 360))
    assert finish([plan], ray_config).cameras["one"].counters.coded == 200
    store = ray.available_resources()["object_store_memory"]
    assert ray.cluster_resources()["object_store_memory"] - store < 8 << 20


def test_ray_listens_on_loopback_alone(ray_config: RayConfig) -> None:
    import ray

    assert ray.nodes()[0]["NodeManagerAddress"] == "127.0.0.1"
    try:
        listed = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        pytest.skip("no ss on this machine")
    ours = [
        line.split()[3] for line in listed.splitlines() if any(n in line for n in ("raylet", "gcs_server", "ray::"))
    ]
    assert ours
    assert all("127.0.0.1" in address for address in ours), ours
