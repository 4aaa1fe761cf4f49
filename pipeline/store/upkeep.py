"""The steps that change an archive beside its recording, each whole or not at all: dooming, sweeping, taking a
segment's background, rewriting or removing it, adopting files.

One process at a time, which holds `upkeep.lock`. The index is changed in one transaction a step; files follow, and
what a crash leaves undone the next `upkeep` does.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from pipeline.store.files import UPKEEP_LOCK, as_store_error, lock, quarantine, segment_path, sync_directory
from pipeline.store.index import Store, put_gaps, put_segment
from pipeline.store.rows import Segment
from pipeline.store.segmentfile import Survey, segment_id, write_files
from pipeline.types import Layer, Packet, StreamInfo


@contextmanager
def upkeep(store: Store) -> Iterator[None]:
    """Hold the store's upkeep; first end what an earlier one left undone. Raises StoreError if another process has
    it, UsageError if the store is open for reading."""
    with store.writing():
        pass
    with lock(store.root, wait=False, name=UPKEEP_LOCK):
        sweep(store)
        yield


def doom(database: sqlite3.Connection, paths: Iterable[str], *, keep: bool = False) -> None:
    """In the transaction that takes their rows: these files (relative to the store) go, or go to quarantine."""
    database.executemany("INSERT OR REPLACE INTO doomed (path, keep) VALUES (?, ?)", [(path, keep) for path in paths])


def undoom(database: sqlite3.Connection, paths: Iterable[str]) -> None:
    """In the transaction that makes their row: these files stay."""
    database.executemany("DELETE FROM doomed WHERE path = ?", [(path,) for path in paths])


def sweep(store: Store, *, reason: str = "taken out by a repair") -> int:
    """Unlink what is doomed, or move it to quarantine; returns how many files were there."""
    with store.reading() as database:
        doomed = database.execute("SELECT path, keep FROM doomed").fetchall()
    count = 0
    directories = set()
    for name, keep in doomed:
        path = store.root / name
        with as_store_error(path):
            if not path.exists():
                continue
            if keep:
                quarantine(store.root, path, reason)
            else:
                os.unlink(path)
            directories.add(path.parent)
            count += 1
    for directory in directories:
        with as_store_error(directory):
            sync_directory(directory)  # or a crash could bring a file back that nothing dooms any more
    if doomed:
        with store.writing() as database:
            database.executemany("DELETE FROM doomed WHERE path = ?", [(name,) for name, _ in doomed])
    return count


def drop_backgrounds(database: sqlite3.Connection, segments: Iterable[Segment]) -> None:
    """Aging's first step: what is left shows the foreground over the plate."""
    segments = list(segments)
    database.executemany("UPDATE segments SET has_background = 0 WHERE number = ?", [(s.number,) for s in segments])
    doom(database, (relative(s, Layer.BACKGROUND) for s in segments))


def remove(database: sqlite3.Connection, segments: Iterable[Segment], *, keep: bool = False) -> None:
    """Aging's last step; what was seen in the segments is forgotten too. `keep`: their files go to quarantine."""
    segments = list(segments)
    database.executemany("DELETE FROM segments WHERE number = ?", [(s.number,) for s in segments])
    doom(database, (relative(s, layer) for s in segments for layer in Layer), keep=keep)


def rewrite(
    store: Store, segment: Segment, info: StreamInfo, packets: Iterable[Packet], *, background: bool, keep_old: bool,
    thinned: bool = False,
) -> Segment:  # fmt: skip
    """Put new files with these packets in a segment's place, under a new id and the same row; the old ones are doomed.
    Raises StoreError; the segment is then as it was."""
    new_id = segment_id(segment.first_wall_us)
    fresh = replace(segment, id=new_id.hex())
    layers = (Layer.FOREGROUND, Layer.BACKGROUND) if background else (Layer.FOREGROUND,)
    paths = {layer: store.path(fresh, layer) for layer in layers}
    with store.writing() as database:
        doom(database, (relative(fresh, layer) for layer in layers))
    seen: list[Packet] = []

    def noted() -> Iterator[Packet]:
        for packet in packets:
            seen.append(replace(packet, foreground=b"", background=b"", plate=b""))
            yield packet

    sizes = write_files(paths, info, new_id, noted())
    walls = [packet.wall_us for packet in seen]
    fresh = replace(
        fresh, first_wall_us=min(walls), last_wall_us=max(walls), first_pts_us=seen[0].pts_us,
        last_pts_us=seen[-1].pts_us, frames=len(seen), bytes_foreground=sizes[Layer.FOREGROUND], state="closed",
        bytes_background=sizes.get(Layer.BACKGROUND, segment.bytes_background), has_background=background,
        thinned=thinned,
    )  # fmt: skip
    with store.writing() as database:
        put_segment(database, fresh)
        undoom(database, (relative(fresh, layer) for layer in layers))
        doom(database, (relative(segment, layer) for layer in Layer), keep=keep_old)
    return fresh


def adopt(store: Store, segment: Segment, found: Survey) -> Segment:
    """Make a segment's row say what its files hold; one with number 0 gets a row, and its camera one too if it must. A
    background that aging took stays away, though its file may still be there."""
    row = replace(
        segment, first_wall_us=found.first_wall_us, last_wall_us=found.last_wall_us, first_pts_us=found.first_pts_us,
        last_pts_us=found.last_pts_us, frames=found.frames, bytes_foreground=found.bytes_foreground,
        bytes_background=segment.bytes_background if found.bytes_background is None else found.bytes_background,
        has_background=segment.has_background and found.bytes_background is not None,
        state="closed" if found.closed else "torn",
    )  # fmt: skip
    with store.writing() as database:
        database.execute(
            """INSERT INTO cameras (id, epoch) VALUES (?, ?) ON CONFLICT (id) DO UPDATE
            SET epoch = max(epoch, excluded.epoch)""",
            (row.camera, row.epoch),
        )
        row = put_segment(database, row)
        database.execute("DELETE FROM gaps WHERE segment = ?", (row.number,))
        put_gaps(database, row.number, found.gaps)
    return row


def relative(segment: Segment, layer: Layer) -> str:
    """A segment's file as `doomed` names it."""
    return str(segment_path(Path(), segment.camera, segment.id, layer))


def doomed_paths(store: Store) -> set[Path]:
    with store.reading() as database:
        return {store.root / row[0] for row in database.execute("SELECT path FROM doomed")}
