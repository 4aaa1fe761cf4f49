"""Bytes to packets, both layers merged in frame order, over damage where there is some.

Knows seekable file objects, never a path. What cannot be decoded because something it depends on is lost is reported as
a Fault and not yielded; a frame whose background alone is lost is yielded and marked.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.bitstream.chunks import HEAD_BYTES, ChunkHead, Kind, read_payload, walk
from pipeline.bitstream.faults import Fault
from pipeline.bitstream.header import HAS_BACKGROUND, HAS_FOREGROUND, HEADER_BYTES, Header, parse_header
from pipeline.bitstream.keyindex import KeyFrame, parse_end, read_end
from pipeline.bitstream.table import (
    HAS_BACKGROUND_CHUNK,
    KEY,
    ForegroundTable,
    parse_payloads,
    parse_times,
)  # fmt: skip
from pipeline.bitstream.wire import Cursor
from pipeline.errors import StreamError
from pipeline.types import Layer, LayerName, Packet, StreamInfo

MAX_FAULTS = 10_000  # a hostile file must not fill the memory with its faults

_Payloads = list[tuple[bytes, int]]


@dataclass(frozen=True, slots=True)
class ReadPacket:
    """`packet.sums` hold the low 16 bits only. `plate` is not empty where a decoder must be given a plate that does not
    stand in the packet itself: at the first packet after a seek or after a lost opening. `background_lost`: the
    packet's background, or one it depends on, is gone or unreadable; `packet.background` is then empty."""

    packet: Packet
    plate: bytes = b""
    background_lost: bool = False


class StreamReader:
    """Reads a stream from one file of both layers, or from a segment's two files.

    `background=None` with a foreground file reads a segment whose background has been dropped: its frames are marked,
    and that is no fault. `strict`: the first fault raises StreamError with its byte offset. `open_ended`: the file may
    still be growing or was never closed; a missing end is no fault. Faults gather in `faults` as they are found.
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
        self._directory: dict[int, list[ChunkHead]] | None = None
        self._keys: tuple[KeyFrame, ...] | None = None
        self.faults: list[Fault] = []
        self.header = self._read_header()
        self._bg = self._background_file(background)

    @property
    def info(self) -> StreamInfo:
        return self.header.info

    @property
    def size(self) -> int:
        """Bytes of the stream's files."""
        separate = self._bg is not None and self._bg is not self._fg
        return self._fg.seek(0, 2) + (self._bg.seek(0, 2) if separate and self._bg is not None else 0)

    @property
    def closed(self) -> bool:
        """Whether the stream has been closed with its index."""
        try:
            read_end(self._fg)
        except StreamError:
            return False
        return True

    def key_frames(self) -> tuple[KeyFrame, ...]:
        """The key frames in order: from the index, or by walking the chunks where there is none."""
        if self._keys is None:
            try:
                self._keys = read_end(self._fg).keys
            except StreamError:
                self._keys = tuple(self._scan_keys())
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
        """The plate of the segment that frame `plate_index` opened, from whichever copy is whole, or StreamError."""
        for head in self._plates().get(plate_index, []):
            try:
                return plate_of(read_payload(self._fg, head), head)
            except StreamError as error:
                self.report(Fault(head.first, Layer.FOREGROUND, head.offset, str(error)))
        raise StreamError(f"no copy of the plate of frame {plate_index} is readable")

    def packets(self, start: KeyFrame | None = None, *, layer: LayerName = "full") -> Iterator[ReadPacket]:
        """Packets in frame order from `start` (a key frame of `key_frames()`) or the first. `layer="foreground"` reads no
        byte of a background chunk's payload, and nothing of a background file. Raises StreamError if strict."""
        backgrounds = None
        if layer == "full" and self._bg is not None:
            backgrounds = _Backgrounds(self, self._bg, start, joint=self._bg is self._fg)
        run = _Run(self, backgrounds)
        ended = False
        for head in self.walk(self._fg, start.offset if start else HEADER_BYTES):
            yield from run.take(self._fg, head)
            ended |= head.kind is Kind.END
        if backgrounds is not None:
            backgrounds.drain()
        if not ended and not self.open_ended:
            self.report(Fault(-1, None, self._fg.seek(0, 2), "the stream was not closed: no end chunk"))

    def walk(self, file: BinaryIO, start: int = HEADER_BYTES) -> Iterator[ChunkHead]:
        """The chunk headers of one of the reader's files."""
        layer = None
        if not self.header.layers & HAS_BACKGROUND:
            layer = Layer.FOREGROUND if file is self._fg else Layer.BACKGROUND
        return walk(file, start, self.report, layer=layer, open_ended=self.open_ended)

    def report(self, fault: Fault) -> None:
        """Note a fault once; raise it if strict."""
        if self.strict:
            raise StreamError(f"{fault.reason} (byte {fault.offset})", offset=fault.offset)
        if fault not in self._seen and len(self.faults) < MAX_FAULTS:
            self._seen.add(fault)
            self.faults.append(fault)

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
        """The header from a plate chunk, where the file's own is damaged."""
        for head in walk(self._fg, 0, lambda fault: None, open_ended=True):
            if head.kind is Kind.PLATE:
                try:
                    header = parse_header(read_payload(self._fg, head)[:HEADER_BYTES], head.offset + HEAD_BYTES)
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

    def _plates(self) -> dict[int, list[ChunkHead]]:
        if self._directory is None:
            self._directory = {}
            for head in walk(self._fg, HEADER_BYTES, lambda fault: None, open_ended=True):
                if head.kind is Kind.PLATE:
                    self._directory.setdefault(head.first, []).append(head)
        return self._directory

    def _scan_keys(self) -> Iterator[KeyFrame]:
        plate: ChunkHead | None = None
        last = -1
        for head in walk(self._fg, HEADER_BYTES, lambda fault: None, open_ended=True):
            if head.kind is Kind.FOREGROUND and head.flags & KEY and head.first > last:
                try:
                    cursor = Cursor(read_payload(self._fg, head), head.offset + HEAD_BYTES)
                    table = parse_times(head, cursor)
                except StreamError:
                    continue
                opens = plate is not None and plate.first == head.first == table.plate_index
                offset = plate.offset if opens and plate is not None else head.offset
                time = table.times[0]
                last = head.first
                yield KeyFrame(head.first, time.pts_us, time.wall_us, offset, table.plate_index)
            plate = head if head.kind is Kind.PLATE else None


def plate_of(payload: bytes, head: ChunkHead) -> bytes:
    """The plate in a plate chunk's payload, behind the copy of the header. Raises StreamError."""
    if len(payload) <= HEADER_BYTES:
        raise StreamError("a plate chunk without a plate", offset=head.offset)
    return payload[HEADER_BYTES:]


class _Run:
    """One pass over the foreground: knows whether the chain from the last key frame is whole."""

    def __init__(self, reader: StreamReader, backgrounds: _Backgrounds | None) -> None:
        self._reader = reader
        self._backgrounds = backgrounds
        self._whole = False
        self._dropped = False  # a background that nobody reads has been passed over since the last key frame
        self._sequence = -1
        self._frame = self._pts_us = -1
        self._plate_index = -1  # whose plate the decoder has
        self._plate: tuple[int, bytes] = (-1, b"")  # the last one read

    def take(self, file: BinaryIO, head: ChunkHead) -> Iterator[ReadPacket]:
        """What follows from the next chunk."""
        if head.kind is Kind.BACKGROUND:
            return
        try:
            payload = read_payload(file, head)
            if head.kind is Kind.PLATE:
                parse_header(payload[:HEADER_BYTES], head.offset + HEAD_BYTES)
                self._plate = head.first, plate_of(payload, head)
            elif head.kind is Kind.END:
                parse_end(payload, head.offset + HEAD_BYTES)
            else:
                yield from self._frames(head, Cursor(payload, head.offset + HEAD_BYTES))
        except StreamError as error:
            if self._reader.strict:
                raise
            if head.kind is Kind.FOREGROUND:
                self._whole = False
            self._reader.report(Fault(head.first, head.layer, error.offset, str(error)))

    def _frames(self, head: ChunkHead, cursor: Cursor) -> Iterator[ReadPacket]:
        table = parse_times(head, cursor)
        first, last = table.times[0], table.times[-1]
        payloads = parse_payloads(head, cursor)
        if first.index <= self._frame or first.pts_us <= self._pts_us:
            raise StreamError(f"chunk of frame {head.first} does not follow frame {self._frame}", offset=head.offset)
        if self._sequence >= 0 and head.sequence != (self._sequence + 1) & 0xFFFF:
            self._whole = False
            self._report(head, f"foreground lost between frames {self._frame} and {head.first}")
        self._sequence, self._frame, self._pts_us = head.sequence, last.index, last.pts_us
        key = bool(head.flags & KEY)
        plate = self._open(head, table) if key else b""
        behind, lost = self._background(head, key)
        if not self._whole:
            self._report(head, f"frames {head.first} to {last.index} depend on what is lost")
            return
        for place, (time, (foreground, check)) in enumerate(zip(table.times, payloads, strict=True)):
            opens = place == 0 and key and table.plate_index == head.first
            background, background_check = behind[place] if behind else (b"", 0)
            packet = Packet(
                index=time.index, pts_us=time.pts_us, wall_us=time.wall_us, key=key and place == 0,
                foreground=foreground, background=background, plate=plate if opens else b"",
                sums=(check, background_check),
            )  # fmt: skip
            yield ReadPacket(packet, b"" if opens or place else plate, lost)

    def _open(self, head: ChunkHead, table: ForegroundTable) -> bytes:
        """Begin a new chain at a key frame: the plate that the decoder must be given, empty if it has it."""
        self._whole = True
        wanted = table.plate_index
        if wanted == self._plate_index and wanted != head.first:
            return b""
        try:
            plate = self._plate[1] if self._plate[0] == wanted else self._reader.plate(wanted)
        except StreamError as error:
            self._whole = False
            self._report(head, str(error))
            return b""
        self._plate_index = wanted
        return plate

    def _background(self, head: ChunkHead, key: bool) -> tuple[_Payloads, bool]:
        """Payloads of the chunk's background, empty if it has none, and whether it is lost."""
        expected = bool(head.flags & HAS_BACKGROUND_CHUNK)
        if self._backgrounds is None:
            self._dropped = expected or (self._dropped and not key)
            return [], self._dropped
        return self._backgrounds.match(head, key=key, expected=expected)

    def _report(self, head: ChunkHead, reason: str) -> None:
        self._reader.report(Fault(head.first, Layer.FOREGROUND, head.offset, reason))


class _Backgrounds:
    """Walks the background's chunks beside the foreground's: the same file a second time, or the file of its own."""

    def __init__(self, reader: StreamReader, file: BinaryIO, start: KeyFrame | None, *, joint: bool) -> None:
        self._reader = reader
        self._file = file
        self._joint = joint
        self._heads = reader.walk(file, self._begin(start))
        self._head: ChunkHead | None = None
        self._whole = True
        self._ended = False

    def match(self, foreground: ChunkHead, *, key: bool, expected: bool) -> tuple[_Payloads, bool]:
        """Payloads that belong to a foreground chunk (none: nothing changed), and whether they are lost."""
        if key:
            self._whole = True
        while self._head is None or self._head.first < foreground.first:
            if not self._next():
                break
        found = self._head if self._head is not None and self._head.first == foreground.first else None
        if expected and found is None:
            self._lose(foreground.first, foreground.offset if self._joint else -1, "its background chunk is lost")
        payloads: _Payloads = []
        if expected and found is not None:
            try:
                payload = read_payload(self._file, found)
                if found.frames != foreground.frames:
                    raise StreamError("background and foreground differ in their frames", offset=found.offset)
                payloads = parse_payloads(found, Cursor(payload, found.offset + HEAD_BYTES))
            except StreamError as error:
                self._lose(foreground.first, error.offset, str(error))
        return (payloads, False) if self._whole else ([], True)

    def drain(self) -> None:
        """Walk to the end, so that damage there is seen too."""
        while self._next():
            pass
        if not self._ended and not self._joint and not self._reader.open_ended:
            size = self._file.seek(0, 2)
            self._reader.report(Fault(-1, Layer.BACKGROUND, size, "the background was not closed: no end chunk"))

    def _next(self) -> bool:
        for head in self._heads:
            if head.kind is Kind.BACKGROUND:
                self._head = head
                return True
            if head.kind is Kind.END:
                self._ended = True
                if not self._joint:
                    self._check_end(head)
        self._head = None
        return False

    def _check_end(self, head: ChunkHead) -> None:
        try:
            parse_end(read_payload(self._file, head), head.offset + HEAD_BYTES)
        except StreamError as error:
            self._reader.report(Fault(-1, Layer.BACKGROUND, error.offset, str(error)))

    def _begin(self, start: KeyFrame | None) -> int:
        if start is None:
            return HEADER_BYTES
        if self._joint:
            return start.offset
        try:
            keys = read_end(self._file).keys
        except StreamError:
            return HEADER_BYTES
        at = bisect_right(keys, start.index, key=lambda key: key.index)
        return keys[at - 1].offset if at else HEADER_BYTES

    def _lose(self, frame: int, offset: int, reason: str) -> None:
        self._whole = False
        self._reader.report(Fault(frame, Layer.BACKGROUND, offset, reason))
