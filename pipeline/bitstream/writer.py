"""Packets to bytes. A chunk is one write, so that an operator loses at most the second that was being gathered.

Knows file objects with `write`, never a path; flushing and syncing are the caller's, after `append` or `flush` said
that something was written.
"""

from __future__ import annotations

from typing import BinaryIO

from pipeline.bitstream.chunks import MAX_CHUNK_FRAMES, MAX_INDEX, Kind, pack_chunk
from pipeline.bitstream.header import HAS_BACKGROUND, HAS_FOREGROUND, HEADER_BYTES, Header, pack_header
from pipeline.bitstream.keyindex import EndIndex, KeyFrame, pack_end
from pipeline.bitstream.parity import protect
from pipeline.bitstream.plates import pack_parity
from pipeline.bitstream.table import MAX_LAYER_BYTES, MAX_TIME_US, pack_background, pack_foreground
from pipeline.types import Layer, Packet, StreamInfo

CHUNK_US = 1_000_000
_NEVER_US = MAX_TIME_US + 1
_CHUNK_BYTES = 16 << 20  # a chunk is closed once it has this much, so that it stays far under the format's bound


class _Out:
    """One output file: its position, its sequence numbers and the key frames for its index."""

    def __init__(self, file: BinaryIO, header: bytes) -> None:
        self.file = file
        self.offset = 0
        self.frames = 0
        self.keys: list[KeyFrame] = []
        self._sequences = dict.fromkeys(Kind, 0)
        self._put(header)

    def chunk(self, kind: Kind, payload: bytes, *, first: int, frames: int = 0, flags: int = 0) -> None:
        sequence = self._sequences[kind]
        self._put(pack_chunk(kind, flags=flags, frames=frames, sequence=sequence, first=first, payload=payload))
        self._sequences[kind] = sequence + 1

    def end(self) -> None:
        self.chunk(Kind.END, pack_end(EndIndex(self.frames, tuple(self.keys))), first=0)

    def _put(self, data: bytes) -> None:
        self.offset += len(data)
        left = memoryview(data)
        while left:  # an unbuffered file may take less than it is given, on a full disk above all
            left = left[self.file.write(left) :]


class StreamWriter:
    """Writes one stream. The same object as `foreground` and `background` makes a file of both layers (`.fov`), two
    make the two files of a segment. `parity=False` leaves out the plates' parity. `whole_gops`: a chunk is a GOP, where
    256 frames hold it, and not a second: fewer bytes, for a file of which a part is worth nothing.

    `layer_bytes` counts what has been written for each layer, containers' own bytes included (header and end of a joint
    file count as foreground).
    """

    def __init__(
        self, info: StreamInfo, stream_id: bytes, *, foreground: BinaryIO, background: BinaryIO, parity: bool = True,
        whole_gops: bool = False,
    ) -> None:  # fmt: skip
        joint = foreground is background
        layers = HAS_FOREGROUND | HAS_BACKGROUND if joint else HAS_FOREGROUND
        self._header = pack_header(Header(info, stream_id, layers))
        self._fg = _Out(foreground, self._header)
        self._bg = self._fg if joint else _Out(background, pack_header(Header(info, stream_id, HAS_BACKGROUND)))
        self.layer_bytes = {Layer.FOREGROUND: HEADER_BYTES, Layer.BACKGROUND: 0 if joint else HEADER_BYTES}
        self._pending: list[Packet] = []
        self._pending_bytes = 0
        self._last: Packet | None = None
        self._interval_us = 0
        self._plate_index = -1
        self._with_parity = parity
        self._chunk_us = _NEVER_US if whole_gops else CHUNK_US
        self._plate_at = 0
        self._protection = b""  # of the last plate, while its parity is still to be written
        self._closed = False

    @property
    def pending(self) -> int:
        """Packets that are appended and not yet written."""
        return len(self._pending)

    def append(self, packet: Packet) -> bool:
        """Take the next packet; True if something was written. Raises ValueError on a packet that cannot follow."""
        self._refuse(packet)
        wrote = packet.key and self._write_pending()
        if self._last is not None:
            self._interval_us = packet.pts_us - self._last.pts_us
        self._last = packet
        self._pending.append(packet)
        self._pending_bytes += packet.nbytes - len(packet.plate)
        span = packet.pts_us - self._pending[0].pts_us + self._interval_us
        full = len(self._pending) >= MAX_CHUNK_FRAMES or self._pending_bytes >= _CHUNK_BYTES
        if span >= self._chunk_us or full:
            wrote |= self._write_pending()
        return wrote

    def flush(self) -> bool:
        """Write what is gathered, as a chunk of its own; True if there was anything."""
        return self._write_pending()

    def close(self) -> None:
        """Write what is gathered, the plate's parity if it is due, and the index. The files stay open."""
        if self._closed:
            return
        self._write_pending()
        self._write_parity()
        before = self._fg.offset
        self._fg.end()
        self.layer_bytes[Layer.FOREGROUND] += self._fg.offset - before
        if self._bg is not self._fg:
            self._bg.end()
            self.layer_bytes[Layer.BACKGROUND] = self._bg.offset
        self._closed = True

    def _refuse(self, packet: Packet) -> None:
        last = self._last
        if self._closed:
            raise ValueError(f"packet {packet.index} after the stream was closed")
        if last is None and not packet.plate:
            raise ValueError(f"packet {packet.index} begins the stream without a plate")
        if last is not None and (packet.index <= last.index or packet.pts_us <= last.pts_us):
            raise ValueError(
                f"packet {packet.index} at {packet.pts_us} us does not follow {last.index} at {last.pts_us} us"
            )
        if packet.index > MAX_INDEX or packet.pts_us > MAX_TIME_US or not 0 <= packet.wall_us <= MAX_TIME_US:
            raise ValueError(f"packet {packet.index} at {packet.pts_us} us, wall {packet.wall_us} us: out of bounds")
        largest = max(len(packet.foreground), len(packet.background), len(packet.plate))
        if largest > MAX_LAYER_BYTES:
            raise ValueError(f"packet {packet.index} has a payload of {largest} bytes, at most {MAX_LAYER_BYTES} fit")

    def _write_pending(self) -> bool:
        packets, self._pending, self._pending_bytes = self._pending, [], 0
        if not packets:
            return False
        first, count = packets[0], len(packets)
        if first.key:
            self._write_parity()
        before = self._fg.offset
        if first.key:
            if first.plate:
                self._write_plate(first)
            self._fg.keys.append(self._key(first, before))
        has_background = any(packet.background for packet in packets)
        joint = self._bg is self._fg
        if has_background and not joint:  # first, so that who sees a foreground chunk finds its background
            self._write_background(packets)
        flags, payload = pack_foreground(packets, self._plate_index, has_background=has_background)
        self._fg.chunk(Kind.FOREGROUND, payload, first=first.index, frames=count, flags=flags)
        self._fg.frames += count
        self.layer_bytes[Layer.FOREGROUND] += self._fg.offset - before
        if has_background and joint:
            self._write_background(packets)
        return True

    def _write_background(self, packets: list[Packet]) -> None:
        first, out = packets[0], self._bg
        before = out.offset
        if out is not self._fg:
            out.frames += len(packets)
            if first.key:
                out.keys.append(self._key(first, before))
        out.chunk(Kind.BACKGROUND, pack_background(packets), first=first.index, frames=len(packets))
        self.layer_bytes[Layer.BACKGROUND] += out.offset - before

    def _write_plate(self, packet: Packet) -> None:
        payload = self._header + packet.plate
        self._plate_index, self._plate_at = packet.index, self._fg.offset
        self._protection = protect(payload) if self._with_parity else b""
        self._fg.chunk(Kind.PLATE, payload, first=packet.index)

    def _write_parity(self) -> None:
        if self._protection:
            before = self._fg.offset
            payload = pack_parity(self._header, before - self._plate_at, self._protection)
            self._fg.chunk(Kind.PARITY, payload, first=self._plate_index)
            self.layer_bytes[Layer.FOREGROUND] += self._fg.offset - before
            self._protection = b""

    def _key(self, packet: Packet, offset: int) -> KeyFrame:
        return KeyFrame(packet.index, packet.pts_us, packet.wall_us, offset, self._plate_index)
