"""Detects again on stored footage, and puts what was seen in place of what the index knew.

Decoding and detecting are injected. Segment by segment: one that is interrupted keeps what was known of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice

from pipeline.errors import CodecError, JobCancelled, StreamError, UsageError
from pipeline.replay import Decoders, MakeDecoder, decode_stream
from pipeline.store import Seen, Segment, Store, open_segment
from pipeline.types import Frame, Masked

_BATCH = 8  # frames

Detect = Callable[[Iterable[Frame]], Sequence[Masked]]


@dataclass(frozen=True, slots=True)
class Redetected:
    """What came of it: segments done, and left as they were because they are being written, thinned or damaged; frames
    looked at; detections of the segments done, before and after."""

    segments: int = 0
    left: int = 0
    frames: int = 0
    before: int = 0
    after: int = 0


def redetect(
    store: Store,
    camera: str,
    *,
    from_us: int,
    to_us: int,
    make_decoder: MakeDecoder,
    detect: Detect,
    progress: Callable[[Redetected], None] = lambda done: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Redetected:
    """Do so in every segment of a camera that touches [from_us, to_us). `detect` is given the frames in order, in
    batches. Raises UsageError for an unknown camera, JobCancelled, StoreError."""
    if camera not in store.cameras():
        raise UsageError(f"camera {camera!r} is not in {store.root}")
    decoders = Decoders(make_decoder)
    done = Redetected()
    for segment in store.segments(camera, from_us=from_us, to_us=to_us):
        found = _seen(store, segment, decoders, detect, cancelled)
        before = store.replace_detections(segment, found) if found is not None else None
        if found is None or before is None:
            done = Redetected(done.segments, done.left + 1, done.frames, done.before, done.after)
        else:
            after = sum(len(item.detections) for item in found)
            done = Redetected(
                done.segments + 1, done.left, done.frames + len(found), done.before + before, done.after + after
            )
        progress(done)
    return done


def _seen(
    store: Store, segment: Segment, decoders: Decoders, detect: Detect, cancelled: Callable[[], bool]
) -> list[Seen] | None:
    """What is seen in a segment's frames, None where not all of them can be looked at."""
    if segment.state == "open" or segment.thinned:
        return None
    found: list[Seen] = []
    with ExitStack() as stack:
        try:
            reader = open_segment(store, segment, stack)
            frames = decode_stream(reader, decoders.get(reader.info))
        except (StreamError, CodecError, OSError):
            return None
        for batch in _batches(frames):
            if cancelled():
                raise JobCancelled(f"detection in {segment.camera} was cancelled")
            found.extend(Seen(item.frame.index, item.frame.wall_us, item.detections) for item in detect(batch))
        return None if reader.faults else found


def _batches(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    while batch := list(islice(frames, _BATCH)):
        yield batch
