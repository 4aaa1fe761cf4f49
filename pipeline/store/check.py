"""Whether an archive is what its schema promises: rows against files, sizes, checksums, order. Changes nothing.

Decoding is not its business; whoever wants symbols verified too passes `examine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from pipeline.bitstream import Fault, StreamReader
from pipeline.errors import StreamError
from pipeline.store.files import LOCK, SEGMENTS, SUFFIX, as_store_error, is_locked
from pipeline.store.index import Store
from pipeline.store.rows import Segment
from pipeline.store.segmentfile import open_files
from pipeline.store.upkeep import doomed_paths
from pipeline.types import Layer

Examine = Callable[[StreamReader], None]


@dataclass(frozen=True, slots=True)
class StoreFault:
    """A broken invariant. `path` is relative to the store ('' for the index); `fault` says where in the file."""

    path: str
    fault: Fault


def read_through(reader: StreamReader) -> None:
    """Read every packet and verify what the container alone can tell: the frames counted at the end, the index."""
    for _ in reader.packets():
        pass
    reader.check_index()


def check(store: Store, *, examine: Examine | None = None) -> tuple[StoreFault, ...]:
    """Verify the invariants of schema.sql; one entry a fault. `examine` is given a reader of each segment and adds what
    it finds to the reader's faults; without it every packet is read once."""
    faults: list[StoreFault] = []
    segments = store.segments()
    for segment in segments:
        faults.extend(check_segment(store, segment, examine=examine or read_through))
    for path in strangers(store, segments):
        kind = "segment" if path.suffix in SUFFIX.values() else "stranger"
        faults.append(_whole(str(path.relative_to(store.root)), f"a {kind} that the index does not know"))
    for segment in overlaps(segments):
        name = store.name(segment, Layer.FOREGROUND)
        faults.append(_whole(name, "overlaps another segment of its recording in stream time"))
    faults.extend(_whole("", reason) for reason in _index_faults(store))
    return tuple(faults)


def check_segment(store: Store, segment: Segment, *, examine: Examine = read_through) -> Iterator[StoreFault]:
    """What is wrong with one segment, its row against its files and what stands in them."""
    paths = {layer: store.path(segment, layer) for layer in Layer}
    names = {layer: store.name(segment, layer) for layer in Layer}
    claimed = {Layer.FOREGROUND: segment.bytes_foreground}
    if segment.has_background:
        claimed[Layer.BACKGROUND] = segment.bytes_background
    complete = True
    for layer, want in claimed.items():
        try:
            size = paths[layer].stat().st_size
        except OSError as error:
            yield _whole(names[layer], error.strerror or str(error), layer)
            complete &= layer is not Layer.FOREGROUND
            continue
        if size < want or (size > want and segment.state == "closed"):
            yield _whole(names[layer], f"{size} bytes where the index says {want}", layer)
    if not complete:
        return
    try:
        with ExitStack() as stack:
            reader = open_segment(store, segment, stack)
            examine(reader)
    except (StreamError, OSError) as error:
        yield StoreFault(names[Layer.FOREGROUND], Fault(-1, Layer.FOREGROUND, getattr(error, "offset", -1), str(error)))
        return
    if reader.header.stream_id.hex() != segment.id:
        yield _whole(names[Layer.FOREGROUND], f"the file holds stream {reader.header.stream_id.hex()}")
    counted = reader.frames
    if not reader.faults and (counted < segment.frames or (counted > segment.frames and segment.state == "closed")):
        yield _whole(names[Layer.FOREGROUND], f"{counted} frames where the index says {segment.frames}")
    for fault in reader.faults:
        yield StoreFault(names[fault.layer or Layer.FOREGROUND], fault)


def open_segment(store: Store, segment: Segment, stack: ExitStack, *, foreground_only: bool = False) -> StreamReader:
    """A recovering reader of a segment, whose files the stack closes. Never opens the background if `foreground_only`.
    Raises OSError, or StreamError if the file is no stream at all."""
    if not store.path(segment, Layer.FOREGROUND).exists():
        segment = store.segment(segment.number) or segment  # aging has rewritten it since the row was read
    background = store.path(segment, Layer.BACKGROUND) if segment.has_background and not foreground_only else None
    return open_files(store.path(segment, Layer.FOREGROUND), background, stack, open_ended=segment.state != "closed")


def strangers(store: Store, segments: Iterable[Segment]) -> list[Path]:
    """Files in segments/ that neither belong to these segments nor are doomed, nor are a sink's at work, in order."""
    known = doomed_paths(store) | {
        store.path(segment, layer)
        for segment in segments
        for layer in Layer
        if segment.has_background or layer is Layer.FOREGROUND
    }
    root = store.root / SEGMENTS
    with as_store_error(root):
        found = sorted(path for path in root.rglob("*") if not path.is_dir() and path.name != LOCK)
    busy = {path.parent for path in found if is_locked(path.parent)}  # a sink has files before it has their row
    known |= doomed_paths(store)  # and upkeep may have begun since
    return [path for path in found if path not in known and path.parent not in busy]


def _index_faults(store: Store) -> Iterator[str]:
    """What is wrong inside the index."""
    damage = store.index_damage()
    if damage is not None:
        yield damage
    with store.reading() as database:
        for table in ("detections", "tracks"):
            (stray,) = database.execute(
                f"""SELECT count(*) FROM {table} t LEFT JOIN segments s ON s.number = t.segment
                WHERE s.number IS NULL OR t.camera != s.camera"""
            ).fetchone()
            if stray:
                yield f"{stray} {table} belong to no segment of their camera"
        (uncounted,) = database.execute(
            """SELECT count(*) FROM segments s WHERE (SELECT count(*) FROM detections WHERE segment = s.number) !=
            (SELECT coalesce(sum(detections), 0) FROM tracks WHERE segment = s.number)"""
        ).fetchone()
        if uncounted:
            yield f"the tracks of {uncounted} segments do not count their detections"
        (short,) = database.execute(
            """SELECT count(DISTINCT c.number) FROM cameras c JOIN segments s ON s.camera = c.number
            WHERE s.last_wall_us - s.first_wall_us > c.longest_us"""
        ).fetchone()
        if short:
            yield f"{short} cameras have segments longer than they know"


def overlaps(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Segments that begin in stream time before an earlier one of the same recording has ended."""
    ordered = sorted(segments, key=lambda s: (s.camera, s.epoch, s.first_pts_us))
    for a, b in pairwise(ordered):
        if (a.camera, a.epoch) == (b.camera, b.epoch) and a.last_pts_us >= b.first_pts_us:
            yield b


def _whole(path: str, reason: str, layer: Layer | None = None) -> StoreFault:
    return StoreFault(path, Fault(-1, layer, -1, reason))
