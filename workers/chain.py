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
from collections import deque
from contextlib import ExitStack
from itertools import count
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from pipeline.config import RayConfig
from pipeline.errors import FoveaError, JobError, WorkerError
from pipeline.footage import Ledger
from pipeline.graph import CameraPlan
from pipeline.local import CameraReport, Chain
from workers.failures import errors
from workers.groups import Group, Pool

log = logging.getLogger(__name__)

SETUP_S = 120.0
CLOSE_S = 60.0
POLL_S = 0.5
PAUSE_S, MAX_PAUSE_S = 0.2, 10.0
MAX_STILLBORN = 5  # lives in a row in which a file stored nothing


def ray_chain(config: RayConfig) -> Chain:
    """The chain of one camera on the Ray that is running. The chains that it makes share their groups."""
    pool = Pool(config)

    def chain(plan: CameraPlan, report: CameraReport, stop: threading.Event) -> None:
        _Camera(config, pool, plan, report, stop).run()

    return chain


class _Camera:
    """All lives of one camera."""

    def __init__(
        self, config: RayConfig, pool: Pool, plan: CameraPlan, report: CameraReport, stop: threading.Event
    ) -> None:
        self._config, self._pool, self._plan, self._report, self._stop = config, pool, plan, report, stop
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
                    self._live_once(life)
                self._report.counters = self._ledger.settle()
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

    def _live_once(self, life: int) -> None:
        with self._pool.place() as group:
            try:
                with ExitStack() as stack:
                    workers = _Workers(self._plan, group, life, skip=self._ledger.total.coded - self._before)
                    stack.callback(workers.close)
                    self._live, self._report.detector = workers.setup()
                    self._report.place = f"group {group.number}"
                    self._feed(workers)
            except BaseException:  # after what still lives has stored what it held
                if not group.alive():
                    self._pool.discard(group)
                raise

    def _feed(self, workers: _Workers) -> None:
        flight: deque[tuple[Any, Any]] = deque()
        ended, silent_s = False, 0.0
        try:
            while True:
                while len(flight) < self._config.window and not ended and not self._stop.is_set():
                    flight.append(workers.submit())
                if not flight:
                    return
                counts, stored = flight[0]  # batches are stored in order, so the first is the next to be ready
                if not ray.wait([stored], timeout=POLL_S)[0]:
                    silent_s += POLL_S
                    if silent_s > self._config.stall_s:
                        workers.give_up()
                        raise WorkerError(f"a worker process says nothing for {self._config.stall_s:g} s")
                    continue
                silent_s = 0.0
                found = ray.get(counts)
                self._report.read(self._ledger, found)
                self._report.stored(self._ledger, ray.get(stored))
                flight.popleft()
                ended = ended or found.ended
        except BaseException:
            workers.stop_reading()
            for counts, _ in flight:  # what was read is accounted for, whatever became of it
                with contextlib.suppress(RayError):
                    self._ledger.read(ray.get(counts, timeout=POLL_S))
            raise


class _Workers:
    """The camera's own actor, and its places in the group's."""

    def __init__(self, plan: CameraPlan, group: Group, life: int, *, skip: int) -> None:
        self._plan, self._group, self._life = plan, group, life
        self._camera: Any = group.start_camera(plan, skip)
        self._turns = count()

    def setup(self) -> tuple[bool, str]:
        """Whether the source is live, and the detector in a line."""
        group, plan = self._group, self._plan
        live, line, *_ = ray.get(
            [
                self._camera.setup.remote(), group.detector.open.remote(plan),
                group.codec.open.remote(plan, self._life), group.sink.open.remote(plan, self._life),
            ],
            timeout=SETUP_S,
        )  # fmt: skip
        return live, line

    def submit(self) -> tuple[Any, Any]:
        """Send a batch through the chain; references to the source's counts and to the sink's receipt."""
        group, camera, turn = self._group, self._plan.camera, next(self._turns)
        frames, counts = self._camera.process.options(num_returns=2).remote()
        rois = group.detector.process.remote(camera, frames)
        coded = group.codec.process.remote(camera, self._life, turn, frames, rois)
        return counts, group.sink.process.remote(camera, self._life, turn, coded)

    def stop_reading(self) -> None:
        """No more frames are wanted, and what was read is known."""
        _finish(self._camera.close.remote())

    def give_up(self) -> None:
        """One of them hangs, and nobody can tell which."""
        self._group.discard()

    def close(self) -> None:
        """Let them store what they hold. What is dead, or was never set up, has nothing to finish."""
        group, camera = self._group, self._plan.camera
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
