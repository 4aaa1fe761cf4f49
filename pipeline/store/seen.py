"""What was seen: detections and tracks into the index and out of it. Knows the tables, not the segments' files."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.store.rows import Event, StoredDetection, StoredTrack
from pipeline.types import Detection

EVENT_BREAK_US = 5_000_000  # a class that is not seen for longer begins a new event

# What is seen is found by when it begins, and lasts no longer than its camera's longest segment.
_IN_RANGE = """t.camera = :number AND t.first_wall_us < :to_us AND t.first_wall_us >= :from_us - :longest_us
    AND t.last_wall_us >= :from_us AND t.score >= :score"""
_OF_CLASS = " AND t.label = :label"


@dataclass(frozen=True, slots=True)
class Seen:
    """Detections of one frame."""

    frame: int
    wall_us: int
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """Which tracks: those in the wall time [from_us, to_us), None for every camera or class."""

    camera: str | None
    label: str | None
    from_us: int
    to_us: int
    score: float = 0.0


def insert(database: sqlite3.Connection, segment: int, frames: Iterable[Seen]) -> None:
    """Add what was seen in a segment's frames, which come in order and follow those added before."""
    seen = [(frame, detection) for frame in frames for detection in frame.detections]
    if not seen:
        return
    ((camera,),) = database.execute("SELECT camera FROM segments WHERE number = ?", (segment,))
    database.executemany(
        """INSERT INTO detections (segment, camera, wall_us, frame, label, score, x0, y0, x1, y1, track)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [
            (segment, camera, at.wall_us, at.frame, d.label, d.score, d.x0, d.y0, d.x1, d.y1, d.track_id)
            for at, d in seen
        ],
    )
    for piece in _pieces(seen):
        values = {"segment": segment, "camera": camera, "break_us": EVENT_BREAK_US, **piece}
        if database.execute(_EXTEND, values).rowcount == 0:
            database.execute(_BEGIN, values)


def of_segment(database: sqlite3.Connection, segment: int) -> list[Seen]:
    """All that was seen in a segment, frame by frame."""
    rows = database.execute(
        """SELECT frame, wall_us, x0, y0, x1, y1, label, score, track FROM detections WHERE segment = ?
        ORDER BY frame, rowid""",
        (segment,),
    )
    frames: dict[tuple[int, int], list[Detection]] = {}
    for row in rows:
        frames.setdefault((row[0], row[1]), []).append(Detection(*row[2:]))
    return [Seen(frame, wall, tuple(found)) for (frame, wall), found in frames.items()]


def delete(database: sqlite3.Connection, segment: int) -> None:
    """Forget all that was seen in a segment."""
    for table in ("detections", "tracks"):
        database.execute(f"DELETE FROM {table} WHERE segment = ?", (segment,))


def detections(database: sqlite3.Connection, camera: str, from_us: int, to_us: int) -> tuple[StoredDetection, ...]:
    rows = database.execute(
        """SELECT d.frame, d.wall_us, d.x0, d.y0, d.x1, d.y1, d.label, d.score, d.track
        FROM cameras c JOIN detections d ON d.camera = c.number
        WHERE c.id = ? AND d.wall_us >= ? AND d.wall_us < ? ORDER BY d.wall_us, d.rowid""",
        (camera, from_us, to_us),
    )
    return tuple(StoredDetection(camera, row[0], row[1], Detection(*row[2:])) for row in rows)


def tracks(database: sqlite3.Connection, query: Query, *, newest_first: bool, limit: int) -> tuple[StoredTrack, ...]:
    rows = _tracks(database, query, newest_first=newest_first)
    return tuple(row for row, _ in zip(rows, range(limit), strict=False))


def events(database: sqlite3.Connection, query: Query, *, newest_first: bool, limit: int) -> tuple[Event, ...]:
    """Tracks of a class joined where less than EVENT_BREAK_US lies between them. A track at the edge of the range
    counts as it is, one beyond it does not."""
    found: list[Event] = []
    running: dict[tuple[str, str], int] = {}  # where in `found` the newest event of a camera and class stands
    for track in _tracks(database, query, newest_first=newest_first):
        key = track.camera, track.best.label
        place = running.get(key)
        if place is not None and (joined := _join(found[place], track)) is not None:
            found[place] = joined
            continue
        if len(found) == limit:  # later rows could only extend what is there, and at its far end alone
            break
        running[key] = len(found)
        found.append(
            Event(
                camera=track.camera, label=track.best.label, first_wall_us=track.first_wall_us,
                last_wall_us=track.last_wall_us, tracks=1, best=track.best, best_wall_us=track.best_wall_us,
            )
        )  # fmt: skip
    return tuple(found)


def activity(database: sqlite3.Connection, query: Query, bucket_us: int) -> Iterator[tuple[int, int, str, int]]:
    """(first bucket, last bucket, label, tracks): how many tracks of a class begin in the one and end in the other,
    buckets counted from `from_us`."""
    for _, where, values in _by_camera(database, query):
        yield from database.execute(
            f"""SELECT (t.first_wall_us - :from_us) / :bucket AS first, (t.last_wall_us - :from_us) / :bucket AS last,
            t.label, count(*) FROM tracks t WHERE {where} GROUP BY first, last, t.label""",
            {**values, "bucket": bucket_us},
        )


_EXTEND = """UPDATE tracks SET last_wall_us = max(last_wall_us, :last), detections = detections + :count,
    best_wall_us = iif(:score > score, :best, best_wall_us), x0 = iif(:score > score, :x0, x0),
    y0 = iif(:score > score, :y0, y0), x1 = iif(:score > score, :x1, x1), y1 = iif(:score > score, :y1, y1),
    score = max(score, :score)
    WHERE number = (SELECT number FROM tracks WHERE segment = :segment AND label = :label AND track IS :track
    AND last_wall_us >= :first - :break_us ORDER BY number DESC LIMIT 1)"""
_BEGIN = """INSERT INTO tracks (segment, camera, label, track, first_wall_us, last_wall_us, detections, score,
    best_wall_us, x0, y0, x1, y1)
    VALUES (:segment, :camera, :label, :track, :first, :last, :count, :score, :best, :x0, :y0, :x1, :y1)"""


def _pieces(seen: Iterable[tuple[Seen, Detection]]) -> Iterator[dict[str, int | float | str | None]]:
    """What each track adds: cut where it was not seen for long."""
    groups: dict[tuple[str, int | None], list[tuple[Seen, Detection]]] = {}
    for at, detection in seen:
        groups.setdefault((detection.label, detection.track_id), []).append((at, detection))
    for (label, track), all_seen in groups.items():
        begin = 0
        for end in range(1, len(all_seen) + 1):
            if end < len(all_seen) and all_seen[end][0].wall_us <= all_seen[end - 1][0].wall_us + EVENT_BREAK_US:
                continue
            piece, begin = all_seen[begin:end], end
            at, best = max(piece, key=lambda item: item[1].score)
            walls = [item[0].wall_us for item in piece]
            yield {
                "label": label, "track": track, "first": min(walls), "last": max(walls), "count": len(piece),
                "score": best.score, "best": at.wall_us, "x0": best.x0, "y0": best.y0, "x1": best.x1, "y1": best.y1,
            }  # fmt: skip


def _tracks(database: sqlite3.Connection, query: Query, *, newest_first: bool) -> Iterator[StoredTrack]:
    """In order of their begin, read from the indices as they are asked for."""
    order = "DESC" if newest_first else "ASC"

    def of_camera(camera: str, where: str, values: dict[str, str | int | float | None]) -> Iterator[StoredTrack]:
        for row in database.execute(
            f"""SELECT t.first_wall_us, t.last_wall_us, t.detections, t.x0, t.y0, t.x1, t.y1, t.label, t.score, t.track,
            t.best_wall_us FROM tracks t WHERE {where} ORDER BY t.first_wall_us {order}, t.last_wall_us {order}""",
            values,
        ):
            yield StoredTrack(camera, row[0], row[1], row[2], Detection(*row[3:10]), row[10])

    streams = [of_camera(*camera) for camera in _by_camera(database, query)]
    return heapq.merge(*streams, key=lambda track: track.first_wall_us, reverse=newest_first)


def _by_camera(
    database: sqlite3.Connection, query: Query
) -> Iterator[tuple[str, str, dict[str, str | int | float | None]]]:
    """For each camera asked for: its id, the condition on its tracks `t`, and the values in it."""
    where = _IN_RANGE + (_OF_CLASS if query.label is not None else "")
    for number, camera, longest_us in database.execute("SELECT number, id, longest_us FROM cameras ORDER BY id"):
        if query.camera in (None, camera):
            yield (
                camera,
                where,
                {
                    "number": number, "longest_us": longest_us, "label": query.label, "from_us": query.from_us,
                    "to_us": query.to_us, "score": query.score,
                },
            )  # fmt: skip


def _join(event: Event, track: StoredTrack) -> Event | None:
    """The event with this track in it, None if a break lies between them."""
    first, last = event.first_wall_us - EVENT_BREAK_US, event.last_wall_us + EVENT_BREAK_US
    if track.last_wall_us < first or track.first_wall_us > last:
        return None
    better = (track.best.score, -track.best_wall_us) > (event.best.score, -event.best_wall_us)
    return Event(
        camera=event.camera, label=event.label, first_wall_us=min(event.first_wall_us, track.first_wall_us),
        last_wall_us=max(event.last_wall_us, track.last_wall_us), tracks=event.tracks + 1,
        best=track.best if better else event.best, best_wall_us=track.best_wall_us if better else event.best_wall_us,
    )  # fmt: skip
