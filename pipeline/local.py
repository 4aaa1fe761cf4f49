"""Runs camera chains, one thread a camera, so that a silent or broken camera never holds up another.

`SiteRun` starts, watches and ends the threads whatever a chain is made of; `run_chain` is the chain in this process.
The package `workers` brings another one. Knows no Ray and prints nothing.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Protocol

from pipeline.budget import Budget
from pipeline.errors import FoveaError, JobError, SourceError
from pipeline.footage import Counters, Ledger, Receipt, Relief, SourceCounts
from pipeline.graph import CameraPlan

log = logging.getLogger(__name__)


Watch = Callable[["CameraReport", Receipt], None]


@dataclass(slots=True)
class CameraReport:
    """Where one camera stands. Written by its thread alone, read by whoever shows progress. `trouble` says in a line
    why no frames come; `queue_age_s` how long the oldest frame waits for the chain; `relief` is what it goes without
    because its node is over its budget; `watch` is told of every stored batch."""

    camera: str
    counters: Counters = field(default_factory=Counters)
    detector: str = ""
    trouble: str = ""
    queue_age_s: float = 0.0
    node: str = ""  # where it is coded; empty for this machine
    place: str = ""  # the same for people, with the worker group
    relief: Relief = field(default_factory=Relief)
    effort: str = ""  # of its encoder, lately
    error: FoveaError | None = None
    unexpected: BaseException | None = None  # the cause of `error` where that was a fault of ours
    done: bool = False
    watch: Watch | None = None

    @property
    def state(self) -> str:
        if self.done:
            return "failed" if self.error is not None else "ended"
        return "waiting" if self.trouble else "recording" if self.counters.frames_in else "starting"

    def read(self, ledger: Ledger, counts: SourceCounts) -> None:
        """A batch was read."""
        ledger.read(counts)
        for gap in counts.noticed:
            log.warning(
                "no footage for %.1f s: %s", (gap.to_wall_us - gap.from_wall_us) / 1e6, gap.reason,
                extra={"camera": self.camera, "from_us": gap.from_wall_us, "to_us": gap.to_wall_us},
            )  # fmt: skip
        if counts.trouble and counts.trouble != self.trouble:
            log.warning("%s", counts.trouble, extra={"camera": self.camera, "frame": counts.frames_in})
        self.trouble, self.queue_age_s, self.counters = counts.trouble, counts.queue_age_s, ledger.total

    def stored(self, ledger: Ledger, receipt: Receipt) -> None:
        """A batch was stored."""
        ledger.store(receipt)
        self.counters, self.effort = ledger.total, receipt.effort or self.effort
        if self.watch is not None:
            self.watch(self, receipt)


class Run(Protocol):
    """A site that is being recorded, here or elsewhere; SiteRun says what each does."""

    @property
    def cameras(self) -> Mapping[str, CameraReport]: ...

    @property
    def stopped(self) -> bool: ...

    @property
    def seconds(self) -> float: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...

    def wait(self, timeout_s: float) -> bool: ...


Chain = Callable[[CameraPlan, CameraReport, threading.Event], None]


def run_chain(plan: CameraPlan, report: CameraReport, stop: threading.Event, *, budget: Budget | None = None) -> None:
    """One camera from source to sink in this thread, until its source ends or `stop` is set. Whatever was coded is
    stored, however it ends. Raises FoveaError."""
    ledger, budget = Ledger(report.counters), budget or Budget()
    with ExitStack() as stack:
        stack.callback(lambda: setattr(report, "counters", ledger.settle()))
        source, detect, codec, sink = plan.source(), plan.detect(), plan.codec(), plan.sink()
        stack.callback(source.close)
        live = source.setup()
        stack.callback(detect.close)
        report.detector = detect.setup()
        stack.callback(codec.close)
        codec.setup()
        stack.callback(sink.close)
        stack.callback(budget.leave, plan.camera)
        if live:
            budget.join(plan.camera, node="")
        ended = False
        while not ended and not stop.is_set():
            report.relief = budget.relief(plan.camera)
            footage, counts = source.process(report.relief)
            report.read(ledger, counts)
            begin_s = time.perf_counter()
            coded = codec.process(footage, detect.process(footage))
            report.stored(ledger, sink.process(coded))
            spent_s = {plan.camera: time.perf_counter() - begin_s}  # its thread is a lane of its own
            budget.worked(plan.camera, counts, len(footage.frames), spent_s, easing=coded.easing)
            ended = counts.ended


class _Job:
    """A camera's thread, and how to end it."""

    def __init__(self, plan: CameraPlan, report: CameraReport) -> None:
        self.plan, self.report = plan, report
        self.stop = threading.Event()
        self.following: CameraPlan | None = None  # what takes its place when it has ended


class SiteRun:
    """All cameras of a site at once. Use: `start()`, `wait()` until true, then read `cameras`; meanwhile `apply()` may
    add, change and remove cameras."""

    def __init__(self, plans: Sequence[CameraPlan], *, chain: Chain = run_chain, watch: Watch | None = None) -> None:
        self.cameras = {plan.camera: CameraReport(plan.camera) for plan in plans}
        self._plans = {plan.camera: plan for plan in plans}
        self._chain, self._watch = chain, watch
        self._jobs: dict[str, _Job] = {}
        self._stop = threading.Event()
        self._mutex = threading.RLock()
        self._all_ended = threading.Event()
        self._started = self._ended = 0.0

    def start(self) -> None:
        self._started = time.monotonic()
        with self._mutex:
            for plan in self._plans.values():
                self._launch(plan)

    def apply(self, plans: Sequence[CameraPlan]) -> tuple[list[str], list[str], list[str]]:
        """Make these the cameras: returns the ids of those that were added, changed and removed. Cameras that are
        removed or changed store what they hold first; the others go on untouched."""
        wanted = {plan.camera: plan for plan in plans}
        with self._mutex:
            if self._stop.is_set():
                return [], [], []
            added = [name for name in wanted if name not in self._plans]
            changed = [name for name in wanted if name in self._plans and wanted[name] != self._plans[name]]
            removed = [name for name in self._plans if name not in wanted]
            self._plans = wanted
            for name in (*changed, *removed):
                self._replace(name, wanted.get(name))
            for name in added:
                self._replace(name, wanted[name])
            return added, changed, removed

    def _replace(self, name: str, plan: CameraPlan | None) -> None:
        """End a camera's chain, if it has one, and begin another once it has ended. The mutex is held."""
        job = self._jobs.get(name)
        if job is not None and not job.report.done:
            job.following = plan
            job.stop.set()
        elif plan is not None:
            self._launch(plan)

    def _launch(self, plan: CameraPlan) -> None:
        before = self.cameras.get(plan.camera)
        report = CameraReport(plan.camera, counters=before.counters if before else Counters(), watch=self._watch)
        self.cameras = self.cameras | {plan.camera: report}  # whoever iterates over the old one may
        job = self._jobs[plan.camera] = _Job(plan, report)
        self._all_ended.clear()
        threading.Thread(target=self._run, args=(job,), name=f"camera-{plan.camera}", daemon=True).start()

    def stop(self) -> None:
        """Let every camera finish the frames that it holds, store them and close."""
        with self._mutex:
            self._stop.set()
            for job in self._jobs.values():
                job.following = None
                job.stop.set()

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

    def _run(self, job: _Job) -> None:
        report = job.report
        log.info("begins", extra={"camera": report.camera})
        try:
            self._chain(job.plan, report, job.stop)
            if report.counters.frames_in == 0 and not job.stop.is_set():
                raise SourceError("the source gave no frames")
        except FoveaError as error:
            report.error = error
        except Exception as error:  # the thread's outermost loop: other cameras go on, the command reports it
            report.unexpected = error
            report.error = JobError(
                f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else 'no message'}"
            )
        finally:
            log.info("%s", report.error or "ended", extra={"camera": report.camera})
            self._end(job)

    def _end(self, job: _Job) -> None:
        with self._mutex:
            job.report.done = True
            if job.following is not None:
                self._launch(job.following)
            if all(other.report.done for other in self._jobs.values()):
                self._ended = time.monotonic()
                self._all_ended.set()
