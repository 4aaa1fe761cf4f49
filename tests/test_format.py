"""A second decoder, written from FORMAT.md alone and sharing no code with the first, against the golden stream."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from pipeline.bitstream import StreamReader
from tests.golden.make_container import as_json, packets
from tests.streams import write_joint

GOLDEN = Path(__file__).parent / "golden"
DATA = (GOLDEN / "container.fov").read_bytes()
KNOWN = json.loads((GOLDEN / "container.json").read_text())


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Bytes:
    def __init__(self, data: bytes) -> None:
        self.left = data

    def take(self, count: int) -> bytes:
        assert count <= len(self.left)
        taken, self.left = self.left[:count], self.left[count:]
        return taken

    def varint(self) -> int:
        value = shift = 0
        while True:
            (byte,) = self.take(1)
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    def zigzag(self) -> int:
        return undo(self.varint())

    def runs(self, count: int) -> list[int]:
        out: list[int] = []
        while len(out) < count:
            out.append(self.varint())
            if out[-1] == 0:
                out += [0] * self.varint()
        assert len(out) == count
        return out


def undo(value: int) -> int:
    return value // 2 if value % 2 == 0 else -(value + 1) // 2


def layer(payload: Bytes, count: int) -> list[tuple[bytes, int]]:
    lengths = payload.runs(count)
    checks = [struct.unpack("<H", payload.take(2))[0] if n else 0 for n in lengths]
    out = [(payload.take(n), check) for n, check in zip(lengths, checks, strict=True)]
    assert not payload.left
    return out


def foreground(payload: Bytes, flags: int, count: int, first: int, plates: dict[int, bytes]) -> list[dict[str, object]]:
    key = bool(flags & 1)
    plate = plates[first] if key and payload.varint() == 0 else b""
    pts, shift, slope = payload.varint(), payload.zigzag(), payload.varint()
    (phase,) = struct.unpack("<H", payload.take(2))
    gaps, errors, moves = ([0, *(payload.runs(count - 1) if flags & bit else [0] * (count - 1))] for bit in (4, 8, 16))
    out, k, error = [], 0, 0
    for i, (body, check) in enumerate(layer_items := layer(payload, count)):
        k += gaps[i] + (i > 0)
        error += undo(errors[i])
        shift += undo(moves[i])
        time = pts + (k * slope + phase >> 16) + error
        out.append({
            "index": first + k, "pts_us": time, "wall_us": time + shift, "key": key and i == 0,
            "foreground": body.hex(),
            "background": "", "plate": plate.hex() if i == 0 else "", "sums": [check, 0],
        })  # fmt: skip
    assert len(layer_items) == count
    return out


def check_parity(payload: Bytes, protected: bytes) -> None:
    """The parity is right, and mends a block of each group."""
    assert struct.unpack("<II", payload.take(8)) == (len(protected), crc32c(protected))
    blocks = [protected[i : i + 256] for i in range(0, len(protected), 256)]
    groups = min(len(blocks), max(-(-len(blocks) // 4), 16) + 1)
    for block in blocks:
        assert struct.unpack("<I", payload.take(4)) == (crc32c(block),)
    for group in range(groups):
        first, *others = (block.ljust(256, b"\0") for block in blocks[group::groups])
        mended = payload.take(256)
        for other in others:
            mended = bytes(a ^ b for a, b in zip(mended, other, strict=True))
        assert mended == first
    assert not payload.left


def test_a_decoder_written_from_the_text_reads_the_golden_stream() -> None:
    head = DATA[:60]
    fields = struct.unpack("<8sHBBHHdHHHBB8s16sI", head)
    assert fields[0] == bytes.fromhex("89464F560D0A1A0A")
    assert fields[1:12] == (5, 3, 0, 96, 64, 25.0, 4, 3, 0, 6, 0)
    assert fields[-1] == crc32c(head[:56])
    at, frames, plates, keys, sequences = 60, [], {}, [], dict.fromkeys(range(1, 6), 0)
    chunk: list[dict[str, object]] = []
    plate_at = opened = -1
    while at < len(DATA):
        marker, kind, flags, count, sequence, low, high, length, body_crc, head_crc = struct.unpack_from(
            "<4sBBHHIHIII", DATA, at
        )
        first = high << 32 | low
        assert marker == bytes.fromhex("FE4676A5")
        assert crc32c(DATA[at : at + 24]) == head_crc
        body = DATA[at + 28 : at + 28 + length]
        assert crc32c(body) == body_crc
        assert sequence == sequences[kind]
        sequences[kind] += 1
        payload = Bytes(body)
        if kind == 1:
            assert payload.take(60) == head
            assert first not in plates
            plates[first] = payload.left
            plate_at = at
        elif kind == 2:
            chunk = foreground(payload, flags, count, first, plates)
            frames += chunk
            if flags & 1:
                opened = first if chunk[0]["plate"] else opened
                offset = plate_at if chunk[0]["plate"] else at
                keys.append((first, chunk[0]["pts_us"], chunk[0]["wall_us"], offset, opened))
        elif kind == 3:
            assert first == chunk[0]["index"]
            for frame, (content, check) in zip(chunk, layer(payload, count), strict=True):
                frame["background"], frame["sums"] = content.hex(), [frame["sums"][0], check]  # type: ignore[index]
        elif kind == 5:
            assert payload.take(60) == head
            (distance,) = struct.unpack("<Q", payload.take(8))
            check_parity(payload, head + plates[first])
            assert DATA[at - distance + 28 :].startswith(head + plates[first])
        at += 28 + length
    assert frames == KNOWN
    assert sequences[5] == len(plates)
    assert kind == 4
    assert payload.varint() == len(frames)
    entries, last = [], [0, 0, 0, 0]
    for _ in range(payload.varint()):
        last = [
            a + b
            for a, b in zip(last, (payload.varint(), payload.varint(), payload.zigzag(), payload.varint()), strict=True)
        ]
        entries.append((last[0], last[1], last[1] + last[2], last[3], last[0] - payload.varint()))
    assert entries == keys
    assert payload.left == struct.pack("<I", 28 + length)


def test_the_reader_reads_the_golden_stream() -> None:
    with open(GOLDEN / "container.fov", "rb") as file:
        reader = StreamReader(file, strict=True)
        assert [as_json(item.packet) for item in reader.packets()] == KNOWN


def test_the_writer_still_writes_the_golden_stream() -> None:
    assert write_joint(packets()) == DATA
