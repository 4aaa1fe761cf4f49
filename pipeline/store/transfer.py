"""Copies or moves footage to a second store, on another disk.

What is moved stays in the index, with what was seen in it, and is read from where it lies now; the other store has it
in its own index too, and ages it. Segment by segment: durable there before it is gone here, and a transfer that was
cut off can be done again.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.errors import StoreError, UsageError
from pipeline.store import seen
from pipeline.store.files import as_store_error, create_durable, segment_path, sync, sync_directory
from pipeline.store.index import Store, put_gaps, put_segment
from pipeline.store.recovery import epoch_of
from pipeline.store.rows import Segment
from pipeline.store.upkeep import doom, relative, sweep, undoom, upkeep
from pipeline.types import Layer

_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class Transferred:
    """Segments that are in the other store now, how many of them were there before, and how many were left: they are
    being written, lie in a third store, or differ from what the other store has of them. Bytes were copied."""

    segments: int = 0
    there: int = 0
    left: int = 0
    bytes: int = 0


def transfer(
    source: Store,
    target: Store,
    camera: str,
    *,
    from_us: int,
    to_us: int,
    move: bool,
    progress: Callable[[Transferred], None] = lambda done: None,
) -> Transferred:
    """Bring every segment of a camera that touches [from_us, to_us) into the store `target`; `move` frees it here.
    Raises UsageError for an unknown camera or one and the same store, StoreError."""
    if camera not in source.cameras():
        raise UsageError(f"camera {camera!r} is not in {source.root}")
    if source.uuid == target.uuid:
        raise UsageError(f"{source.root} and {target.root} are the same store")
    done = Transferred()
    with upkeep(source), upkeep(target):
        for segment in source.segments(camera, from_us=from_us, to_us=to_us):
            known = _known(target, segment)
            same = known is not None and known.place is None and _what(known) == _what(segment)
            if segment.state == "open" or segment.place is not None or not (known is None or known.place or same):
                done = replace(done, left=done.left + 1)
                continue
            size = 0 if same else _copy(source, target, segment, known)
            if move:
                _leave(source, target, segment)
            done = Transferred(done.segments + 1, done.there + same, done.left, done.bytes + size)
            progress(done)
    return done


def _known(target: Store, segment: Segment) -> Segment | None:
    """The row that the other store has of a segment."""
    found = target.segments(segment.camera, from_us=segment.first_wall_us, to_us=segment.first_wall_us + 1)
    return next((other for other in found if other.id == segment.id), None)


def _what(segment: Segment) -> tuple[object, ...]:
    return segment.frames, segment.bytes_foreground, segment.bytes_background, segment.has_background


def _copy(source: Store, target: Store, segment: Segment, known: Segment | None) -> int:
    """Copy files and what the index knows; returns the bytes."""
    layers = tuple(Layer) if segment.has_background else (Layer.FOREGROUND,)
    names = [relative(segment, layer) for layer in layers]
    with target.writing() as database:
        doom(database, names)
    size = sum(_copy_file(source.path(segment, layer), target, segment, layer) for layer in layers)
    with source.reading() as database:
        found = seen.of_segment(database, segment.number)
        gaps = database.execute("SELECT from_us, to_us FROM gaps WHERE segment = ?", (segment.number,)).fetchall()
        pins = database.execute(_PINS, {"number": segment.number}).fetchall()
    epoch = epoch_of(target, segment.camera, segment) if known is None else known.epoch
    with target.writing() as database:
        database.execute(
            """INSERT INTO cameras (id, epoch) VALUES (?, ?) ON CONFLICT (id) DO UPDATE
            SET epoch = max(epoch, excluded.epoch)""",
            (segment.camera, epoch),
        )
        row = put_segment(database, replace(segment, number=known.number if known else 0, epoch=epoch, place=None))
        database.execute("UPDATE segments SET place = NULL WHERE number = ?", (row.number,))
        database.execute("DELETE FROM gaps WHERE segment = ?", (row.number,))
        put_gaps(database, row.number, gaps)
        seen.delete(database, row.number)
        seen.insert(database, row.number, found)
        _put_pins(database, segment.camera, pins)
        undoom(database, names)
    return size


def _copy_file(path: Path, target: Store, segment: Segment, layer: Layer) -> int:
    """Copy what the row claims of a file, and read it back."""
    size = segment.bytes_foreground if layer is Layer.FOREGROUND else segment.bytes_background
    copy = segment_path(target.root, segment.camera, segment.id, layer)
    with as_store_error(copy), ExitStack() as stack:
        copy.parent.mkdir(exist_ok=True)
        original = stack.enter_context(path.open("rb"))
        digest, left = hashlib.sha256(), size
        with create_durable(copy) as out:
            while piece := original.read(min(_PIECE, left)):
                digest.update(piece)
                left -= len(piece)
                view = memoryview(piece)
                while view:
                    view = view[out.write(view) :]
            sync(out)
        sync_directory(copy.parent)
        sync_directory(copy.parent.parent)
        with copy.open("rb") as again:
            written = hashlib.file_digest(again, "sha256")
    if left or written.digest() != digest.digest():
        raise StoreError(
            f"{copy}: not what was copied ({left} bytes missing)" if left else f"{copy}: reads differently"
        )
    return size


def _leave(source: Store, target: Store, segment: Segment) -> None:
    """Say where a segment lies now, and free it here."""
    with source.writing() as database:
        (place,) = database.execute(
            """INSERT INTO places (uuid, path) VALUES (?, ?) ON CONFLICT (uuid) DO UPDATE SET path = excluded.path
            RETURNING number""",
            (target.uuid, str(target.root.resolve())),
        ).fetchone()
        database.execute("UPDATE segments SET place = ? WHERE number = ?", (place, segment.number))
        doom(database, (relative(segment, layer) for layer in Layer))
    sweep(source)


_PINS = """SELECT p.from_us, p.to_us, p.reason, p.made_us FROM pins p JOIN segments s ON s.camera = p.camera
    WHERE s.number = :number AND p.from_us <= s.last_wall_us AND p.to_us > s.first_wall_us"""


def _put_pins(database: sqlite3.Connection, camera: str, pins: list[tuple[int, int, str, int]]) -> None:
    """What is pinned here is pinned there, once."""
    (number,) = database.execute("SELECT number FROM cameras WHERE id = ?", (camera,)).fetchone()
    for pin in pins:
        known = database.execute(
            "SELECT 1 FROM pins WHERE camera = ? AND from_us = ? AND to_us = ? AND reason = ? AND made_us = ?",
            (number, *pin),
        )
        if known.fetchone() is None:
            database.execute(
                "INSERT INTO pins (camera, from_us, to_us, reason, made_us) VALUES (?, ?, ?, ?, ?)", (number, *pin)
            )
