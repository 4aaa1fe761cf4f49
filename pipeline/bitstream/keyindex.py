"""The index at the end of a closed file: where its key frames are. See FORMAT.md, "End".

Knows nothing of packets; a reader can always do without it by walking the chunks.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from pipeline.bitstream.chunks import HEAD_BYTES, MAX_CHUNK_BYTES, MAX_INDEX, Kind, parse_head, read_payload
from pipeline.bitstream.table import MAX_SIGNED, MAX_TIME_US
from pipeline.bitstream.wire import Cursor, put_varint, unzigzag, zigzag
from pipeline.errors import StreamError

_SIZE_BYTES = 4


@dataclass(frozen=True, slots=True)
class KeyFrame:
    """A frame where reading may begin. `offset` is the byte of the chunk to begin at (of the plate chunk, where the
    frame opens a segment), `plate_index` the frame that opened its segment."""

    index: int
    pts_us: int
    wall_us: int
    offset: int
    plate_index: int


@dataclass(frozen=True, slots=True)
class EndIndex:
    """`frames` counts the frames of all chunks of the file."""

    frames: int
    keys: tuple[KeyFrame, ...]


def pack_end(index: EndIndex) -> bytes:
    """Payload of the end chunk. Its last four bytes are the whole chunk's size, so that it is found from the end."""
    out = bytearray()
    put_varint(out, index.frames)
    put_varint(out, len(index.keys))
    last = KeyFrame(0, 0, 0, 0, 0)
    for key in index.keys:
        put_varint(out, key.index - last.index)
        put_varint(out, key.pts_us - last.pts_us)
        put_varint(out, zigzag((key.wall_us - key.pts_us) - (last.wall_us - last.pts_us)))
        put_varint(out, key.offset - last.offset)
        put_varint(out, key.index - key.plate_index)
        last = key
    return bytes(out) + struct.pack("<I", HEAD_BYTES + len(out) + _SIZE_BYTES)


def parse_end(payload: bytes, offset: int) -> EndIndex:
    """The index from an end chunk's payload, which stands at `offset`. Raises StreamError. Where bytes are missing from
    the file its offsets are wrong; whoever follows one asks `stands` first."""
    cursor = Cursor(payload[:-_SIZE_BYTES], offset)
    if len(payload) < _SIZE_BYTES or payload[-_SIZE_BYTES:] != struct.pack("<I", HEAD_BYTES + len(payload)):
        raise cursor.fail("end chunk does not state its own size")
    frames = cursor.varint(MAX_INDEX)
    count = cursor.varint(min(cursor.left // 5, offset // HEAD_BYTES))  # five bytes at least, and a chunk each
    keys: list[KeyFrame] = []
    frame = pts = shift = at = 0
    for _ in range(count):
        frame += cursor.varint(MAX_INDEX)
        pts += cursor.varint(MAX_TIME_US)
        shift += unzigzag(cursor.varint(MAX_SIGNED))
        at += cursor.varint(MAX_SIGNED)
        distance = cursor.varint(frame)
        if frame > MAX_INDEX or pts > MAX_TIME_US:
            raise cursor.fail(f"index entry for frame {frame} at {pts} us is out of range")
        keys.append(KeyFrame(frame, pts, pts + shift, at, frame - distance))
    if cursor.left:
        raise cursor.fail(f"{cursor.left} bytes too many in the index")
    return EndIndex(frames, tuple(keys))


def read_end(file: BinaryIO) -> EndIndex:
    """The index of a closed file, found from its end. Raises StreamError if there is none or it is damaged."""
    start, size = _end_chunk(file)
    file.seek(start)
    head = parse_head(file.read(HEAD_BYTES), start)
    if head.kind is not Kind.END or head.end != size:
        raise StreamError("no end chunk at the end of the file", offset=start)
    return parse_end(read_payload(file, head), start + HEAD_BYTES)


def stands(file: BinaryIO, key: KeyFrame) -> bool:
    """Whether the chunk of a key frame, or its plate's, begins where its entry says."""
    if key.offset + HEAD_BYTES > file.seek(0, 2):
        return False
    file.seek(key.offset)
    try:
        head = parse_head(file.read(HEAD_BYTES), key.offset)
    except StreamError:
        return False
    return head.first == key.index and head.kind in (Kind.PLATE, Kind.FOREGROUND, Kind.BACKGROUND)


def read_headless_end(file: BinaryIO, start: int) -> EndIndex:
    """The index of an end chunk in the damage from byte `start` on that took its header. Raises StreamError if there
    is none."""
    found, size = _end_chunk(file)
    if found < start:
        raise StreamError("no end chunk in the damage", offset=start)
    file.seek(found + HEAD_BYTES)
    return parse_end(file.read(size - found - HEAD_BYTES), found + HEAD_BYTES)


def _end_chunk(file: BinaryIO) -> tuple[int, int]:
    """Where an end chunk begins by what the last bytes of the file say, and the file's size. Raises StreamError."""
    size = file.seek(0, 2)
    if size < HEAD_BYTES + _SIZE_BYTES:
        raise StreamError("no room for an end chunk", offset=size)
    file.seek(size - _SIZE_BYTES)
    (length,) = struct.unpack("<I", file.read(_SIZE_BYTES))
    if not HEAD_BYTES + _SIZE_BYTES <= length <= min(size, HEAD_BYTES + MAX_CHUNK_BYTES):
        raise StreamError("no end chunk at the end of the file", offset=size)
    return size - length, size
