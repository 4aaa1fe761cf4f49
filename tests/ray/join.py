"""A node that comes to a running site: do cameras move there, and is every frame accounted for?

`python -m tests.ray.join DIR` prints JSON; exit status 1 where a promise is not kept. The GPUs are declared, not there.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

from pipeline.config import RayConfig
from pipeline.local import SiteRun
from tests.chains import TinyPlan
from tests.ray.gpus import cluster

CAMERAS = 2
LIMIT_S = 400.0


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    given = parser.parse_args()
    given.root.mkdir(parents=True, exist_ok=True)
    plans = [
        TinyPlan(f"camera{n}", given.root / f"camera{n}", count=10**9, live=True, pace_s=0.1) for n in range(CAMERAS)
    ]
    with cluster([1]) as started:
        from workers.chain import ray_chain

        job = SiteRun(plans, chain=ray_chain(RayConfig(object_store_mb=100)))  # type: ignore[arg-type]
        job.start()

        def wait_for(nodes: int) -> bool:
            until_s = time.monotonic() + LIMIT_S
            while time.monotonic() < until_s and not job.wait(0.1):
                reports = job.cameras.values()
                coded = min(report.counters.coded for report in reports)
                if coded > 0 and len({report.node for report in reports if report.node}) == nodes:
                    return True
            return False

        crowded = wait_for(1)
        started.add_node(num_cpus=1, num_gpus=1, object_store_memory=100 << 20)
        spread = wait_for(2)
        job.stop()
        ended = job.wait(LIMIT_S)
    counters = {name: asdict(report.counters) for name, report in job.cameras.items()}
    written = {plan.camera: sum(line != "closed" for line in plan.written()) for plan in plans}
    whole = all(
        c["frames_in"] == c["coded"] + c["dropped"]
        and c["coded"] == written[name]
        and c["restarts"] == c["killed"] == 0
        for name, c in counters.items()
    )
    ok = crowded and spread and ended and not job.failed and whole
    print(json.dumps({"ok": ok, "crowded": crowded, "spread": spread, "cameras": counters}, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
