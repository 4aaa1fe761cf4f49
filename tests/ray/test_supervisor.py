"""A site's supervisor on a cluster: goes on without the command that began it, and is started again when it dies."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config import (
    CameraConfig,
    CodecConfig,
    DetectorConfig,
    MonitorConfig,
    RayConfig,
    SiteConfig,
    SourceConfig,
)
from pipeline.errors import JobError
from pipeline.store import Store, check

pytestmark = pytest.mark.ray
LIMIT_S = 300.0


def site(store: Path, config: RayConfig, url: str = "demo://street?size=96x64&seed=6") -> SiteConfig:
    camera = CameraConfig(
        source=SourceConfig(url=url), detector=DetectorConfig(kind="motion"), codec=CodecConfig(threads=1, device="cpu")
    )
    return SiteConfig(store=store, cameras={"yard": camera}, ray=config)


def until(met: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not met():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def durable(root: Path) -> int:
    with Store(root, readonly=True) as store:
        return sum(segment.frames for segment in store.segments("yard")) if "yard" in store.cameras() else 0


def test_it_outlives_its_command_and_its_own_death(
    tmp_path: Path, ray_config: RayConfig, caplog: pytest.LogCaptureFixture
) -> None:
    from workers.supervisor import supervised

    wanted = site(tmp_path / "archive", ray_config)
    with Store(wanted.store):
        pass
    with supervised(wanted, None, frames=None) as job:  # a command that goes away without a word
        until(lambda: not job.wait(0) and durable(wanted.store) > 0)
        first = job.view
    with supervised(wanted, None, frames=None) as job, caplog.at_level(logging.INFO, "pipeline"):
        assert (job.view.life, job.view.pid) == (first.life, first.pid)
        os.kill(first.pid, signal.SIGKILL)
        until(lambda: not job.wait(0) and job.view.life != first.life and job.view.cameras["yard"].counters.coded > 0)
        assert job.view.pid != first.pid
        job.stop()
        assert job.wait(LIMIT_S)
        coded = job.view.cameras["yard"].counters.coded
    with Store(wanted.store, readonly=True) as store:
        segments = store.segments("yard")
        assert [str(fault) for fault in check(store)] == []
    lives = sorted({segment.epoch for segment in segments})
    assert len(lives) == 2
    assert sum(segment.frames for segment in segments if segment.epoch == lives[1]) == coded
    assert "the supervisor died and was started again" in caplog.text
    assert any(getattr(record, "camera", None) == "yard" for record in caplog.records)


def test_what_keeps_it_from_beginning_is_told_and_nothing_stays(tmp_path: Path, ray_config: RayConfig) -> None:
    import ray

    from workers.supervisor import NAMESPACE, name_of, supervised

    wanted = site(tmp_path / "archive", ray_config)
    wanted = wanted.model_copy(update={"monitor": MonitorConfig(listen="192.0.2.1:9464")})  # not an address of ours
    with Store(wanted.store):
        pass
    with pytest.raises(JobError, match=r"monitor\.listen"), supervised(wanted, None, frames=None):
        pass

    def gone() -> bool:
        try:
            ray.get_actor(name_of(wanted.store), namespace=NAMESPACE)
        except ValueError:
            return True
        return False

    until(gone)
