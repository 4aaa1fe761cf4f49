"""One pass over a stream: chunks of both layers to packets, and what each layer's chain has lost.

Knows chunks; the reader that starts a pass knows files' heads, indices and plates.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from pipeline.bitstream.chunks import HEAD_BYTES, ChunkHead, Kind, read_payload
from pipeline.bitstream.faults import Fault
from pipeline.bitstream.header import HEADER_BYTES
from pipeline.bitstream.keyindex import KeyFrame, parse_end, read_end
from pipeline.bitstream.plates import check_copy, parse_parity, parse_plate
from pipeline.bitstream.table import HAS_BACKGROUND_CHUNK, KEY, ForegroundTable, parse_payloads, parse_times
from pipeline.bitstream.wire import Cursor
from pipeline.errors import StreamError
from pipeline.types import Layer, Packet

if TYPE_CHECKING:
    from pipeline.bitstream.reader import StreamReader

_Payloads = list[tuple[bytes, int]]


@dataclass(frozen=True, slots=True)
class ReadPacket:
    """`packet.sums` hold the low 16 bits only. `plate` is not empty where a decoder must be given a plate that does not
    stand in the packet itself: at the first packet after a seek or after a lost opening. `background_lost`: the
    packet's background, or one it depends on, is gone or unreadable; `packet.background` is then empty."""

    packet: Packet
    plate: bytes = b""
    background_lost: bool = False


class Run:
    """One pass over the foreground: knows whether the chain from the last key frame is whole."""

    def __init__(self, reader: StreamReader, backgrounds: Backgrounds | None) -> None:
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
                self._plate = head.first, parse_plate(payload, head, self._reader.header)
            elif head.kind is Kind.PARITY:
                check_copy(payload, head, self._reader.header)
                parse_parity(payload, head)
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
        if wanted < self._plate_index:
            raise StreamError(f"key frame {head.first} goes back to the plate of {wanted}", offset=head.offset)
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


class Backgrounds:
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
        if expected and found is None and self._head is None and self._reader.open_ended:
            self._whole = False  # the writer has not come to it, or died before it
        elif expected and found is None:
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
