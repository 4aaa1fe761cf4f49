"""Viewers beside a recorder, all of them real processes: is a moment there at once, does everybody get a fair share,
does the recorder drop nothing?

`python -m tests.soak.viewers --seconds 60 DIR` records two stored cameras and a live one into DIR, serves them, and
prints JSON. Exit status 1 where a promise is not kept. Without GStreamer's RTSP server no live camera is recorded
meanwhile, and the JSON says so.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from urllib.parse import urlencode

import yaml

from pipeline.serve.accounts import Accounts
from pipeline.serve.served import beside
from pipeline.store import EVER_US, Store
from tests.rtsp_server import RtspServer, free_port, missing
from tests.soak.site import Recorder, camera

FRAMES = 200
SMALL, LARGE = "small", "large"
LEAST_FPS, SPREAD, SEEK_S = 2.0, 0.3, 0.7
SEEKS = 20
PASSWORD = "for this run alone"


@dataclass
class Viewer:
    """Plays a camera's footage over and over, from another moment each time."""

    port: int
    token: str
    span: tuple[float, float] | None  # None: the live camera is watched as it is recorded
    seed: int
    pictures: int = 0
    clips: int = 0
    errors: list[str] = field(default_factory=list)
    began_s: list[float] = field(default_factory=list)  # until the first picture was there

    def play(self, until_s: float) -> None:
        chance = random.Random(self.seed)
        while time.monotonic() < until_s:
            try:
                if self.span is None:
                    self._watch("/api/cameras/live/live.mp4", {}, until_s)
                    continue
                begin, end = self.span
                at = begin + chance.random() * (end - begin) / 2
                self._watch(f"/api/cameras/{SMALL}/clip.mp4", {"from": at, "to": end}, until_s)
            except (OSError, HTTPException) as error:
                self.errors.append(str(error))
                time.sleep(0.5)

    def _watch(self, path: str, query: dict[str, float], until_s: float) -> None:
        asked_s = time.monotonic()
        with opened(self.port, self.token, path, query) as answer:
            if answer.status != 200:
                raise OSError(f"{answer.status} {answer.read()[:200]!r}")
            self.clips += 1
            tail, first = b"", True
            while time.monotonic() < until_s and (data := answer.read1(1 << 16)):
                found = (tail + data).count(b"moof")
                tail = data[-3:]
                if first and found:
                    self.began_s.append(time.monotonic() - asked_s)
                    first, found = False, found - 1  # the picture that stands first is sent twice
                self.pictures += found


@contextmanager
def opened(port: int, token: str, path: str, query: dict[str, float]) -> Iterator[object]:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", f"{path}?{urlencode(query)}", headers={"Authorization": f"Bearer {token}"})
        yield connection.getresponse()
    finally:
        connection.close()


@contextmanager
def server(config: Path, port: int) -> Iterator[None]:
    """`fovea serve`, until it answers."""
    main = "from pipeline.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", main, "serve", str(config)], env=os.environ | {"FOVEA_DEBUG": "1"}
    )
    try:
        until_s = time.monotonic() + 120
        while True:
            try:
                with opened(port, "", "/healthz", {}) as answer:
                    answer.read()
                    break
            except OSError:
                if process.poll() is not None or time.monotonic() > until_s:
                    raise
                time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(60)


def seek(port: int, token: str, span: tuple[float, float], chance: random.Random) -> float:
    """Seconds until the first picture of a moment of the large camera is there."""
    at = span[0] + chance.random() * (span[1] - span[0])
    asked_s = time.monotonic()
    with opened(port, token, f"/api/cameras/{LARGE}/clip.mp4", {"from": at, "to": span[1] + 60}) as answer:
        data = b""
        while data.count(b"moof") < 1 or b"mdat" not in data:
            if not (more := answer.read1(1 << 16)):
                raise OSError(f"{answer.status}: it ended after {len(data)} bytes")
            data += more
    return time.monotonic() - asked_s


def spans(root: Path) -> dict[str, tuple[float, float]]:
    with Store(root, readonly=True) as store:
        return {
            name: (found[0].first_wall_us / 1e6, found[-1].last_wall_us / 1e6)
            for name in store.cameras()
            if (found := store.segments(name, to_us=EVER_US))
        }


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--viewers", type=int, default=5)
    parser.add_argument("--live", type=int, nargs=3, default=(320, 240, 5), metavar=("WIDTH", "HEIGHT", "FPS"))
    parser.add_argument("--watch", choices=("stored", "live"), default="stored")
    parser.add_argument("--runner", default="local")
    given = parser.parse_args()
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    sizes = {SMALL: "320x240", LARGE: "640x360"}
    stored = {name: camera(f"demo://street?size={size}", frames=FRAMES) for name, size in sizes.items()}
    if not (given.root / "stored" / "archive").exists():
        with Recorder(given.root / "stored", stored, runner=given.runner) as recorder:
            recorder.process.wait(600)
    archive, port = given.root / "stored" / "archive", free_port()
    known = spans(archive)
    with ExitStack() as stack:
        why_not = missing()
        cameras: dict[str, object] = stored
        if not why_not:
            width, height, fps = given.live
            source = stack.enter_context(RtspServer(width=width, height=height, fps=fps))
            cameras = {"live": camera(source.url())}
        config = given.root / "serve.yaml"
        config.write_text(
            yaml.safe_dump({"store": str(archive), "cameras": cameras, "serve": {"listen": f"127.0.0.1:{port}"}})
        )
        accounts = Accounts(beside(archive, "users.sqlite"))
        if not accounts.users():
            accounts.add("admin", PASSWORD, "admin", None)
        tokens = [accounts.make_token("admin", f"viewer {n}")[1] for n in range(given.viewers)]
        stack.enter_context(server(config, port))
        chance = random.Random(1)
        for _ in range(5):  # the decoder is loaded, and has seen both sizes
            seek(port, tokens[0], known[LARGE], chance)
        seeks = [seek(port, tokens[0], known[LARGE], chance) for _ in range(SEEKS)]
        recorder = None
        if not why_not:
            live = Recorder(given.root / "live", cameras, runner=given.runner)
            live.config.write_text(config.read_text())
            recorder = stack.enter_context(live)
            live.store = archive
            recorder.wait_for(len(known) + ("live" not in known))
            time.sleep(5)
        span = known[SMALL] if given.watch == "stored" else None
        viewers = [Viewer(port, token, span, seed) for seed, token in enumerate(tokens)]
        until_s = time.monotonic() + given.seconds
        threads = [threading.Thread(target=viewer.play, args=(until_s,)) for viewer in viewers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    rates = [viewer.pictures / given.seconds for viewer in viewers]
    mean = statistics.mean(rates)
    counts = recorder.result.get("cameras", {}).get("live", {}) if recorder is not None else {}
    promises = {
        "each_gets_enough": min(rates) >= LEAST_FPS,
        "each_gets_the_same": all(abs(rate - mean) <= SPREAD * mean for rate in rates),
        "no_errors": not any(viewer.errors for viewer in viewers),
        "recorder_drops_nothing": not why_not and counts.get("coded", 0) > 0 and counts.get("dropped") == 0,
        "a_moment_is_there": statistics.median(seeks) <= SEEK_S,
    }
    report = {
        "ok": all(promises.values()), "promises": promises, "viewers_fps": [round(rate, 2) for rate in rates],
        "mean_fps": round(mean, 2),
        "farthest_from_mean": round(max(abs(r - mean) for r in rates) / mean, 3) if mean else None,
        "seek_s": {
            "median": round(statistics.median(seeks), 3), "worst": round(max(seeks), 3), "count": len(seeks)
        },
        "first_picture_beside_the_others_s": [round(statistics.median(viewer.began_s), 2) for viewer in viewers],
        "errors": [error for viewer in viewers for error in viewer.errors][:5], "live": counts or why_not,
    }  # fmt: skip
    print(json.dumps(report, indent=1))
    return 0 if report["ok"] else 1


if __name__ == "__main__":
    raise SystemExit(main())
