"""Synthetic streams for the tests of container, store, replay and export: random payloads and a fake decoder."""

from __future__ import annotations

import random
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np

from pipeline.bitstream import HEADER_BYTES, StreamWriter
from pipeline.bitstream.chunks import Kind, walk
from pipeline.bitstream.wire import crc32c
from pipeline.errors import StreamError
from pipeline.types import Frame, LayerName, Packet, StreamInfo

INFO = StreamInfo(width=96, height=64, fingerprint=b"finger!!", fps=25.0, sar=(4, 3), matrix=6)
STREAM_ID = bytes(range(16))
WALL_US = 1_700_000_000_000_000


def make_packets(
    count: int,
    *,
    fps: float = 25.0,
    gop: int = 50,
    segment: int = 1500,
    size: int = 20,
    empty: bool = False,
    first: int = 0,
    seed: int = 1,
) -> list[Packet]:
    """`count` packets with random payloads of up to `size` bytes, some empty; all empty if `empty`."""
    rng = random.Random(seed)
    packets = []
    for n in range(count):
        foreground, background = (
            b"" if empty or rng.random() < 0.3 else rng.randbytes(rng.randint(1, size)) for _ in range(2)
        )
        pts_us = round((first + n) * 1e6 / fps)
        packets.append(
            Packet(
                index=first + n,
                pts_us=pts_us,
                wall_us=WALL_US + pts_us,
                key=n % gop == 0,
                foreground=foreground,
                background=background,
                plate=b"" if n % segment else rng.randbytes(40),
                sums=(
                    crc32c(foreground) & 0xFFFF if foreground else 0,
                    crc32c(background) & 0xFFFF if background else 0,
                ),
            )
        )
    return packets


def write_joint(packets: Sequence[Packet], *, close: bool = True, parity: bool = True) -> bytes:
    """The bytes of a `.fov` file."""
    out = BytesIO()
    writer = StreamWriter(INFO, STREAM_ID, foreground=out, background=out, parity=parity)
    _fill(writer, packets, close=close)
    return out.getvalue()


def write_pair(packets: Sequence[Packet], *, close: bool = True) -> tuple[bytes, bytes]:
    """The bytes of a segment's two files."""
    foreground, background = BytesIO(), BytesIO()
    writer = StreamWriter(INFO, STREAM_ID, foreground=foreground, background=background)
    _fill(writer, packets, close=close)
    return foreground.getvalue(), background.getvalue()


def _fill(writer: StreamWriter, packets: Sequence[Packet], *, close: bool) -> None:
    for packet in packets:
        writer.append(packet)
    writer.flush()
    if close:
        writer.close()


class FakeDecoder:
    """Decodes a packet to flat planes that show what it was given: y the frame number, u the bytes of foreground so far
    in the GOP, v those of the background shown, 0 for the plate. Refuses what a real decoder could not decode."""

    def __init__(self, info: StreamInfo) -> None:
        self.info = info
        self.plate = b""
        self.last = -2
        self.seen: list[tuple[int, LayerName]] = []
        self._totals = [0, 0]

    def set_plate(self, plate: bytes) -> None:
        self.plate = plate
        self.last = -2
        self._totals[1] = 0

    def decode(self, packet: Packet, layer: LayerName = "full", *, held: bool = False) -> Frame:
        if packet.plate:
            self.plate = packet.plate
            self._totals[1] = 0
        if not self.plate or (self.last == -2 and not packet.key):
            raise StreamError(f"packet {packet.index} cannot be decoded from here")
        for payload, check in zip((packet.foreground, packet.background), packet.sums, strict=True):
            if payload and crc32c(payload) & 0xFFFF != check:
                self.last = -2
                raise StreamError(f"symbols of packet {packet.index} do not match")
        if packet.key:
            self._totals = [0, 0 if layer == "full" else self._totals[1]]
        self._totals[0] += len(packet.foreground)
        self._totals[1] += len(packet.background) if layer == "full" else 0
        background = self._totals[1] if layer == "full" or held else 0
        self.last = packet.index
        self.seen.append((packet.index, layer))
        h, w = self.info.height, self.info.width
        chroma = (-(-h // 2), -(-w // 2))
        return Frame(
            y=np.full((h, w), packet.index & 0xFF, np.uint8),
            u=np.full(chroma, self._totals[0] & 0xFF, np.uint8),
            v=np.full(chroma, background & 0xFF, np.uint8),
            index=packet.index,
            pts_us=packet.pts_us,
            wall_us=packet.wall_us,
        )


def chunks(data: bytes, kind: Kind | None = None) -> list[tuple[int, int]]:
    """Where each chunk of a kind begins and ends."""
    heads = walk(BytesIO(data), HEADER_BYTES, lambda fault: None)
    return [(head.offset, head.end) for head in heads if kind in (None, head.kind)]


def pieces(data: bytes) -> list[bytes]:
    """The file's header and each chunk."""
    return [data[:HEADER_BYTES], *(data[start:end] for start, end in chunks(data))]


def save(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path
