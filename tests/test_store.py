from __future__ import annotations

import multiprocessing
import sqlite3
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path

import pytest

from pipeline.bitstream import StreamReader
from pipeline.errors import StoreError, UsageError
from pipeline.store import Segment, Sink, Store, check, open_segment
from pipeline.store.files import INDEX, MARKER
from pipeline.store.sink import segment_id
from pipeline.types import CodedFrame, Detection, Layer, Packet
from tests.streams import INFO, WALL_US, FakeDecoder, make_packets

PERSON = Detection(1.0, 2.0, 30.5, 40.0, "person", 0.9, 7)


def fill(store: Store, packets: list[Packet], camera: str = "gate", *, close: bool = True) -> Sink:
    sink = Sink(store, camera, INFO)
    for packet in packets:
        sink.append(CodedFrame(packet, (PERSON,) if packet.index % 10 == 0 else ()))
    if close:
        sink.close()
    return sink


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "archive"


# -- opening


def test_a_store_is_made_and_opened_again(root: Path) -> None:
    with Store(root) as store:
        uuid = store.uuid
    with Store(root) as store, Store(root, readonly=True) as reader:
        assert store.uuid == reader.uuid == uuid
        assert reader.cameras() == ()
        with pytest.raises(UsageError, match="open for reading"):
            reader.begin_epoch("gate")


def test_a_foreign_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(StoreError, match=r"not a Fovea store \(holiday.jpg"):
        Store(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["holiday.jpg"]
    with pytest.raises(StoreError, match="not a Fovea store"):
        Store(tmp_path, readonly=True)
    with pytest.raises(StoreError, match="not a Fovea store"):
        Store(tmp_path / "nowhere", readonly=True)
    assert not (tmp_path / "nowhere").exists()


def test_a_path_that_cannot_be_a_directory_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as caught:
        Store(tmp_path / "file" / "archive")
    assert "\n" not in str(caught.value)
    assert "Not a directory" in str(caught.value)


def test_an_unwritable_directory_is_one_line(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **options: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refuse)  # root may write anywhere, so the mode of a directory proves nothing
    with pytest.raises(StoreError, match=r"archive: Permission denied$"):
        Store(root)


def test_an_index_of_another_store_is_refused(root: Path, tmp_path: Path) -> None:
    Store(root).close()
    Store(tmp_path / "other").close()
    (root / MARKER).write_bytes((tmp_path / "other" / MARKER).read_bytes())
    with pytest.raises(StoreError, match="belongs to another store"):
        Store(root)
    (root / MARKER).write_text("something else")
    with pytest.raises(StoreError, match="damaged"):
        Store(root)


def test_a_damaged_index_is_one_line(root: Path) -> None:
    Store(root).close()
    (root / INDEX).write_bytes(b"no database" * 1000)
    for readonly in (True, False):
        with pytest.raises(StoreError, match=r"index.sqlite: file is not a database"):
            Store(root, readonly=readonly)


def test_a_camera_has_one_sink(root: Path) -> None:
    with Store(root) as store, Store(root) as other:
        sink = Sink(store, "gate", INFO)
        Sink(other, "yard", INFO).close()
        with pytest.raises(StoreError, match="another writer"):
            Sink(other, "gate", INFO)
        sink.close()
        Sink(other, "gate", INFO).close()


@pytest.mark.parametrize("camera", ["../etc", "Gate", "", "a/b", "x" * 65])
def test_only_ids_become_paths(root: Path, camera: str) -> None:
    with Store(root) as store, pytest.raises(UsageError, match="camera id"):
        Sink(store, camera, INFO)


# -- recording


def test_segments_and_detections(root: Path) -> None:
    packets = make_packets(250, gop=25, segment=100)
    with Store(root) as store:
        fill(store, packets)
        segments = store.segments("gate")
        assert [s.frames for s in segments] == [100, 100, 50]
        assert [s.state for s in segments] == ["closed"] * 3
        assert [(s.first_pts_us, s.last_pts_us) for s in segments] == [
            (packets[a].pts_us, packets[b].pts_us) for a, b in ((0, 99), (100, 199), (200, 249))
        ]
        for segment, start in zip(segments, (0, 100, 200), strict=True):
            assert store.path(segment, Layer.FOREGROUND).stat().st_size == segment.bytes_foreground
            assert store.path(segment, Layer.BACKGROUND).stat().st_size == segment.bytes_background
            with ExitStack() as stack:
                read = [item.packet for item in open_segment(store, segment, stack).packets()]
            assert read == packets[start : start + segment.frames]
        seen = store.detections("gate", from_us=WALL_US + 1, to_us=packets[200].wall_us)
        assert [d.frame for d in seen] == list(range(10, 200, 10))
        assert seen[0].detection == PERSON
        (summary,) = store.summary()
        assert (summary.camera, summary.segments, summary.frames) == ("gate", 3, 250)
        assert check(store) == ()


def test_segments_by_time(root: Path) -> None:
    packets = make_packets(250, gop=25, segment=100)
    with Store(root) as store:
        fill(store, packets)
        at = packets[150].wall_us
        assert [s.first_pts_us for s in store.segments("gate", from_us=at, to_us=at + 1)] == [packets[100].pts_us]
        assert store.segments("gate", from_us=packets[249].wall_us + 1) == ()
        assert store.segments("gate", to_us=WALL_US) == ()
        assert store.segments("yard") == ()


def test_what_the_index_claims_is_on_disk_at_every_moment(root: Path) -> None:
    packets = make_packets(120, gop=50, segment=100)
    with Store(root) as store:
        sink = Sink(store, "gate", INFO)
        for count, packet in enumerate(packets, 1):
            sink.append(CodedFrame(packet))
            segments = store.segments("gate")
            assert count - 25 <= sum(s.frames for s in segments) <= count, "at most a second is held back"
            for segment in segments:
                files = [store.path(segment, layer).read_bytes() for layer in Layer]
                reader = StreamReader(*map(BytesIO, files), strict=True, open_ended=True)
                assert sum(1 for _ in reader.packets()) == segment.frames
        sink.flush()
        assert sum(s.frames for s in store.segments("gate")) == 120
        sink.close()
        sink.close()


def test_the_first_packet_must_open_a_segment(root: Path) -> None:
    with Store(root) as store:
        sink = Sink(store, "gate", INFO)
        with pytest.raises(UsageError, match="has no plate"):
            sink.append(CodedFrame(make_packets(2)[1]))
        sink.close()
        assert check(store) == ()


def test_a_full_disk_is_one_line_and_leaves_a_true_index(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    packets = make_packets(100, gop=50)
    with Store(root) as store:
        sink = fill(store, packets[:60], close=False)

        def refuse(file: object) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("pipeline.store.sink.sync", refuse)
            for packet in packets[60:74]:
                sink.append(CodedFrame(packet))
            with pytest.raises(StoreError, match=r"\.fg: No space left on device$"):
                sink.append(CodedFrame(packets[74]))
            sink.close()
        (segment,) = store.segments()
        assert (segment.state, segment.frames) == ("open", 50)
        assert check(store) == ()
        fill(store, packets)
        assert [s.state for s in store.segments()] == ["torn", "closed"]
        assert [s.epoch for s in store.segments()] == [1, 2]


def _die(root: Path) -> None:
    import os

    fill(Store(root), make_packets(90, gop=50), close=False)
    os._exit(9)


def test_a_killed_writer_loses_at_most_a_second(root: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_die, args=(root,))
    process.start()
    process.join()
    assert process.exitcode == 9
    with Store(root) as store:
        (segment,) = store.segments()
        assert (segment.state, segment.frames) == ("open", 75)
        with open(store.path(segment, Layer.FOREGROUND), "ab") as file:
            file.write(b"\xfeFv\xa5 torn")
        assert check(store) == ()
        fill(store, make_packets(30))
        assert [s.state for s in store.segments()] == ["torn", "closed"]
        assert check(store) == ()


def test_segment_ids_sort_by_time() -> None:
    ids = [segment_id(WALL_US + n * 1_000_000) for n in range(100)]
    assert ids == sorted(ids)
    assert len(set(ids)) == 100
    assert len(segment_id(0)) == len(segment_id(WALL_US)) == 16


# -- check


def faults_of(root: Path) -> list[str]:
    with Store(root, readonly=True) as store:
        return [f"{fault.path}: {fault.fault.reason}" for fault in check(store)]


@pytest.fixture
def filled(root: Path) -> tuple[Path, tuple[Segment, ...], list[Path]]:
    with Store(root) as store:
        fill(store, make_packets(200, gop=25, segment=100))
        segments = store.segments()
        return root, segments, [store.path(segments[0], layer) for layer in Layer]


def test_check_finds_damage(filled: tuple[Path, tuple[Segment, ...], list[Path]]) -> None:
    root, _, paths = filled
    assert faults_of(root) == []
    for path in paths:
        data = path.read_bytes()
        for damaged, words in (
            (data[:-1], "bytes where the index says"),
            (data + b"x", "bytes where the index says"),
            (data[:300] + bytes([data[300] ^ 4]) + data[301:], "checksum"),
        ):
            path.write_bytes(damaged)
            assert any(words in fault and path.name in fault for fault in faults_of(root))
        path.unlink()
        assert any("No such file" in fault for fault in faults_of(root))
        path.write_bytes(data)
    assert faults_of(root) == []


def test_check_finds_strangers_swaps_and_overlaps(filled: tuple[Path, tuple[Segment, ...], list[Path]]) -> None:
    root, segments, (foreground, _) = filled
    (foreground.parent / "notes.txt").touch()
    (foreground.parent / ("0" * 32 + ".bg")).touch()
    found = faults_of(root)
    assert len(found) == 2
    assert all("that the index does not know" in fault for fault in found)
    (foreground.parent / "notes.txt").unlink()
    (foreground.parent / ("0" * 32 + ".bg")).unlink()

    second = foreground.with_name(segments[1].id + ".fg")
    first_bytes, second_bytes = foreground.read_bytes(), second.read_bytes()
    foreground.write_bytes(second_bytes)
    assert any("the file holds stream" in fault for fault in faults_of(root))
    foreground.write_bytes(first_bytes)

    database = sqlite3.connect(root / INDEX)
    with database:
        database.execute("UPDATE segments SET last_pts_us = last_pts_us + 1000000, frames = 99 WHERE number = 1")
    database.close()
    found = faults_of(root)
    assert any("overlaps" in fault for fault in found)
    assert any("100 frames where the index says 99" in fault for fault in found)


def test_an_aged_segment_is_sound(filled: tuple[Path, tuple[Segment, ...], list[Path]]) -> None:
    root, segments, (_, background) = filled
    database = sqlite3.connect(root / INDEX)
    with database:
        database.execute("UPDATE segments SET has_background = 0 WHERE number = ?", (segments[0].number,))
    database.close()
    assert len(faults_of(root)) == 1, "the file is still there: aging died between row and file"
    background.unlink()
    assert faults_of(root) == []


def test_check_hands_every_segment_to_the_examiner(filled: tuple[Path, tuple[Segment, ...], list[Path]]) -> None:
    root, _, _ = filled
    seen = []

    def examine(reader: StreamReader) -> None:
        decoder = FakeDecoder(reader.info)
        seen.extend(decoder.decode(item.packet).index for item in reader.packets())

    with Store(root, readonly=True) as store:
        assert check(store, examine=examine) == ()
    assert seen == list(range(200))
