"""The archive's index: cameras, segments, detections. See schema.sql for its tables and invariants.

Knows SQLite and the names of files; what stands in them is for `sink`, `check` and the replay.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.resources import files as package_files
from pathlib import Path
from types import TracebackType
from typing import Literal

from pipeline.errors import StoreError, UsageError
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
)  # fmt: skip
from pipeline.types import CodedFrame, Detection, Layer

SCHEMA_VERSION = 1
State = Literal["open", "closed", "torn"]

_SEGMENT_COLUMNS = """s.number, s.id, c.id, s.epoch, s.first_wall_us, s.last_wall_us, s.first_pts_us, s.last_pts_us,
    s.frames, s.bytes_foreground, s.bytes_background, s.state, s.has_background"""


@dataclass(frozen=True, slots=True)
class Segment:
    """A row of `segments`. Times are of the first and last frame's begin; bytes are on disk for sure."""

    number: int
    id: str
    camera: str
    epoch: int
    first_wall_us: int
    last_wall_us: int
    first_pts_us: int
    last_pts_us: int
    frames: int
    bytes_foreground: int
    bytes_background: int
    state: State
    has_background: bool


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """What `ls` says of a camera. Times are None and counts 0 where nothing is recorded."""

    camera: str
    segments: int
    frames: int
    first_wall_us: int | None
    last_wall_us: int | None
    bytes_foreground: int
    bytes_background: int


@dataclass(frozen=True, slots=True)
class StoredDetection:
    """A detection and the frame it was seen in."""

    camera: str
    frame: int
    wall_us: int
    detection: Detection


class Store:
    """An open archive, made if `root` is empty or missing and not `readonly`. A context manager.

    Safe to share between threads, and open in several processes at once: each camera has one sink, which holds its
    lock. A process that dies leaves nothing to clean: its locks go with it, and the segment that a camera's dead sink
    was writing is marked as torn by the next one. Every failure to open is a StoreError of one line.
    """

    def __init__(self, root: Path, *, readonly: bool = False) -> None:
        self.root = root
        self.readonly = readonly
        self._mutex = threading.Lock()
        if readonly:
            self.uuid = read_marker(root)
            if not (root / INDEX).exists():
                raise StoreError(f"{root}: the store has no {INDEX}")
            self._open()
            return
        with as_store_error(root):
            root.mkdir(parents=True, exist_ok=True)
        refuse_foreign(root)
        with lock(root, wait=True):
            self.uuid = read_marker(root) if (root / MARKER).exists() else create_marker(root)
            with as_store_error(root):
                (root / SEGMENTS).mkdir(exist_ok=True)
            self._open()

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
        return segment_path(self.root, segment.camera, segment.id, layer)

    def cameras(self) -> tuple[str, ...]:
        with self._reading() as database:
            return tuple(row[0] for row in database.execute("SELECT id FROM cameras ORDER BY id"))

    def segments(self, camera: str | None = None, *, from_us: int = 0, to_us: int = 1 << 62) -> tuple[Segment, ...]:
        """Segments with frames in the wall time [from_us, to_us), by begin. Those that are not closed may hold frames
        that their row does not know yet, so they count as if they went on for a minute."""
        with self._reading() as database:
            rows = database.execute(
                f"""SELECT {_SEGMENT_COLUMNS} FROM segments s JOIN cameras c ON c.number = s.camera
                WHERE (:camera IS NULL OR c.id = :camera) AND s.first_wall_us < :to_us
                AND s.last_wall_us + CASE s.state WHEN 'closed' THEN 0 ELSE 60000000 END >= :from_us
                ORDER BY s.first_wall_us, s.epoch, s.number""",
                {"camera": camera, "from_us": from_us, "to_us": to_us},
            )
            return tuple(Segment(*(*row[:12], bool(row[12]))) for row in rows)

    def detections(self, camera: str, *, from_us: int = 0, to_us: int = 1 << 62) -> tuple[StoredDetection, ...]:
        """What was seen in the wall time [from_us, to_us), in order."""
        with self._reading() as database:
            rows = database.execute(
                """SELECT d.frame, d.wall_us, d.x0, d.y0, d.x1, d.y1, d.label, d.score, d.track
                FROM detections d JOIN cameras c ON c.number = d.camera
                WHERE c.id = ? AND d.wall_us >= ? AND d.wall_us < ? ORDER BY d.wall_us, d.rowid""",
                (camera, from_us, to_us),
            )
            return tuple(StoredDetection(camera, row[0], row[1], Detection(*row[2:])) for row in rows)

    def summary(self) -> tuple[CameraSummary, ...]:
        """One entry a camera, for `ls`."""
        with self._reading() as database:
            rows = database.execute(
                """SELECT c.id, count(s.number), coalesce(sum(s.frames), 0), min(s.first_wall_us), max(s.last_wall_us),
                coalesce(sum(s.bytes_foreground), 0), coalesce(sum(s.bytes_background * s.has_background), 0)
                FROM cameras c LEFT JOIN segments s ON s.camera = c.number GROUP BY c.number ORDER BY c.id"""
            )
            return tuple(CameraSummary(*row) for row in rows)

    def begin_epoch(self, camera: str) -> int:
        """Count a new recording of a camera, which becomes known if it is new. What an earlier one left open is marked
        as torn: the caller must hold the camera's lock."""
        with self._writing() as database:
            database.execute("INSERT INTO cameras (id) VALUES (?) ON CONFLICT DO NOTHING", (camera,))
            rows = database.execute(
                "UPDATE cameras SET epoch = epoch + 1 WHERE id = ? RETURNING number, epoch", (camera,)
            ).fetchall()
            number, epoch = rows[0]
            database.execute("UPDATE segments SET state = 'torn' WHERE state = 'open' AND camera = ?", (number,))
            return int(epoch)

    def commit(self, segment: Segment, frames: Iterable[CodedFrame]) -> Segment:
        """Index what is durable: insert or update the segment's row, and add the frames' detections, in one
        transaction. A segment with number 0 is new; the result carries its number."""
        with self._writing() as database:
            if segment.number == 0:
                number = database.execute(
                    """INSERT INTO segments (id, camera, epoch, first_wall_us, last_wall_us, first_pts_us, last_pts_us,
                    frames, bytes_foreground, bytes_background, state)
                    VALUES (?, (SELECT number FROM cameras WHERE id = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                    _values(segment),
                ).lastrowid
                segment = replace(segment, number=int(number or 0))
            else:
                database.execute(
                    """UPDATE segments SET last_wall_us = ?, last_pts_us = ?, frames = ?, bytes_foreground = ?,
                    bytes_background = ?, state = ? WHERE number = ?""",
                    (segment.last_wall_us, segment.last_pts_us, segment.frames, segment.bytes_foreground,
                     segment.bytes_background, segment.state, segment.number),
                )  # fmt: skip
            database.executemany(
                """INSERT INTO detections (segment, camera, wall_us, frame, label, score, x0, y0, x1, y1, track)
                VALUES (?, (SELECT camera FROM segments WHERE number = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
                (_detection_values(segment.number, coded, seen) for coded in frames for seen in coded.detections),
            )
        return segment

    def stray_detections(self) -> int:
        """How many detections belong to no segment of their camera, for `check`."""
        with self._reading() as database:
            row = database.execute(
                """SELECT count(*) FROM detections d LEFT JOIN segments s ON s.number = d.segment
                WHERE s.number IS NULL OR d.camera != s.camera"""
            ).fetchone()
            return int(row[0])

    def _open(self) -> None:
        self._database = _connect(self.root, write=not self.readonly)
        try:
            if not self.readonly:
                self._prepare()
            self._verify_identity()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        with self._writing() as database:
            for statement in _statements():
                database.execute(statement)
            database.execute(
                "INSERT INTO store (uuid, schema_version) SELECT ?, ? WHERE NOT EXISTS (SELECT 1 FROM store)",
                (self.uuid, SCHEMA_VERSION),
            )

    def _verify_identity(self) -> None:
        with self._reading() as database:
            row = database.execute("SELECT uuid, schema_version FROM store").fetchone()
        if row is None or row[0] != self.uuid:
            raise StoreError(f"{self.root}: {INDEX} belongs to another store than {MARKER}")
        if row[1] != SCHEMA_VERSION:
            raise StoreError(f"{self.root}: index version {row[1]}, this program knows {SCHEMA_VERSION}")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            try:
                yield self._database
            except sqlite3.Error as error:
                raise StoreError(f"{self.root / INDEX}: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        if self.readonly:
            raise UsageError(f"{self.root} is open for reading")
        with self._reading() as database, database:
            database.execute("BEGIN IMMEDIATE")
            yield database


def _connect(root: Path, *, write: bool) -> sqlite3.Connection:
    path = root / INDEX
    try:
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if write else 'ro'}",
            uri=True, timeout=10.0, isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        if write:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    return database


def _statements() -> Sequence[str]:
    text = package_files("pipeline.store").joinpath("schema.sql").read_text(encoding="utf-8")
    bare = "\n".join(line.split("--")[0] for line in text.splitlines())
    return [statement for statement in bare.split(";") if statement.strip()]


def _values(
    s: Segment,
) -> tuple[str, str, int, int, int, int, int, int, int, int, State]:
    return (
        s.id, s.camera, s.epoch, s.first_wall_us, s.last_wall_us, s.first_pts_us, s.last_pts_us, s.frames,
        s.bytes_foreground, s.bytes_background, s.state,
    )  # fmt: skip


def _detection_values(segment: int, coded: CodedFrame, seen: Detection) -> tuple[int | float | str | None, ...]:
    packet = coded.packet
    return (
        segment, segment, packet.wall_us, packet.index, seen.label, seen.score, seen.x0, seen.y0, seen.x1, seen.y1,
        seen.track_id,
    )  # fmt: skip
