"""One live camera of 1280x720 at 10 frames a second for a while: does the whole chain keep up?

`python -m tests.soak.live --minutes 10 DIR` records the demo scene as a camera gives it, leaves the archive in DIR and
prints JSON; exit status 1 where a frame was dropped. `--url` records another source, `--runner local` without Ray.

`--by-processor`: on a machine that is busy otherwise. The chain of `pipeline.local` with its clock replaced: time is
what this process has used of a core, and passes while it waits for frames. What else the machine does is left out that
way, and so is reading the camera, which has the other core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, deque
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import psutil

from pipeline.budget import Budget
from pipeline.config import CameraConfig, CodecConfig, DetectorConfig, SourceConfig
from pipeline.footage import Footage, Ledger, Relief, SourceCounts, SourceFacts
from pipeline.graph import LINGER_S, QUEUE_BATCHES, CameraPlan
from pipeline.live import QUEUE_BYTES
from pipeline.pace import Lane, Pace
from pipeline.recording import ArchiveSink
from pipeline.source import open_source
from pipeline.types import Frame
from tests.rtsp_server import free_port
from tests.soak.growth import ask
from tests.soak.site import Recorder

DEMO = "demo://street?size=1280x720&fps=10"
BATCH = 8
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


class ProcessorClock:
    """Seconds of a core that were used since it was made, and those that were waited."""

    def __init__(self) -> None:
        self._waited_s = -time.process_time()

    def now(self) -> float:
        return time.process_time() + self._waited_s

    def wall_us(self) -> int:
        return round(1e6 * self.now())

    def wait_until(self, then_s: float) -> None:
        self._waited_s += max(0.0, then_s - self.now())

    def free(self, since_s: float) -> None:
        """What was used since then does not count."""
        self._waited_s -= self.now() - since_s


class Queue:
    """What LiveSource does with frames, on that clock. `ages`: of the oldest at each take."""

    def __init__(self, frames: Iterator[Frame], clock: ProcessorClock) -> None:
        self._frames, self._clock = frames, clock
        self._next: Frame | None = next(frames)
        self._waiting: deque[Frame] = deque()
        self._credit = 0.0
        self._counts = {"frames_in": 0, "dropped": 0, "thinned": 0}
        self.ages: list[float] = []

    def take(self, relief: Relief) -> tuple[tuple[Frame, ...], SourceCounts]:
        self._arrive(relief.keep)
        while self._next is not None and not self._waiting:
            self._clock.wait_until(self._next.pts_us / 1e6)
            self._arrive(relief.keep)
        if self._next is not None and len(self._waiting) < BATCH:
            self._clock.wait_until(self._clock.now() + LINGER_S)
            self._arrive(relief.keep)
        taken = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        self.ages.append(self._clock.now() - taken[0].pts_us / 1e6 if taken else 0.0)
        self._counts["frames_in"] += len(taken)
        waits_s = self._clock.now() - self._waiting[0].pts_us / 1e6 if self._waiting else 0.0
        ended = self._next is None and not self._waiting
        return tuple(taken), SourceCounts(**self._counts, queue_age_s=max(0.0, waits_s), ended=ended)

    def _arrive(self, keep: float) -> None:
        while self._next is not None and self._next.pts_us <= 1e6 * self._clock.now():
            frame, begin_s = self._next, self._clock.now()
            self._next = next(self._frames, None)
            self._clock.free(begin_s)
            self._credit += keep
            if self._credit < 1:
                self._drop("thinned", "dropped", "frames_in")
                continue
            self._credit -= 1
            self._waiting.append(Frame(frame.y, frame.u, frame.v, frame.index, frame.pts_us, frame.pts_us))
            while len(self._waiting) > min(QUEUE_BATCHES * BATCH, QUEUE_BYTES // frame.nbytes):
                self._waiting.popleft()
                self._drop("dropped", "frames_in")

    def _drop(self, *names: str) -> None:
        for name in names:
            self._counts[name] += 1


def record_by_processor(root: Path, url: str, seconds: float, *, threads: int | None) -> dict[str, Any]:
    codec_config = CodecConfig(threads=threads)
    config = CameraConfig(
        source=SourceConfig(url=url), detector=DetectorConfig(kind="motion"), codec=codec_config
    )  # fmt: skip
    plan = CameraPlan("camera", config, partial(ArchiveSink, root / "archive", "camera"), BATCH)
    detect, codec, sink = plan.detect(), plan.codec(), plan.sink()
    detect.setup()
    codec.setup()
    clock = ProcessorClock()
    codec._pace = Pace("best", Lane(), now=clock.now, wall_us=clock.wall_us)
    budget, ledger, reliefs, worst_s = Budget(now=clock.now), Ledger(), Counter[str](), 0.0
    budget.join("camera", "")
    with open_source(config.source) as source:
        facts = SourceFacts(source.width, source.height, source.fps, True)
        queue = Queue(iter(source), clock)
        while clock.now() < seconds:
            relief = budget.relief("camera")
            frames, counts = queue.take(relief)
            ledger.read(counts)
            begin_s, footage = clock.now(), Footage(facts, frames, relief)
            coded = codec.process(footage, detect.process(footage))
            ledger.store(sink.process(coded))
            spent_s = clock.now() - begin_s
            worst_s = max(worst_s, spent_s)
            budget.worked("camera", counts, len(frames), {"camera": spent_s}, easing=coded.easing)
            reliefs[str(relief)] += len(frames)
    sink.close()
    total = asdict(ledger.total)
    return {
        "seconds": round(clock.now(), 1), **total, "best": total["coded"] - total["balanced"] - total["fast"],
        "frames_that_go_without": dict(reliefs), "oldest_frame_s": round(max(queue.ages), 2),
        "longest_batch_s": round(worst_s, 2),
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--url", default=DEMO)
    parser.add_argument("--runner", default="ray")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--by-processor", action="store_true")
    given = parser.parse_args()
    if given.by_processor:
        found = record_by_processor(given.root, given.url, 60 * given.minutes, threads=1)
    else:
        url = f"{given.url}&live=1" if given.url.startswith("demo:") else given.url
        found = record(given.root, url, 60 * given.minutes, runner=given.runner, threads=given.threads)
    print(json.dumps(found))
    return 1 if found["dropped"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
