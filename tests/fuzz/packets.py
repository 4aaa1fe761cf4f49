"""The insides of chunks through their parsers: a byte that says which, what the chunk's head says, the payload."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from io import BytesIO
from itertools import pairwise

from pipeline.bitstream import HEADER_BYTES
from pipeline.bitstream.chunks import HEAD_BYTES, MAX_CHUNK_FRAMES, ChunkHead, Kind, parse_head, walk
from pipeline.bitstream.header import pack_header, parse_header
from pipeline.bitstream.keyindex import pack_end, parse_end
from pipeline.bitstream.parity import protect, repair
from pipeline.bitstream.plates import parse_parity, parse_plate
from pipeline.bitstream.table import parse_payloads, parse_times
from pipeline.bitstream.wire import Cursor
from tests.fuzz.mutate import damage
from tests.fuzz.reader import SEEDS

_PREFIX = struct.Struct("<BBHQ")  # parser, flags, frames, first
_OFFSET = 100_000
_HEADER = parse_header(SEEDS[0][0][:HEADER_BYTES])


def _foreground(head: ChunkHead, payload: bytes) -> None:
    cursor = Cursor(payload, _OFFSET)
    times = parse_times(head, cursor).times
    if len(times) != head.frames or len(parse_payloads(head, cursor)) != head.frames:
        raise AssertionError(f"{len(times)} times of {head.frames} frames")
    if any(a.index >= b.index or a.pts_us >= b.pts_us for a, b in pairwise(times)):
        raise AssertionError(f"{times}")


def _background(head: ChunkHead, payload: bytes) -> None:
    if sum(len(layer) for layer, _ in parse_payloads(head, Cursor(payload, 0))) > len(payload):
        raise AssertionError("more than there is")


def _end(head: ChunkHead, payload: bytes) -> None:
    if pack_end(parse_end(payload, _OFFSET)) != payload:
        raise AssertionError("two ways to write an end")


def _header(head: ChunkHead, payload: bytes) -> None:
    if pack_header(parse_header(payload)) != payload[:HEADER_BYTES]:
        raise AssertionError("two ways to write a header")


def _head(head: ChunkHead, payload: bytes) -> None:
    parse_head(payload[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0"), 0)


def _plate(head: ChunkHead, payload: bytes) -> None:
    parse_plate(payload, head, _HEADER)


def _parity(head: ChunkHead, payload: bytes) -> None:
    parse_parity(payload, head)


def _mending(head: ChunkHead, payload: bytes) -> None:
    """`first` is how long the damaged part is, before its protection."""
    mended = repair(payload[: head.first], payload[head.first :])
    if repair(mended, protect(mended)) != mended:
        raise AssertionError("what was mended is damaged")


_PARSERS: tuple[Callable[[ChunkHead, bytes], None], ...] = (
    _foreground, _background, _end, _header, _head, _plate, _parity, _mending,
)  # fmt: skip
_PARSER_OF = {
    Kind.FOREGROUND: _foreground, Kind.BACKGROUND: _background, Kind.END: _end, Kind.PLATE: _plate,
    Kind.PARITY: _parity,
}  # fmt: skip


def _input(parser: Callable[[ChunkHead, bytes], None], payload: bytes, head: ChunkHead | None = None) -> bytes:
    flags, frames, first = (head.flags, head.frames, head.first) if head is not None else (0, 0, 0)
    return _PREFIX.pack(_PARSERS.index(parser), flags, frames, first) + payload


def _seeds() -> tuple[bytes, ...]:
    seeds = []
    for data in (data for pair in SEEDS for data in pair if data):
        seeds += [_input(_header, data[:HEADER_BYTES]), _input(_head, data[HEADER_BYTES : HEADER_BYTES + HEAD_BYTES])]
        for head in walk(BytesIO(data), HEADER_BYTES, lambda fault: None):
            payload = data[head.offset + HEAD_BYTES : head.end]
            seeds.append(_input(_PARSER_OF[head.kind], payload, head))
            if head.kind is Kind.PLATE:
                damaged = bytes(100) + payload[100:]
                prefix = _PREFIX.pack(_PARSERS.index(_mending), 0, 0, len(damaged))
                seeds.append(prefix + damaged + protect(payload))
    return tuple(dict.fromkeys(seeds))


_SEEDS = _seeds()
_BY_PARSER = tuple(tuple(seed for seed in _SEEDS if seed[0] == n) for n in range(len(_PARSERS)))


def make(rng: random.Random) -> bytes:
    data = rng.choice(rng.choice(_BY_PARSER))
    start = 1 if rng.random() < 0.1 else _PREFIX.size
    for _ in range(rng.choice((1, 1, 2, 4))):
        data = data[:start] + damage(rng, data[start:], [seed[start:] for seed in _BY_PARSER[data[0]]])
    return data.ljust(_PREFIX.size, b"\0")


def run(data: bytes) -> None:
    parser, flags, frames, first = _PREFIX.unpack_from(data)
    payload = data[_PREFIX.size :]
    head = ChunkHead(Kind.FOREGROUND, flags, min(frames, MAX_CHUNK_FRAMES), 0, first, len(payload), 0, _OFFSET)
    _PARSERS[parser % len(_PARSERS)](head, payload)
