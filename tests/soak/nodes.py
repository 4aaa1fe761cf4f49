"""Two nodes: the command is killed and begun again, then one node is killed, then the supervisor. Does recording go on
without the first, do the cameras of the second go on at the other node, does the third come back, and what crossed the
link?

Each node is `fovea node` in a network namespace of its own, joined by a link that carries nothing but the cluster; the
cameras' server has a third namespace and a link to each. Needs root and `ip`.

`python -m tests.soak.nodes DIR` leaves the archive in DIR and prints JSON. Exit status 1 where a promise is not kept.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

from pipeline.store import Store, check
from pipeline.store.timeline import covered, gaps
from tests.rtsp_server import PYTHON
from tests.soak.site import camera

HEAD, OTHER, CAMERAS = "fovea-a", "fovea-b", "fovea-c"
HEAD_IP, OTHER_IP, CAMERAS_IP = "10.231.1.1", "10.231.1.2", "10.231.9.1"
RTSP_PORT, MONITOR_PORT = 8554, 9464
STATUS = f"http://127.0.0.1:{MONITOR_PORT}/status"
LAYERS = "foreground", "background"
MOVED_S, LOST_S = 15.0, 1.0
AWAY_S = 10.0  # between two commands
WARM_S, QUIET_S = 40.0, 30.0
SERVER = Path(__file__).resolve().parent.parent / "rtsp_server.py"


def ip(*words: str) -> str:
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


def link(one: str, one_ip: str, other: str, other_ip: str, name: str) -> None:
    ip("link", "add", f"{name}0", "netns", one, "type", "veth", "peer", "name", f"{name}1", "netns", other)
    for space, device, address in ((one, f"{name}0", one_ip), (other, f"{name}1", other_ip)):
        ip("-n", space, "addr", "add", f"{address}/24", "dev", device)
        ip("-n", space, "link", "set", device, "up")


def build() -> None:
    """The namespaces and their links. The cameras have one address, which each node reaches by its own link."""
    for space in (HEAD, OTHER, CAMERAS):
        ip("netns", "add", space)
        ip("-n", space, "link", "set", "lo", "up")
    link(HEAD, HEAD_IP, OTHER, OTHER_IP, "fab")
    link(HEAD, "10.231.2.1", CAMERAS, "10.231.2.2", "fac")
    link(OTHER, "10.231.3.1", CAMERAS, "10.231.3.2", "fbc")
    ip("-n", CAMERAS, "addr", "add", f"{CAMERAS_IP}/32", "dev", "lo")
    ip("-n", HEAD, "route", "add", f"{CAMERAS_IP}/32", "via", "10.231.2.2")
    ip("-n", OTHER, "route", "add", f"{CAMERAS_IP}/32", "via", "10.231.3.2")


def tear_down() -> None:
    for space in (HEAD, OTHER, CAMERAS):
        for pid in pids(space):
            os.kill(pid, signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", space], check=False, capture_output=True)


def pids(space: str) -> list[int]:
    found = subprocess.run(["ip", "netns", "pids", space], check=False, capture_output=True, text=True)
    return [int(word) for word in found.stdout.split()]


def start(space: str, log: Path, *command: str, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with log.open("wb") as sink:
        return subprocess.Popen(
            ["ip", "netns", "exec", space, *command],
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
        )


def crossed(space: str = HEAD) -> tuple[int, int]:
    """Bytes received from and sent to the other node, as the interface counts them."""
    (device,) = json.loads(ip("-n", space, "-s", "-j", "link", "show", "fab0"))
    return int(device["stats64"]["rx"]["bytes"]), int(device["stats64"]["tx"]["bytes"])


def ask() -> dict[str, Any]:
    code = f"from urllib.request import urlopen; print(urlopen('{STATUS}', timeout=20).read().decode())"
    command = ["ip", "netns", "exec", HEAD, sys.executable, "-c", code]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    return dict(json.loads(done.stdout)) if done.returncode == 0 else {"cameras": []}


def recording(count: int, *, timeout_s: float = 240.0) -> dict[str, Any]:
    until_s = time.monotonic() + timeout_s
    while time.monotonic() < until_s:
        state = ask()
        if sum(c["counters"]["coded"] > 0 for c in state["cameras"]) == count:
            return state
        time.sleep(2)
    raise TimeoutError(f"not all of {count} cameras record after {timeout_s:g} s")


def newest_us(store: Path) -> dict[str, int]:
    with Store(store, readonly=True) as archive:
        return {item.camera: item.last_wall_us or 0 for item in archive.summary()}


def run(root: Path, count: int, fps: int) -> dict[str, Any]:
    python, store = sys.executable, root / "archive"
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    fovea = [python, "-c", "from pipeline.cli import main; main()"]
    rtsp = {"RTSP_HOST": "0.0.0.0"}
    start(
        CAMERAS,
        root / "rtsp.log",
        PYTHON,
        str(SERVER),
        str(RTSP_PORT),
        str(count),
        "320",
        "240",
        str(fps),
        environment=rtsp,
    )
    node = ["node", "--cpus", "1", "--gpus", "0", "--store-mb", "200"]
    start(HEAD, root / "head.log", *fovea, *node, "--address", HEAD_IP, environment=token)
    time.sleep(15)
    start(
        OTHER, root / "other.log", *fovea, *node, "--address", OTHER_IP, "--join", f"{HEAD_IP}:6379", environment=token
    )
    time.sleep(20)
    cameras = {f"camera{n}": camera(f"rtsp://{CAMERAS_IP}:{RTSP_PORT}/{n}") for n in range(count)}
    site = {
        "store": str(store), "cameras": cameras, "monitor": {"listen": f"127.0.0.1:{MONITOR_PORT}"},
        "ray": {"address": f"{HEAD_IP}:6379"},
    }  # fmt: skip
    (root / "site.yaml").write_text(yaml.safe_dump(site))
    command = [*fovea, "run", str(root / "site.yaml"), "--log", "json"]
    recorder = start(HEAD, root / "run.log", *command, environment=token)
    recording(count)
    time.sleep(WARM_S)
    before, (rx, tx), from_us = ask(), crossed(), time.time_ns() // 1000
    time.sleep(QUIET_S)
    after, (rx2, tx2) = ask(), crossed()
    there = {c["camera"]: c["place"] for c in after["cameras"]}
    recorder.kill()
    recorder.wait()
    time.sleep(AWAY_S)
    recorder = start(HEAD, root / "run2.log", *command, environment=token)
    time.sleep(AWAY_S)
    killed_s = time.time()
    for pid in pids(OTHER):
        os.kill(pid, signal.SIGKILL)
    moved = back(store, count, killed_s)
    time.sleep(10)
    end, to_us = ask(), time.time_ns() // 1000 - 3_000_000
    for pid in pids(HEAD):
        if Path(f"/proc/{pid}/cmdline").read_text().startswith("ray::Supervisor"):
            os.kill(pid, signal.SIGKILL)
    supervised = back(store, count, time.time())
    for pid in pids(HEAD):
        if "run" in Path(f"/proc/{pid}/cmdline").read_text().split("\0"):
            os.kill(pid, signal.SIGTERM)
    recorder.wait(timeout=180)
    with Store(store, readonly=True) as archive:
        holes = {
            name: [
                (round(a / 1e6 - killed_s, 2), round(b / 1e6 - killed_s, 2))
                for a, b in gaps(covered(archive, name, from_us=from_us, to_us=to_us, gap_us=1_000_000),
                                 from_us=from_us, to_us=to_us, gap_us=1_000_000)
            ]
            for name in archive.cameras()
        }  # fmt: skip
        faults = [str(fault) for fault in check(archive)]
    distant = {name for name, place in there.items() if place.startswith(OTHER_IP)}
    coded = _grown(before, after, "coded", distant)
    return {
        "moved_s": moved, "back_after_the_supervisor_s": supervised, "gaps_from_the_kill_s": holes, "faults": faults,
        "places": there,
        "places_after": {c["camera"]: c["place"] for c in end["cameras"]},
        "cameras": {c["camera"]: c["counters"] for c in end["cameras"]},
        "link_seconds": QUIET_S, "link_to_head_bytes": rx2 - rx, "link_from_head_bytes": tx2 - tx,
        "packet_bytes_of_its_cameras": sum(_grown(before, after, f"bytes_{layer}", distant) for layer in LAYERS),
        "frames_coded_there": coded, "their_raw_bytes": coded * 320 * 240 * 3 // 2,
    }  # fmt: skip


def back(store: Path, count: int, killed_s: float) -> dict[str, float]:
    """By camera: seconds from a kill until a frame that was taken a second after it, or later, was in the archive."""
    found: dict[str, float] = {}
    while len(found) < count and time.time() - killed_s < 60:
        for name, last_us in newest_us(store).items():
            if last_us > killed_s * 1e6 + 1_000_000:
                found.setdefault(name, round(time.time() - killed_s, 2))
        time.sleep(0.25)
    return found


def _grown(before: dict[str, Any], after: dict[str, Any], key: str, cameras: set[str]) -> int:
    both = zip(before["cameras"], after["cameras"], strict=True)
    return sum(int(b["counters"][key]) - int(a["counters"][key]) for a, b in both if a["camera"] in cameras)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--cameras", type=int, default=4)
    parser.add_argument("--fps", type=int, default=5)
    given = parser.parse_args()
    if os.geteuid() != 0 or shutil.which("ip") is None:
        raise SystemExit("needs root and ip")
    given.root.mkdir(parents=True, exist_ok=True)
    try:
        build()
        report = run(given.root.resolve(), given.cameras, given.fps)
    finally:
        tear_down()
    lost_s = [-hole[0] for holes in report["gaps_from_the_kill_s"].values() for hole in holes]
    report["lost_before_the_kill_s"] = max(lost_s, default=0.0)
    ok = len(report["moved_s"]) == given.cameras and max(report["moved_s"].values()) <= MOVED_S
    ok = ok and len(report["back_after_the_supervisor_s"]) == given.cameras
    ok = ok and not report["faults"] and report["lost_before_the_kill_s"] <= LOST_S
    print(json.dumps({"ok": ok, **report}, indent=1))
    return 0 if ok else 1


if __name__ == "__main__":
    raise SystemExit(main())
