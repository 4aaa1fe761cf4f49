"""Whole streams through StreamReader: a byte of options, the foreground's length, the foreground, the background."""

from __future__ import annotations

import random
import struct
from dataclasses import replace
from io import BytesIO

from pipeline.bitstream import ReadPacket, StreamReader, inspect_stream
from pipeline.errors import StreamError
from pipeline.types import Layer, LayerName
from tests.fuzz.mutate import Stream, damage, rearrange
from tests.streams import make_packets, write_joint, write_pair

_SPLIT, _FOREGROUND, _STRICT, _OPEN, _SEEK, _INSPECT = 1, 2, 4, 8, 16, 32
_PREFIX = struct.Struct("<BI")


def _seeds() -> tuple[tuple[bytes, bytes], ...]:
    """Files of both layers with an empty one beside them, and pairs: all that the format has, and small."""
    plain = make_packets(8, fps=4, gop=4, size=3)
    uneven = [
        replace(p, pts_us=p.pts_us + (900 if p.index == 5 else 0), wall_us=p.wall_us - (p.index > 6) * 2_000_000)
        for p in make_packets(10, fps=3, gop=5, segment=5, size=3)
        if p.index != 2
    ]
    large = [replace(plain[0], plate=random.Random(1).randbytes(4700)), *plain[1:]]  # its parity has groups of two
    joint = (
        write_joint(plain), write_joint(uneven), write_joint(make_packets(8, fps=2, gop=2, segment=4, size=2)),
        write_joint(make_packets(6, fps=2, gop=3, empty=True)), write_joint(large), write_joint(plain, close=False),
        write_joint(plain, parity=False),
    )  # fmt: skip
    return (*((data, b"") for data in joint), write_pair(plain), write_pair(uneven))


SEEDS = _seeds()
_STREAMS = tuple((Stream.split(one), Stream.split(two) if two else None) for one, two in SEEDS)
_FOREGROUNDS = tuple(stream for stream, _ in _STREAMS)
_BACKGROUNDS = tuple(stream for _, stream in _STREAMS if stream is not None)
_FILES = tuple(data for pair in SEEDS for data in pair if data)


def make(rng: random.Random) -> bytes:
    options = rng.getrandbits(6) & ~_SPLIT
    foreground, background = rng.choice(_STREAMS)
    for _ in range(rng.choice((0, 1, 1, 2, 4))):
        if background is not None and rng.random() < 0.4:
            background = rearrange(rng, background, _BACKGROUNDS)
        else:
            foreground = rearrange(rng, foreground, _FOREGROUNDS)
    one, two = foreground.pack(), b"" if background is None else background.pack()
    if background is not None and rng.random() < 0.9:
        options |= _SPLIT
    for _ in range(rng.choice((0, 0, 1, 2))):
        if two and rng.random() < 0.4:
            two = damage(rng, two, _FILES)
        else:
            one = damage(rng, one, _FILES)
    return _PREFIX.pack(options, len(one)) + one + two


def run(data: bytes) -> None:
    options, length = _PREFIX.unpack_from(data)
    one, two = data[_PREFIX.size : _PREFIX.size + length], data[_PREFIX.size + length :]
    background = BytesIO(two) if options & _SPLIT else None
    reader = StreamReader(
        BytesIO(one), background, strict=bool(options & _STRICT), open_ended=bool(options & _OPEN)
    )  # fmt: skip
    layer: LayerName = "foreground" if options & _FOREGROUND else "full"
    start = None
    if options & _SEEK:
        keys = reader.key_frames()
        middle = keys[len(keys) // 2] if keys else None
        for at in (0, 4, 1 << 52) if middle is None else (middle.index, middle.pts_us, middle.wall_us):
            start = reader.find(index=at)
            reader.find(pts_us=at)
            reader.find(wall_us=at)
        if start is not None:
            _try_plate(reader, start.plate_index)
    if options & _INSPECT:
        inspect_stream(reader).to_json()
        reader.check_index()
        _ = reader.closed
    items = list(reader.packets(start, layer=layer))
    _agrees(items, reader, full=layer == "full" or not reader.has_background)
    if not (options & _STRICT or reader.faults):
        again = StreamReader(BytesIO(one), background, strict=True, open_ended=bool(options & _OPEN))
        if list(again.packets(start, layer=layer)) != items:
            raise AssertionError("a strict reader sees something else")


def _try_plate(reader: StreamReader, index: int) -> None:
    try:
        plate = reader.plate(index)
    except StreamError:
        return
    if not plate:
        raise AssertionError("an empty plate")


def _agrees(items: list[ReadPacket], reader: StreamReader, *, full: bool) -> None:
    """What came out is in order and is not said to be lost."""
    out = [item.packet.index for item in items]
    lost = {layer: [loss for loss in reader.losses if loss.layer is layer] for layer in Layer}
    times = [item.packet.pts_us for item in items]
    if out != sorted(set(out)) or times != sorted(set(times)) or (items and not items[0].packet.key):
        raise AssertionError(f"frames {out} at {times}")
    for item in items:
        index = item.packet.index
        gone = {layer: any(_holds(loss.first, loss.last, index) for loss in lost[layer]) for layer in Layer}
        if gone[Layer.FOREGROUND] or (full and gone[Layer.BACKGROUND] != item.background_lost):
            raise AssertionError(f"frame {index}: {reader.losses}")


def _holds(first: int, last: int, index: int) -> bool:
    return first <= index and (last == -1 or index <= last)
