"""Many videos into stream files: which file becomes which, and one of them from beginning to end.

A file is done when its stream file is there, for that appears whole or not at all; so a run that was cut off goes on
where it was. Knows no Ray: `workers.files` runs the same on many machines.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from pipeline.config import CameraConfig
from pipeline.errors import FoveaError, UsageError
from pipeline.graph import CameraPlan
from pipeline.local import SiteRun
from pipeline.recording import FileSink
from pipeline.replacing import replacing
from pipeline.types import StreamInfo

BATCH = 32
VIDEOS = (".mp4", ".mkv", ".mov", ".avi", ".webm", ".ts", ".m4v", ".mpg", ".mpeg")


@dataclass(frozen=True, slots=True)
class Task:
    """One video and the stream file that it becomes."""

    source: Path
    out: Path


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a task. `error` is a line, empty unless it failed; counts are 0 unless it was done now."""

    source: str
    out: str
    state: Literal["done", "there", "failed"]
    error: str = ""
    frames: int = 0
    bytes: int = 0
    seconds: float = 0.0


def tasks(inputs: Sequence[Path], out: Path) -> tuple[Task, ...]:
    """Every video of the inputs: files, folders with all that is below them, and lists (`.txt`, a path a line).
    `a/b.mp4` of a folder becomes `out/a/b.mp4.fov`. Raises UsageError."""
    found: dict[Path, Path] = {}
    for given in inputs:
        if given.is_dir():
            videos = [
                (path, path.relative_to(given)) for path in sorted(given.rglob("*")) if path.suffix.lower() in VIDEOS
            ]
        elif given.suffix == ".txt" and given.is_file():
            lines = [line.strip() for line in given.read_text(encoding="utf-8").splitlines()]
            videos = [(Path(line), Path(Path(line).name)) for line in lines if line and not line.startswith("#")]
        elif given.exists():
            videos = [(given, Path(given.name))]
        else:
            raise UsageError(f"{given}: no such file or folder")
        for source, name in videos:
            target = out / name.with_name(name.name + ".fov")
            if found.setdefault(target, source) != source:
                raise UsageError(f"{found[target]} and {source} would both become {target}")
    if not found:
        raise UsageError("no videos found: " + ", ".join(map(str, inputs)))
    return tuple(Task(source, target) for target, source in found.items())


def encode_file(task: Task, settings: CameraConfig) -> Outcome:
    """One video, in this process. `settings` are a camera's, with any source. Raises nothing of Fovea's own: a file
    that fails must not stop the others."""
    names, started = (str(task.source), str(task.out)), time.monotonic()
    if task.out.exists():
        return Outcome(*names, "there")
    try:
        frames, size = _encode(task, settings)
    except (FoveaError, OSError) as error:
        return Outcome(*names, "failed", error=(str(error).splitlines() or [type(error).__name__])[0])
    return Outcome(*names, "done", frames=frames, bytes=size, seconds=time.monotonic() - started)


def _encode(task: Task, settings: CameraConfig) -> tuple[int, int]:
    """Frames and bytes. Raises what the chain raised."""
    source = settings.source.model_copy(update={"url": str(task.source), "reconnect": False})
    task.out.parent.mkdir(parents=True, exist_ok=True)
    opened: list[StreamInfo] = []
    with replacing(task.out) as part:
        plan = CameraPlan(
            "file", settings.model_copy(update={"source": source}), partial(FileSink, part, opened), BATCH
        )
        job = SiteRun([plan])
        job.start()
        while not job.wait(1.0):
            continue
        report = job.cameras["file"]
        if report.error is not None:
            raise report.error
        return report.counters.coded, part.stat().st_size
