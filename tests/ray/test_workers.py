"""The chain on Ray: the same as in one process, only elsewhere."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.budget import Budget
from pipeline.config import RayConfig
from pipeline.errors import CodecError, JobError, SourceError
from pipeline.local import SiteRun
from tests.chains import Tight, TinyPlan

pytestmark = pytest.mark.ray
LIMIT_S = 300.0


@pytest.fixture
def plan(tmp_path: Path) -> TinyPlan:
    return TinyPlan("one", tmp_path / "one")


def finish(plans: Sequence[TinyPlan], config: RayConfig, budget: Budget | None = None) -> SiteRun:
    from workers.chain import ray_chain

    job = SiteRun(plans, chain=ray_chain(config, budget=budget))
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
    # On a busy machine what the codec had done last may not have reached the sink when its process died.
    *written, last = plan.written()
    assert last == "closed"
    assert written == plan.expected(8)[: len(written)]


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


def test_a_budget_thins_live_cameras_of_a_node_alone(plan: TinyPlan, tmp_path: Path, ray_config: RayConfig) -> None:
    import ray

    budget, live = Tight(), plan.but(camera="live", out=tmp_path / "live", count=400, live=True)
    job = finish([plan, live], ray_config, budget)
    assert plan.written() == plan.expected()
    counters = job.cameras["live"].counters
    assert counters.thinned > 0
    assert counters.frames_in == 400 == counters.coded + counters.dropped
    assert budget.nodes_of == {"live": ray.get_runtime_context().get_node_id()}
    assert budget.done["live"] == counters.coded
    assert {lane.split()[0] for lane in budget.lanes} == {"codec", "detector"}


def test_a_stop_does_not_wait_for_a_worker_that_is_being_set_up(
    plan: TinyPlan, tmp_path: Path, ray_config: RayConfig
) -> None:
    from workers.chain import ray_chain

    slow = plan.but(setup_waits_for=tmp_path / "never")
    job = SiteRun([slow], chain=ray_chain(ray_config))
    job.start()
    while not (tmp_path / "never.asked").exists():
        assert not job.wait(0.05)
    job.stop()
    assert job.wait(LIMIT_S)  # the worker itself would wait for ever
    assert not job.failed
    assert not plan.out.exists()


def test_machines_are_asked(ray_config: RayConfig) -> None:
    import ray

    from workers.machines import Machines

    with Machines(period_s=0.05) as machines:
        deadline = time.monotonic() + LIMIT_S
        while not machines.uses():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        (use,) = machines.uses().items()
    assert use[0] == ray.get_runtime_context().get_node_id()
    assert use[1].memory_bytes > use[1].memory_used_bytes > 0


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


def test_a_run_of_its_own_joins_no_other_ray(monkeypatch: pytest.MonkeyPatch, ray_config: RayConfig) -> None:
    """Ray would join whatever an earlier cluster left noted in /tmp, dead or alive."""
    import ray

    from workers.runtime import runtime

    given: list[dict[str, object]] = []
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "init", lambda **options: given.append(options))
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with runtime(RayConfig(), cameras=1):
        pass
    monkeypatch.setenv("RAY_AUTH_TOKEN", "x" * 32)
    with runtime(RayConfig(address="10.0.0.1:6379"), cameras=1):
        pass
    assert [options["address"] for options in given] == ["local", "10.0.0.1:6379"]
    assert "object_store_memory" not in given[1]
