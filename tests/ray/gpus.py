"""One set of cameras over several GPUs and nodes: where is each coded, and is what is stored what one codec would make?

The GPUs are declared, not there: Ray places by them, and the codec runs on the CPU. Nodes are processes of this
machine.

`python -m tests.ray.gpus --gpus 2 1 --cameras 6 DIR`: a node with two GPUs and one with one. Prints JSON; exit status 1
where a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from threading import Event
from typing import Any

from workers.node import LOOPBACK, QUIET

FRAMES = 12
LIMIT_S = 500.0


def site(store: Path, cameras: int) -> Any:
    from pipeline.config import CameraConfig, CodecConfig, DetectorConfig, RayConfig, SiteConfig, SourceConfig

    return SiteConfig(
        store=store,
        ray=RayConfig(object_store_mb=100, group_gpus=1),
        cameras={
            f"camera{number}": CameraConfig(
                source=SourceConfig(
                    url=f"demo://street?size=96x64&seed={number}", frames=FRAMES,
                    start_time=datetime(2026, 1, 31, 12, tzinfo=UTC),
                ),
                detector=DetectorConfig(kind="motion", every=2),
                codec=CodecConfig(threads=1, device="auto", gop_s=1.0),
            )
            for number in range(cameras)
        },
    )  # fmt: skip


@contextmanager
def cluster(gpus: list[int]) -> Iterator[Any]:
    """A node for each number of GPUs, on loopback; gives Ray's own handle of it."""
    os.environ.update(QUIET | LOOPBACK | {"RAY_AUTH_TOKEN": secrets.token_hex(32)})
    import ray
    from ray.cluster_utils import Cluster

    nodes = [{"num_cpus": max(1, n), "num_gpus": n, "object_store_memory": 100 << 20} for n in gpus]
    started = Cluster(initialize_head=True, head_node_args={"include_dashboard": False, **nodes[0]})
    try:
        for node in nodes[1:]:
            started.add_node(**node)
        started.wait_for_nodes()
        ray.init(address=started.address, namespace="fovea", log_to_driver=False, logging_level="ERROR")
        yield started
    finally:
        ray.shutdown()
        started.shutdown()


def placed(_: object) -> tuple[str, tuple[str, ...]]:
    """Runs in an actor: its node and its GPUs."""
    import ray

    context = ray.get_runtime_context()
    return context.get_node_id(), tuple(context.get_accelerator_ids()["GPU"])


def record(store: Path, cameras: int, chain: Any) -> None:
    from pipeline.local import SiteRun
    from pipeline.recording import plan_site

    job = SiteRun(plan_site(site(store, cameras)), chain=chain)
    job.start()
    if not job.wait(LIMIT_S) or job.failed:
        raise RuntimeError(f"failed: {[str(report.error) for report in job.failed]}")


def on_ray(store: Path, cameras: int) -> dict[str, list[tuple[str, tuple[str, ...]]]]:
    """By camera: where its detector and its codec were."""
    import ray

    from workers import chain
    from workers.groups import Group, Pool

    places: list[list[tuple[str, tuple[str, ...]]]] = []

    class Watched(Pool):
        @contextmanager
        def place(self, stop: Event) -> Iterator[Group | None]:
            with super().place(stop) as group:
                assert group is not None
                places.append(ray.get([a.__ray_call__.remote(placed) for a in (group.detector, group.codec)]))
                yield group

    chain.Pool = Watched
    record(store, cameras, chain.ray_chain(site(store, cameras).ray))
    return {f"place {number}": place for number, place in enumerate(places)}


def packets(store: Path) -> dict[str, list[Any]]:
    from pipeline.store import Store, open_segment

    found: dict[str, list[Any]] = {}
    with Store(store, readonly=True) as archive, ExitStack() as stack:
        for camera in archive.cameras():
            readers = [open_segment(archive, segment, stack) for segment in archive.segments(camera)]
            found[camera] = [item.packet for reader in readers for item in reader.packets()]
    return found


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 1])
    parser.add_argument("--cameras", type=int, default=4)
    given = parser.parse_args()
    with cluster(given.gpus):
        places = on_ray(given.root / "ray", given.cameras)
    from pipeline.local import run_chain

    record(given.root / "local", given.cameras, run_chain)
    here, there = packets(given.root / "local"), packets(given.root / "ray")
    codecs = Counter(f"{codec[0][:8]} GPU {','.join(codec[1])}" for _, codec in places.values())
    together = all(detector == codec and len(codec[1]) == 1 for detector, codec in places.values())
    same = here == there and all(len(found) == FRAMES for found in here.values()) and len(here) == given.cameras
    even = len(codecs) == sum(given.gpus) and max(codecs.values()) - min(codecs.values()) <= 1
    nodes = len({codec[0] for _, codec in places.values()})
    ok = together and same and even and nodes == len(given.gpus)
    report = {
        "ok": ok, "cameras_by_codec": codecs, "nodes": nodes, "detector_beside_codec": together,
        "packets_identical_to_one_process": same,
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
