"""One camera's chain on Ray: its work in flight bounded, begun anew when a worker dies, its frames accounted for.

A batch is four calls, chained by reference: frames never pass through this process. At most `window` batches are under
way, and a batch's references are gone as soon as it is stored, so the object store stays small and nothing spills.

A *life* is what lies between two deaths. A new life has a new encoder, so it begins with a plate and a key frame, and
a new recording in the archive, which is asked what it holds of the last one: what is not there and was not dropped is
counted as killed. A file goes on behind its last stored frame.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from pipeline.budget import Budget
from pipeline.config import RayConfig
from pipeline.errors import FoveaError, JobError, WorkerError
from pipeline.footage import Ledger, Relief
from pipeline.graph import CameraPlan
from pipeline.local import CameraReport, Chain
from workers.failures import errors
from workers.groups import Group, Pool

log = logging.getLogger(__name__)

SETUP_S = 120.0
CLOSE_S = 60.0
POLL_S = 0.5
PAUSE_S, MAX_PAUSE_S = 0.2, 10.0
BALANCE_S = 10.0  # between two looks for a better place
MAX_STILLBORN = 5  # lives in a row in which a file stored nothing


class _Stopped(Exception):
    """The camera is to end before it began."""


def ray_chain(config: RayConfig, *, budget: Budget | None = None, name: str = "") -> Chain:
    """The chain of one camera on the Ray that is running. The chains that it makes share their groups and the
    budgets of their nodes. `name` is the site's where its places must be found again; see workers.groups."""
    site = _Site(config, Pool(config, site=name), budget or Budget())

    def chain(plan: CameraPlan, report: CameraReport, stop: threading.Event) -> None:
        _Camera(site, plan, report, stop).run()

    return chain


@dataclass(frozen=True, slots=True)
class _Site:
    """What all cameras share."""

    config: RayConfig
    pool: Pool
    budget: Budget


class _Camera:
    """All lives of one camera."""

    def __init__(self, site: _Site, plan: CameraPlan, report: CameraReport, stop: threading.Event) -> None:
        self._config, self._pool, self._budget = site.config, site.pool, site.budget
        self._plan, self._report, self._stop = plan, report, stop
        self._ledger = Ledger(report.counters)
        self._before = report.counters.coded
        self._live = False

    def run(self) -> None:
        """Until the source ends or the camera is stopped. Raises FoveaError for what a new life would not mend."""
        held, stillborn = self._plan.held, 0
        for life in count():
            mark = held.mark() if held is not None else 0
            stored_before = self._ledger.total.coded
            try:
                with errors():
                    moves = self._live_once(life)
                self._report.counters = self._ledger.settle()
                if not moves or self._stop.is_set():
                    return
                continue
            except _Stopped:
                return
            except FoveaError as error:
                died = isinstance(error, WorkerError)
                stored = held.stored(mark) if held is not None else None
                again = self._mended_by_another_life(error) and not self._stop.is_set()
                resumes = died and not self._live and held is not None
                self._report.counters = self._ledger.settle(stored=stored, resumes=resumes, died=died)
                grown = self._report.counters.coded > stored_before
                stillborn = 0 if grown else stillborn + 1
                if not again or (stillborn >= MAX_STILLBORN and not self._live):
                    raise
                self._report.trouble = str(error)
                log.warning("%s; begins anew", error, extra={"camera": self._plan.camera})
            if self._stop.wait(min(MAX_PAUSE_S, PAUSE_S * 2.0**stillborn)):
                return

    def _mended_by_another_life(self, error: FoveaError) -> bool:
        """A worker that died is replaced. What else befalls a live camera that has been recorded before (a full disk,
        a driver that fails) may pass; a file's faults do not, nor does what is wrong from the beginning."""
        if isinstance(error, WorkerError):
            return self._plan.held is not None
        return self._live and isinstance(error, JobError) and self._ledger.total.coded > self._before

    def _live_once(self, life: int) -> bool:
        """One life; whether it ended for a better place."""
        with self._pool.place(self._stop) as group:
            if group is None:
                raise _Stopped
            try:
                with ExitStack() as stack:
                    workers = _Workers(self._plan, group, life, skip=self._ledger.total.coded - self._before)
                    stack.callback(workers.close)
                    self._live, self._report.detector = self._set_up(workers)
                    self._report.node, self._report.place = group.node(), f"{group.address()} group {group.number}"
                    stack.callback(self._budget.leave, self._plan.camera)
                    if self._live:
                        self._budget.join(self._plan.camera, self._report.node)
                    return self._feed(workers, group)
            except BaseException:  # after what still lives has stored what it held
                if not group.alive():
                    self._pool.discard(group)
                raise

    @property
    def _may_move(self) -> bool:
        """A live camera, unless its frames are counted off."""
        return self._live and self._report.counters.coded > self._before and not self._plan.counted_off

    def _set_up(self, workers: _Workers) -> tuple[bool, str]:
        """Whether the source is live, and the detector in a line. Does not hold up a camera that is stopped: a worker
        may load its libraries for long."""
        calls, until_s = workers.setup(), time.monotonic() + SETUP_S
        while len(ray.wait(calls, num_returns=len(calls), timeout=POLL_S)[0]) < len(calls):
            if self._stop.is_set():
                workers.abandon()
                raise _Stopped
            if time.monotonic() > until_s:
                break
        live, line, *_ = ray.get(calls, timeout=0.0)
        return live, line

    def _feed(self, workers: _Workers, group: Group) -> bool:
        """Batches through the chain until the source has ended; whether it was ended for a better place."""
        flight: deque[_Batch] = deque()
        ended, moves, silent_s, look_s = False, False, 0.0, time.monotonic() + BALANCE_S
        try:
            while True:
                while len(flight) < self._config.window and not ended and not self._stop.is_set():
                    self._report.relief = self._budget.relief(self._plan.camera)
                    flight.append(workers.submit(self._report.relief))
                if not flight:
                    return moves
                if not moves and self._may_move and time.monotonic() > look_s:
                    look_s = time.monotonic() + BALANCE_S
                    if moves := self._pool.better(group):
                        log.warning("moves to where fewer cameras are", extra={"camera": self._plan.camera})
                        workers.stop_reading()  # what waits is coded here
                batch = flight[0]  # batches are stored in order, so the first is the next to be ready
                if not ray.wait([batch.stored], timeout=POLL_S)[0]:
                    silent_s += POLL_S
                    if silent_s > self._config.stall_s:
                        workers.give_up()
                        raise WorkerError(f"a worker process says nothing for {self._config.stall_s:g} s")
                    continue
                silent_s = 0.0
                found, looked_s, (frames, coded_s, easing), receipt = ray.get(
                    [batch.counts, batch.looked, batch.coded, batch.stored]
                )
                self._report.read(self._ledger, found)
                self._report.stored(self._ledger, receipt)
                lanes = workers.lanes(looked_s, coded_s)
                self._budget.worked(self._plan.camera, found, frames, lanes, easing=easing)
                flight.popleft()
                ended = ended or found.ended
        except BaseException:
            workers.stop_reading()
            for batch in flight:  # what was read is accounted for, whatever became of it
                with contextlib.suppress(RayError):
                    self._ledger.read(ray.get(batch.counts, timeout=POLL_S))
            raise


@dataclass(frozen=True, slots=True)
class _Batch:
    """References to what comes of one: the source's counts, the detector's seconds, the codec's frames, seconds and
    whether it can take less, the sink's receipt."""

    counts: Any
    looked: Any
    coded: Any
    stored: Any


class _Workers:
    """The camera's own actor, and its places in the group's."""

    def __init__(self, plan: CameraPlan, group: Group, life: int, *, skip: int) -> None:
        self._plan, self._group, self._life = plan, group, life
        self._camera: Any = group.start_camera(plan, skip)
        self._turns = count()
        self._abandoned = False

    def setup(self) -> list[Any]:
        """References: to whether the source is live, to the detector in a line, and to the others' readiness."""
        group, plan = self._group, self._plan
        return [
            self._camera.setup.remote(), group.detector.open.remote(plan),
            group.codec.open.remote(plan, self._life), group.sink.open.remote(plan, self._life),
        ]  # fmt: skip

    def submit(self, relief: Relief) -> _Batch:
        """Send a batch through the chain."""
        group, camera, turn = self._group, self._plan.camera, next(self._turns)
        frames, counts = self._camera.process.options(num_returns=2).remote(relief)
        rois, looked = group.detector.process.options(num_returns=2).remote(camera, frames)
        packets, coded = group.codec.process.options(num_returns=2).remote(camera, self._life, turn, frames, rois)
        return _Batch(counts, looked, coded, group.sink.process.remote(camera, self._life, turn, packets))

    def lanes(self, looked_s: float, coded_s: float) -> dict[str, float]:
        """What a batch took of the two that the group's cameras share."""
        number = self._group.number
        return {f"detector {number}": looked_s, f"codec {number}": coded_s}

    def stop_reading(self) -> None:
        """No more frames are wanted, and what was read is known."""
        _finish(self._camera.close.remote())

    def give_up(self) -> None:
        """One of them hangs, and nobody can tell which."""
        self._group.discard()

    def abandon(self) -> None:
        """Nothing was begun, so there is nothing to wait for."""
        self._abandoned = True
        for actor in (self._group.detector, self._group.codec, self._group.sink):
            actor.close.remote(self._plan.camera)

    def close(self) -> None:
        """Let them store what they hold. What is dead, or was never set up, has nothing to finish."""
        group, camera = self._group, self._plan.camera
        if self._abandoned:
            ray.kill(self._camera)
            return
        try:
            _finish(self._camera.close.remote())
            _finish(group.detector.close.remote(camera))
            _finish(group.codec.close.remote(camera))
            _finish(group.sink.close.remote(camera))
        finally:
            ray.kill(self._camera)


def _finish(call: Any) -> None:
    try:
        ray.get(call, timeout=CLOSE_S)
    except RayTaskError:
        raise
    except (RayActorError, GetTimeoutError):
        return
