"""Clips to take away: jobs that are queued, done one after the other, kept for a while and downloaded. What is known of
a job lies beside its files, so that finished ones outlive the server. For the server's event loop.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

from pipeline.clip import ClipRequest, export_clip
from pipeline.errors import FoveaError, JobCancelled, JobError, UsageError
from pipeline.serve.pool import Pool
from pipeline.serve.worker import Desk, Head, Part
from pipeline.store import Store, pin, unpin
from pipeline.types import LayerName

log = logging.getLogger(__name__)

State = Literal["queued", "running", "done", "failed", "cancelled"]

MOST_WAITING = 20  # of one user
_JOB = "job.json"
_NOTES_A_SECOND = 2.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What to export, a file a camera; see ClipRequest. `pinned`: the footage is kept from aging."""

    cameras: tuple[str, ...]
    from_us: int
    to_us: int
    layer: LayerName
    time: bool
    boxes: bool
    pinned: bool


@dataclass(frozen=True, slots=True)
class File:
    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Job:
    """A wish and what has become of it. `progress` 0 to 1; `made` is Unix time."""

    id: str
    user: str
    made: float
    wish: Wish
    state: State = "queued"
    progress: float = 0.0
    error: str = ""
    files: tuple[File, ...] = ()

    @property
    def over(self) -> bool:
        return self.state in ("done", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class ExportTask:
    """One camera's clip, written by a process that decodes. Yields how far it is, and in the end `file` and manifest's
    digest, as JSON lines."""

    request: ClipRequest
    out: Path

    def run(self, desk: Desk) -> Iterator[Part]:
        yield Head("application/jsonl")
        noted_s = 0.0

        def note(part: float, frames: int) -> None:
            nonlocal noted_s
            if time.monotonic() - noted_s > 1 / _NOTES_A_SECOND:
                noted_s = time.monotonic()
                desk.send(json.dumps({"progress": part}).encode())

        clip = export_clip(
            desk.store, self.request, self.out, make_decoder=desk.decoder, keep=False, progress=note,
            cancelled=desk.stop.is_set,
        )  # fmt: skip
        made = json.loads(clip.manifest.read_text(encoding="utf-8"))["output"]
        yield json.dumps({"bytes": made["bytes"], "sha256": made["sha256"]}).encode()


class Exports:
    """All jobs. `async with` begins and ends the one that works."""

    def __init__(
        self,
        folder: Path,
        root: Path,
        pool: Pool,
        *,
        keep_s: float,
        keep_free_bytes: int = 0,
        free_bytes: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._folder, self._root, self._pool = folder, root, pool
        self._keep_s, self._keep_free, self._free, self._now = keep_s, keep_free_bytes, free_bytes, now
        self._jobs: dict[str, Job] = {}
        self._at_work: asyncio.Task[None] | None = None
        self._worker: asyncio.Task[None] | None = None
        self._asked = asyncio.Event()

    async def __aenter__(self) -> Exports:
        await asyncio.to_thread(self._load)
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(self, *about: object) -> None:
        if self._worker is not None:
            self._worker.cancel()
            with suppress(asyncio.CancelledError):
                await self._worker

    def jobs(self) -> tuple[Job, ...]:
        """The newest first."""
        return tuple(sorted(self._jobs.values(), key=lambda job: job.made, reverse=True))

    def get(self, name: str) -> Job | None:
        return self._jobs.get(name)

    def path(self, job: Job, name: str) -> Path | None:
        """One of a finished job's files."""
        known = job.state == "done" and any(file.name == name for file in job.files)
        return self._folder / job.id / name if known else None

    def add(self, user: str, wish: Wish) -> Job:
        """Queue a job. Raises UsageError where the user has too many waiting."""
        if sum(job.user == user and not job.over for job in self._jobs.values()) >= MOST_WAITING:
            raise UsageError(f"{MOST_WAITING} exports are waiting: let some of them end first")
        job = Job(secrets.token_hex(8), user, self._now(), wish)
        self._put(job)
        self._asked.set()
        return job

    def remove(self, job: Job) -> None:
        """Cancel a job that is not over; forget one that is, with its files."""
        if job.over:
            del self._jobs[job.id]
            shutil.rmtree(self._folder / job.id, ignore_errors=True)
            return
        running = job.state == "running"
        self._put(replace(job, state="cancelled"))
        if running and self._at_work is not None:
            self._at_work.cancel()

    def _put(self, job: Job) -> None:
        """What is known of a job, now and after the next start."""
        before = self._jobs.get(job.id)
        self._jobs[job.id] = job
        if before is None or before.state != job.state:
            folder = self._folder / job.id
            try:
                folder.mkdir(parents=True, exist_ok=True)
                part = folder / f"{_JOB}.part"
                part.write_text(json.dumps(asdict(job)), encoding="utf-8")
                part.replace(folder / _JOB)
            except OSError as error:
                log.warning("%s: %s", folder, error.strerror or error)

    def _load(self) -> None:
        """Jobs of earlier runs. What was not over will not be."""
        for path in self._folder.glob(f"*/{_JOB}"):
            try:
                job = _parse(json.loads(path.read_text(encoding="utf-8")))
            except (OSError, ValueError, KeyError, TypeError) as error:
                log.warning("%s: %s", path, error)
                continue
            self._jobs[job.id] = job
            if not job.over:
                self._clear(job)
                self._put(replace(job, state="failed", error="the server ended"))
        self._forget_old()

    def _forget_old(self) -> None:
        for job in self.jobs():
            if job.over and self._now() - job.made > self._keep_s:
                self.remove(job)

    async def _work(self) -> None:
        while True:
            self._forget_old()
            waiting = [job for job in self.jobs() if job.state == "queued"]
            if not waiting:
                self._asked.clear()
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._asked.wait(), 600.0)
                continue
            self._at_work = asyncio.create_task(self._one(waiting[-1]))
            try:
                await asyncio.wait((self._at_work,))
            finally:
                self._at_work.cancel()

    async def _one(self, job: Job) -> None:
        """Do a job; what becomes of it stands in the job."""
        self._put(job := replace(job, state="running"))
        pins = []
        try:
            if job.wish.pinned:
                pins = await asyncio.to_thread(self._pin, job)
            files: list[File] = []
            for number, camera in enumerate(job.wish.cameras):
                files += await self._camera(job, camera, number / len(job.wish.cameras))
            self._put(replace(job, state="done", progress=1.0, files=tuple(files)))
            return
        except (JobCancelled, asyncio.CancelledError):
            pass  # whoever cancelled it has said so, or the server ends
        except FoveaError as error:
            self._put(replace(self._jobs[job.id], state="failed", error=" ".join(str(error).split())))
        except OSError as error:
            self._put(replace(self._jobs[job.id], state="failed", error=error.strerror or "it could not be written"))
        for made in pins:
            with suppress(FoveaError), Store(self._root) as store:
                unpin(store, made)
        self._clear(job)

    def _clear(self, job: Job) -> None:
        """Remove a job's files, whole or begun."""
        for path in (self._folder / job.id).glob("*.mp4*"):
            path.unlink(missing_ok=True)

    async def _camera(self, job: Job, camera: str, done: float) -> list[File]:
        folder, wish = self._folder / job.id, job.wish
        if self._free(folder) < self._keep_free:
            raise JobError("the disk is too full for another export")
        request = ClipRequest(camera, wish.from_us, wish.to_us, wish.layer, wish.time, wish.boxes)
        out = folder / f"{camera}.mp4"
        made = {}
        async with self._pool.answer("exports", ExportTask(request, out), always=True) as answer:
            async for line in answer:
                made = json.loads(line)
                if "progress" in made:
                    part = min(1.0, max(0.0, made["progress"])) / len(wish.cameras)
                    self._put(replace(self._jobs[job.id], progress=round(done + part, 4)))
        manifest = out.with_name(out.name + ".json")
        digest = await asyncio.to_thread(_digest, manifest)
        return [File(out.name, made["bytes"], made["sha256"]), File(manifest.name, manifest.stat().st_size, digest)]

    def _pin(self, job: Job) -> list[int]:
        wish = job.wish
        with Store(self._root) as store:
            return [
                pin(
                    store, camera, from_us=wish.from_us, to_us=wish.to_us, reason=f"exported by {job.user}",
                    now_us=time.time_ns() // 1000,
                ).number
                for camera in wish.cameras
            ]  # fmt: skip


def _parse(values: dict[str, object]) -> Job:
    """A job from what `_put` wrote. Raises KeyError, TypeError."""
    wish, files = values.pop("wish"), values.pop("files")
    if not isinstance(wish, dict) or not isinstance(files, list):
        raise TypeError("not a job")
    wish["cameras"] = tuple(wish["cameras"])
    return Job(wish=Wish(**wish), files=tuple(File(**file) for file in files), **values)  # type: ignore[arg-type]


def _digest(path: Path) -> str:
    import hashlib

    return hashlib.sha256(path.read_bytes()).hexdigest()
