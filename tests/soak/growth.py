"""Some cameras at once for a while: do memory, latency and the object store stay where they were, and what does a
camera cost each process?

`python -m tests.soak.growth --cameras 8 --minutes 10 DIR` leaves the archive in DIR and prints JSON; exit status 1
where a promise is not kept. `--cameras 1 2 4 8` measures one after the other.
"""

from __future__ import annotations

import argparse
import json
import re
import time
import urllib.request
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil

from tests.rtsp_server import RtspServer, free_port
from tests.soak.site import Recorder, camera

WARM_S = 30.0
STEP_S = 5.0
P99_S = 2.0
FLAT = 1.1  # memory at the end, as a multiple of that at the begin
ROLES = ("Camera", "Detector", "Codec", "Sink", "raylet", "gcs_server")


def processes(recorder: Recorder) -> list[psutil.Process]:
    own = psutil.Process(recorder.process.pid)
    return [own, *own.children(recursive=True)]


def cpu_s(recorder: Recorder) -> dict[str, float]:
    """CPU seconds so far by role; `driver` is the command itself, `other` the rest of Ray."""
    used: dict[str, float] = defaultdict(float)
    for process in processes(recorder):
        try:
            name, times = (process.cmdline() or [""])[0], process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        role = next((role for role in ROLES if role in name), "other")
        used["driver" if process.pid == recorder.process.pid else role] += times.user + times.system
    return used


def private_bytes(recorder: Recorder) -> dict[str, int]:
    """Memory that is nobody else's, by role: the object store and libraries are shared, and counted by each process
    that has touched them in what the monitor shows."""
    found: dict[str, int] = defaultdict(int)
    for process in processes(recorder):
        try:
            name, uss = (process.cmdline() or [""])[0], process.memory_full_info().uss
        except psutil.NoSuchProcess:
            continue
        role = next((role for role in ROLES if role in name), "other")
        found["driver" if process.pid == recorder.process.pid else role] += uss
    return found


def spilled_bytes(recorder: Recorder) -> int:
    """What this run's Ray wrote from its object store to disk."""
    for process in processes(recorder):
        found = re.search(r"session_dir=(\S+)", " ".join(process.cmdline()))
        if found:
            spill = [path for path in Path(found[1]).glob("ray_spilled_objects*/*") if path.is_file()]
            return sum(path.stat().st_size for path in spill)
    return 0


def ask(port: int) -> dict[str, Any]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=30) as answer:
        state: dict[str, Any] = json.load(answer)
    return state


def measure(
    root: Path, count: int, seconds: float, *, fps: int, size: tuple[int, int], linger_s: float
) -> dict[str, Any]:
    port = free_port()
    with RtspServer(cameras=count, width=size[0], height=size[1], fps=fps) as server:
        sources = {f"camera{number}": camera(server.url(number)) for number in range(count)}
        monitor, ray = {"listen": f"127.0.0.1:{port}"}, {"linger_s": linger_s}
        with Recorder(root, sources, monitor=monitor, ray=ray) as recorder:
            recorder.wait_for(count)
            time.sleep(WARM_S)
            begin, used, begin_s = ask(port), cpu_s(recorder), time.monotonic()
            private = private_bytes(recorder)
            states = []
            while time.monotonic() - begin_s < seconds:
                time.sleep(STEP_S)
                states.append(ask(port))
            end, used_after, took_s = states[-1], cpu_s(recorder), time.monotonic() - begin_s
            spilled, private_after = spilled_bytes(recorder), private_bytes(recorder)
    frames = _grown(begin, end, "frames_in"), _grown(begin, end, "coded"), _grown(begin, end, "dropped")
    late = [c["latency_p99_s"] for state in states for c in state["cameras"] if c["latency_p99_s"] is not None]
    middle = [c["latency_p50_s"] for state in states for c in state["cameras"] if c["latency_p50_s"] is not None]
    memory = [state["memory_bytes"] for state in states]
    edge = max(1, len(memory) // 10)
    return {
        "cameras": count, "seconds": round(took_s, 1),
        "frames_in": frames[0], "coded": frames[1], "dropped": frames[2],
        "coded_a_second": round(frames[1] / took_s, 2),
        "coded_by_camera": list(_grown_by(begin, end, "coded").values()),
        "goes_without": sorted({c["relief"] for state in states[-10:] for c in state["cameras"]}),
        "latency_p50_s": round(sorted(middle)[len(middle) // 2], 3), "within_2_s": round(_within(begin, end), 5),
        "worst_window_p99_s": round(max(late), 3),
        "memory_begin_bytes": sum(memory[:edge]) // edge, "memory_end_bytes": sum(memory[-edge:]) // edge,
        "private_begin_bytes": private, "private_end_bytes": private_after, "thinned": _grown(begin, end, "thinned"),
        "spilled_bytes": spilled, "bits_a_pixel": [round(c["bits_a_pixel"], 4) for c in end["cameras"]],
        "cpu_ms_a_frame": {
            role: round(1000 * (value - used[role]) / max(1, frames[1]), 2) for role, value in used_after.items()
        },
        "machine_cpu": round(sum(state["cpu"] for state in states) / len(states), 3),
    }  # fmt: skip


def _grown(begin: dict[str, Any], end: dict[str, Any], key: str) -> int:
    return sum(_grown_by(begin, end, key).values())


def _grown_by(begin: dict[str, Any], end: dict[str, Any], key: str) -> dict[str, int]:
    both = zip(begin["cameras"], end["cameras"], strict=True)
    return {b["camera"]: int(b["counters"][key]) - int(a["counters"][key]) for a, b in both}


def _within(begin: dict[str, Any], end: dict[str, Any]) -> float:
    """The share of the frames between two states that were durable within P99_S, a bound of the monitor's buckets."""
    from pipeline.monitor.state import LATENCY_BOUNDS_S

    at = LATENCY_BOUNDS_S.index(P99_S)
    both = list(zip(begin["cameras"], end["cameras"], strict=True))
    within = sum(b["buckets"][at] - a["buckets"][at] for a, b in both)
    return within / max(1, sum(b["buckets"][-1] - a["buckets"][-1] for a, b in both))


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--cameras", type=int, nargs="+", default=[8])
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--fps", type=int, default=5)
    parser.add_argument("--linger", type=float, default=0.15)
    parser.add_argument("--size", type=int, nargs=2, default=[320, 240])
    given = parser.parse_args()
    results = []
    for count in given.cameras:
        root = given.root / str(count)
        size = given.size[0], given.size[1]
        results.append(measure(root, count, given.minutes * 60, fps=given.fps, size=size, linger_s=given.linger))
    ok = all(
        r["within_2_s"] >= 0.99
        and r["spilled_bytes"] == 0
        and r["memory_end_bytes"] <= FLAT * r["memory_begin_bytes"]
        and sum(r["private_end_bytes"].values()) <= FLAT * sum(r["private_begin_bytes"].values())
        for r in results
    )
    print(json.dumps({"ok": ok, "runs": results}, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
