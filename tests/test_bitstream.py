from __future__ import annotations

import json
import random
from dataclasses import replace
from io import BytesIO

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.bitstream import HEADER_BYTES, Fault, ReadPacket, StreamReader, StreamWriter, inspect_stream
from pipeline.bitstream.chunks import HEAD_BYTES, MARKER, Kind, pack_chunk, walk
from pipeline.bitstream.header import HAS_FOREGROUND, Header, pack_header, parse_header
from pipeline.bitstream.keyindex import EndIndex, KeyFrame, pack_end, parse_end
from pipeline.bitstream.table import OFF_LINE
from pipeline.bitstream.wire import Cursor, crc32c, put_runs, put_varint, unzigzag, zigzag
from pipeline.errors import StreamError
from pipeline.types import Layer, Packet
from tests.streams import INFO, STREAM_ID, chunks, make_packets, write_joint, write_pair


def read(data: bytes, background: bytes | None = None, **options: bool) -> tuple[list[ReadPacket], list[Fault]]:
    reader = StreamReader(BytesIO(data), None if background is None else BytesIO(background), **options)
    return list(reader.packets()), reader.faults


# -- wire


@given(st.lists(st.integers(0, (1 << 57) - 1) | st.just(0), max_size=60))
def test_runs_come_back(values: list[int]) -> None:
    out = bytearray()
    put_runs(out, values)
    cursor = Cursor(bytes(out), 0)
    assert cursor.runs(len(values), 1 << 57) == values
    assert cursor.left == 0


@given(st.integers(-(1 << 60), 1 << 60))
def test_zigzag_comes_back(value: int) -> None:
    assert unzigzag(zigzag(value)) == value


@pytest.mark.parametrize("data", [b"", b"\x80", b"\x80\x00", b"\xff" * 9, b"\xff" * 20, b"\x05"])
def test_bad_varint(data: bytes) -> None:
    with pytest.raises(StreamError) as caught:
        Cursor(data, 100).varint(4)
    assert caught.value.offset >= 100


def test_varint_refuses_what_does_not_fit() -> None:
    for value in (-1, 1 << 63):
        with pytest.raises(ValueError, match="does not fit"):
            put_varint(bytearray(), value)


def test_a_run_longer_than_the_table_is_refused() -> None:
    with pytest.raises(StreamError):
        Cursor(b"\x00\x05", 0).runs(5, 10)


# -- header


def test_header_comes_back() -> None:
    info = replace(INFO, rotation=270, full_range=True, fps=29.97)
    header = Header(info, STREAM_ID, HAS_FOREGROUND)
    data = pack_header(header)
    assert len(data) == HEADER_BYTES
    assert parse_header(data) == header


@pytest.mark.parametrize("field", [{"fps": float("nan")}, {"fps": -1.0}, {"sar": (70000, 1)}, {"matrix": 256}])
def test_header_refuses_what_does_not_fit(field: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="stream "):
        pack_header(Header(replace(INFO, **field), STREAM_ID, 3))  # type: ignore[arg-type]


def test_every_flipped_bit_of_a_header_shows() -> None:
    data = pack_header(Header(INFO, STREAM_ID, 3))
    for bit in range(8 * len(data)):
        damaged = bytearray(data)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(StreamError):
            parse_header(bytes(damaged))


@pytest.mark.parametrize("version", [4, 9])
def test_another_version_is_named(version: int) -> None:
    data = bytearray(pack_header(Header(INFO, STREAM_ID, 3))[:-4])
    data[8] = version
    with pytest.raises(StreamError, match=f"stream version {version}, this reader knows 5"):
        parse_header(bytes(data) + crc32c(bytes(data)).to_bytes(4, "little"))


# -- round trips


@pytest.mark.parametrize("fps", [25.0, 30.0, 30000 / 1001, 12.5, 7.3, 240.0])
def test_packets_come_back(fps: float) -> None:
    packets = make_packets(130, fps=fps, gop=20, segment=60)
    items, faults = read(write_joint(packets), strict=True)
    assert [item.packet for item in items] == packets
    assert not faults
    assert not any(item.background_lost or item.plate for item in items)
    items, _ = read(*write_pair(packets), strict=True)
    assert [item.packet for item in items] == packets


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 1000), st.integers(1, 1 << 40), st.integers(-(10**6), 10**6), st.booleans()),
        min_size=1,
        max_size=60,
    )
)
def test_any_times_come_back(steps: list[tuple[int, int, int, bool]]) -> None:
    packets, index, pts = [], 0, 0
    for gap, delta, shift, key in steps:
        index, pts = index + gap + 1, pts + delta
        first = not packets
        packets.append(
            Packet(
                index=index, pts_us=pts, wall_us=10**15 + pts + shift, key=key or first, foreground=b"", background=b"",
                plate=b"p" if first else b"",
            )
        )  # fmt: skip
    assert [item.packet for item in read(write_joint(packets), strict=True)[0]] == packets


def test_regular_times_need_no_corrections() -> None:
    for fps in (25.0, 30.0, 30000 / 1001, 59.94, 15.0, 8.0):
        for first in (0, 1234567):
            data = write_joint(make_packets(300, fps=fps, empty=True, first=first))
            assert not any(h.flags & OFF_LINE for h in walk(BytesIO(data), HEADER_BYTES, lambda fault: None)), fps


def test_an_empty_scene_costs_at_most_60_bytes_a_second() -> None:
    minute = make_packets(1500, empty=True, first=25 * 86400 * 30)
    plates = HEAD_BYTES + HEADER_BYTES + 40 + HEAD_BYTES + HEADER_BYTES + 20 + 256
    assert (len(write_joint(minute)) - HEADER_BYTES - plates) / 60 <= 60
    foreground, background = write_pair(minute)
    assert (len(foreground) + len(background) - 2 * HEADER_BYTES - plates) / 60 <= 60


def test_layer_bytes_add_up() -> None:
    packets = make_packets(130, gop=20, segment=60)
    out = BytesIO()
    writer = StreamWriter(INFO, STREAM_ID, foreground=out, background=out)
    one, two = BytesIO(), BytesIO()
    pair = StreamWriter(INFO, STREAM_ID, foreground=one, background=two)
    for packet in packets:
        writer.append(packet)
        pair.append(packet)
    writer.close()
    pair.close()
    assert sum(writer.layer_bytes.values()) == len(out.getvalue())
    assert pair.layer_bytes[Layer.FOREGROUND] == len(one.getvalue())
    assert pair.layer_bytes[Layer.BACKGROUND] == len(two.getvalue())


def test_a_chunk_holds_at_most_a_second_and_begins_at_key_frames() -> None:
    data = write_joint(make_packets(120, gop=30))
    heads = [h for h in walk(BytesIO(data), HEADER_BYTES, lambda fault: None) if h.kind is Kind.FOREGROUND]
    assert [(h.first, h.frames) for h in heads] == [
        (s + o, n) for s in range(0, 120, 30) for o, n in ((0, 25), (25, 5))
    ]


def test_writer_refuses_what_cannot_follow() -> None:
    first, second, *_ = make_packets(3)
    out = BytesIO()
    writer = StreamWriter(INFO, STREAM_ID, foreground=out, background=out)
    with pytest.raises(ValueError, match="without a plate"):
        writer.append(second)
    writer.append(first)
    with pytest.raises(ValueError, match="does not follow"):
        writer.append(first)
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.append(second)


# -- layers and seeking


def test_foreground_alone_touches_no_background() -> None:
    packets = make_packets(120)
    data = bytearray(write_joint(packets))
    for start, end in chunks(bytes(data), Kind.BACKGROUND):
        data[start + HEAD_BYTES : end] = bytes(end - start - HEAD_BYTES)
    reader = StreamReader(BytesIO(bytes(data)), strict=True)
    items = list(reader.packets(layer="foreground"))
    assert [item.packet.foreground for item in items] == [p.foreground for p in packets]
    assert not any(item.packet.background for item in items)


def test_a_dropped_background_is_marked_and_no_fault() -> None:
    packets = make_packets(100, gop=25)
    items, faults = read(write_pair(packets)[0], strict=True)
    assert not faults
    assert all(item.background_lost for item in items)


def test_a_background_of_another_stream_is_refused() -> None:
    packets = make_packets(30)
    foreground, _ = write_pair(packets)
    out = BytesIO()
    other = StreamWriter(INFO, bytes(16), foreground=BytesIO(), background=out)
    other.append(packets[0])
    other.close()
    items, faults = read(foreground, out.getvalue())
    assert len(items) == 30
    assert "another stream" in faults[0].reason


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize("joint", [True, False])
def test_seek(closed: bool, joint: bool) -> None:
    packets = make_packets(400, gop=50, segment=200)
    files = [write_joint(packets, close=closed)] if joint else write_pair(packets, close=closed)
    reader = StreamReader(*map(BytesIO, files), strict=True, open_ended=not closed)
    assert reader.closed == closed
    assert [key.index for key in reader.key_frames()] == list(range(0, 400, 50))
    assert reader.find(pts_us=-1) is None
    for index in (0, 49, 50, 199, 200, 333, 399):
        wanted = packets[index]
        key = reader.find(index=index)
        assert key is not None
        assert key == reader.find(pts_us=wanted.pts_us) == reader.find(wall_us=wanted.wall_us)
        assert (key.index, key.plate_index) == (index // 50 * 50, index // 200 * 200)
        items = list(reader.packets(key))
        assert [item.packet for item in items] == packets[key.index :]
        plate = packets[key.plate_index].plate
        assert (items[0].plate or items[0].packet.plate) == plate == reader.plate(key.plate_index)


# -- damage


def usable(items: list[ReadPacket], packets: list[Packet]) -> None:
    """What came out is true, in order, and nothing came out whose chain from its key frame is broken."""
    by_index = {packet.index: packet for packet in packets}
    last = None
    behind = True
    plate = b""
    for item in items:
        got, want = item.packet, by_index[item.packet.index]
        assert (got.pts_us, got.wall_us, got.key, got.foreground) == (
            want.pts_us, want.wall_us, want.key, want.foreground,
        )  # fmt: skip
        assert got.key or (last is not None and got.index == last + 1)
        plate = got.plate or item.plate or plate
        assert plate == next(p.plate for p in reversed(packets[: got.index + 1]) if p.plate)
        behind = not item.background_lost if got.key else behind and not item.background_lost
        assert behind != item.background_lost
        assert got.background == (want.background if behind else b"")
        last = got.index


def test_every_truncation_of_a_small_file_is_noticed() -> None:
    packets = make_packets(12, gop=5, segment=10, size=6, fps=6)
    data = write_joint(packets)
    for size in range(len(data)):
        with pytest.raises(StreamError):
            read(data[:size], strict=True)
        try:
            items, faults = read(data[:size])
        except StreamError:
            header_gone = size < HEADER_BYTES
            assert header_gone
            continue
        assert faults
        usable(items, packets)
        items, faults = read(data[:size], open_ended=True)
        assert not faults, "a cut file is no fault of an open stream"
        usable(items, packets)


def test_every_truncation_of_a_segments_files_is_noticed() -> None:
    packets = make_packets(10, gop=5, size=6, fps=6)
    foreground, background = write_pair(packets)
    for size in range(HEADER_BYTES, len(background)):
        items, faults = read(foreground, background[:size])
        assert faults
        assert len(items) == 10
        usable(items, packets)


def test_flipped_bits_are_noticed_and_cost_at_most_one_gop() -> None:
    packets = make_packets(200, gop=20, segment=100, fps=10)
    data = write_joint(packets)
    rng = random.Random(5)
    for _ in range(150):
        damaged = bytearray(data)
        damaged[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        items, faults = read(bytes(damaged))
        assert faults
        assert len(items) >= 180
        usable(items, packets)
        with pytest.raises(StreamError) as caught:
            read(bytes(damaged), strict=True)
        assert caught.value.offset >= 0


def test_overwritten_cut_out_and_inserted_stretches() -> None:
    packets = make_packets(200, gop=20, segment=100, fps=10)
    data = write_joint(packets)
    rng = random.Random(6)
    for _ in range(150):
        start = rng.randrange(len(data) - 400)
        end = start + rng.randint(1, 400)
        patch = rng.choice([b"", bytes(end - start), rng.randbytes(end - start), rng.randbytes(37), data[:300]])
        damaged = data[:start] + patch + data[end:]
        if damaged == data:
            continue
        try:
            items, faults = read(damaged)
        except StreamError:
            header_gone = start < HEADER_BYTES
            assert header_gone
            continue
        assert faults
        assert len(items) >= 120
        usable(items, packets)


def test_a_lost_background_chunk_leaves_the_foreground() -> None:
    packets = make_packets(100, gop=50)
    data = bytearray(write_joint(packets))
    start, _ = chunks(bytes(data), Kind.BACKGROUND)[0]
    data[start : start + 4] = b"gone"
    items, faults = read(bytes(data))
    assert len(items) == 100
    assert [item.background_lost for item in items] == [True] * 50 + [False] * 50
    assert {f.layer for f in faults} == {None, Layer.BACKGROUND}
    assert [f.frame for f in faults if f.layer is Layer.BACKGROUND] == [0]


def test_a_lost_foreground_chunk_costs_its_gop() -> None:
    packets = make_packets(150, gop=50)
    data = bytearray(write_joint(packets))
    start, _ = chunks(bytes(data), Kind.FOREGROUND)[2]
    data[start + HEAD_BYTES] ^= 1
    items, faults = read(bytes(data))
    assert [item.packet.index for item in items] == [*range(50), *range(100, 150)]
    assert [f.frame for f in faults if f.layer is Layer.FOREGROUND] == [50, 75]


def test_a_cut_out_chunk_is_missed_by_its_number() -> None:
    packets = make_packets(150, gop=150)
    data = write_joint(packets)
    start, end = chunks(data, Kind.FOREGROUND)[2]
    items, faults = read(data[:start] + data[end:])
    assert [item.packet.index for item in items] == list(range(50))
    assert any("lost between frames 49 and 75" in f.reason for f in faults)


def test_parity_and_its_header_copy_save_a_segment() -> None:
    packets = make_packets(150, gop=50)
    data = bytearray(write_joint(packets))
    _, end = chunks(bytes(data), Kind.PLATE)[0]
    data[:end] = bytes(end)
    items, faults = read(bytes(data))
    assert [item.packet for item in items] == packets
    assert len(faults) >= 2
    with pytest.raises(StreamError, match="magic"):
        read(bytes(data), strict=True)


def test_plate_and_parity_lost_costs_that_segment_alone() -> None:
    packets = make_packets(200, gop=50, segment=100)
    data = bytearray(write_joint(packets))
    for kind in (Kind.PLATE, Kind.PARITY):
        start, end = chunks(bytes(data), kind)[0]
        data[start + HEAD_BYTES + HEADER_BYTES : end] = bytes(end - start - HEAD_BYTES - HEADER_BYTES)
    items, faults = read(bytes(data))
    assert [item.packet.index for item in items] == list(range(100, 200))
    assert any("the plate of frame 0 is lost" in f.reason for f in faults)


def test_without_parity_a_damaged_plate_is_lost() -> None:
    packets = make_packets(200, gop=50, segment=100)
    data = bytearray(write_joint(packets, parity=False))
    assert not chunks(bytes(data), Kind.PARITY)
    data[chunks(bytes(data), Kind.PLATE)[0][1] - 1] ^= 1
    assert [item.packet.index for item in read(bytes(data))[0]] == list(range(100, 200))


def test_a_plate_of_another_stream_is_refused() -> None:
    packets = make_packets(20, gop=10)
    other = BytesIO()
    writer = StreamWriter(INFO, bytes(16), foreground=other, background=other)
    writer.append(make_packets(1, seed=2)[0])
    writer.close()
    data = write_joint(packets)
    (start, end), (a, b) = chunks(data, Kind.PLATE)[0], chunks(other.getvalue(), Kind.PLATE)[0]
    data = data[:start] + other.getvalue()[a:b] + data[end:]
    items, faults = read(data)
    assert [item.packet for item in items] == packets, "mended, for the plate is small enough to stand in its parity"
    assert "a plate of another stream" in faults[0].reason


def test_a_lost_opening_hands_the_plate_to_the_next_key_frame() -> None:
    packets = make_packets(100, gop=25, segment=1000)
    data = bytearray(write_joint(packets))
    start, _ = chunks(bytes(data), Kind.FOREGROUND)[0]
    data[start + HEAD_BYTES] ^= 1
    items, _ = read(bytes(data))
    assert items[0].packet.index == 25
    assert items[0].plate == packets[0].plate
    usable(items, packets)


def test_trailing_bytes_are_a_fault() -> None:
    data = write_joint(make_packets(30))
    items, faults = read(data + b"\0")
    assert len(items) == 30
    assert [(f.offset, f.reason) for f in faults] == [(len(data), "1 bytes after the end of the stream")]
    with pytest.raises(StreamError, match="after the end"):
        read(data + b"\0", strict=True)


def test_a_damaged_index_is_rebuilt() -> None:
    packets = make_packets(200, gop=20, segment=100)
    data = write_joint(packets)
    keys = StreamReader(BytesIO(data)).key_frames()
    start, end = chunks(data, Kind.END)[0]
    damaged = data[: start + HEAD_BYTES] + b"\0" + data[start + HEAD_BYTES + 1 :]
    for cut in (data[:start], data[: end - 1], damaged):
        assert StreamReader(BytesIO(cut)).key_frames() == keys


def test_a_seek_gets_over_an_index_that_is_wrong() -> None:
    packets = make_packets(200, gop=20, segment=100)
    data = write_joint(packets)
    right = StreamReader(BytesIO(data)).key_frames()
    start, end = chunks(data, Kind.FOREGROUND)[3]
    reader = StreamReader(BytesIO(data[:start] + data[end:]))
    assert [key.index for key in reader.key_frames()] == [0, 20, 40, *range(80, 200, 20)]
    items = list(reader.packets(right[4]))
    assert [item.packet for item in items] == packets[80:]
    items = list(reader.packets(right[3]))
    assert [item.packet for item in items] == packets[80:]
    assert [(loss.first, loss.last) for loss in reader.losses] == [(60, 79)]


def test_an_index_of_more_than_fits_is_refused() -> None:
    payload = pack_end(EndIndex(0, (KeyFrame(0, 0, 0, 0, 0),) * 100))
    assert len(parse_end(payload, 10_000).keys) == 100
    with pytest.raises(StreamError, match="out of range"):
        parse_end(payload, 1000)


def test_hostile_chunks_are_refused() -> None:
    packets = make_packets(30)
    head = write_joint(packets)[:HEADER_BYTES]
    rng = random.Random(7)
    for _ in range(300):
        payload = rng.choice([rng.randbytes(rng.randrange(60)), bytes(rng.randrange(60)), b"\xff" * 40])
        kind = rng.choice(list(Kind))
        data = head + pack_chunk(kind, flags=rng.randrange(32), frames=rng.randrange(257), sequence=0,
                                 first=rng.randrange(100), payload=payload)  # fmt: skip
        items, faults = read(data)
        assert not items
        assert faults


def test_many_false_markers_cost_linear_time_and_bounded_faults() -> None:
    head = write_joint(make_packets(1))[:HEADER_BYTES]
    _, faults = read(head + MARKER * 20_000)
    assert 0 < len(faults) <= 10_000


def test_a_background_file_alone_is_no_stream() -> None:
    with pytest.raises(StreamError, match="background alone"):
        StreamReader(BytesIO(write_pair(make_packets(3))[1]))


def test_random_bytes_are_no_stream() -> None:
    for data in (b"", b"\x89", b"MP4", bytes(500), random.Random(1).randbytes(5000)):
        with pytest.raises(StreamError):
            StreamReader(BytesIO(data))


# -- inspection


def test_inspect() -> None:
    packets = make_packets(120, gop=50)
    data = write_joint(packets)
    report = inspect_stream(StreamReader(BytesIO(data)))
    assert [gop.frames for gop in report.gops] == [50, 50, 20]
    assert report.foreground == sum(len(p.foreground) for p in packets)
    assert report.plates + report.foreground + report.background + report.overhead == report.bytes == len(data)
    assert report.seconds == pytest.approx(120 / 25)
    assert report.closed
    known = json.loads(report.to_json())
    assert known["stream_id"] == STREAM_ID.hex()
    assert known["frames"][0]["plate"] == 40
