"""Chunks: the unit that is written, checked and lost as a whole. See FORMAT.md, "Chunks".

`walk` finds them one after the other and gets over damage in between; it reads no payload, so that a layer that nobody
asked for costs one header a second. Knows nothing of what stands inside a chunk.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import BinaryIO

from pipeline.bitstream.faults import Fault
from pipeline.bitstream.wire import crc32c
from pipeline.errors import StreamError
from pipeline.types import Layer

MARKER = b"\xfeFv\xa5"
HEAD_BYTES = 28
MAX_CHUNK_BYTES = 64 << 20
MAX_CHUNK_FRAMES = 256
MAX_INDEX = (1 << 48) - 1

_HEAD = struct.Struct("<4sBBHHIHIII")  # first frame as u32 low, u16 high
_CRC = struct.Struct("<I")
_SEARCH_BYTES = 1 << 10, 1 << 16  # the first block small: the next header is often near


class Kind(IntEnum):
    """The numbers stand in files and are frozen."""

    PLATE = 1
    FOREGROUND = 2
    BACKGROUND = 3
    END = 4
    PARITY = 5


_KINDS = frozenset(Kind)
_LAYER_OF = {
    Kind.PLATE: Layer.FOREGROUND,
    Kind.PARITY: Layer.FOREGROUND,
    Kind.FOREGROUND: Layer.FOREGROUND,
    Kind.BACKGROUND: Layer.BACKGROUND,
}


@dataclass(frozen=True, slots=True)
class ChunkHead:
    """A chunk's header, checked, and where it stands. `length` and `payload_crc` are the payload's."""

    kind: Kind
    flags: int
    frames: int
    sequence: int
    first: int
    length: int
    payload_crc: int
    offset: int

    @property
    def layer(self) -> Layer | None:
        return _LAYER_OF.get(self.kind)

    @property
    def end(self) -> int:
        return self.offset + HEAD_BYTES + self.length


def pack_chunk(kind: Kind, *, flags: int, frames: int, sequence: int, first: int, payload: bytes) -> bytes:
    """A whole chunk. Raises ValueError where a field is out of bounds."""
    if len(payload) > MAX_CHUNK_BYTES or frames > MAX_CHUNK_FRAMES or not 0 <= first <= MAX_INDEX:
        raise ValueError(f"chunk of {len(payload)} bytes, {frames} frames from {first}: out of bounds")
    head = _HEAD.pack(
        MARKER,
        kind,
        flags,
        frames,
        sequence & 0xFFFF,
        first & 0xFFFFFFFF,
        first >> 32,
        len(payload),
        crc32c(payload),
        0,
    )[:-4]
    return head + struct.pack("<I", crc32c(head)) + payload


def parse_head(data: bytes, offset: int) -> ChunkHead:
    """A chunk header from its 28 bytes. Raises StreamError."""
    marker, kind, flags, frames, sequence, low, high, length, payload_crc, crc = _HEAD.unpack(data)
    if marker != MARKER:
        raise StreamError("no chunk begins where one should", offset=offset)
    if crc32c(data[:-4]) != crc:
        raise StreamError("chunk header checksum does not match", offset=offset)
    if kind not in _KINDS:
        raise StreamError(f"chunk of unknown kind {kind}", offset=offset)
    if length > MAX_CHUNK_BYTES or frames > MAX_CHUNK_FRAMES:
        raise StreamError(f"chunk of {length} bytes and {frames} frames is over the format's bounds", offset=offset)
    return ChunkHead(Kind(kind), flags, frames, sequence, high << 32 | low, length, payload_crc, offset)


def read_payload(file: BinaryIO, head: ChunkHead) -> bytes:
    """The chunk's payload, checked. Raises StreamError; allocates no more than the file holds."""
    file.seek(head.offset + HEAD_BYTES)
    payload = file.read(head.length)
    if len(payload) != head.length:
        raise StreamError(f"chunk cut off after {len(payload)} of {head.length} bytes", offset=head.offset)
    if crc32c(payload) != head.payload_crc:
        raise StreamError("chunk payload checksum does not match", offset=head.offset)
    return payload


def walk(
    file: BinaryIO,
    start: int,
    report: Callable[[Fault], None],
    *,
    layer: Layer | None = None,
    open_ended: bool = False,
) -> Iterator[ChunkHead]:
    """Chunk headers from byte `start` to the end of the file, each followed by `length` bytes that are there. Damage
    goes to `report` and the walk goes on at the next header, in time linear in the file's size.
    `layer`: whose file this is, for faults that show none. `open_ended`: the file is still being written or was left
    so; a chunk cut off by its end is no fault."""

    def note(fault: Fault) -> None:
        report(fault if fault.layer is not None else replace(fault, layer=layer))

    size = file.seek(0, 2)
    at = start
    while at < size:
        head = _head_at(file, at, size, note, open_ended=open_ended)
        if head is None:
            at = _next_head(file, at + 1, size)
            continue
        yield head
        at = head.end
        if head.kind is Kind.END and at < size:
            note(Fault(-1, None, at, f"{size - at} bytes after the end of the stream"))
            at = _next_head(file, at, size)


def _head_at(
    file: BinaryIO, at: int, size: int, report: Callable[[Fault], None], *, open_ended: bool
) -> ChunkHead | None:
    file.seek(at)
    data = file.read(HEAD_BYTES)
    if len(data) < HEAD_BYTES:
        if not (open_ended and MARKER.startswith(data[:4])):
            report(Fault(-1, None, at, f"{len(data)} bytes at the end of the file are no chunk"))
        return None
    try:
        head = parse_head(data, at)
    except StreamError as error:
        report(Fault(-1, None, error.offset, str(error)))
        return None
    if head.end > size:
        if not open_ended:
            report(Fault(head.first, head.layer, at, f"chunk cut off after {size - at} of {head.end - at} bytes"))
        return None
    return head


def _next_head(file: BinaryIO, at: int, size: int) -> int:
    """Byte of the next chunk header from `at` on, or `size`. Headers are tried in memory: a hostile file may be full of
    markers."""
    want, largest = _SEARCH_BYTES
    while at + HEAD_BYTES <= size:
        file.seek(at)
        block = file.read(want)
        want = min(4 * want, largest)
        found = block.find(MARKER)
        while 0 <= found <= len(block) - HEAD_BYTES:
            if crc32c(block[found : found + HEAD_BYTES - 4]) == _CRC.unpack_from(block, found + HEAD_BYTES - 4)[0]:
                return at + found
            found = block.find(MARKER, found + 1)
        at += len(block) - HEAD_BYTES + 1
    return size
