"""The inside of foreground and background chunks: times, payload lengths, check sums, payloads. See FORMAT.md.

Knows nothing of files or of other chunks. A camera's time stamps are a straight line rounded to microseconds, so a
chunk says the line once and then only what leaves it; an empty second costs its header and about 25 bytes.
"""

from __future__ import annotations

import itertools
import struct
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.bitstream.chunks import MAX_INDEX, ChunkHead
from pipeline.bitstream.wire import Cursor, put_runs, put_varint, unzigzag, zigzag
from pipeline.types import Packet

KEY, HAS_BACKGROUND_CHUNK, INDEX_GAPS, OFF_LINE, WALL_MOVES = 1, 2, 4, 8, 16
_KNOWN_FLAGS = 31

MAX_LAYER_BYTES = 32 << 20  # one layer of one packet, and a plate
MAX_TIME_US = (1 << 53) - 1  # 285 years, exact in a double too
_MAX_SLOPE = MAX_TIME_US << 9  # microseconds a frame index in 1/65536; keeps every number under 63 bits
MAX_SIGNED = (1 << 57) - 1  # a zigzag number: a difference of differences of times


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """What a foreground chunk says of one frame beside its payload."""

    index: int
    pts_us: int
    wall_us: int


@dataclass(frozen=True, slots=True)
class ForegroundTable:
    """`plate_index`: the frame that opened the segment, known in chunks that begin with a key frame, else -1."""

    times: tuple[FrameTimes, ...]
    plate_index: int


def pack_foreground(packets: Sequence[Packet], plate_index: int, *, has_background: bool) -> tuple[int, bytes]:
    """Flags and payload of the chunk that holds these packets' foreground and times."""
    first = packets[0]
    flags = (KEY if first.key else 0) | (HAS_BACKGROUND_CHUNK if has_background else 0)
    gaps = [b.index - a.index - 1 for a, b in itertools.pairwise(packets)]
    slope, phase = _line([p.index - first.index for p in packets], [p.pts_us - first.pts_us for p in packets])
    residual = [p.pts_us - first.pts_us - ((p.index - first.index) * slope + phase >> 16) for p in packets]
    errors = [b - a for a, b in itertools.pairwise(residual)]
    walls = [(b.wall_us - b.pts_us) - (a.wall_us - a.pts_us) for a, b in itertools.pairwise(packets)]

    out = bytearray()
    if first.key:
        put_varint(out, first.index - plate_index)
    put_varint(out, first.pts_us)
    put_varint(out, zigzag(first.wall_us - first.pts_us))
    put_varint(out, slope)
    out += struct.pack("<H", phase)
    for flag, values in ((INDEX_GAPS, gaps), (OFF_LINE, map(zigzag, errors)), (WALL_MOVES, map(zigzag, walls))):
        listed = list(values)
        if any(listed):
            flags |= flag
            put_runs(out, listed)
    _put_payloads(out, [p.foreground for p in packets], [p.sums[0] for p in packets])
    return flags, bytes(out)


def pack_background(packets: Sequence[Packet]) -> bytes:
    """Payload of the chunk that holds these packets' background."""
    out = bytearray()
    _put_payloads(out, [p.background for p in packets], [p.sums[1] for p in packets])
    return bytes(out)


def parse_times(head: ChunkHead, cursor: Cursor) -> ForegroundTable:
    """The first part of a foreground payload. Raises StreamError."""
    if head.frames == 0 or head.flags & ~_KNOWN_FLAGS:
        raise cursor.fail(f"a chunk of {head.frames} frames with flags {head.flags:#x}")
    distance = cursor.varint(head.first) if head.flags & KEY else -1
    pts = cursor.varint(MAX_TIME_US)
    offset = unzigzag(cursor.varint(MAX_SIGNED))
    slope = cursor.varint(_MAX_SLOPE)
    (phase,) = struct.unpack("<H", cursor.take(2))
    rest = head.frames - 1
    gaps = cursor.runs(rest, MAX_INDEX) if head.flags & INDEX_GAPS else [0] * rest
    errors = cursor.runs(rest, MAX_SIGNED) if head.flags & OFF_LINE else [0] * rest
    moves = cursor.runs(rest, MAX_SIGNED) if head.flags & WALL_MOVES else [0] * rest
    times = [FrameTimes(head.first, pts, pts + offset)]
    step = residual = 0
    for gap, error, move in zip(gaps, errors, moves, strict=True):
        step += gap + 1
        residual += unzigzag(error)
        offset += unzigzag(move)
        frame_pts = pts + (step * slope + phase >> 16) + residual
        if not times[-1].pts_us < frame_pts <= MAX_TIME_US or head.first + step > MAX_INDEX:
            raise cursor.fail(f"frame {head.first + step} at {frame_pts} us does not follow the one before it")
        times.append(FrameTimes(head.first + step, frame_pts, frame_pts + offset))
    return ForegroundTable(tuple(times), head.first - distance if distance >= 0 else -1)


def parse_payloads(head: ChunkHead, cursor: Cursor) -> list[tuple[bytes, int]]:
    """Payload and check sum of each frame, to the end of the chunk. Raises StreamError."""
    lengths = cursor.runs(head.frames, MAX_LAYER_BYTES)
    sums = [struct.unpack("<H", cursor.take(2))[0] if length else 0 for length in lengths]
    if sum(lengths) != cursor.left:
        raise cursor.fail(f"payloads of {sum(lengths)} bytes where {cursor.left} are left")
    return [(cursor.take(length), value) for length, value in zip(lengths, sums, strict=True)]


def _put_payloads(out: bytearray, payloads: Sequence[bytes], sums: Sequence[int]) -> None:
    put_runs(out, [len(payload) for payload in payloads])
    for payload, value in zip(payloads, sums, strict=True):
        if payload:
            out += struct.pack("<H", value & 0xFFFF)
    for payload in payloads:
        out += payload


def _line(steps: Sequence[int], times_us: Sequence[int]) -> tuple[int, int]:
    """Slope and phase in 1/65536 us such that `(step * slope + phase) >> 16` gives every time, where there is such a
    line.

    The slope must lie in the intersection of what each pair of frames allows; by Fourier-Motzkin elimination a phase
    then exists for every slope in it.
    """
    if len(steps) < 2:
        return 0, 0
    slope = (times_us[-1] << 16) // steps[-1]
    if times_us[-1] < 1 << 40 and steps[-1] < 1 << 20:  # exact in doubles
        k, t = np.array(steps, np.float64), np.array(times_us, np.float64)
        later, earlier = np.tril_indices(len(steps), -1)
        run, rise = k[later] - k[earlier], t[later] - t[earlier]
        low, high = float(((rise - 1) / run).max()), float(((rise + 1) / run).min())
        if low < high:
            slope = round((low + high) * 32768)
    slope = min(max(slope, 0), _MAX_SLOPE)
    below = max((t << 16) - k * slope for k, t in zip(steps, times_us, strict=True))
    above = min((t << 16) - k * slope + 0xFFFF for k, t in zip(steps, times_us, strict=True))
    return slope, below if below <= above else 0x8000
