"""Stored packets to frames: a stream file, or a camera and a time range; the foreground alone where asked.

Decoding is injected, so nothing here knows torch. Damage never ends a replay: what cannot be decoded is left out and
reported, and the frames that follow keep their true times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Protocol

from pipeline.bitstream import Fault, KeyFrame, StreamReader
from pipeline.errors import CodecError, StreamError, UsageError
from pipeline.store import Segment, Store, StoreFault, open_segment
from pipeline.types import Frame, Layer, LayerName, Packet, StreamInfo


class DecoderLike(Protocol):
    """What replay asks of a decoder. Packets come in order, beginning with one that has a plate, or with any key frame
    after `set_plate`. A packet that does not decode raises StreamError; the next one given is then a key frame.
    `held`: the foreground lies over the background last decoded on its plate, if there is one, and not over the
    plate."""

    def decode(self, packet: Packet, layer: LayerName = "full", *, held: bool = False) -> Frame: ...

    def set_plate(self, plate: bytes) -> None: ...


MakeDecoder = Callable[[StreamInfo], DecoderLike]


class Decoders:
    """Keeps the decoder from segment to segment: making one loads weights, and a segment needs nothing of the last."""

    def __init__(self, make_decoder: MakeDecoder) -> None:
        self._make = make_decoder
        self._info: StreamInfo | None = None
        self._decoder: DecoderLike | None = None

    def get(self, info: StreamInfo) -> DecoderLike:
        if self._decoder is None or info != self._info:
            self._decoder, self._info = self._make(info), info
        return self._decoder


def decode_stream(
    reader: StreamReader, decoder: DecoderLike, *, layer: LayerName = "full", start: KeyFrame | None = None
) -> Iterator[Frame]:
    """Frames of a stream in order, from a key frame or from its beginning. What does not decode goes to the reader's
    faults and losses, or is raised as StreamError if the reader is strict. Where a segment's background has been
    dropped, the foreground is shown over the plate."""
    if layer == "full" and not reader.has_background:
        layer = "foreground"
    broken: Fault | None = None
    for item in reader.packets(start, layer=layer):
        packet = item.packet
        if broken is None or packet.key:
            try:
                if item.plate:
                    decoder.set_plate(item.plate)
                frame = decoder.decode(packet, layer)
            except StreamError as error:
                broken = Fault(packet.index, None, error.offset, f"does not decode: {error}")
                reader.report(broken)
            else:
                broken = None
                yield frame
        if broken is not None:
            reader.lose(packet.index, packet.index, Layer.FOREGROUND, broken)


class Replay:
    """The frames of one camera in the wall time [from_us, to_us), in order: iterate over it.

    Gaps stay gaps. Where two recordings of a camera overlap in wall time (a file recorded twice, a clock set back), the
    one that began first is shown to its end, then the rest of the other. `layer="foreground"` opens no background file.
    After iteration `faults` holds what was damaged and `hidden` counts frames left out for an overlap.
    """

    def __init__(
        self,
        store: Store,
        camera: str,
        from_us: int,
        to_us: int,
        *,
        make_decoder: MakeDecoder,
        layer: LayerName = "full",
    ) -> None:
        if camera not in store.cameras():
            raise UsageError(f"camera {camera!r} is not in {store.root}")
        if to_us <= from_us:
            raise UsageError(f"empty time range: from {from_us} to {to_us} us")
        self._store = store
        self._range = from_us, to_us
        self._layer: LayerName = layer
        self._decoders = Decoders(make_decoder)
        self.segments = store.segments(camera, from_us=from_us, to_us=to_us)
        self.faults: list[StoreFault] = []
        self.hidden = 0

    def info(self) -> StreamInfo:
        """Of the first segment in the range that can be read. Raises StreamError if there is none."""
        for segment in self.segments:
            with ExitStack() as stack:
                try:
                    return open_segment(self._store, segment, stack, foreground_only=True).info
                except (StreamError, OSError):
                    continue
        raise StreamError("nothing is recorded in this time range")

    def __iter__(self) -> Iterator[Frame]:
        from_us, to_us = self._range
        shown_us, shown_epoch = -1, -1
        for segment in self.segments:
            for frame in self._segment(segment):
                if frame.wall_us < from_us:
                    continue
                if frame.wall_us >= to_us:
                    break
                if segment.epoch != shown_epoch and frame.wall_us <= shown_us:
                    self.hidden += 1
                    continue
                shown_us, shown_epoch = max(shown_us, frame.wall_us), segment.epoch
                yield frame

    def _segment(self, segment: Segment) -> Iterator[Frame]:
        with ExitStack() as stack:
            try:
                reader = open_segment(self._store, segment, stack, foreground_only=self._layer == "foreground")
                decoder = self._decoders.get(reader.info)
            except (StreamError, CodecError, OSError) as error:
                offset = error.offset if isinstance(error, StreamError) else -1
                self._note(segment, Fault(-1, None, offset, str(error)))
                return
            try:
                start = reader.find(wall_us=self._range[0])
                yield from decode_stream(reader, decoder, layer=self._layer, start=start)
            finally:  # also where the caller has seen enough
                for fault in reader.faults:
                    self._note(segment, fault)

    def _note(self, segment: Segment, fault: Fault) -> None:
        self.faults.append(StoreFault(self._store.name(segment, fault.layer or Layer.FOREGROUND), fault))


def replay(
    store: Store, camera: str, from_us: int, to_us: int, *, make_decoder: MakeDecoder, layer: LayerName = "full"
) -> Replay:
    """Frames of a camera in [from_us, to_us) of wall time. Raises UsageError for an unknown camera or an empty
    range."""
    return Replay(store, camera, from_us, to_us, make_decoder=make_decoder, layer=layer)
