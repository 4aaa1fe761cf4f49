"""What a writer that died has left: its open segment and files without a row, put in order before the next one writes.

Runs where a sink opens, under the camera's lock, and in a repair. Whatever holds a whole frame becomes a segment
again; what does not goes to quarantine.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pipeline.errors import StreamError
from pipeline.store.files import SEGMENTS, as_store_error, quarantine, segment_of
from pipeline.store.index import Store
from pipeline.store.rows import Segment
from pipeline.store.segmentfile import Survey, survey
from pipeline.store.upkeep import adopt, doomed_paths
from pipeline.types import Layer

_MOST_STRANGERS = 8  # a crash leaves one segment; more are a lost index, which takes a repair and its time
_SAME_CLOCK_US = 1_000_000


def recover(store: Store, camera: str) -> None:
    """Put in order what a camera's dead writer left. The caller holds the camera's lock, and there is no row in its
    directory's files' way: a segment under rewriting is doomed until it has one."""
    for segment in store.open_segments(camera):
        try:
            adopt(store, segment, survey(store.path(segment, Layer.FOREGROUND)))
        except (StreamError, OSError):
            continue  # `check` says what is wrong with it
    known = store.segment_ids(camera)
    doomed = doomed_paths(store)
    directory = store.root / SEGMENTS / camera
    with as_store_error(directory):
        named = [(path, segment_of(path)) for path in sorted(directory.iterdir())]
    left = [path for path, name in named if name is not None and name[0] not in known and path not in doomed]
    if len(left) <= _MOST_STRANGERS:
        take_in(store, camera, left)


def take_in(store: Store, camera: str, paths: Iterable[Path]) -> list[tuple[Path, Segment | None]]:
    """Files of a camera without rows: those with a whole frame become segments, the others go to quarantine. Returns
    each foreground file, or background without one, with its segment or None."""
    by_id: dict[str, dict[Layer, Path]] = {}
    for path in paths:
        name = segment_of(path)
        if name is not None:
            by_id.setdefault(name[0], {})[name[1]] = path
    surveys: list[tuple[str, Path, Survey]] = []
    done: list[tuple[Path, Segment | None]] = []
    for segment_id, files in by_id.items():
        foreground = files.get(Layer.FOREGROUND)
        try:
            if foreground is None:
                raise StreamError("a background without its foreground")
            surveys.append((segment_id, foreground, survey(foreground)))
        except (StreamError, OSError) as error:
            for path in files.values():
                quarantine(store.root, path, str(error))
            done.append((next(iter(files.values())), None))
    for segment_id, foreground, found in sorted(surveys, key=lambda item: item[2].first_wall_us):
        row = _row(segment_id, camera, epoch_of(store, camera, found), found)
        done.append((foreground, adopt(store, row, found)))
    return done


def _row(segment_id: str, camera: str, epoch: int, found: Survey) -> Segment:
    return Segment(
        number=0, id=segment_id, camera=camera, epoch=epoch, first_wall_us=found.first_wall_us,
        last_wall_us=found.last_wall_us, first_pts_us=found.first_pts_us, last_pts_us=found.last_pts_us,
        frames=found.frames, bytes_foreground=found.bytes_foreground, bytes_background=0, state="torn",
        has_background=True,
    )  # fmt: skip


def epoch_of(store: Store, camera: str, found: Survey | Segment) -> int:
    """The recording that a segment belongs to, by its clocks; a new one if it follows no other."""
    with store.reading() as database:
        before = database.execute(
            """SELECT s.epoch, s.last_pts_us, s.first_wall_us - s.first_pts_us FROM segments s
            JOIN cameras c ON c.number = s.camera WHERE c.id = ? AND s.first_wall_us <= ?
            ORDER BY s.first_wall_us DESC, s.number DESC LIMIT 1""",
            (camera, found.first_wall_us),
        ).fetchone()
        newest = database.execute("SELECT epoch FROM cameras WHERE id = ?", (camera,)).fetchone()
        if before is not None and before[1] < found.first_pts_us:
            offset_us = found.first_wall_us - found.first_pts_us
            beyond = database.execute(
                """SELECT 1 FROM segments s JOIN cameras c ON c.number = s.camera WHERE c.id = ? AND s.epoch = ?
                AND s.last_pts_us >= ? AND s.first_pts_us <= ?""",
                (camera, before[0], found.first_pts_us, found.last_pts_us),
            ).fetchone()
            if abs(offset_us - before[2]) < _SAME_CLOCK_US and beyond is None:
                return int(before[0])
    return int(newest[0]) + 1 if newest is not None else 1
