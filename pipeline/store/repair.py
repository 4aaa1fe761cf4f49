"""Mends an archive: what `check` finds is put right where it can be, and what cannot goes to quarantine. Deletes
nothing.

A repair can be cut off anywhere and done again.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.bitstream import StreamReader
from pipeline.errors import StoreError, StreamError
from pipeline.store import seen
from pipeline.store.check import check_segment, open_segment, overlaps, strangers
from pipeline.store.files import (
    INDEX,
    MARKER,
    SEGMENTS,
    is_locked,
    lock,
    quarantine,
    read_marker,
    restore_marker,
    segment_of,
)  # fmt: skip
from pipeline.store.index import Store
from pipeline.store.recovery import take_in
from pipeline.store.rows import Segment
from pipeline.store.segmentfile import survey
from pipeline.store.upkeep import adopt, drop_backgrounds, remove, rewrite, sweep, upkeep
from pipeline.types import Layer, Packet


@dataclass(frozen=True, slots=True)
class Mended:
    """One thing that was put right. `path` is relative to the store, '' for the index."""

    path: str
    what: str


def repair(root: Path) -> tuple[Mended, ...]:
    """Put an archive right, one entry a thing done. Cameras that are being recorded are left alone. Raises StoreError
    where there is nothing to begin with, or another upkeep is at work."""
    done = list(_opened(root))
    with Store(root) as store, upkeep(store):
        for segment in store.segments():
            if segment.place is None and not is_locked(store.path(segment, Layer.FOREGROUND).parent):
                done.extend(_mend(store, segment))
        done.extend(_take_in(store))
        done.extend(_part_overlaps(store))
        done.extend(_mend_index(store))
        sweep(store)
    return tuple(done)


def _opened(root: Path) -> Iterator[Mended]:
    """Make sure that there are a marker and an index that can be opened."""
    try:
        read_marker(root)
    except StoreError:
        uuid = _uuid_of_index(root)
        if uuid is None:
            raise
        restore_marker(root, uuid)
        yield Mended(MARKER, "written again from the index")
    with lock(root, wait=True):
        if not (root / INDEX).exists():
            yield Mended("", "the index is gone; rebuilt from the segments, without what was seen in them")
        elif (reason := _index_damage(root)) is not None:
            for path in sorted(root.glob(INDEX + "*")):
                quarantine(root, path, reason)
            yield Mended("", f"{reason}; rebuilt from the segments, without what was seen in them")


def _uuid_of_index(root: Path) -> str | None:
    with suppress(sqlite3.Error, TypeError):
        database = sqlite3.connect(f"{(root / INDEX).absolute().as_uri()}?mode=ro", uri=True)
        try:
            return str(database.execute("SELECT uuid FROM store").fetchone()[0])
        finally:
            database.close()
    return None


def _index_damage(root: Path) -> str | None:
    try:
        with Store(root, readonly=True) as store:
            return store.index_damage()
    except StoreError as error:
        return None if "index version" in str(error) else str(error)


def _mend(store: Store, segment: Segment) -> Iterator[Mended]:
    """Put one segment right, from the smallest step to the largest, until nothing is wrong with it."""
    name = store.name(segment, Layer.FOREGROUND)
    if not any(check_segment(store, segment)) and segment.state != "open":
        return
    try:
        found = survey(store.path(segment, Layer.FOREGROUND))
    except (StreamError, OSError) as error:
        with store.writing() as database:
            remove(database, [segment], keep=True)
        sweep(store, reason=str(error))
        yield Mended(name, f"{getattr(error, 'strerror', None) or error}; its row is gone, its files in quarantine")
        return
    if segment.has_background and found.bytes_background is None:
        with store.writing() as database:
            drop_backgrounds(database, [segment])
        segment = replace(segment, has_background=False)
        yield Mended(name, "its background is missing; kept as foreground over the plate")
    if not found.damaged:
        before, segment = segment, adopt(store, segment, found)
        if segment != before:
            yield Mended(name, f"its row says what the files hold: {segment.frames} frames, {segment.state}")
    if any(check_segment(store, segment)):
        yield _salvage(store, segment, name)


def _salvage(store: Store, segment: Segment, name: str) -> Mended:
    """Write what can be read of a damaged segment anew."""
    with ExitStack() as stack:
        reader = open_segment(store, segment, stack)
        fresh = rewrite(
            store, segment, reader.info, _readable(reader), background=reader.has_background, keep_old=True,
            thinned=segment.thinned,
        )  # fmt: skip
    sweep(store, reason="damaged; what could be read of it was written anew")
    return Mended(name, f"damaged; {fresh.frames} frames are in {fresh.id} now, the damaged files in quarantine")


def _readable(reader: StreamReader) -> Iterator[Packet]:
    """Packets that stand alone: the plate on the first, and no background of which something is lost."""
    for item in reader.packets():
        yield replace(item.packet, plate=item.plate) if item.plate else item.packet


def _take_in(store: Store) -> Iterator[Mended]:
    """Files without rows."""
    by_camera: dict[str, list[Path]] = {}
    for path in strangers(store, store.segments()):
        name = str(path.relative_to(store.root))
        if segment_of(path) is None or path.parent.parent != store.root / SEGMENTS:
            quarantine(store.root, path, "no segment")
            yield Mended(name, "no segment; in quarantine")
        elif any(known.id == path.stem for known in store.segments(path.parent.name)):
            quarantine(store.root, path, "a background that its segment does not have")
            yield Mended(name, "a background that its segment does not have; in quarantine")
        else:
            by_camera.setdefault(path.parent.name, []).append(path)
    for camera, paths in by_camera.items():
        for path, segment in take_in(store, camera, paths):
            name = str(path.relative_to(store.root))
            if segment is None:
                yield Mended(name, "holds no whole frame; in quarantine")
                continue
            yield Mended(name, f"in the index again: {segment.frames} frames, {segment.state}")
            yield from _mend(store, segment)


def _part_overlaps(store: Store) -> Iterator[Mended]:
    for segment in overlaps(store.segments()):
        with store.writing() as database:
            (epoch,) = database.execute(
                "UPDATE cameras SET epoch = epoch + 1 WHERE id = ? RETURNING epoch", (segment.camera,)
            ).fetchone()
            database.execute("UPDATE segments SET epoch = ? WHERE number = ?", (epoch, segment.number))
        name = store.name(segment, Layer.FOREGROUND)
        yield Mended(name, "overlapped another segment; a recording of its own now")


def _mend_index(store: Store) -> Iterator[Mended]:
    """Rows about what was seen that belong to nothing, tracks that do not count, lengths that are wrong."""
    with store.writing() as database:
        for table in ("detections", "tracks", "gaps"):
            known = "SELECT number FROM segments" if table == "gaps" else None
            where = f"segment NOT IN ({known})" if known else (
                f"NOT EXISTS (SELECT 1 FROM segments s WHERE s.number = {table}.segment AND s.camera = {table}.camera)"
            )  # fmt: skip
            stray = database.execute(f"DELETE FROM {table} WHERE {where}").rowcount
            if stray:
                yield Mended("", f"{stray} {table} of no segment forgotten")
        for (segment,) in database.execute(_UNCOUNTED).fetchall():
            _recount(database, segment)
            yield Mended("", f"the tracks of segment {segment} counted anew")
        database.execute(
            """UPDATE cameras SET longest_us = coalesce(
            (SELECT max(last_wall_us - first_wall_us) FROM segments WHERE camera = cameras.number), 0)"""
        )


_UNCOUNTED = """SELECT number FROM segments s WHERE (SELECT count(*) FROM detections WHERE segment = s.number) !=
    (SELECT coalesce(sum(detections), 0) FROM tracks WHERE segment = s.number)"""


def _recount(database: sqlite3.Connection, segment: int) -> None:
    """A segment's tracks from its detections."""
    found = seen.of_segment(database, segment)
    seen.delete(database, segment)
    seen.insert(database, segment, found)
