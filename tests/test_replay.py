from __future__ import annotations

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import pytest

from pipeline.bitstream import StreamReader
from pipeline.errors import StreamError, UsageError
from pipeline.replay import decode_stream, replay
from pipeline.store import Sink, Store
from pipeline.types import CodedFrame, Layer, Packet
from tests.streams import INFO, WALL_US, FakeDecoder, make_packets, write_joint, write_pair


def record(store: Store, packets: list[Packet], camera: str = "gate") -> None:
    sink = Sink(store, camera, INFO)
    for packet in packets:
        sink.append(CodedFrame(packet))
    sink.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "archive")


def test_a_stream_decodes_from_the_beginning_and_from_any_key_frame() -> None:
    packets = make_packets(200, gop=25, segment=100)
    reader = StreamReader(BytesIO(write_joint(packets)), strict=True)
    whole = list(decode_stream(reader, FakeDecoder(INFO)))
    assert [f.index for f in whole] == list(range(200))
    for key in reader.key_frames():
        rest = list(decode_stream(reader, FakeDecoder(INFO), start=key))
        assert [f.index for f in rest] == list(range(key.index, 200))
        assert all((a.u == b.u).all() and (a.v == b.v).all() for a, b in zip(rest, whole[key.index :], strict=True))


def test_symbols_that_do_not_match_cost_the_gop() -> None:
    packets = make_packets(100, gop=25)
    packets[30] = replace(packets[30], foreground=b"other", sums=(1, packets[30].sums[1]))
    reader = StreamReader(BytesIO(write_joint(packets)))
    frames = list(decode_stream(reader, FakeDecoder(INFO)))
    assert [f.index for f in frames] == [*range(30), *range(50, 100)]
    assert [(f.frame, "do not match" in f.reason) for f in reader.faults] == [(30, True)]
    with pytest.raises(StreamError, match="do not match"):
        list(decode_stream(StreamReader(BytesIO(write_joint(packets)), strict=True), FakeDecoder(INFO)))


def test_a_dropped_background_decodes_as_foreground() -> None:
    packets = make_packets(60)
    decoder = FakeDecoder(INFO)
    assert len(list(decode_stream(StreamReader(BytesIO(write_pair(packets)[0])), decoder))) == 60
    assert {layer for _, layer in decoder.seen} == {"foreground"}


def test_a_range_across_segments(store: Store) -> None:
    packets = make_packets(300, gop=25, segment=100)
    record(store, packets)
    begin, end = packets[130].wall_us, packets[270].wall_us
    decoders = []

    def make(info: object) -> FakeDecoder:
        decoders.append(FakeDecoder(INFO))
        return decoders[-1]

    run = replay(store, "gate", begin, end, make_decoder=make)
    frames = list(run)
    assert [f.index for f in frames] == list(range(130, 270))
    assert [f.wall_us for f in frames] == [p.wall_us for p in packets[130:270]]
    assert run.faults == []
    assert run.info() == INFO
    assert len(decoders) == 1, "one decoder serves all segments of a camera"
    assert decoders[0].seen[0][0] == 125, "decoding begins at the key frame before the range"
    assert [f.index for f in run] == list(range(130, 270)), "a replay can be run again"


def test_foreground_never_opens_the_background_file(store: Store) -> None:
    packets = make_packets(200, gop=25, segment=100)
    record(store, packets)
    for segment in store.segments():
        path = store.path(segment, Layer.BACKGROUND)
        path.unlink()
        path.mkdir()  # opening it would fail
    everything = (WALL_US, WALL_US + 10**9)
    run = replay(store, "gate", *everything, make_decoder=FakeDecoder, layer="foreground")
    assert len(list(run)) == 200
    assert run.faults == []
    run = replay(store, "gate", *everything, make_decoder=FakeDecoder)
    assert list(run) == []
    assert all("Is a directory" in fault.fault.reason for fault in run.faults)
    for segment in store.segments():
        store.path(segment, Layer.BACKGROUND).rmdir()
    run = replay(store, "gate", *everything, make_decoder=FakeDecoder)
    assert len(list(run)) == 200, "a background that aging took away leaves the foreground"


def test_gaps_keep_true_times(store: Store) -> None:
    packets = make_packets(100, gop=25, segment=50)
    late = [replace(p, pts_us=p.pts_us + 7_000_000, wall_us=p.wall_us + 7_000_000) for p in packets[50:]]
    record(store, [*packets[:50], *late])
    frames = list(replay(store, "gate", WALL_US, WALL_US + 10**9, make_decoder=FakeDecoder))
    assert len(frames) == 100
    assert frames[50].wall_us - frames[49].wall_us == 7_040_000


def test_recordings_that_overlap_are_shown_once(store: Store) -> None:
    packets = make_packets(100, gop=25)
    record(store, packets[:60])
    record(store, packets)
    run = replay(store, "gate", WALL_US, WALL_US + 10**9, make_decoder=FakeDecoder)
    assert [f.wall_us for f in run] == [p.wall_us for p in packets]
    assert run.hidden == 60


def test_damage_is_left_out_and_named(store: Store) -> None:
    packets = make_packets(200, gop=25, segment=100)
    record(store, packets)
    first, second = store.segments()
    path = store.path(first, Layer.FOREGROUND)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    store.path(second, Layer.FOREGROUND).write_bytes(b"nothing of the kind")
    run = replay(store, "gate", WALL_US, WALL_US + 10**9, make_decoder=FakeDecoder)
    assert len(list(run)) == 75
    assert {Path(fault.path).stem for fault in run.faults} == {first.id, second.id}


def test_an_open_segment_can_be_replayed(store: Store) -> None:
    packets = make_packets(90, gop=25)
    sink = Sink(store, "gate", INFO)
    for packet in packets:
        sink.append(CodedFrame(packet))
    run = replay(store, "gate", WALL_US, WALL_US + 10**9, make_decoder=FakeDecoder)
    assert len(list(run)) == 75
    assert run.faults == []
    sink.close()


def test_misuse(store: Store) -> None:
    record(store, make_packets(5))
    with pytest.raises(UsageError, match="'yard'"):
        replay(store, "yard", 0, 1, make_decoder=FakeDecoder)
    with pytest.raises(UsageError, match="empty time range"):
        replay(store, "gate", 5, 5, make_decoder=FakeDecoder)
    with pytest.raises(StreamError, match="nothing is recorded"):
        replay(store, "gate", 5, 6, make_decoder=FakeDecoder).info()
