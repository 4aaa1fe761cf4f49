"""One live camera of 1280x720 at 10 frames a second for a while: does the whole chain keep up?

`python -m tests.soak.live --minutes 10 DIR` records the demo scene as a camera gives it, leaves the archive in DIR and
prints JSON; exit status 1 where a frame was dropped. `--url` records another source, `--runner local` without Ray.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from tests.rtsp_server import free_port
from tests.soak.growth import ask
from tests.soak.site import Recorder

DEMO = "demo://street?size=1280x720&fps=10"
STEP_S = 1.0


def record(root: Path, url: str, seconds: float, *, runner: str, threads: int | None) -> dict[str, Any]:
    port = free_port()
    camera = {"source": {"url": url}, "detector": {"kind": "motion"}, "codec": {"threads": threads}}
    with Recorder(root, {"camera": camera}, runner=runner, monitor={"listen": f"127.0.0.1:{port}"}) as recorder:
        recorder.wait_for(1)
        begin_s, states, busy = time.monotonic(), [], []
        psutil.cpu_percent()
        while time.monotonic() - begin_s < seconds:
            time.sleep(STEP_S)
            states.append(ask(port)["cameras"][0])
            busy.append(psutil.cpu_percent() / 100)
    late = [state["latency_p99_s"] for state in states if state["latency_p99_s"] is not None]
    return {
        "seconds": round(time.monotonic() - begin_s, 1), **recorder.result["cameras"]["camera"],
        "seconds_at_effort": dict(Counter(state["effort"] for state in states)),
        "goes_without": sorted({state["relief"] for state in states}),
        "longest_queue_age_s": round(max(state["queue_age_s"] for state in states), 2),
        "worst_window_p99_s": round(max(late), 2), "machine_cpu": round(sum(busy) / len(busy), 3),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--url", default=DEMO)
    parser.add_argument("--runner", default="ray")
    parser.add_argument("--threads", type=int, default=None)
    given = parser.parse_args()
    url = f"{given.url}&live=1" if given.url.startswith("demo:") else given.url
    found = record(given.root, url, 60 * given.minutes, runner=given.runner, threads=given.threads)
    print(json.dumps(found))
    return 1 if found["dropped"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
