"""`python -m tests.store.kill [--kills 200]`: three cameras are recorded in real time, the writer is killed at random
moments and started again on the same archive. After each death `check` must pass, and of what each camera's sink had
taken at most the last second may be missing. Exit status 1 for the first that does not hold.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TextIO

from pipeline.store import Segment, Sink, Store, check, open_segment
from pipeline.types import CodedFrame, Detection
from tests.streams import INFO, make_packets

CAMERAS = ("gate", "hall", "yard")
FPS = 20
ARCHIVE_KILLS = 10  # in one archive; then another is begun
PERSON = Detection(1.0, 2.0, 30.5, 40.0, "person", 0.9, 7)


def write(root: Path, report: TextIO) -> None:
    """Record until killed, in segments of two seconds. A line for every frame taken: camera and number."""
    packets = make_packets(100 * FPS, fps=FPS, gop=FPS // 2, segment=2 * FPS, size=2000)
    with Store(root) as store:
        sinks = {camera: Sink(store, camera, INFO) for camera in CAMERAS}
        begin_s, begin_us = time.monotonic(), time.time_ns() // 1000
        print("begun", file=report, flush=True)
        for packet in packets:
            time.sleep(max(0.0, begin_s + packet.pts_us / 1e6 - time.monotonic()))
            for camera, sink in sinks.items():
                taken = replace(packet, wall_us=begin_us + packet.pts_us)
                sink.append(CodedFrame(taken, (PERSON,)))
                print(camera, packet.index, file=report, flush=True)


def die(root: Path, after_s: float) -> dict[str, int]:
    """Start a writer, a process of its own, and kill it. Returns for each camera the last frame that it took, -1 for
    none."""
    reads, writes = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writes, "w") as report:
                write(root, report)
        finally:
            os._exit(1)
    os.close(writes)
    with os.fdopen(reads) as said:
        begun = said.readline()
        time.sleep(after_s)
        os.kill(child, signal.SIGKILL)
        lines = said.read().splitlines()
    _, status = os.waitpid(child, 0)
    assert begun == "begun\n", "the writer does not start"
    assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, "the writer ended by itself"
    last = dict.fromkeys(CAMERAS, -1)
    for line in lines:
        words = line.split()
        if len(words) == 2 and line is not lines[-1]:  # which may be cut
            last[words[0]] = int(words[1])
    return last


def stored(store: Store, segments: tuple[Segment, ...]) -> Iterator[int]:
    with ExitStack() as stack:
        for segment in segments:
            for item in open_segment(store, segment, stack).packets():
                yield item.packet.index


def judge(root: Path, last: dict[str, int]) -> tuple[str | None, float]:
    """After a restart: what is wrong, None if nothing, and how many seconds are missing at most."""
    missing_s = 0.0
    with Store(root) as store:
        for camera in CAMERAS:
            Sink(store, camera, INFO).close()
            if last[camera] < FPS:
                continue  # its recording may have left nothing, and the last epoch be another one
            known = store.segments(camera)
            newest = max((segment.epoch for segment in known), default=0)
            frames = list(stored(store, tuple(segment for segment in known if segment.epoch == newest)))
            if frames != list(range(len(frames))):
                return f"{camera}: frames {frames}", missing_s
            missing_s = max(missing_s, (last[camera] + 1 - len(frames)) / FPS)
            if missing_s > 1.0:
                return f"{camera}: it took frame {last[camera]}, {len(frames)} are stored", missing_s
        faults = check(store)
    return (f"check: {faults[0].path}: {faults[0].fault.reason}" if faults else None), missing_s


def run(root: Path, kills: int, seed: int) -> int:
    rng = random.Random(seed)
    worst_s, started = 0.0, time.monotonic()
    for number in range(1, kills + 1):
        archive = root / str(number // ARCHIVE_KILLS)
        wrong, missing_s = judge(archive, die(archive, rng.uniform(0.0, 4.0)))
        if wrong is not None:
            print(f"kill {number} (seed {seed}): {wrong}", file=sys.stderr)
            return 1
        worst_s = max(worst_s, missing_s)
        if number % 20 == 0 or number == kills:
            seconds = time.monotonic() - started
            print(
                f"{number} kills, check passed after each, at most {worst_s:.2f} s missing; {seconds:.0f} s", flush=True
            )
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.store.kill")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        return run(Path(directory), options.kills, options.seed)


if __name__ == "__main__":
    sys.exit(main())
