"""What every command shares in talking to the user: JSON on stdout, the rest on stderr, files that appear whole."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

import typer

from pipeline.errors import UsageError
from pipeline.replacing import replacing as replacing

if TYPE_CHECKING:
    from pydantic import BaseModel

    from pipeline.local import Run
    from pipeline.types import Frame

Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout at the end.")]
DEVICES = ("auto", "cpu", "cuda")
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Of torch, on a CPU.")]
LAYERS = ("full", "foreground")
Value = str | int | float | bool | None | list["Value"] | dict[str, "Value"]
ModelT = TypeVar("ModelT", bound="BaseModel")

REFRESH_S = 0.25


class Refresh(Protocol):
    def __call__(self, note: str = "") -> None: ...


def say(text: str) -> None:
    """A line for the user, on stderr."""
    typer.echo(text, err=True)


def emit(result: Mapping[str, Value], *, as_json: bool, text: str) -> None:
    """A command's result: the object, or the same in words."""
    typer.echo(json.dumps(result) if as_json else text)


def build(model: type[ModelT], **values: object) -> ModelT:
    """A settings model from options. Raises UsageError that names the option."""
    from pydantic import ValidationError

    try:
        return model(**values)
    except ValidationError as error:
        faults = [f"--{'.'.join(map(str, item['loc'])).replace('_', '-')}: {item['msg']}" for item in error.errors()]
        raise UsageError("\n".join(faults)) from error


def choice(value: str, allowed: tuple[str, ...], option: str) -> str:
    if value not in allowed:
        raise UsageError(f"{option} {value}: one of {', '.join(allowed)}")
    return value


def parse_time(text: str) -> int:
    """ISO 8601 with a zone, or Unix seconds, in microseconds since 1970. Raises UsageError."""
    try:
        return round(float(text) * 1e6)
    except (ValueError, OverflowError):
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise UsageError(
            f"{text}: not a time; ISO 8601 with zone or Unix seconds, e.g. 2026-01-31T12:00:00Z"
        ) from error
    if moment.tzinfo is None:
        raise UsageError(f"{text}: needs a time zone, e.g. {text}Z")
    return round(moment.timestamp() * 1e6)


def time_range(begin: str, end: str, *, default: tuple[int, int]) -> tuple[int, int]:
    """`--from` and `--to` in microseconds. Raises UsageError."""
    from_us = parse_time(begin) if begin else default[0]
    to_us = parse_time(end) if end else default[1]
    if to_us <= from_us:
        raise UsageError(f"--to {end} is not after --from {begin}")
    return from_us, to_us


@contextmanager
def existing(directory: Path) -> Iterator[None]:
    """Opening an archive to write makes one where there is none; a command about an archive must not. Raises
    StoreError."""
    from pipeline.store import Store

    Store(directory, readonly=True).close()
    yield


def show_time(wall_us: int) -> str:
    return datetime.fromtimestamp(wall_us / 1e6, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def show_bytes(count: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


@contextmanager
def progress(line: Callable[[], str]) -> Iterator[Refresh]:
    """A function that shows `line()` anew on stderr where that is a terminal (it may hold several lines), and above it
    a note that stays. Elsewhere only notes are shown: a log full of counters helps nobody."""
    if not sys.stderr.isatty():
        yield lambda note="": say(note) if note else None
        return
    from rich.console import Console
    from rich.live import Live

    with Live(line(), console=Console(stderr=True, highlight=False), auto_refresh=False, transient=True) as live:

        def refresh(note: str = "") -> None:
            if note:
                live.console.print(note, markup=False)
            live.update(line(), refresh=True)

        yield refresh


def watch(job: Run) -> bool:
    """Start a job, show a line a camera, and wait for its end. The first Ctrl-C lets it finish what it holds, the
    second raises. Returns whether it was interrupted."""
    job.start()
    named: set[str] = set()
    with progress(lambda: _lines(job)) as refresh:
        while True:
            try:
                ended = job.wait(REFRESH_S)
                refresh()
            except KeyboardInterrupt:
                if job.stopped:
                    raise
                refresh("stopping: frames under way are being stored (Ctrl-C again to give up)")
                job.stop()
                continue
            for name, report in job.cameras.items():
                if report.detector and name not in named:
                    named.add(name)
                    refresh(f"{name}: {report.detector}")
            if ended:
                return job.stopped


def _lines(job: Run) -> str:
    lines = []
    for name, report in job.cameras.items():
        c = report.counters
        size = show_bytes(c.bytes_foreground + c.bytes_background)
        state = (
            "failed" if report.error else "ended" if report.done else f"{c.coded / max(job.seconds, 1e-3):.1f} a second"
        )
        lines.append(f"{name}: {c.coded} frames, {size}, {c.dropped} dropped, {state}")
    return "\n".join(lines)


def counted(frames: Iterable[Frame], verb: str) -> Iterator[Frame]:
    """The same frames, with a line of progress."""
    count, started = 0, time.monotonic()
    with progress(
        lambda: f"{count} frames {verb}, {count / max(time.monotonic() - started, 1e-3):.1f} a second"
    ) as show:
        for frame in frames:
            yield frame
            count += 1
            show()


def listed(values: list[str] | None, unless: str) -> list[str]:
    """An option that may be given several times, and with commas."""
    return [part for value in values or [unless] for part in value.split(",") if part]


def aligned(rows: list[list[str]]) -> list[str]:
    """Rows of equal length as lines of a table."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))] if rows else []
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
