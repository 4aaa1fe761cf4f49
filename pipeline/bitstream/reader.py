"""Bytes to packets, both layers merged in frame order, over damage where there is some.

Knows seekable file objects, never a path. What cannot be decoded because something it depends on is lost is reported as
a Fault and not yielded; a frame whose background alone is lost is yielded and marked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import BinaryIO

from pipeline.bitstream.background import Backgrounds
from pipeline.bitstream.chunks import HEAD_BYTES, ChunkHead, Kind, read_payload, walk
from pipeline.bitstream.faults import MAX_FAULTS, Fault, Loss, Losses
from pipeline.bitstream.header import HAS_BACKGROUND, HAS_FOREGROUND, HEADER_BYTES, Header, parse_header
from pipeline.bitstream.keyindex import KeyFrame, read_end, stands
from pipeline.bitstream.merge import ReadPacket, Run
from pipeline.bitstream.order import Order, Turn
from pipeline.bitstream.plates import Plates
from pipeline.bitstream.table import KEY, parse_times
from pipeline.bitstream.wire import Cursor
from pipeline.errors import StreamError
from pipeline.types import Layer, LayerName, StreamInfo


class StreamReader:
    """Reads a stream from one file of both layers, or from a segment's two files.

    `background=None` with a foreground file reads a segment whose background has been dropped: its frames are marked,
    and that is no fault. `strict`: the first fault raises StreamError with its byte offset. `open_ended`: the file may
    still be growing or was never closed; a missing end is no fault. Faults gather in `faults` as they are found, what
    the last call of `packets` lost by them in `losses`.
    """

    def __init__(
        self,
        foreground: BinaryIO,
        background: BinaryIO | None = None,
        *,
        strict: bool = False,
        open_ended: bool = False,
    ) -> None:
        self._fg = foreground
        self.strict = strict
        self.open_ended = open_ended
        self._seen: set[Fault] = set()
        self._keys: tuple[KeyFrame, ...] | None = None
        self.faults: list[Fault] = []
        self.frames = 0  # yielded by the last call of `packets`
        self._losses = Losses()
        self.header = self._read_header()
        self._plates = Plates(foreground, self.header, self.report)
        self._bg = self._background_file(background)

    @property
    def info(self) -> StreamInfo:
        return self.header.info

    @property
    def has_background(self) -> bool:
        """Whether there is a background to read, whole or not."""
        return self._bg is not None

    @property
    def size(self) -> int:
        """Bytes of the stream's files."""
        separate = self._bg is not None and self._bg is not self._fg
        return self._fg.seek(0, 2) + (self._bg.seek(0, 2) if separate and self._bg is not None else 0)

    @property
    def losses(self) -> list[Loss]:
        """The frames that the last call of `packets` did not yield, or not with their background; one that is there and
        was not asked for is not lost."""
        return self._losses.found

    @property
    def closed(self) -> bool:
        """Whether the stream has been closed with its index."""
        try:
            read_end(self._fg)
        except StreamError:
            return False
        return True

    def key_frames(self) -> tuple[KeyFrame, ...]:
        """The key frames in order: from the index, or by walking the chunks where there is none or it is wrong."""
        if self._keys is None:
            try:
                keys = read_end(self._fg).keys
            except StreamError:
                keys = ()
            if not keys or not stands(self._fg, keys[-1]):  # none, or bytes are missing before it
                keys = tuple(self._scan_keys())
            self._keys = keys
        return self._keys

    def find(
        self, *, wall_us: int | None = None, pts_us: int | None = None, index: int | None = None
    ) -> KeyFrame | None:
        """The last key frame at or before one given time or frame; None if all are later."""
        keys = self.key_frames()
        if wall_us is not None:  # a clock that was set back leaves these unsorted
            return next((key for key in reversed(keys) if key.wall_us <= wall_us), None)
        if pts_us is not None:
            at = bisect_right(keys, pts_us, key=lambda key: key.pts_us)
        elif index is not None:
            at = bisect_right(keys, index, key=lambda key: key.index)
        else:
            raise ValueError("find needs wall_us, pts_us or index")
        return keys[at - 1] if at else None

    def plate(self, plate_index: int) -> bytes:
        """The plate of the segment that frame `plate_index` opened, mended if it must be. Raises StreamError if it is
        lost."""
        return self._plates.get(plate_index)

    def packets(self, start: KeyFrame | None = None, *, layer: LayerName = "full") -> Iterator[ReadPacket]:
        """Packets in frame order from `start` (one of `key_frames()`) or the first. `layer="foreground"` reads no
        byte of a background chunk's payload, and nothing of a background file. Raises StreamError if strict."""
        if start is not None and not stands(self._fg, start):
            start = self._sought(start)
        backgrounds = None
        if layer == "full" and self._bg is not None:
            backgrounds = Backgrounds(self, self._bg, start, joint=self._bg is self._fg)
        run = Run(self, self._fg, backgrounds, start)
        ended = False
        self.frames = 0
        self._losses = Losses()
        for head in self.walk(self._fg, start.offset if start else HEADER_BYTES, run.note):
            for item in run.take(head):
                self.frames += 1
                yield item
            ended |= head.kind is Kind.END
        run.finish()
        if backgrounds is not None:
            backgrounds.drain()
        if not ended and not self.open_ended:
            self.report(Fault(-1, None, self._fg.seek(0, 2), "the stream was not closed: no end chunk"))

    def check_index(self) -> None:
        """After a full run of `packets`: report where the index of a closed stream differs from what was read."""
        if self.faults:
            return
        try:
            end = read_end(self._fg)
        except StreamError:
            return  # `packets` has reported it, unless the stream is open
        size = self._fg.seek(0, 2)
        if end.frames != self.frames:
            self.report(Fault(-1, None, size, f"the end counts {end.frames} frames, {self.frames} were read"))
        if end.keys != tuple(self._scan_keys()):
            self.report(Fault(-1, None, size, "the index does not list the key frames that are there"))

    def walk(self, file: BinaryIO, start: int, report: Callable[[Fault], None]) -> Iterator[ChunkHead]:
        """The chunk headers of one of the reader's files."""
        layer = None
        if not self.header.layers & HAS_BACKGROUND:
            layer = Layer.FOREGROUND if file is self._fg else Layer.BACKGROUND
        return walk(file, start, report, layer=layer, open_ended=self.open_ended)

    def report(self, fault: Fault) -> None:
        """Note a fault once; raise it if strict."""
        if self.strict:
            raise StreamError(f"{fault.reason} (byte {fault.offset})", offset=fault.offset)
        if fault not in self._seen and len(self.faults) < MAX_FAULTS:
            self._seen.add(fault)
            self.faults.append(fault)

    def lose(self, first: int, last: int | None, layer: Layer, cause: Fault) -> None:
        """Note which frames a fault has cost in the running pass; `last` is None if it is unknown."""
        self._losses.add(first, last, layer, cause)

    def first_frame(self) -> int:
        """The first frame of the stream as far as its plates tell, -1 if they do not."""
        return self._plates.first

    def _read_header(self) -> Header:
        self._fg.seek(0)
        try:
            header = parse_header(self._fg.read(HEADER_BYTES))
        except StreamError as error:
            if self.strict:
                raise
            header = self._header_copy(error)
        if not header.layers & HAS_FOREGROUND:
            raise StreamError(
                "this file holds a background alone; the foreground stands in the file beside it", offset=10
            )
        return header

    def _header_copy(self, error: StreamError) -> Header:
        """The header from a plate or parity chunk, where the file's own is damaged."""
        for head in walk(self._fg, 0, lambda fault: None, open_ended=True):
            if head.kind in (Kind.PLATE, Kind.PARITY):
                self._fg.seek(head.offset + HEAD_BYTES)
                try:
                    header = parse_header(self._fg.read(HEADER_BYTES), head.offset + HEAD_BYTES)
                except StreamError:
                    continue
                self.report(Fault(-1, None, error.offset, str(error)))
                return header
        raise error

    def _background_file(self, file: BinaryIO | None) -> BinaryIO | None:
        if self.header.layers & HAS_BACKGROUND:
            return self._fg
        if file is None:
            return None
        file.seek(0)
        try:
            header = parse_header(file.read(HEADER_BYTES))
        except StreamError as error:
            self.report(Fault(-1, Layer.BACKGROUND, error.offset, f"background file: {error}"))
            return file
        if header.layers != HAS_BACKGROUND or header.stream_id != self.header.stream_id:
            self.report(Fault(-1, Layer.BACKGROUND, 0, "the background file belongs to another stream"))
            return None
        return file

    def _sought(self, key: KeyFrame) -> KeyFrame:
        """A key frame that is not where the index says, with the offset from which on it can be met."""
        found = [HEADER_BYTES, *(other.offset for other in self._scan_keys() if other.index <= key.index)]
        return replace(key, offset=found[-1])

    def _scan_keys(self) -> Iterator[KeyFrame]:
        plate: ChunkHead | None = None
        order = Order(self._fg)
        for head in walk(self._fg, HEADER_BYTES, lambda fault: None, open_ended=True):
            if head.kind is Kind.FOREGROUND and order.turn(head) is not Turn.OUT_OF_PLACE and head.flags & KEY:
                try:
                    cursor = Cursor(read_payload(self._fg, head), head.offset + HEAD_BYTES)
                    table = parse_times(head, cursor)
                except StreamError:
                    continue
                opens = plate is not None and plate.first == head.first == table.plate_index
                offset = plate.offset if opens and plate is not None else head.offset
                time = table.times[0]
                yield KeyFrame(head.first, time.pts_us, time.wall_us, offset, table.plate_index)
            plate = head if head.kind is Kind.PLATE else None
