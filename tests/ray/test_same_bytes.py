"""Where the chain runs changes nothing in what is stored: packets on Ray are those of one process, byte for byte."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipeline.config import CameraConfig, CodecConfig, DetectorConfig, RayConfig, SiteConfig, SourceConfig
from pipeline.local import Chain, SiteRun, run_chain
from pipeline.recording import plan_site
from pipeline.store import Store, open_segment
from pipeline.types import Packet

pytestmark = pytest.mark.ray
LIMIT_S = 300.0  # only a hang takes as long


def site(store: Path, config: RayConfig) -> SiteConfig:
    """A camera that begins at a given time, with one thread."""
    url = "demo://street?size=96x64&seed=6"
    camera = CameraConfig(
        source=SourceConfig(url=url, frames=22, start_time=datetime(2026, 1, 31, 12, tzinfo=UTC)),
        detector=DetectorConfig(kind="motion", every=2),
        codec=CodecConfig(threads=1, device="cpu", gop_s=1.0),
    )
    return SiteConfig(store=store, cameras={"yard": camera}, ray=config)


def record(store: Path, config: RayConfig, chain: Chain) -> Path:
    job = SiteRun(plan_site(site(store, config)), chain=chain)
    job.start()
    assert job.wait(LIMIT_S)
    assert [str(report.error) for report in job.failed] == []
    assert job.cameras["yard"].counters.coded == 22
    return store


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory, ray_config: RayConfig) -> Path:
    """An archive recorded in this process."""
    return record(tmp_path_factory.mktemp("local") / "archive", ray_config, run_chain)


def stored(store: Path) -> list[Packet]:
    with Store(store, readonly=True) as archive, ExitStack() as stack:
        readers = [open_segment(archive, segment, stack) for segment in archive.segments("yard")]
        return [item.packet for reader in readers for item in reader.packets()]


def test_ray_and_local_store_the_same_packets(local: Path, tmp_path: Path, ray_config: RayConfig) -> None:
    from workers.chain import ray_chain

    on_ray = record(tmp_path / "ray", ray_config, ray_chain(ray_config))
    assert len(stored(local)) == 22
    assert any(packet.foreground for packet in stored(local))
    assert any(packet.background for packet in stored(local))
    assert stored(local) == stored(on_ray)


def test_a_stored_range_is_replayed(local: Path, ray_config: RayConfig) -> None:
    from pipeline.codec import Decoder
    from pipeline.replay import replay
    from workers.replay import ReplayPlan, play

    with Store(local, readonly=True) as store:
        begin = store.segments("yard")[0].first_wall_us
        until = begin + 1_500_000
        here = list(replay(store, "yard", begin, until, make_decoder=lambda info: Decoder(info, threads=1)))
    there = list(play(ReplayPlan(local, "yard", begin, until, device="cpu", threads=1, batch=4)))
    assert len(there) == len(here) == 15
    for a, b in zip(here, there, strict=True):
        assert (a.index, a.pts_us, a.wall_us) == (b.index, b.pts_us, b.wall_us)
        assert a.y.tobytes() + a.u.tobytes() + a.v.tobytes() == b.y.tobytes() + b.u.tobytes() + b.v.tobytes()
