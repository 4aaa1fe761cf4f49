"""Old footage fades from the background inward: full, foreground over the plate, foreground at a lower frame rate,
gone.

Which step is due is decided by age and by shares of a camera's cap; a disk that runs full purges the oldest
backgrounds of all cameras, then the oldest footage. Pinned footage and what is being recorded are left alone. What is
done is logged in the index with what it freed.
"""

from __future__ import annotations

import json
import math
import shutil
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal

from pipeline.bitstream import StreamReader
from pipeline.config import AgeStep, RetentionConfig
from pipeline.errors import StreamError
from pipeline.store.check import open_segment
from pipeline.store.files import settle_ballast
from pipeline.store.index import SEGMENTS_QUERY, Store, as_segments
from pipeline.store.rows import EVER_US, Purge, Segment
from pipeline.store.upkeep import drop_backgrounds, remove, rewrite, sweep, upkeep
from pipeline.types import Packet

DAY_US = 86_400_000_000
GB = 1_000_000_000
_BATCH = {"background": 500, "thin": 20, "remove": 20}  # segments a transaction: a recording waits milliseconds for it
_KEPT_PURGES = 10_000
_SPARE = 1.1  # a purge frees a little more than it must, so that it is not due again at once

Action = Literal["background", "thin", "remove"]
_LOW_DISK: tuple[Action, ...] = ("background", "remove")  # thinning would need room first


def age(
    store: Store,
    policies: Mapping[str, RetentionConfig],
    *,
    now_us: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Purge, ...]:
    """Take every step that is due, by the policy of each camera; a camera without one keeps everything. Returns what
    was done, also found with `purges`. A segment that is damaged is not thinned. Raises StoreError, also if another
    upkeep is at work."""
    done: list[Purge] = []
    with upkeep(store):
        for camera, policy in policies.items():
            for action, step in _steps(policy):
                for before_us, reason in _cutoffs(store, camera, step, policy.max_gb, now_us):
                    due = _due(store, action, camera=camera, before_us=before_us)
                    for purge in _take(store, action, due, reason=reason, now_us=now_us, keep_s=policy.thin_keep_s):
                        done.append(purge)
                        if cancelled():
                            return tuple(done)
        _forget_old(store)
    return tuple(done)


def purge_low_disk(
    store: Store,
    *,
    keep_free_bytes: int,
    now_us: int,
    free_bytes: Callable[[Path], int] = lambda root: shutil.disk_usage(root).free,
) -> tuple[Purge, ...]:
    """If less than this is free where the store lies, take the oldest backgrounds until it is not, and the oldest
    footage if they do not suffice."""
    missing = keep_free_bytes - free_bytes(store.root)
    if missing <= 0:
        return ()
    done: list[Purge] = []
    settle_ballast(store.root)
    with upkeep(store):
        for action in _LOW_DISK:
            while missing > 0 and (due := _due(store, action, wanted=missing * _SPARE)):
                done.extend(_take(store, action, due, reason="low disk", now_us=now_us))
                missing = keep_free_bytes - free_bytes(store.root)
    settle_ballast(store.root)
    return tuple(done)


def remove_range(store: Store, camera: str, *, from_us: int, to_us: int, now_us: int) -> tuple[Purge, ...]:
    """Remove a camera's segments that lie wholly in [from_us, to_us), but for what is pinned or being recorded."""
    with upkeep(store):
        due = [s for s in _due(store, "remove", camera=camera, before_us=to_us) if s.first_wall_us >= from_us]
        return tuple(_take(store, "remove", due, reason="asked for", now_us=now_us))


def purges(store: Store, *, limit: int = 100) -> tuple[Purge, ...]:
    """What retention did, newest first."""
    with store.reading() as database:
        rows = database.execute(
            """SELECT at_us, camera, action, reason, segments, bytes, from_us, to_us FROM purges
            ORDER BY number DESC LIMIT ?""",
            (limit,),
        )
        return tuple(Purge(*row) for row in rows)


def kept_packets(reader: StreamReader, keep_us: int) -> Iterator[Packet]:
    """The packets that thinning leaves: of each GOP its key frame and what follows within `keep_us`. Every packet
    depends on all before it in its GOP, so only a GOP's tail can go for the rest to decode as before."""
    key_us = 0
    for item in reader.packets(layer="foreground"):
        packet = item.packet
        key_us = packet.pts_us if packet.key else key_us
        if packet.pts_us - key_us <= keep_us:
            yield replace(packet, plate=item.plate or packet.plate, background=b"", sums=(packet.sums[0], 0))


# What there is to do a step to; footage that a pin touches is exempt.
_LEVELS: dict[Action, str] = {"background": "s.has_background = 1", "thin": "s.thinned = 0", "remove": "1"}
_UNPINNED = """NOT EXISTS (SELECT 1 FROM pins p WHERE p.camera = s.camera
    AND p.from_us <= s.last_wall_us AND p.to_us > s.first_wall_us)"""


def _steps(policy: RetentionConfig) -> Iterator[tuple[Action, AgeStep]]:
    yield "background", policy.background
    yield "thin", policy.thin
    yield "remove", policy.remove


def _cutoffs(store: Store, camera: str, step: AgeStep, max_gb: float | None, now_us: int) -> Iterator[tuple[int, str]]:
    """What ends before these times is due for a step, and why."""
    if step.days is not None:
        yield now_us - round(step.days * DAY_US), f"older than {step.days:g} days"
    if step.share is not None and max_gb is not None:
        cutoff_us = _where_full(store, camera, step.share * max_gb * GB)
        if cutoff_us is not None:
            yield cutoff_us, f"beyond {step.share:g} of {max_gb:g} GB"


def _where_full(store: Store, camera: str, most_bytes: float) -> int | None:
    """The end of the newest segment of a camera that has no room any more, the newest first; None if all have."""
    total = 0
    with store.reading() as database:
        for last_us, size in database.execute(
            """SELECT s.last_wall_us + 1, s.bytes_foreground + s.bytes_background * s.has_background
            FROM cameras c JOIN segments s ON s.camera = c.number WHERE c.id = ? AND s.place IS NULL
            ORDER BY s.first_wall_us DESC""",
            (camera,),
        ):
            total += size
            if total > most_bytes:
                return int(last_us)
    return None


def _due(
    store: Store, action: Action, *, camera: str | None = None, before_us: int = EVER_US, wanted: float = math.inf
) -> list[Segment]:
    """Segments that a step would change and that end before a time, the oldest first, until what is wanted is freed."""
    found = []
    freed = 0
    with store.reading() as database:
        rows = database.execute(
            f"""{SEGMENTS_QUERY} WHERE (:camera IS NULL OR c.id = :camera) AND {_LEVELS[action]} AND s.state != 'open'
            AND s.place IS NULL
            AND s.first_wall_us < :before_us AND s.last_wall_us < :before_us AND {_UNPINNED}
            ORDER BY s.first_wall_us, s.number""",
            {"camera": camera, "before_us": before_us},
        )
        for segment in as_segments(rows):
            if freed >= wanted:
                break
            found.append(segment)
            freed += segment.bytes_background if action == "background" else segment.nbytes
    return found


def _take(
    store: Store, action: Action, segments: list[Segment], *, reason: str, now_us: int, keep_s: float = 0.0
) -> Iterator[Purge]:
    """Do one step to segments, log it by camera, and unlink what it freed. What was pinned meanwhile is left out."""
    waiting = iter(segments)
    while batch := list(islice(waiting, _BATCH[action])):
        freed = {s.number: s.bytes_background if action == "background" else s.nbytes for s in batch}
        if action == "thin":
            freed = {s.number: gain for s in batch if (gain := _thin(store, s, round(keep_s * 1e6))) is not None}
        with store.writing() as database:
            if action != "thin":
                open_to_change = _unpinned(database, freed)
                freed = {number: size for number, size in freed.items() if number in open_to_change}
            batch = [s for s in batch if s.number in freed]
            if action == "background":
                drop_backgrounds(database, batch)
            elif action == "remove":
                remove(database, batch)
            logged = [_summed(camera, action, reason, of, freed, now_us) for camera, of in _grouped(batch)]
            database.executemany(
                """INSERT INTO purges (at_us, camera, action, reason, segments, bytes, from_us, to_us)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?)""",
                [(p.at_us, p.camera, p.action, p.reason, p.segments, p.bytes, p.from_us, p.to_us) for p in logged],
            )
        sweep(store)
        yield from logged


def _unpinned(database: sqlite3.Connection, numbers: Iterable[int]) -> set[int]:
    rows = database.execute(
        f"SELECT s.number FROM segments s JOIN json_each(?) asked ON s.number = asked.value WHERE {_UNPINNED}",
        (json.dumps(list(numbers)),),
    )
    return {row[0] for row in rows}


def _thin(store: Store, segment: Segment, keep_us: int) -> int | None:
    """Rewrite a segment with fewer frames; returns the bytes gained, None where a pin or damage forbids it: that is
    for a repair."""
    with store.reading() as database:
        if not _unpinned(database, [segment.number]):
            return None
    try:
        with ExitStack() as stack:
            reader = open_segment(store, segment, stack, foreground_only=True)
            packets = list(kept_packets(reader, keep_us))
            if reader.faults or not packets:
                return None
            fresh = rewrite(store, segment, reader.info, packets, background=False, keep_old=False, thinned=True)
    except (StreamError, OSError):
        return None
    return segment.nbytes - fresh.nbytes


def _grouped(segments: list[Segment]) -> Iterator[tuple[str, list[Segment]]]:
    for camera in sorted({segment.camera for segment in segments}):
        yield camera, [segment for segment in segments if segment.camera == camera]


def _summed(
    camera: str, action: Action, reason: str, segments: list[Segment], freed: Mapping[int, int], now_us: int
) -> Purge:
    return Purge(
        at_us=now_us, camera=camera, action=action, reason=reason, segments=len(segments),
        bytes=sum(freed[s.number] for s in segments), from_us=min(s.first_wall_us for s in segments),
        to_us=max(s.last_wall_us for s in segments),
    )  # fmt: skip


def _forget_old(store: Store) -> None:
    with store.writing() as database:
        database.execute("DELETE FROM purges WHERE number <= (SELECT max(number) FROM purges) - ?", (_KEPT_PURGES,))
