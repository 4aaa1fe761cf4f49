"""The archive's index: cameras, segments, what was seen. See schema.sql for its tables and invariants.

Knows SQLite and the names of files; what stands in them is for `sink`, `check` and the replay.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from types import TracebackType

from pipeline.errors import StoreError
from pipeline.store import seen
from pipeline.store.database import Database
from pipeline.store.files import (
    INDEX,
    MARKER,
    SEGMENTS,
    as_store_error,
    create_marker,
    lock,
    read_marker,
    refuse_foreign,
    segment_path,
    settle_ballast,
)  # fmt: skip
from pipeline.store.rows import EVER_US, CameraSummary, Event, Segment, StoredDetection, StoredTrack
from pipeline.types import CodedFrame, Layer

UNSEEN_US = 60_000_000  # a segment that is not closed may hold frames, of less than this, that its row does not know

SEGMENTS_QUERY = """SELECT s.number, s.id, c.id, s.epoch, s.first_wall_us, s.last_wall_us, s.first_pts_us,
    s.last_pts_us, s.frames, s.bytes_foreground, s.bytes_background, s.state, s.has_background, s.thinned, place.path
    FROM cameras c JOIN segments s ON s.camera = c.number LEFT JOIN places place ON place.number = s.place"""


class Store:
    """An open archive, made if `root` is empty or missing and not `readonly`. A context manager.

    Safe to share between threads, and open in several processes at once: each camera has one sink, which holds its
    lock. A process that dies leaves nothing to clean: its locks go with it, and the segment that a camera's dead sink
    was writing is marked as torn by the next one. Every failure to open is a StoreError of one line.

    Times are microseconds of Unix time; a range is [from_us, to_us); None stands for every camera or class.
    """

    def __init__(self, root: Path, *, readonly: bool = False) -> None:
        self.root = root
        self.readonly = readonly
        if readonly:
            self.uuid = read_marker(root)
            if not (root / INDEX).exists():
                raise StoreError(f"{root}: the store has no {INDEX}; `fovea store check --repair` rebuilds it")
            self._database = Database(root, self.uuid, write=False)
            return
        with as_store_error(root):
            root.mkdir(parents=True, exist_ok=True)
        refuse_foreign(root)
        with lock(root, wait=True):
            self.uuid = read_marker(root) if (root / MARKER).exists() else create_marker(root)
            with as_store_error(root):
                (root / SEGMENTS).mkdir(exist_ok=True)
            settle_ballast(root)
            self._database = Database(root, self.uuid, write=True)

    def close(self) -> None:
        self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def path(self, segment: Segment, layer: Layer) -> Path:
        """The file of one layer of a segment; it need not exist."""
        root = self.root if segment.place is None else Path(segment.place)
        return segment_path(root, segment.camera, segment.id, layer)

    def name(self, segment: Segment, layer: Layer) -> str:
        """What messages call that file: relative to the store, absolute if it is elsewhere."""
        path = self.path(segment, layer)
        return str(path.relative_to(self.root) if segment.place is None else path)

    def reading(self) -> AbstractContextManager[sqlite3.Connection]:
        """For the modules of this package: see Database."""
        return self._database.reading()

    def writing(self) -> AbstractContextManager[sqlite3.Connection]:
        """For the modules of this package: see Database. Raises UsageError if the store is open for reading."""
        return self._database.writing()

    def index_damage(self) -> str | None:
        """What SQLite finds wrong with the index file, None if nothing."""
        return self._database.check()

    # -- what is recorded

    def cameras(self) -> tuple[str, ...]:
        with self.reading() as database:
            return tuple(row[0] for row in database.execute("SELECT id FROM cameras ORDER BY id"))

    def segment(self, number: int) -> Segment | None:
        """A segment as its row says now, None if it is gone."""
        with self.reading() as database:
            return next(as_segments(database.execute(f"{SEGMENTS_QUERY} WHERE s.number = ?", (number,))), None)

    def segments(self, camera: str | None = None, *, from_us: int = 0, to_us: int = EVER_US) -> tuple[Segment, ...]:
        """Segments with frames in the range, by begin. Those that are not closed may hold frames that their row does
        not know yet, so they count as if they went on for a minute."""
        with self.reading() as database:
            rows = database.execute(
                f"""{SEGMENTS_QUERY} WHERE (:camera IS NULL OR c.id = :camera) AND s.first_wall_us < :to_us
                AND s.first_wall_us >= :from_us - c.longest_us - :unseen_us
                AND s.last_wall_us + iif(s.state = 'closed', 0, :unseen_us) >= :from_us
                ORDER BY s.first_wall_us, s.epoch, s.number""",
                {"camera": camera, "from_us": from_us, "to_us": to_us, "unseen_us": UNSEEN_US},
            )
            return tuple(as_segments(rows))

    def segment_at(self, camera: str, wall_us: int) -> Segment | None:
        """Where a replay of a moment begins: the last segment that begins at or before it, or else the first."""
        before = "AND s.first_wall_us <= :at ORDER BY s.first_wall_us DESC, s.number DESC"
        with self.reading() as database:
            for which in (before, "ORDER BY s.first_wall_us, s.number"):
                query = f"{SEGMENTS_QUERY} WHERE c.id = :camera {which} LIMIT 1"
                found = next(as_segments(database.execute(query, {"camera": camera, "at": wall_us})), None)
                if found is not None:
                    return found
        return None

    def neighbour(self, segment: Segment, *, later: bool) -> Segment | None:
        """The segment of the same camera that begins next, or began before."""
        sign, order = (">", "ASC") if later else ("<", "DESC")
        with self.reading() as database:
            rows = database.execute(
                f"""{SEGMENTS_QUERY} WHERE c.id = ? AND (s.first_wall_us, s.number) {sign} (?, ?)
                ORDER BY s.first_wall_us {order}, s.number {order} LIMIT 1""",
                (segment.camera, segment.first_wall_us, segment.number),
            )
            return next(as_segments(rows), None)

    def open_segments(self, camera: str) -> tuple[Segment, ...]:
        """Those that a sink is writing, or has left behind."""
        with self.reading() as database:
            return tuple(
                as_segments(database.execute(f"{SEGMENTS_QUERY} WHERE c.id = ? AND s.state = 'open'", (camera,)))
            )

    def segment_ids(self, camera: str) -> set[str]:
        with self.reading() as database:
            rows = database.execute(
                "SELECT s.id FROM cameras c JOIN segments s ON s.camera = c.number WHERE c.id = ?", (camera,)
            )
            return {row[0] for row in rows}

    def summary(self) -> tuple[CameraSummary, ...]:
        """One entry a camera, for `ls`."""
        with self.reading() as database:
            rows = database.execute(
                """SELECT c.id, count(s.number), coalesce(sum(s.frames), 0), min(s.first_wall_us), max(s.last_wall_us),
                coalesce(sum(s.bytes_foreground) FILTER (WHERE s.place IS NULL), 0),
                coalesce(sum(s.bytes_background * s.has_background) FILTER (WHERE s.place IS NULL), 0),
                coalesce(sum(s.has_background), 0), coalesce(sum(NOT s.has_background AND NOT s.thinned), 0),
                coalesce(sum(NOT s.has_background AND s.thinned), 0), count(s.place)
                FROM cameras c LEFT JOIN segments s ON s.camera = c.number GROUP BY c.number ORDER BY c.id"""
            )
            return tuple(CameraSummary(*row) for row in rows)

    # -- what was seen

    def detections(self, camera: str, *, from_us: int = 0, to_us: int = EVER_US) -> tuple[StoredDetection, ...]:
        """All detections in the range, in order: to draw boxes. To search, ask for tracks or events."""
        with self.reading() as database:
            return seen.detections(database, camera, from_us, to_us)

    def tracks(
        self,
        camera: str | None = None,
        *,
        label: str | None = None,
        from_us: int = 0,
        to_us: int = EVER_US,
        score: float = 0.0,
        newest_first: bool = False,
        limit: int = 1_000,
    ) -> tuple[StoredTrack, ...]:
        """Tracks that touch the range and whose best detection has at least this score, by begin."""
        query = seen.Query(camera, label, from_us, to_us, score)
        with self.reading() as database:
            return seen.tracks(database, query, newest_first=newest_first, limit=limit)

    def events(
        self,
        camera: str | None = None,
        *,
        label: str | None = None,
        from_us: int = 0,
        to_us: int = EVER_US,
        score: float = 0.0,
        newest_first: bool = False,
        limit: int = 1_000,
    ) -> tuple[Event, ...]:
        """Tracks of a class and camera joined where less than EVENT_BREAK_US lies between them, by begin. An event that
        goes on beyond the range, or where the list was cut at `limit`, may end early."""
        query = seen.Query(camera, label, from_us, to_us, score)
        with self.reading() as database:
            return seen.events(database, query, newest_first=newest_first, limit=limit)

    def replace_detections(self, segment: Segment, frames: Iterable[seen.Seen]) -> int | None:
        """Put what was seen in a segment's frames, in order, in place of what is known. Returns how many detections it
        had, None where the segment is gone meanwhile and nothing was done."""
        with self.writing() as database:
            if not database.execute("SELECT 1 FROM segments WHERE number = ?", (segment.number,)).fetchone():
                return None
            query = "SELECT count(*) FROM detections WHERE segment = ?"
            (before,) = database.execute(query, (segment.number,)).fetchone()
            seen.delete(database, segment.number)
            seen.insert(database, segment.number, frames)
        return int(before)

    # -- recording

    def epoch(self, camera: str) -> int:
        """The number of the camera's newest recording, 0 if there is none."""
        with self.reading() as database:
            row = database.execute("SELECT epoch FROM cameras WHERE id = ?", (camera,)).fetchone()
            return int(row[0]) if row is not None else 0

    def begin_epoch(self, camera: str) -> int:
        """Count a new recording of a camera, which becomes known if it is new. What an earlier one left open is marked
        as torn: the caller must hold the camera's lock."""
        with self.writing() as database:
            database.execute("INSERT INTO cameras (id) VALUES (?) ON CONFLICT DO NOTHING", (camera,))
            rows = database.execute(
                "UPDATE cameras SET epoch = epoch + 1 WHERE id = ? RETURNING number, epoch", (camera,)
            ).fetchall()
            number, epoch = rows[0]
            database.execute("UPDATE segments SET state = 'torn' WHERE state = 'open' AND camera = ?", (number,))
            return int(epoch)

    def commit(
        self, segment: Segment, frames: Iterable[CodedFrame], *, gaps: Sequence[tuple[int, int]] = ()
    ) -> Segment:
        """Index what is durable: insert or update the segment's row, and add what was seen in the frames and the gaps
        (wall time of the frame before, and after) between them, in one transaction. A segment with number 0 is new; the
        result carries its number."""
        packets = [(coded.packet, coded.detections) for coded in frames]
        with self.writing() as database:
            segment = put_segment(database, segment)
            seen.insert(database, segment.number, (seen.Seen(p.index, p.wall_us, found) for p, found in packets))
            put_gaps(database, segment.number, gaps)
        return segment


def put_segment(database: sqlite3.Connection, segment: Segment) -> Segment:
    """Insert a segment with number 0, or update the row of another one; its camera is known. Returns it with its
    number."""
    values = {
        "number": segment.number or None, "id": segment.id, "camera": segment.camera, "epoch": segment.epoch,
        "first_wall": segment.first_wall_us, "last_wall": segment.last_wall_us, "first_pts": segment.first_pts_us,
        "last_pts": segment.last_pts_us, "frames": segment.frames, "foreground": segment.bytes_foreground,
        "background": segment.bytes_background, "state": segment.state, "has_background": segment.has_background,
        "thinned": segment.thinned,
    }  # fmt: skip
    number = database.execute(_PUT, values).fetchone()[0]
    length_us = segment.last_wall_us - segment.first_wall_us
    database.execute(
        "UPDATE cameras SET longest_us = ? WHERE id = ? AND longest_us < ?", (length_us, segment.camera, length_us)
    )
    return replace(segment, number=int(number))


def put_gaps(database: sqlite3.Connection, segment: int, gaps: Iterable[tuple[int, int]]) -> None:
    database.executemany(
        "INSERT INTO gaps (segment, from_us, to_us) VALUES (?, ?, ?)", [(segment, *gap) for gap in gaps]
    )


_PUT = """INSERT INTO segments (number, id, camera, epoch, first_wall_us, last_wall_us, first_pts_us, last_pts_us,
    frames, bytes_foreground, bytes_background, state, has_background, thinned)
    VALUES (:number, :id, (SELECT number FROM cameras WHERE id = :camera), :epoch, :first_wall, :last_wall, :first_pts,
    :last_pts, :frames, :foreground, :background, :state, :has_background, :thinned)
    ON CONFLICT (number) DO UPDATE SET id = excluded.id, epoch = excluded.epoch,
    first_wall_us = excluded.first_wall_us, last_wall_us = excluded.last_wall_us, first_pts_us = excluded.first_pts_us,
    last_pts_us = excluded.last_pts_us, frames = excluded.frames, bytes_foreground = excluded.bytes_foreground,
    bytes_background = excluded.bytes_background, state = excluded.state, has_background = excluded.has_background,
    thinned = excluded.thinned
    RETURNING number"""


def as_segments(rows: Iterable[tuple[object, ...]]) -> Iterator[Segment]:
    """Rows of SEGMENTS_QUERY."""
    for row in rows:
        yield Segment(*(*row[:12], bool(row[12]), bool(row[13]), row[14]))  # type: ignore[arg-type]
