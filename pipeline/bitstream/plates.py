"""The plates of a file by the frame that opens their segment, mended from their parity where they are damaged.

Knows the foreground file's chunks; who reads packets asks here for a plate that it has not met whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import BinaryIO

from pipeline.bitstream.chunks import HEAD_BYTES, ChunkHead, Kind, read_payload, walk
from pipeline.bitstream.faults import Fault
from pipeline.bitstream.header import HEADER_BYTES, Header, parse_header
from pipeline.bitstream.parity import protected_bytes, repair
from pipeline.bitstream.table import MAX_LAYER_BYTES
from pipeline.errors import StreamError
from pipeline.types import Layer

_DISTANCE = struct.Struct("<Q")


def pack_parity(header: bytes, distance: int, protection: bytes) -> bytes:
    """Payload of a parity chunk. `distance`: bytes back from this chunk to the plate chunk."""
    return header + _DISTANCE.pack(distance) + protection


def parse_parity(payload: bytes, head: ChunkHead) -> tuple[int, bytes]:
    """Distance and protection from a parity chunk's payload. Raises StreamError."""
    start = HEADER_BYTES + _DISTANCE.size
    if len(payload) <= start:
        raise StreamError("a parity chunk without parity", offset=head.offset)
    (distance,) = _DISTANCE.unpack_from(payload, HEADER_BYTES)
    protection = payload[start:]
    if distance < HEAD_BYTES + protected_bytes(protection):
        raise StreamError(f"parity of a plate {distance} bytes back", offset=head.offset)
    return distance, protection


def parse_plate(payload: bytes, head: ChunkHead, header: Header) -> bytes:
    """The plate in a plate chunk's payload, behind the copy of the header. Raises StreamError."""
    if not HEADER_BYTES < len(payload) <= HEADER_BYTES + MAX_LAYER_BYTES:
        raise StreamError(f"a plate chunk of {len(payload)} bytes", offset=head.offset)
    check_copy(payload, head, header)
    return payload[HEADER_BYTES:]


def check_copy(payload: bytes, head: ChunkHead, header: Header) -> None:
    """Refuse a plate or parity of another stream. Raises StreamError."""
    if parse_header(payload[:HEADER_BYTES], head.offset + HEAD_BYTES) != header:
        raise StreamError("a plate of another stream", offset=head.offset)


class Plates:
    """Reads plates by their frame. What is wrong with them goes to `report`."""

    def __init__(self, file: BinaryIO, header: Header, report: Callable[[Fault], None]) -> None:
        self._file = file
        self._header = header
        self._report = report
        self._heads: dict[int, list[ChunkHead]] | None = None

    @property
    def first(self) -> int:
        """The first frame that a plate is known of, -1 if none is."""
        return min(self._directory(), default=-1)

    def get(self, index: int) -> bytes:
        """The plate of the segment that frame `index` opened. Raises StreamError if it is lost."""
        heads = self._directory().get(index, [])
        for head in heads:
            try:
                return self._read(head) if head.kind is Kind.PLATE else self._mend(head, heads)
            except StreamError as error:
                self._report(Fault(index, Layer.FOREGROUND, error.offset, str(error)))
        if heads:
            self._directory()[index] = []  # a hostile file may ask for it often
        raise StreamError(f"the plate of frame {index} is lost", offset=heads[0].offset if heads else -1)

    def _read(self, head: ChunkHead) -> bytes:
        return parse_plate(read_payload(self._file, head), head, self._header)

    def _mend(self, head: ChunkHead, heads: list[ChunkHead]) -> bytes:
        """The plate from a parity chunk, whatever is wrong with either: what comes out has a checksum of its own."""
        self._file.seek(head.offset + HEAD_BYTES)
        distance, protection = parse_parity(self._file.read(head.length), head)
        length = protected_bytes(protection)
        place = max(0, head.offset - distance)  # what stood before may have been cut out
        if heads[0].kind is Kind.PLATE and heads[0].length == length:
            place = heads[0].offset
        self._file.seek(place + HEAD_BYTES)
        try:
            mended = repair(self._file.read(length), protection)
        except StreamError as error:
            raise StreamError(f"the plate cannot be mended: {error}", offset=place) from error
        plate = parse_plate(mended, head, self._header)
        reason = f"the plate of frame {head.first} was damaged and has been mended from its parity"
        self._report(Fault(head.first, Layer.FOREGROUND, place, reason))
        return plate

    def _directory(self) -> dict[int, list[ChunkHead]]:
        """Heads by frame, plates before parity."""
        if self._heads is None:
            found = [
                head
                for head in walk(self._file, HEADER_BYTES, lambda fault: None, open_ended=True)
                if head.kind in (Kind.PLATE, Kind.PARITY)
            ]
            self._heads = {}
            for head in sorted(found, key=lambda head: head.kind):
                self._heads.setdefault(head.first, []).append(head)
        return self._heads
