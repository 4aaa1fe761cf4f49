"""One pass over a stream: chunks of both layers to packets, and what each layer's chain has lost.

Knows chunks; the reader that starts a pass knows files' heads, indices and plates.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from pipeline.bitstream.background import Backgrounds, Payloads
from pipeline.bitstream.chunks import HEAD_BYTES, ChunkHead, Kind, read_payload
from pipeline.bitstream.faults import Fault
from pipeline.bitstream.keyindex import EndIndex, KeyFrame, parse_end, read_headless_end
from pipeline.bitstream.order import Order, Turn
from pipeline.bitstream.plates import check_copy, parse_parity, parse_plate
from pipeline.bitstream.table import HAS_BACKGROUND_CHUNK, INDEX_GAPS, KEY, ForegroundTable, parse_payloads, parse_times
from pipeline.bitstream.wire import Cursor
from pipeline.errors import StreamError
from pipeline.types import Layer, Packet

if TYPE_CHECKING:
    from pipeline.bitstream.reader import StreamReader

_NO_KEY = Fault(-1, Layer.FOREGROUND, -1, "no key frame comes before it")


@dataclass(frozen=True, slots=True)
class ReadPacket:
    """`packet.sums` hold the low 16 bits only. `plate` is not empty where a decoder must be given a plate that does not
    stand in the packet itself: at the first packet after a seek or after a lost opening. `background_lost`: the
    packet's background, or one it depends on, is gone or unreadable; `packet.background` is then empty."""

    packet: Packet
    plate: bytes = b""
    background_lost: bool = False


class Run:
    """One pass over the foreground: knows whether the chain from the last key frame is whole, and what it has lost."""

    def __init__(
        self, reader: StreamReader, file: BinaryIO, backgrounds: Backgrounds | None, start: KeyFrame | None
    ) -> None:
        self._reader = reader
        self._file = file
        self._backgrounds = backgrounds
        self._from_start = start is None
        self._orders = {kind: Order(file, from_start=start is None) for kind in Kind}
        self._frame = self._pts_us = -1  # of the last frame that is read or known to be lost
        self._begin = -1
        if start is not None:
            self._begin = start.index
            self._frame = start.index - 1
            self._orders[Kind.FOREGROUND] = Order(file, from_start=False, begin=start.index)
        self._met = 0  # frames read or known to be lost
        self._unreadable: tuple[int, ChunkHead] | None = None  # the last chunk, if so, and from which frame on it costs
        self._broken: Fault | None = _NO_KEY  # what the chain is broken by
        self._damage: Fault | None = None  # found since the last foreground chunk
        self._dropped: Fault | None = None  # a background that nobody reads, passed over since the last key frame
        self._no_plate: Fault | None = None
        self._plate_index = -1  # whose plate the decoder has
        self._plate: tuple[int, bytes] = (-1, b"")  # the last one read
        self._end: EndIndex | None = None

    def take(self, head: ChunkHead) -> Iterator[ReadPacket]:
        """What follows from the next chunk."""
        if head.kind is Kind.BACKGROUND or (head.kind is Kind.FOREGROUND and head.first < self._begin):
            return
        turn = self._orders[head.kind].turn(head)
        if turn is Turn.OUT_OF_PLACE:
            self._report(head, f"a {head.kind.name.lower()} chunk out of place")
        elif head.kind is Kind.FOREGROUND:
            yield from self._foreground(head, gap=turn is Turn.AFTER_GAP)
        else:
            if turn is Turn.AFTER_GAP:
                self._report(head, f"a {head.kind.name.lower()} chunk is missing before this one")
            self._beside(head)

    def note(self, fault: Fault) -> None:
        """What is wrong between the chunks; a chunk that is cut off may be one of the background, or the parity of a
        segment that is read."""
        if fault.layer is not Layer.BACKGROUND and not 0 <= fault.frame <= self._frame:
            self._damage = self._damage or fault
        self._reader.report(fault)

    def finish(self) -> None:
        """After the last chunk: what the end says is missing, or what stood in a damaged tail."""
        self._settle(None)
        cause = self._damage
        if self._end is None and cause is not None:
            with suppress(StreamError):
                self._end = read_headless_end(self._file, cause.offset)
        if self._end is not None:
            missing = self._end.frames - self._met if self._from_start else 0
            if missing <= 0:
                cause = None
            elif cause is None:
                size = self._file.seek(0, 2)
                cause = Fault(-1, Layer.FOREGROUND, size, f"the end counts {missing} frames more than there are")
                self._reader.report(cause)
        if cause is not None:
            self._break(cause)
            self._lose(max(self._next, cause.frame), None)

    def _beside(self, head: ChunkHead) -> None:
        """Read a chunk that holds no frames."""
        try:
            payload = read_payload(self._file, head)
            if head.kind is Kind.PLATE:
                self._plate = head.first, parse_plate(payload, head, self._reader.header)
            elif head.kind is Kind.PARITY:
                check_copy(payload, head, self._reader.header)
                parse_parity(payload, head)
            else:
                self._end = parse_end(payload, head.offset + HEAD_BYTES)
        except StreamError as error:
            if self._reader.strict:
                raise
            self._reader.report(Fault(head.first, head.layer, error.offset, str(error)))

    def _foreground(self, head: ChunkHead, *, gap: bool) -> Iterator[ReadPacket]:
        self._pass_over(head, gap=gap)
        key = bool(head.flags & KEY)
        first = max(head.first, self._frame + 1) if key or self._broken is None else self._next  # of what may be lost
        try:
            cursor = Cursor(read_payload(self._file, head), head.offset + HEAD_BYTES)
            table = parse_times(head, cursor)
            payloads = parse_payloads(head, cursor)
            if head.first <= self._frame or table.times[0].pts_us <= self._pts_us:
                raise StreamError(f"chunk of frame {head.first} does not follow {self._frame}", offset=head.offset)
            plate = self._open(head, table) if key else b""
        except StreamError as error:
            if self._reader.strict:
                raise
            fault = Fault(head.first, Layer.FOREGROUND, error.offset, str(error))
            self._reader.report(fault)
            self._break(fault, anew=key)
            self._unreadable = first, head
            return
        self._frame, self._pts_us = table.times[-1].index, table.times[-1].pts_us
        behind, lost = self._background(head, key)
        if self._broken is not None:
            self._report(head, f"frames {head.first} to {self._frame} depend on what is lost")
            self._lose(first, self._frame)
            return
        if lost is not None and (self._backgrounds is not None or not self._reader.has_background):
            self._reader.lose(head.first, self._frame, Layer.BACKGROUND, lost)
        yield from _packets(table, payloads, behind, plate, key=key, background_lost=lost is not None)

    def _pass_over(self, head: ChunkHead, *, gap: bool) -> None:
        """Account for what is lost before a chunk."""
        self._settle(head.first)
        if gap:
            reason = f"foreground lost between frames {self._frame} and {head.first}"
            fault = Fault(head.first, Layer.FOREGROUND, head.offset, reason)
            self._reader.report(fault)
            self._break(self._damage or fault)
            self._met += max(0, head.first - self._next)
            if head.first > max(0, self._next):
                self._lose(self._next, head.first - 1)
                self._frame = head.first - 1
        self._met += head.frames
        self._damage = None

    def _settle(self, following: int | None) -> None:
        """Account for the last chunk if it was unreadable: its header says how many frames it had, but not which if
        there were gaps between them, and may lie. `following`: where the next one begins, if there is one."""
        if self._unreadable is None:
            return
        first, head = self._unreadable
        self._unreadable = None
        self._frame = max(self._frame, head.first + head.frames - 1)
        if following is not None and (self._frame >= following or head.flags & INDEX_GAPS):
            self._frame = max(first - 1, following - 1)
        self._lose(first, None if following is None and head.flags & INDEX_GAPS else self._frame)

    def _open(self, head: ChunkHead, table: ForegroundTable) -> bytes:
        """Begin a new chain at a key frame: the plate that the decoder must be given, empty if it has it."""
        self._broken = None
        wanted = table.plate_index
        if wanted == self._plate_index and wanted != head.first:
            return b""
        if wanted < self._plate_index:
            raise StreamError(f"key frame {head.first} goes back to the plate of {wanted}", offset=head.offset)
        if self._no_plate is not None and self._no_plate.frame == wanted:
            self._broken = self._no_plate
            return b""
        try:
            plate = self._plate[1] if self._plate[0] == wanted else self._reader.plate(wanted)
        except StreamError as error:
            if self._reader.strict:
                raise
            self._broken = self._no_plate = Fault(wanted, Layer.FOREGROUND, error.offset, str(error))
            self._reader.report(self._broken)
            return b""
        self._plate_index = wanted
        return plate

    def _background(self, head: ChunkHead, key: bool) -> tuple[Payloads, Fault | None]:
        """Payloads of the chunk's background, empty if it has none, and why they are lost if they are."""
        expected = bool(head.flags & HAS_BACKGROUND_CHUNK)
        if self._backgrounds is not None:
            return self._backgrounds.match(head, key=key, expected=expected)
        if expected:
            self._dropped = self._dropped or Fault(
                head.first, Layer.BACKGROUND, -1, "there is no background file of it"
            )
        elif key:
            self._dropped = None
        return [], self._dropped

    @property
    def _next(self) -> int:
        """The frame after the last one, or the stream's first as far as it is known."""
        return self._frame + 1 if self._frame >= 0 else self._reader.first_frame()

    def _break(self, fault: Fault, *, anew: bool = False) -> None:
        """From here to the next key frame nothing decodes because of `fault`, or of what broke the chain before it."""
        if anew or self._broken is None or self._broken is _NO_KEY:
            self._broken = fault

    def _lose(self, first: int, last: int | None) -> None:
        self._reader.lose(first, last, Layer.FOREGROUND, self._broken or _NO_KEY)

    def _report(self, head: ChunkHead, reason: str) -> None:
        self._reader.report(Fault(head.first, head.layer, head.offset, reason))


def _packets(
    table: ForegroundTable,
    foreground: Payloads,
    background: Payloads,
    plate: bytes,
    *,
    key: bool,
    background_lost: bool,
) -> Iterator[ReadPacket]:
    """The packets of a chunk. `background` may be empty; `plate` is what the decoder must be given at the first."""
    first = table.times[0].index
    for place, (time, (payload, check)) in enumerate(zip(table.times, foreground, strict=True)):
        begins = key and place == 0
        opens = begins and table.plate_index == first
        behind, behind_check = background[place] if background else (b"", 0)
        packet = Packet(
            index=time.index, pts_us=time.pts_us, wall_us=time.wall_us, key=begins, foreground=payload,
            background=behind, plate=plate if opens else b"", sums=(check, behind_check),
        )  # fmt: skip
        yield ReadPacket(packet, plate if begins and not opens else b"", background_lost)
