from __future__ import annotations

import random
from dataclasses import replace
from io import BytesIO

import pytest

from pipeline.bitstream import Fault, StreamReader
from pipeline.bitstream.chunks import HEAD_BYTES, Kind
from pipeline.bitstream.parity import BLOCK_BYTES, protect, protected_bytes, repair
from pipeline.errors import StreamError
from pipeline.types import Packet
from tests.streams import chunks, make_packets, write_joint

LENGTHS = [1, 255, 256, 257, 4096, 17 * 256, 17 * 256 + 1, 40_000, 100_001]


def stream(plate_bytes: int, **options: int) -> tuple[list[Packet], bytearray]:
    """A joint file of one segment whose plate has this length."""
    packets = make_packets(12, fps=4, size=4, **{"gop": 4, **options})
    packets[0] = replace(packets[0], plate=random.Random(3).randbytes(plate_bytes))
    return packets, bytearray(write_joint(packets))


def read_all(data: bytes | bytearray, packets: list[Packet]) -> list[Fault]:
    """The faults; every packet comes out as it was."""
    reader = StreamReader(BytesIO(data))
    assert [item.packet for item in reader.packets()] == packets
    assert not any(item.plate or item.background_lost for item in reader.packets())
    return reader.faults


@pytest.mark.parametrize("length", LENGTHS)
def test_any_burst_of_a_sector_is_mended(length: int) -> None:
    rng = random.Random(length)
    payload = rng.randbytes(length)
    protection = protect(payload)
    assert protected_bytes(protection) == length
    burst = 4096
    for start in (0, 1, length // 2, max(0, length - burst), *(rng.randrange(length) for _ in range(20))):
        lost = min(burst, length - start)
        for patch in (bytes(lost), rng.randbytes(lost)):
            assert repair(payload[:start] + patch + payload[start + lost :], protection) == payload


def test_a_sector_is_what_it_costs() -> None:
    assert len(protect(bytes(100_000))) < 4096 + 256 + 0.017 * 100_000
    assert len(protect(bytes(1))) == 2 * 4 + 4 + BLOCK_BYTES


def test_what_is_left_may_be_short_or_long() -> None:
    payload = random.Random(1).randbytes(20_000)
    protection = protect(payload)
    assert repair(payload[:-4096], protection) == repair(payload + b"more", protection) == payload


def test_two_blocks_of_a_group_are_too_much() -> None:
    payload = random.Random(1).randbytes(100_000)
    damaged = bytearray(payload)
    damaged[0] ^= 1
    damaged[17 * BLOCK_BYTES] ^= 1
    with pytest.raises(StreamError, match="2 of 391 blocks"):
        repair(bytes(damaged), protect(payload))


def test_damaged_protection_never_lies() -> None:
    payload = random.Random(1).randbytes(6000)
    protection = protect(payload)
    for at in range(0, len(protection), 7):
        worse = bytearray(protection)
        worse[at] ^= 0x10
        try:
            assert repair(payload, bytes(worse)) == payload
        except StreamError:
            assert at < 8, "only its length and its last check are without a second chance"


@pytest.mark.parametrize("protection", [b"", bytes(8), b"\xff" * 300, protect(b"x")[:-1], protect(b"x") + b"\0"])
def test_what_is_no_parity_is_refused(protection: bytes) -> None:
    with pytest.raises(StreamError, match="parity"):
        repair(b"x", protection)


def test_what_cannot_be_protected() -> None:
    with pytest.raises(ValueError, match="cannot be protected"):
        protect(b"")


def test_every_flipped_bit_of_plate_and_parity_leaves_every_frame() -> None:
    packets, data = stream(40)
    spans = [chunks(bytes(data), kind)[0] for kind in (Kind.PLATE, Kind.PARITY)]
    for start, end in spans:
        for bit in range(8 * start, 8 * end):
            data[bit // 8] ^= 1 << bit % 8
            assert read_all(data, packets)
            data[bit // 8] ^= 1 << bit % 8
    assert not read_all(data, packets)


def test_a_lost_sector_of_a_plate_is_mended() -> None:
    packets, data = stream(40 << 10)
    start, end = chunks(bytes(data), Kind.PLATE)[0]
    for at in (start, start + 100, (start + end) // 2, end - 4096):  # the first takes the chunk's header with it
        damaged = data.copy()
        damaged[at : at + 4096] = bytes(4096)
        faults = read_all(damaged, packets)
        reasons = [fault.reason for fault in faults if fault.frame == 0]
        assert reasons[-1] == "the plate of frame 0 was damaged and has been mended from its parity"
        with pytest.raises(StreamError):
            list(StreamReader(BytesIO(damaged), strict=True).packets())


def test_damage_in_plate_and_parity_is_mended_where_it_does_not_meet() -> None:
    packets, data = stream(40 << 10)
    (plate, _), (parity, end) = (chunks(bytes(data), kind)[0] for kind in (Kind.PLATE, Kind.PARITY))
    data[plate + HEAD_BYTES + 1000] ^= 1
    data[end - 1] ^= 1
    assert len(read_all(data, packets)) == 3
    data[parity] ^= 1
    reader = StreamReader(BytesIO(data))
    assert list(reader.packets()) == []
    assert "the plate of frame 0 is lost" in {fault.reason for fault in reader.faults}


def test_parity_stands_after_the_first_gop() -> None:
    data = write_joint(make_packets(60, gop=10, segment=30, fps=10))
    keys = [start for start, _ in chunks(data, Kind.FOREGROUND)]
    assert [end for _, end in chunks(data, Kind.PARITY)] == [keys[1], keys[4]]
    alone = write_joint(make_packets(10, gop=10, fps=10))
    assert chunks(alone, Kind.PARITY)[0][1] == chunks(alone, Kind.END)[0][0]
