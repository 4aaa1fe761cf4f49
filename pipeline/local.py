"""Runs camera chains, one thread a camera, so that a silent or broken camera never holds up another.

`SiteRun` starts, watches and ends the threads whatever a chain is made of; `run_chain` is the chain in this process.
The package `workers` brings another one. Knows no Ray and prints nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from pipeline.errors import FoveaError, JobError, SourceError
from pipeline.graph import CameraPlan, Counters


@dataclass(slots=True)
class CameraReport:
    """Where one camera stands. Written by its thread alone, read by whoever shows progress."""

    camera: str
    counters: Counters = field(default_factory=Counters)
    detector: str = ""
    error: FoveaError | None = None
    unexpected: BaseException | None = None  # the cause of `error` where that was a fault of ours
    done: bool = False


Chain = Callable[[CameraPlan, CameraReport, threading.Event], None]


def run_chain(plan: CameraPlan, report: CameraReport, stop: threading.Event) -> None:
    """One camera from source to sink in this thread, until its source ends or `stop` is set. Whatever was coded is
    stored, however it ends. Raises FoveaError."""
    with ExitStack() as stack:
        source, detect = plan.source(), plan.detect()
        stack.callback(source.close)
        facts = source.setup()
        stack.callback(detect.close)
        report.detector = detect.setup()
        codec = plan.codec(facts)
        stack.callback(codec.close)
        info = codec.setup()
        sink = plan.sink()
        stack.callback(sink.close)
        sink.setup(info)
        ended = False
        while not ended and not stop.is_set():
            batch = source.process()
            report.counters = report.counters.read(batch)
            coded = codec.process(batch.frames, detect.process(batch.frames))
            sink.process(coded)
            report.counters = report.counters.plus(coded)
            ended = batch.ended


class SiteRun:
    """All cameras of a site at once. Use: `start()`, `wait()` until true, then read `cameras`."""

    def __init__(self, plans: Sequence[CameraPlan], *, chain: Chain = run_chain) -> None:
        self.cameras = {plan.camera: CameraReport(plan.camera) for plan in plans}
        self._plans = plans
        self._chain = chain
        self._stop = threading.Event()
        self._running = len(plans)
        self._mutex = threading.Lock()
        self._all_ended = threading.Event()
        self._started = self._ended = 0.0

    def start(self) -> None:
        self._started = time.monotonic()
        for plan in self._plans:
            threading.Thread(target=self._run, args=(plan,), name=f"camera-{plan.camera}", daemon=True).start()

    def stop(self) -> None:
        """Let every camera finish the frames that it holds, store them and close."""
        self._stop.set()

    def wait(self, timeout_s: float) -> bool:
        """Whether all cameras have ended, after at most this long."""
        # Not Thread.join(): a Ctrl-C inside it makes Python 3.11 take a living thread for a dead one.
        return self._all_ended.wait(timeout_s)

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    @property
    def seconds(self) -> float:
        """From the start to the end of the last camera, or to now."""
        return (self._ended if self.wait(0) else time.monotonic()) - self._started

    @property
    def failed(self) -> list[CameraReport]:
        return [report for report in self.cameras.values() if report.error is not None]

    def _run(self, plan: CameraPlan) -> None:
        report = self.cameras[plan.camera]
        try:
            self._chain(plan, report, self._stop)
            if report.counters.frames_in == 0 and not self._stop.is_set():
                raise SourceError("the source gave no frames")
        except FoveaError as error:
            report.error = error
        except Exception as error:  # the thread's outermost loop: other cameras go on, the command reports it
            report.unexpected = error
            report.error = JobError(
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
            )
        finally:
            counters = report.counters
            # What a failing chain had taken and not coded is dropped, and counted.
            report.counters = replace(counters, dropped=counters.frames_in - counters.coded)
            report.done = True
            with self._mutex:
                self._running -= 1
                if self._running == 0:
                    self._ended = time.monotonic()
                    self._all_ended.set()
