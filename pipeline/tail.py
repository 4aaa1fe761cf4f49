"""A camera's footage as it is being recorded: frames that have become durable since one last looked.

Decoding is injected; nothing here waits. Whoever falls more than a GOP behind goes on at the newest key frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from pipeline.bitstream import KeyFrame, StreamReader
from pipeline.errors import CodecError, StreamError, UsageError
from pipeline.replay import Decoders, MakeDecoder
from pipeline.store import EVER_US, Segment, Store, open_segment
from pipeline.types import Frame


class Tail:
    """One camera of a store, followed at its end. For one thread at a time."""

    def __init__(self, store: Store, camera: str, *, make_decoder: MakeDecoder) -> None:
        if camera not in store.cameras():
            raise UsageError(f"camera {camera!r} is not in {store.root}")
        self._store, self._camera = store, camera
        self._decoders = Decoders(make_decoder)
        self._segment: Segment | None = None
        self._last = -1  # the frame decoded last in that segment
        self._whole = False  # what follows it can be decoded
        self.skipped = 0  # times that it went on at a newer key frame

    def take(self) -> Iterator[Frame]:
        """Decode what is new, in order; at first from the newest key frame on. What is damaged is left out."""
        if self._segment is None:
            self._go_to(self._store.segment_at(self._camera, EVER_US))
        while self._segment is not None:
            yield from self._of_segment(self._segment)
            later = self._store.neighbour(self._segment, later=True)
            if later is None:
                return
            newest = self._store.segment_at(self._camera, EVER_US)
            self.skipped += newest is not None and newest.number != later.number
            self._go_to(newest)

    def _go_to(self, segment: Segment | None) -> None:
        self._segment, self._last, self._whole = segment, -1, False

    def _of_segment(self, segment: Segment) -> Iterator[Frame]:
        segment = self._store.segment(segment.number) or segment
        with ExitStack() as stack:
            try:
                reader = open_segment(self._store, segment, stack)
                start = self._start(reader)
                if start is None:
                    return
                decoder = self._decoders.get(reader.info)
                for item in reader.packets(start):
                    if item.packet.index <= self._last:
                        continue
                    if item.plate and item.packet.index == start.index:
                        decoder.set_plate(item.plate)
                    self._last, self._whole = item.packet.index, False
                    frame = decoder.decode(item.packet, "full" if reader.has_background else "foreground")
                    self._whole = True
                    yield frame
            except (StreamError, CodecError, OSError):
                return  # the next key frame mends it

    def _start(self, reader: StreamReader) -> KeyFrame | None:
        """Where to read on; None where there is nothing new to begin with."""
        keys = reader.key_frames()
        newer = [key for key in keys if key.index > self._last]
        if self._whole and len(newer) < 2:
            return reader.find(index=self._last)
        self.skipped += self._last >= 0 and len(newer) > 1
        return newer[-1] if newer else None
