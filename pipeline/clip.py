"""A clip out of an archive: a camera's range as MP4 with a manifest beside it, as evidence of what it was made from.

Streaming: minutes of detections and single frames are held, however long the clip is. Decoding is injected.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from pipeline import __version__
from pipeline.errors import JobCancelled, JobError
from pipeline.export import ExportResult, export_mp4
from pipeline.overlay import clock_text, draw
from pipeline.replacing import replacing
from pipeline.replay import MakeDecoder, Replay
from pipeline.store import GAP_US, Segment, Store, StoredDetection, StoreFault, pin, unpin
from pipeline.types import Detection, Frame, Layer, LayerName

MANIFEST_VERSION = 1
_BOX_US = 500_000  # so long a box is shown where no newer ones are known
_WINDOW_US = 60_000_000  # of detections held
_NOTICE_US = 1_000_000  # after so much of a gap it is shown as one
_PIECE = 1 << 20


@dataclass(frozen=True, slots=True)
class ClipRequest:
    """What to export: frames of a camera in [from_us, to_us) of wall time, with what written over them."""

    camera: str
    from_us: int
    to_us: int
    layer: LayerName = "full"
    show_time: bool = False
    show_boxes: bool = False
    mark_gaps: bool = True  # darken the picture in a gap, and say so; otherwise the last one stays


@dataclass(frozen=True, slots=True)
class Clip:
    """What came of it. `seconds` from the first frame's begin to the last one's, gaps included."""

    result: ExportResult
    gaps: tuple[tuple[int, int], ...]
    faults: tuple[StoreFault, ...]
    manifest: Path


def export_clip(
    store: Store,
    request: ClipRequest,
    out: Path,
    *,
    make_decoder: MakeDecoder,
    keep: bool = True,
    progress: Callable[[float, int], None] = lambda part, frames: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Clip:
    """Write `out` (MP4) and its manifest, `out` with `.json` added; neither appears unless both are whole. `keep` pins
    the range, so that what was exported neither ages nor goes: the store must then be open for writing. `progress` is
    told the part done, 0 to 1, and the frames so far. Raises UsageError, JobError, StreamError where nothing is
    recorded, JobCancelled."""
    replay = Replay(
        store, request.camera, request.from_us, request.to_us, make_decoder=make_decoder, layer=request.layer
    )
    gaps: list[tuple[int, int]] = []
    manifest = out.with_name(out.name + ".json")
    with replacing(manifest) as manifest_part, replacing(out) as part, _pinned(store, request, out, keep):
        frames = _watched(replay, request, progress, cancelled)
        result = export_mp4(_drawn(store, request, frames, gaps), part, info=replay.info(), clock="wall")
        result = replace(result, frames=result.frames - len(gaps) * request.mark_gaps)
        content = _manifest(store, request, replay, result, gaps) | {"output": _file(part, out.name)}
        try:
            manifest_part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise JobError(f"{manifest}: {error.strerror or error}") from error
    return Clip(result, tuple(gaps), tuple(replay.faults), manifest)


@contextmanager
def _pinned(store: Store, request: ClipRequest, out: Path, keep: bool) -> Iterator[None]:
    """The range is pinned from the begin of the export on, and for good if the block ends well."""
    if not keep:
        yield
        return
    made = pin(
        store, request.camera, from_us=request.from_us, to_us=request.to_us, reason=f"exported to {out.name}",
        now_us=time.time_ns() // 1000,
    )  # fmt: skip
    try:
        yield
    except BaseException:
        unpin(store, made.number)
        raise


def _watched(
    frames: Replay, request: ClipRequest, progress: Callable[[float, int], None], cancelled: Callable[[], bool]
) -> Iterator[Frame]:
    for count, frame in enumerate(frames, 1):
        if cancelled():
            raise JobCancelled(f"the export of {request.camera} was cancelled after {count - 1} frames")
        yield frame
        progress((frame.wall_us - request.from_us) / (request.to_us - request.from_us), count)


def _drawn(store: Store, request: ClipRequest, frames: Iterator[Frame], gaps: list[tuple[int, int]]) -> Iterator[Frame]:
    """The frames with what is to be written over them; in each gap, which is noted, one more that shows it."""
    boxes = _Boxes(store, request.camera) if request.show_boxes else None
    before: Frame | None = None
    for frame in frames:
        if before is not None and frame.wall_us - before.wall_us > GAP_US:
            gaps.append((before.wall_us, frame.wall_us))
            if request.mark_gaps:
                yield _notice(before, frame.wall_us)
        texts = [clock_text(frame.wall_us)] if request.show_time else []
        found = boxes.at(frame.wall_us) if boxes is not None else ()
        yield draw(frame, texts=texts, boxes=found) if texts or found else frame
        before = frame


def _notice(before: Frame, until_us: int) -> Frame:
    texts = ["no recording", f"from {clock_text(before.wall_us)}", f"to {clock_text(until_us)}"]
    shown = draw(before, texts=texts, dim=True)
    return replace(shown, wall_us=before.wall_us + _NOTICE_US, pts_us=before.pts_us + _NOTICE_US)


class _Boxes:
    """The boxes to show at moments that only go on: a window of the index's detections is held."""

    def __init__(self, store: Store, camera: str) -> None:
        self._store = store
        self._camera = camera
        self._waiting: deque[StoredDetection] = deque()
        self._known_us = -1  # detections before this have been asked for
        self._current: list[StoredDetection] = []

    def at(self, wall_us: int) -> tuple[Detection, ...]:
        while self._known_us <= wall_us:
            begin_us = max(self._known_us, wall_us - _BOX_US)
            self._known_us = begin_us + _WINDOW_US
            self._waiting.extend(self._store.detections(self._camera, from_us=begin_us, to_us=self._known_us))
        while self._waiting and self._waiting[0].wall_us <= wall_us:
            newest = self._waiting.popleft()
            if self._current and self._current[0].wall_us != newest.wall_us:
                self._current = []
            self._current.append(newest)
        return tuple(item.detection for item in self._current if wall_us - item.wall_us <= _BOX_US)


def _manifest(
    store: Store, request: ClipRequest, replay: Replay, result: ExportResult, gaps: list[tuple[int, int]]
) -> dict[str, Any]:
    return {
        "manifest": MANIFEST_VERSION,
        "program": f"fovea {__version__}",
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "store": store.uuid,
        "request": asdict(request),
        "frames": result.frames,
        "hidden": replay.hidden,
        "seconds": result.seconds,
        "gaps": [{"from_us": begin, "to_us": end} for begin, end in gaps],
        "faults": [{"path": item.path, "reason": item.fault.reason} for item in replay.faults],
        "segments": [_segment(store, segment) for segment in replay.segments],
    }


def _segment(store: Store, segment: Segment) -> dict[str, Any]:
    """A source segment as it is now, after the export. Of one that is being written, what its row claims is hashed."""
    now = store.segment(segment.number) or segment
    claimed = {Layer.FOREGROUND: now.bytes_foreground}
    if now.has_background:
        claimed[Layer.BACKGROUND] = now.bytes_background
    files = []
    for layer, size in claimed.items():
        path = store.path(now, layer)
        files.append(_file(path, store.name(now, layer), size))
    return {
        "id": now.id,
        "first_wall_us": now.first_wall_us,
        "last_wall_us": now.last_wall_us,
        "state": now.state,
        "level": now.level,
        "files": files,
    }


def _file(path: Path, name: str, size: int | None = None) -> dict[str, Any]:
    """Name, bytes and SHA-256 of a file, or of its first `size` bytes; a reason instead where it cannot be read."""
    try:
        with path.open("rb") as file:
            return {"file": name, **_digest(file, size)}
    except OSError as error:
        return {"file": name, "unreadable": error.strerror or str(error)}


def _digest(file: BinaryIO, size: int | None) -> dict[str, Any]:
    digest, count = hashlib.sha256(), 0
    while piece := file.read(_PIECE if size is None else min(_PIECE, size - count)):
        digest.update(piece)
        count += len(piece)
    return {"bytes": count, "sha256": digest.hexdigest()}
