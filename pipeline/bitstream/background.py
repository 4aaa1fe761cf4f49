"""The background beside the foreground: which payloads belong to a chunk, and whether its chain is whole.

Knows chunks; what the foreground has lost is not its business.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, BinaryIO

from pipeline.bitstream.chunks import HEAD_BYTES, ChunkHead, Kind, read_payload
from pipeline.bitstream.faults import Fault
from pipeline.bitstream.header import HEADER_BYTES
from pipeline.bitstream.keyindex import KeyFrame, parse_end, read_end, stands
from pipeline.bitstream.order import Order, Turn
from pipeline.bitstream.table import parse_payloads
from pipeline.bitstream.wire import Cursor
from pipeline.errors import StreamError
from pipeline.types import Layer

if TYPE_CHECKING:
    from pipeline.bitstream.reader import StreamReader

Payloads = list[tuple[bytes, int]]  # with the check sum of each

_LOST = "its background chunk is lost"


class Backgrounds:
    """Walks the background's chunks beside the foreground's: the same file a second time, or the file of its own."""

    def __init__(self, reader: StreamReader, file: BinaryIO, start: KeyFrame | None, *, joint: bool) -> None:
        self._reader = reader
        self._file = file
        self._joint = joint
        self._heads = reader.walk(file, self._begin(start), self._note)
        self._order = Order(file, from_start=start is None)
        self._head: ChunkHead | None = None
        self._damage: Fault | None = None  # found before that head
        self._broken: Fault | None = None
        self._ended = False

    def match(self, foreground: ChunkHead, *, key: bool, expected: bool) -> tuple[Payloads, Fault | None]:
        """Payloads that belong to a foreground chunk (none: nothing changed), and why they are lost if they are."""
        if key:
            self._broken = None
        while self._head is None or self._head.first < foreground.first:
            if not self._next():
                break
        found = self._head if self._head is not None and self._head.first == foreground.first else None
        if expected and found is None and self._head is None and self._reader.open_ended:  # no fault, but a loss
            self._break(Fault(foreground.first, Layer.BACKGROUND, -1, "its background has not been written"))
        elif expected and found is None:
            fault = Fault(foreground.first, Layer.BACKGROUND, foreground.offset if self._joint else -1, _LOST)
            self._break(self._damage or fault)
            self._reader.report(fault)
        payloads: Payloads = []
        if expected and found is not None:
            try:
                payload = read_payload(self._file, found)
                if found.frames != foreground.frames:
                    raise StreamError("background and foreground differ in their frames", offset=found.offset)
                payloads = parse_payloads(found, Cursor(payload, found.offset + HEAD_BYTES))
            except StreamError as error:
                fault = Fault(foreground.first, Layer.BACKGROUND, error.offset, str(error))
                self._break(fault)
                self._reader.report(fault)
        return ([], self._broken) if self._broken is not None else (payloads, None)

    def drain(self) -> None:
        """Walk to the end, so that damage there is seen too."""
        while self._next():
            pass
        if not self._ended and not self._joint and not self._reader.open_ended:
            size = self._file.seek(0, 2)
            self._reader.report(Fault(-1, Layer.BACKGROUND, size, "the background was not closed: no end chunk"))

    def _next(self) -> bool:
        if self._head is not None:
            self._damage = None
        for head in self._heads:
            if head.kind is Kind.BACKGROUND:
                if self._order.turn(head) is Turn.OUT_OF_PLACE:
                    reason = "a background chunk out of place"
                    self._reader.report(Fault(head.first, Layer.BACKGROUND, head.offset, reason))
                    continue
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
        return keys[at - 1].offset if at and stands(self._file, keys[at - 1]) else HEADER_BYTES

    def _note(self, fault: Fault) -> None:
        self._damage = self._damage or fault
        self._reader.report(fault)

    def _break(self, fault: Fault) -> None:
        self._broken = self._broken or fault
