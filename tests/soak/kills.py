"""Any worker killed at any moment: does the chain come back every time, and is every frame accounted for?

`python -m tests.soak.kills --minutes 5 DIR` leaves the archive in DIR and prints JSON. Exit status 1 where a promise is
not kept.
"""

from __future__ import annotations

import argparse
import json
import random
import time
from collections import Counter
from pathlib import Path

import psutil

from pipeline.store import Store, check
from tests.rtsp_server import RtspServer
from tests.soak.site import Recorder, camera

WORKERS = ("ray::Camera", "ray::Detector", "ray::Codec", "ray::Sink")
PAUSE_S = 8.0, 16.0
RECOVERED_S = 30.0


def workers_of(recorder: Recorder) -> list[psutil.Process]:
    """The actors of this run, and of no other on the machine."""
    found = []
    for process in psutil.Process(recorder.process.pid).children(recursive=True):
        try:
            if (process.cmdline() or [""])[0].startswith(WORKERS):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def newest_us(store: Path, cameras: list[str]) -> dict[str, int]:
    with Store(store, readonly=True) as archive:
        newest = {item.camera: item.last_wall_us or 0 for item in archive.summary()}
    return {name: newest.get(name, 0) for name in cameras}


def recovery_s(recorder: Recorder, cameras: list[str], killed_s: float) -> float | None:
    """Seconds until every camera has stored a frame that was taken after the kill; None where one does not in time."""
    while time.time() - killed_s < RECOVERED_S:
        if min(newest_us(recorder.store, cameras).values()) > killed_s * 1e6 + 500_000:
            return time.time() - killed_s
        time.sleep(0.25)
    return None


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--cameras", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    names = [f"camera{number}" for number in range(given.cameras)]
    killed: Counter[str] = Counter()
    recoveries: list[float | None] = []
    with RtspServer(cameras=given.cameras) as server:
        sources = {name: camera(server.url(number)) for number, name in enumerate(names)}
        with Recorder(given.root, sources) as recorder:
            recorder.wait_for(len(names))
            until_s = time.monotonic() + given.minutes * 60
            while time.monotonic() < until_s:
                time.sleep(chance.uniform(*PAUSE_S))
                victim = chance.choice(workers_of(recorder))
                killed[victim.cmdline()[0].removeprefix("ray::").split(".")[0]] += 1
                victim.kill()
                recoveries.append(recovery_s(recorder, names, time.time()))
            time.sleep(10)
    with Store(recorder.store, readonly=True) as store:
        faults = [str(fault) for fault in check(store)]
        held = {item.camera: item.frames for item in store.summary()}
    counts = recorder.result["cameras"]
    balanced = all(
        c["frames_in"] == c["coded"] + c["dropped"] + c["killed"] and c["coded"] == held[name]
        for name, c in counts.items()
    )
    ok = balanced and not faults and None not in recoveries
    report = {
        "ok": ok, "kills": dict(killed), "recovered_s": recoveries, "balanced": balanced, "in_archive": held,
        "faults": faults, "cameras": counts,
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
