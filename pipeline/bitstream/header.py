"""The head of every file: which stream this is and what its decoder must know. See FORMAT.md, "Header"."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

from pipeline.bitstream.wire import crc32c
from pipeline.errors import StreamError
from pipeline.types import StreamInfo

MAGIC = b"\x89FOV\r\n\x1a\n"  # as PNG's: a text-mode copy or a cut to 7 bits breaks it at once
VERSION = 5
HAS_FOREGROUND, HAS_BACKGROUND = 1, 2
HEADER_BYTES = 60

_FIELDS = struct.Struct("<8sHBBHHdHHHBB8s16s")
_FULL_RANGE = 1


@dataclass(frozen=True, slots=True)
class Header:
    """`layers` is HAS_FOREGROUND, HAS_BACKGROUND or both; `stream_id` is the same in both files of a segment."""

    info: StreamInfo
    stream_id: bytes
    layers: int

    def __post_init__(self) -> None:
        if len(self.stream_id) != 16:
            raise ValueError(f"stream id of {len(self.stream_id)} bytes, expected 16")
        if self.layers not in (1, 2, 3):
            raise ValueError(f"layers {self.layers}: expected 1 (foreground), 2 (background) or 3")


def pack_header(header: Header) -> bytes:
    """The 60 bytes. Raises ValueError if a field of StreamInfo does not fit."""
    info = header.info
    if not (math.isfinite(info.fps) and info.fps >= 0):
        raise ValueError(f"stream fps {info.fps}: expected a number from 0")
    for name, value, top in (("sar", info.sar[0], 65535), ("sar", info.sar[1], 65535), ("matrix", info.matrix, 255)):
        if not 0 <= value <= top:
            raise ValueError(f"stream {name} {value}: expected 0 to {top}")
    fields = _FIELDS.pack(
        MAGIC, VERSION, header.layers, _FULL_RANGE if info.full_range else 0, info.width, info.height, info.fps,
        *info.sar, info.rotation % 360, info.matrix, 0, info.fingerprint, header.stream_id,
    )  # fmt: skip
    return fields + struct.pack("<I", crc32c(fields))


def parse_header(data: bytes, offset: int = 0) -> Header:
    """Header from its 60 bytes, which stand at `offset` of the file. Raises StreamError."""
    if not MAGIC.startswith(data[:8]) or not data:
        raise StreamError("not a Fovea stream: the first bytes are not its magic", offset=offset)
    if len(data) < HEADER_BYTES:
        raise StreamError(f"header cut off after {len(data)} of {HEADER_BYTES} bytes", offset=offset + len(data))
    (_, version, layers, flags, width, height, fps, sar_num, sar_den, rotation, matrix, zero, fingerprint,
     stream_id) = _FIELDS.unpack_from(data)  # fmt: skip
    if crc32c(data[: _FIELDS.size]) != struct.unpack_from("<I", data, _FIELDS.size)[0]:
        raise StreamError("header checksum does not match", offset=offset)
    if version != VERSION:
        raise StreamError(f"stream version {version}, this reader knows {VERSION}", offset=offset + 8)
    if flags & ~_FULL_RANGE or zero or not math.isfinite(fps) or fps < 0 or rotation >= 360:
        raise StreamError("header holds a value that the format does not allow", offset=offset + 10)
    try:
        info = StreamInfo(
            width=width, height=height, fingerprint=fingerprint, fps=fps, sar=(sar_num, sar_den), rotation=rotation,
            matrix=matrix, full_range=bool(flags & _FULL_RANGE),
        )  # fmt: skip
        return Header(info, stream_id, layers)
    except ValueError as error:
        raise StreamError(f"header: {error}", offset=offset) from error
