"""The supervisor of a site on a cluster: a detached actor that looks after everything else, and `supervised`, which
follows it from a command.

It lives where it was started, beside the archive, whether or not that command goes on: a command that dies ends
nothing, and the next one finds the supervisor at work. When the supervisor itself dies Ray starts it again with what
it was given; its workers die with it, so all cameras begin anew, with a key frame, behind what is stored.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.attend import attended
from pipeline.budget import Budget
from pipeline.config import SiteConfig, load_site
from pipeline.errors import ConfigError, FoveaError, WorkerError
from pipeline.local import CameraReport, SiteRun
from workers.chain import ray_chain
from workers.failures import errors
from workers.groups import free_places
from workers.machines import Machines

log = logging.getLogger(__name__)

NAMESPACE = "fovea"
NEWS = 1000  # lines of the log that wait for a command to show them
LINGER_S = 60.0  # after its job has ended, for whoever asks for the result
LOOK_S = 5.0
GONE_S = 90.0  # a supervisor that says nothing for so long will not come back
POLL_S = 0.5
_FIELDS = ("camera", "frame", "from_us", "to_us")


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the log; `number` counts from 1."""

    number: int
    logger: str
    level: int
    text: str
    created_s: float
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class View:
    """How a job stands. `life` is another after every restart of the supervisor."""

    life: str
    pid: int
    seconds: float
    ended: bool
    stopped: bool
    cameras: Mapping[str, CameraReport]
    news: tuple[Line, ...]


class _News(logging.Handler):
    """Keeps the newest lines."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: deque[Line] = deque(maxlen=NEWS)
        self._count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self._count += 1
        fields = {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        text = record.getMessage()
        self._lines.append(Line(self._count, record.name, record.levelno, text, record.created, fields))

    def after(self, number: int) -> tuple[Line, ...]:
        """Those since, all of them where the count has begun anew."""
        return tuple(line for line in tuple(self._lines) if line.number > number)


class Supervisor:
    """Begins when it is made. `directory` is what relative paths are relative to."""

    def __init__(self, site: SiteConfig, config: Path | None, directory: Path, frames: int | None) -> None:
        os.chdir(directory)
        self._life, self._news, self._stack = uuid.uuid4().hex, _News(), ExitStack()
        for name in ("pipeline", "workers"):
            logging.getLogger(name).addHandler(self._news)
            logging.getLogger(name).setLevel(logging.INFO)
        self._job: SiteRun | None = None
        self._error: FoveaError | None = None
        try:
            self._job = self._begin(site, config, frames)
        except FoveaError as error:
            self._error = error
            return
        threading.Thread(target=self._linger, args=(self._job,), name="linger", daemon=True).start()

    def _begin(self, site: SiteConfig, config: Path | None, frames: int | None) -> SiteRun:
        if config is not None:  # as it is now: it may have changed before a restart
            try:
                site = load_site(config)
            except ConfigError as error:
                log.warning("goes on with the site file as it was: %s", error)
        name, budget = name_of(site.store), Budget(site.budget)
        free_places(name)
        machines = self._stack.enter_context(Machines())
        job = self._stack.enter_context(
            attended(
                site, ray_chain(site.ray, budget=budget, name=name), budget=budget, machines=machines.uses,
                report=lambda line: log.warning("%s", line), frames=frames, follow=config,
            )
        )  # fmt: skip
        job.start()
        return job

    def look(self, life: str, seen: int) -> View:
        """How the job stands, with the lines of the log since those `seen` in that life. Raises what kept it from
        beginning."""
        if self._job is None:
            raise self._error or WorkerError("the supervisor did not begin")
        job = self._job
        cameras = {name: replace(report, watch=None, unexpected=None) for name, report in job.cameras.items()}
        news = self._news.after(seen if life == self._life else 0)
        return View(self._life, os.getpid(), job.seconds, job.wait(0), job.stopped, cameras, news)

    def stop(self) -> None:
        """Let every camera store what it holds."""
        if self._job is not None:
            self._job.stop()

    def end(self) -> None:
        """The job has ended: let go of ports and threads."""
        self._stack.close()

    def _linger(self, job: SiteRun) -> None:
        while not job.wait(POLL_S):
            continue
        time.sleep(LINGER_S)
        ray.kill(ray.get_runtime_context().current_actor, no_restart=True)


SupervisorActor = ray.remote(max_restarts=-1, max_concurrency=4, num_cpus=0)(Supervisor)


def name_of(store: Path) -> str:
    """What a site's supervisor is called: an archive has one."""
    return f"fovea {hashlib.sha256(str(store.resolve()).encode()).hexdigest()[:16]}"


class Distant:
    """A supervisor's job, seen from a command; a pipeline.local.Run."""

    def __init__(self, actor: Any) -> None:
        self.actor = actor
        self._seen = 0
        self._answered_s = time.monotonic()
        self.view = View("", 0, 0.0, False, False, {}, ())

    def start(self) -> None:
        """It has been."""

    @property
    def cameras(self) -> Mapping[str, CameraReport]:
        return self.view.cameras

    @property
    def stopped(self) -> bool:
        return self.view.stopped

    @property
    def seconds(self) -> float:
        return self.view.seconds

    def stop(self) -> None:
        self.view = replace(self.view, stopped=True)
        self.actor.stop.remote()

    def wait(self, timeout_s: float) -> bool:
        """As SiteRun.wait(). Raises WorkerError when the supervisor does not come back."""
        until_s = time.monotonic() + timeout_s
        while True:
            self.look()
            left_s = until_s - time.monotonic()
            if self.view.ended or left_s <= 0:
                return self.view.ended
            time.sleep(min(POLL_S, left_s))

    def look(self) -> None:
        """Ask how the job stands, and show what it logged. Raises what kept it from beginning."""
        try:
            with errors():
                self._show(_answer(self.actor.look.remote(self.view.life, self._seen)))
        except _Silent as error:
            if time.monotonic() - self._answered_s > GONE_S:
                raise WorkerError("the supervisor is gone") from error

    def close(self) -> None:
        """End a supervisor whose job has ended; any other goes on."""
        if self.view.ended:
            with suppress(RayError):
                ray.get(self.actor.end.remote(), timeout=LOOK_S)
            ray.kill(self.actor)

    def _show(self, view: View) -> None:
        self._answered_s = time.monotonic()
        if self.view.life and view.life != self.view.life:
            log.warning("the supervisor died and was started again")
        if self.view.stopped and not view.stopped:
            self.actor.stop.remote()
        for line in view.news:
            logger = logging.getLogger(line.logger)
            if logger.isEnabledFor(line.level):
                told = {"name": line.logger, "levelno": line.level, "levelname": logging.getLevelName(line.level)}
                logger.handle(
                    logging.makeLogRecord(told | {"msg": line.text, "created": line.created_s, **line.fields})
                )
        self._seen = view.news[-1].number if view.news else self._seen if view.life == self.view.life else 0
        self.view = replace(view, stopped=view.stopped or self.view.stopped, news=())


class _Silent(Exception):
    """No answer, for now."""


def _answer(call: Any) -> View:
    try:
        view: View = ray.get(call, timeout=LOOK_S)
    except (GetTimeoutError, RayActorError) as error:  # it is busy, or being started again
        raise _Silent from error
    return view


@contextmanager
def supervised(site: SiteConfig, config: Path | None, *, frames: int | None) -> Iterator[Distant]:
    """The job of a site on the cluster that is joined: begun, or found at work. It ends with the `with` only where it
    has ended itself. Raises FoveaError where it cannot begin."""
    distant = _found(site) or _begun(site, config, frames)
    try:
        while not distant.view.life:
            distant.look()
    except FoveaError:
        ray.kill(distant.actor)
        raise
    try:
        yield distant
    finally:
        distant.close()


def _found(site: SiteConfig) -> Distant | None:
    """One that is at work. What has ended, and lingers, makes room."""
    try:
        distant = Distant(ray.get_actor(name_of(site.store), namespace=NAMESPACE))
    except ValueError:
        return None
    while not distant.view.life:
        distant.look()
    if not distant.view.ended:
        log.warning("a supervisor has recorded this archive's cameras for %.0f s; followed", distant.view.seconds)
        return distant
    distant.close()
    return None


def _begun(site: SiteConfig, config: Path | None, frames: int | None) -> Distant:
    options = SupervisorActor.options(
        name=name_of(site.store), namespace=NAMESPACE, lifetime="detached",
        scheduling_strategy=NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False),
    )  # fmt: skip
    until_s = time.monotonic() + GONE_S
    while True:
        try:
            return Distant(options.remote(site, config and config.absolute(), Path.cwd(), frames))
        except ValueError as error:  # the name of one that is being ended
            if time.monotonic() > until_s:
                raise WorkerError("another supervisor of this archive does not end") from error
        time.sleep(POLL_S)
