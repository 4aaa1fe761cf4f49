"""Whatever is done to an archive's files: a repair makes it sound, keeps what can be read, and deletes nothing."""

from __future__ import annotations

import os
import sqlite3
from contextlib import ExitStack
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.store import Segment, Sink, Store, check, open_segment, repair
from pipeline.store.files import INDEX, MARKER, QUARANTINE, SEGMENTS
from pipeline.types import CodedFrame, Detection, Layer, Packet
from tests.streams import INFO, make_packets

PERSON = Detection(1.0, 2.0, 30.5, 40.0, "person", 0.9, 7)


def record(root: Path, packets: list[Packet], camera: str = "gate") -> None:
    with Store(root) as store:
        sink = Sink(store, camera, INFO)
        for packet in packets:
            sink.append(CodedFrame(packet, (PERSON,)))
        sink.close()


def sound(root: Path) -> None:
    with Store(root, readonly=True) as store:
        assert [f"{fault.path}: {fault.fault.reason}" for fault in check(store)] == []
    assert repair(root) == (), "a second repair finds nothing to do"


def frames(root: Path, camera: str = "gate") -> list[int]:
    with Store(root, readonly=True) as store, ExitStack() as stack:
        readers = [open_segment(store, segment, stack) for segment in store.segments(camera)]
        return [item.packet.index for reader in readers for item in reader.packets()]


def segments(root: Path) -> tuple[Segment, ...]:
    with Store(root, readonly=True) as store:
        return store.segments()


def quarantined(root: Path) -> list[str]:
    return sorted(path.name for path in (root / QUARANTINE).rglob("*") if path.is_file() and path.name != "log")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two segments of 100 frames, GOPs of 25."""
    record(tmp_path / "archive", make_packets(200, gop=25, segment=100))
    return tmp_path / "archive"


def file_of(root: Path, place: int, layer: Layer) -> Path:
    with Store(root, readonly=True) as store:
        return store.path(store.segments()[place], layer)


def flip(path: Path, at: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 4
    path.write_bytes(data)


def test_a_sound_archive_is_left_alone(root: Path) -> None:
    before = {path: path.read_bytes() for path in (root / SEGMENTS).rglob("*.?g")}
    sound(root)
    assert {path: path.read_bytes() for path in (root / SEGMENTS).rglob("*.?g")} == before
    assert not (root / QUARANTINE).exists()


def test_a_damaged_foreground_is_salvaged(root: Path) -> None:
    path = file_of(root, 0, Layer.FOREGROUND)
    flip(path, 0.5)
    readable = frames(root)
    assert 100 < len(readable) < 200
    (mended,) = repair(root)
    assert "damaged" in mended.what
    assert frames(root) == readable
    assert quarantined(root) == sorted([path.name, path.with_suffix(".bg").name])
    assert "damaged" in (root / QUARANTINE / "log").read_text()
    with Store(root, readonly=True) as store:
        assert len(store.detections("gate")) == 200, "what was seen stays known"
    sound(root)


def test_a_damaged_background_costs_no_foreground(root: Path) -> None:
    flip(file_of(root, 1, Layer.BACKGROUND), 0.5)
    assert repair(root)
    assert frames(root) == list(range(200))
    assert [s.level for s in segments(root)] == ["full", "full"]
    sound(root)


def test_a_cut_tail_is_salvaged(root: Path) -> None:
    path = file_of(root, 1, Layer.FOREGROUND)
    os.truncate(path, path.stat().st_size * 2 // 3)
    repair(root)
    assert frames(root)[:125] == list(range(125))
    assert len(frames(root)) < 200
    sound(root)


def test_a_row_without_a_file(root: Path) -> None:
    file_of(root, 0, Layer.FOREGROUND).unlink()
    (mended,) = repair(root)
    assert "its row is gone" in mended.what
    assert len(segments(root)) == 1
    assert len(quarantined(root)) == 1, "the background that is left"
    sound(root)


def test_a_background_that_is_gone(root: Path) -> None:
    file_of(root, 0, Layer.BACKGROUND).unlink()
    (mended,) = repair(root)
    assert "foreground over the plate" in mended.what
    assert [s.level for s in segments(root)] == ["foreground", "full"]
    sound(root)


@pytest.mark.parametrize("damage", [b"", b"nothing of the kind"])
def test_a_file_that_is_no_stream(root: Path, damage: bytes) -> None:
    file_of(root, 0, Layer.FOREGROUND).write_bytes(damage)
    repair(root)
    assert frames(root) == list(range(100, 200))
    assert len(quarantined(root)) == 2
    sound(root)


def test_swapped_files_go_to_quarantine(root: Path) -> None:
    one, two = (file_of(root, place, Layer.FOREGROUND) for place in (0, 1))
    first = one.read_bytes()
    one.write_bytes(two.read_bytes())
    two.write_bytes(first)
    repair(root)
    assert len(quarantined(root)) == 4
    sound(root)


def test_files_without_rows_come_back(root: Path) -> None:
    before = segments(root)
    database = sqlite3.connect(root / INDEX)
    with database:
        database.execute("DELETE FROM segments WHERE number = 2")
    database.close()
    (mended, *_) = repair(root)
    assert "in the index again" in mended.what
    assert segments(root) == before
    sound(root)


def test_strangers_go_to_quarantine(root: Path) -> None:
    (root / SEGMENTS / "notes.txt").write_text("x")
    (root / SEGMENTS / "gate" / ("0" * 32 + ".bg")).write_text("x")
    (root / SEGMENTS / "gate" / ("1" * 32 + ".fg")).write_text("x")
    assert len(repair(root)) == 3
    assert len(quarantined(root)) == 3
    sound(root)


@pytest.mark.parametrize("how", ["gone", "damaged", "cut"])
def test_an_index_is_rebuilt_from_the_segments(root: Path, how: str) -> None:
    record(root, make_packets(50, gop=25, seed=2), "yard")
    record(root, make_packets(60, gop=25, seed=3))  # a second recording, on the same clock
    before = segments(root)
    for path in root.glob(INDEX + "*"):
        if how == "gone":
            path.unlink()
        elif how == "damaged":
            path.write_bytes(b"no database" * 500)
        else:
            os.truncate(path, path.stat().st_size // 2)
    mended = repair(root)
    assert "rebuilt from the segments" in mended[0].what
    after = segments(root)

    def facts(found: tuple[Segment, ...]) -> list[tuple[object, ...]]:
        return sorted((s.id, s.camera, s.first_wall_us, s.frames, s.nbytes, s.state, s.level) for s in found)

    assert facts(after) == facts(before)
    assert {s.camera: len({t.epoch for t in after if t.camera == s.camera}) for s in after} == {"gate": 2, "yard": 1}
    sound(root)
    record(root, make_packets(60, gop=25, seed=4))
    sound(root)


def test_a_lost_marker_is_written_again(root: Path) -> None:
    with Store(root) as store:
        uuid = store.uuid
    (root / MARKER).unlink()
    with pytest.raises(StoreError, match="not a Fovea store"):
        Store(root)
    repair(root)
    with Store(root) as store:
        assert store.uuid == uuid
    sound(root)


def test_what_is_no_store_is_not_made_one(tmp_path: Path) -> None:
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(StoreError, match="not a Fovea store"):
        repair(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.jpg"]


def test_overlaps_become_recordings_of_their_own(root: Path) -> None:
    database = sqlite3.connect(root / INDEX)
    with database:
        database.execute("UPDATE segments SET epoch = 1, first_pts_us = 0, last_pts_us = 3960000")
    database.close()
    repair(root)
    assert frames(root) == list(range(200))
    sound(root)


def test_what_was_seen_is_put_right(root: Path) -> None:
    database = sqlite3.connect(root / INDEX)
    with database:
        database.execute("DELETE FROM tracks WHERE segment = 1")
        database.execute("UPDATE detections SET segment = 99 WHERE segment = 2 AND frame = 150")
        database.execute("UPDATE cameras SET longest_us = 5")
    database.close()
    with Store(root, readonly=True) as store:
        assert len(check(store)) == 3
    repair(root)
    with Store(root, readonly=True) as store:
        assert sum(track.detections for track in store.tracks()) == len(store.detections("gate")) == 199
    sound(root)


def test_a_camera_that_is_recorded_is_left_alone(root: Path) -> None:
    with Store(root) as store:
        sink = Sink(store, "gate", INFO)
        for packet in make_packets(40, seed=5):
            sink.append(CodedFrame(packet))
        assert repair(root) == ()
        assert [s.state for s in store.segments()].count("open") == 1
        sink.close()
    sound(root)


def test_a_writer_that_died_is_put_right_by_the_next(root: Path) -> None:
    """Files with more than their row, and files without one."""
    database = sqlite3.connect(root / INDEX)
    with database:
        database.execute("UPDATE segments SET state = 'open', frames = 25, last_pts_us = 5e6 WHERE number = 2")
    database.close()
    (root / SEGMENTS / "gate" / ("1" * 32 + ".fg")).write_text("x")
    record(root, make_packets(30, seed=6))
    assert [(s.frames, s.state) for s in segments(root) if s.epoch == 1] == [(100, "closed"), (100, "closed")]
    assert quarantined(root) == ["1" * 32 + ".fg"]
    sound(root)
