"""Damage to byte strings, and to streams with checksums put right, so that what is behind them is met."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipeline.bitstream import HEADER_BYTES
from pipeline.bitstream.chunks import HEAD_BYTES, MARKER, MAX_CHUNK_BYTES, parse_head
from pipeline.bitstream.wire import crc32c, put_varint
from tests.streams import chunks

NUMBERS = (
    0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x100, 0x7FFF, 0x8000, 0xFFFF, 0x10000, MAX_CHUNK_BYTES, (1 << 31) - 1, 1 << 31,
    (1 << 32) - 1, 1 << 32, (1 << 48) - 1, 1 << 48, (1 << 53) - 1, 1 << 53, (1 << 57) - 1, (1 << 63) - 1,
)  # fmt: skip
_HEAD = struct.Struct("<4sBBHHIHII")


def damage(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One mutation of a byte string; `others` are what may be spliced in."""
    return rng.choice(_DAMAGES)(rng, data, others)


def _span(rng: random.Random, data: bytes, most: int = 64) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.randint(1, most))


def _flip(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    out = bytearray(data)
    for _ in range(rng.randint(1, 4) if data else 0):
        out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _set(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data, 1)
    return data[:start] + rng.choice((b"\x00", b"\x7f", b"\x80", b"\xff", rng.randbytes(1))) + data[end:]


def _number(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """An interesting number over what stands there, little-endian or as a varint."""
    value, start = rng.choice(NUMBERS), rng.randrange(len(data) + 1)
    number = bytearray()
    if rng.random() < 0.5:
        put_varint(number, value)
        end = start + rng.randint(0, 3)
    else:
        width = rng.choice((1, 2, 4, 8))
        number += value.to_bytes(8, "little")[:width]
        end = start + width
    return data[:start] + bytes(number) + data[end:]


def _fill(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data, rng.choice((8, 400)))
    return data[:start] + rng.choice((b"\x00", b"\xff")) * (end - start) + data[end:]


def _cut_out(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:start] + data[end:]


def _insert(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start = rng.randrange(len(data) + 1)
    return data[:start] + rng.choice((rng.randbytes(rng.randint(1, 40)), MARKER)) + data[start:]


def _repeat(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    start, end = _span(rng, data)
    return data[:end] + data[start:end] * rng.choice((1, 2, 30)) + data[end:]


def _truncate(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _splice(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    other = rng.choice(others)
    return data[: rng.randrange(len(data) + 1)] + other[rng.randrange(len(other) + 1) :]


_Damage = Callable[[random.Random, bytes, Sequence[bytes]], bytes]
_DAMAGES: tuple[_Damage, ...] = (
    _flip, _set, _number, _fill, _cut_out, _insert, _repeat, _truncate, _splice,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Piece:
    """A chunk whose checksums are still to be made. `length` is what its head says, None the payload's own."""

    kind: int
    flags: int
    frames: int
    sequence: int
    first: int
    payload: bytes
    length: int | None = None

    def pack(self) -> bytes:
        said = len(self.payload) if self.length is None else self.length
        fields = _HEAD.pack(
            MARKER, self.kind, self.flags, self.frames, self.sequence, self.first & 0xFFFFFFFF, self.first >> 32, said,
            crc32c(self.payload[:said]),
        )  # fmt: skip
        return fields + crc32c(fields).to_bytes(4, "little") + self.payload


@dataclass(frozen=True, slots=True)
class Stream:
    """A file in pieces. `header` without its checksum."""

    header: bytes
    pieces: tuple[Piece, ...]

    @classmethod
    def split(cls, data: bytes) -> Stream:
        pieces = []
        for start, end in chunks(data):
            head = parse_head(data[start : start + HEAD_BYTES], start)
            payload = data[start + HEAD_BYTES : end]
            pieces.append(Piece(head.kind, head.flags, head.frames, head.sequence, head.first, payload))
        return cls(data[: HEADER_BYTES - 4], tuple(pieces))

    def pack(self) -> bytes:
        checksum = crc32c(self.header).to_bytes(4, "little")
        return self.header + checksum + b"".join(piece.pack() for piece in self.pieces)


def rearrange(rng: random.Random, stream: Stream, others: Sequence[Stream]) -> Stream:
    """One mutation of a stream whose checksums come out right."""
    pieces = list(stream.pieces)
    at = rng.randrange(len(pieces))
    what = rng.randrange(8)
    if what == 0:
        pieces.insert(rng.randrange(len(pieces) + 1), pieces[at])
    elif what == 1 and len(pieces) > 1:
        del pieces[at]
    elif what == 2:
        other = rng.randrange(len(pieces))
        pieces[at], pieces[other] = pieces[other], pieces[at]
    elif what == 3:
        pieces[at] = rng.choice(rng.choice(others).pieces)
    elif what == 4:
        return replace(stream, header=damage(rng, stream.header, [stream.header])[: HEADER_BYTES - 4])
    elif what == 5:
        pieces[at] = _edit_head(rng, pieces[at])
    else:
        payload = damage(rng, pieces[at].payload, [piece.payload for piece in pieces])
        pieces[at] = replace(pieces[at], payload=payload)
    return replace(stream, pieces=tuple(pieces))


_FIELDS = (
    ("kind", 3), ("flags", 6), ("frames", 9), ("frames", 3), ("sequence", 16), ("first", 48), ("first", 4),
    ("length", 27),
)  # fmt: skip


def _edit_head(rng: random.Random, piece: Piece) -> Piece:
    name, bits = rng.choice(_FIELDS)
    value = rng.choice((rng.choice(NUMBERS), rng.getrandbits(bits), rng.randrange(8)))
    if name == "first" and rng.random() < 0.5:
        value = max(0, piece.first + rng.randint(-5, 5))
    return replace(piece, **{name: value & (1 << bits) - 1})
