"""The search in what was seen: by camera, class, time and zone, the newest first, page by page. From the index alone,
but for the size of the pictures; every call looks at a bounded number of tracks."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pipeline.serve.archive import Archive
from pipeline.store import StoredTrack
from pipeline.types import Detection

MOST_LOOKED_AT = 5_000
_JOIN_US = 5_000_000  # a track that goes on within this, in another segment, is one find
_BATCH = 200

Zone = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """Tracks of these cameras in [from_us, to_us); of a class; that were in a zone (shares of the picture) at any
    moment."""

    cameras: tuple[str, ...]
    from_us: int
    to_us: int
    label: str | None = None
    zone: Zone | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What was seen, with its best moment; `box` as shares of the picture."""

    camera: str
    label: str
    track: int | None
    first_wall_us: int
    last_wall_us: int
    best_wall_us: int
    score: float
    box: Zone


@dataclass(frozen=True, slots=True)
class Page:
    """`next`: what to give as `before` for the rest; None where there is none."""

    found: tuple[Found, ...]
    next: str | None


def parse_zone(text: str) -> Zone:
    """`x0,y0,x1,y1` as shares of the picture. Raises ValueError."""
    try:
        x0, y0, x1, y1 = (float(part) for part in text.split(","))
    except ValueError:
        raise ValueError("expected x0,y0,x1,y1 as shares of the picture, 0 to 1") from None
    if not (0 <= x0 < x1 <= 1 and 0 <= y0 < y1 <= 1):  # neither for NaN
        raise ValueError("expected x0,y0,x1,y1 as shares of the picture, 0 to 1, with x0 < x1 and y0 < y1")
    return x0, y0, x1, y1


def search(archive: Archive, query: SearchQuery, *, limit: int, before: str | None = None) -> Page:
    """Up to `limit` finds from where the page that gave `before` ended. A page may hold fewer, even none, where few of
    many tracks fit the zone: `next` says whether to go on."""
    first, skip = (int(part) for part in before.split("-")) if before is not None else (query.to_us - 1, 0)
    to_us = min(query.to_us, first + 1)
    found: list[Found] = []
    at, at_same = first, 0  # where the walk stands: tracks that begin at `at` which it has passed
    for number, track in enumerate(_tracks(archive, query, to_us)):
        if track.first_wall_us == at:
            at_same += 1
        else:
            at, at_same = track.first_wall_us, 1
        if at == first and at_same <= skip:
            continue
        if number >= MOST_LOOKED_AT:
            return Page(tuple(found), f"{at}-{at_same - 1}")
        if query.zone is not None and not _inside(archive, track, query.zone):
            continue
        one = _found(archive, track)
        if found and (place := _continued(found, one)) is not None:
            found[place] = _joined(found[place], one)
            continue
        if len(found) == limit:
            return Page(tuple(found), f"{at}-{at_same - 1}")
        found.append(one)
    return Page(tuple(found), None)


def _tracks(archive: Archive, query: SearchQuery, to_us: int) -> Iterator[StoredTrack]:
    """Of all cameras, by begin, the newest first."""
    streams = [_of_camera(archive, camera, query, to_us) for camera in query.cameras]
    return heapq.merge(*streams, key=lambda track: -track.first_wall_us)


def _of_camera(archive: Archive, camera: str, query: SearchQuery, to_us: int) -> Iterator[StoredTrack]:
    """In batches, each a little larger, so that neither a page nor an archive is read whole."""
    passed, at, size = 0, to_us - 1, _BATCH
    while True:
        batch = archive.store.tracks(
            camera, label=query.label, from_us=query.from_us, to_us=at + 1, newest_first=True, limit=passed + size
        )
        yield from batch[passed:]
        if len(batch) < passed + size:
            return
        last = batch[-1].first_wall_us
        passed = sum(track.first_wall_us == last for track in batch)
        at, size = last, min(2 * size, 2_000)


def _inside(archive: Archive, track: StoredTrack, zone: Zone) -> bool:
    """Whether any of the track's boxes touches the zone."""
    if _touches(_shares(archive, track.camera, track.best_wall_us, track.best), zone):
        return True
    seen = archive.store.detections(track.camera, from_us=track.first_wall_us, to_us=track.last_wall_us + 1)
    return any(
        item.detection.label == track.best.label
        and item.detection.track_id == track.best.track_id
        and _touches(_shares(archive, track.camera, item.wall_us, item.detection), zone)
        for item in seen
    )


def _touches(box: Zone, zone: Zone) -> bool:
    return box[0] < zone[2] and box[2] > zone[0] and box[1] < zone[3] and box[3] > zone[1]


def _shares(archive: Archive, camera: str, wall_us: int, box: Detection) -> Zone:
    """A box as shares of the picture that it was seen in."""
    info = archive.info_at(camera, wall_us)
    wide, high = (info.width, info.height) if info is not None else (math.inf, math.inf)
    return box.x0 / wide, box.y0 / high, min(1.0, box.x1 / wide), min(1.0, box.y1 / high)


def _found(archive: Archive, track: StoredTrack) -> Found:
    best = track.best
    return Found(
        track.camera, best.label, best.track_id, track.first_wall_us, track.last_wall_us, track.best_wall_us,
        best.score, _shares(archive, track.camera, track.best_wall_us, best),
    )  # fmt: skip


def _continued(found: list[Found], one: Found) -> int | None:
    """Where in the page stands what this track goes on as."""
    for place in range(len(found) - 1, -1, -1):
        other = found[place]
        same = (other.camera, other.label, other.track) == (one.camera, one.label, one.track)
        if same and one.track is not None and 0 <= other.first_wall_us - one.last_wall_us <= _JOIN_US:
            return place
    return None


def _joined(later: Found, earlier: Found) -> Found:
    best = later if later.score > earlier.score else earlier
    return replace(best, first_wall_us=earlier.first_wall_us, last_wall_us=later.last_wall_us)
