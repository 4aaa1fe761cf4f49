"""What the index answers: tracks, events, coverage, activity; and how an older one is brought up to date."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import StoreError, UsageError
from pipeline.store import Sink, Span, Store, activity, check, covered, gaps
from pipeline.store.files import INDEX
from pipeline.types import CodedFrame, Detection, Packet
from tests.streams import INFO, WALL_US, make_packets

SECOND = 1_000_000


def person(track: int | None = 7, score: float = 0.9) -> Detection:
    return Detection(1.0, 2.0, 30.5, 40.0, "person", score, track)


def record(store: Store, frames: list[CodedFrame], camera: str = "gate") -> None:
    sink = Sink(store, camera, INFO)
    for frame in frames:
        sink.append(frame)
    sink.close()


def shifted(packets: list[Packet], after: int, by_us: int) -> list[Packet]:
    """The camera was silent before packet `after`."""
    return packets[:after] + [
        replace(p, pts_us=p.pts_us + by_us, wall_us=p.wall_us + by_us) for p in packets[after:]
    ]  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "archive")


def test_tracks_and_events(store: Store) -> None:
    frames = []
    for p in make_packets(1000, gop=50, segment=500):  # 40 s at 25 a second, two segments
        second = p.index // 25
        seen = []
        if 10 <= second < 22:
            seen.append(person(7, 0.5 + (p.index == 300) * 0.4))
        if 24 <= second < 26:
            seen.append(person(8))
        if second in (5, 35):
            seen.append(replace(person(None), label="car"))
        frames.append(CodedFrame(p, tuple(seen)))
    record(store, frames)
    tracks = store.tracks("gate", label="person")
    assert [(t.best.track_id, (t.first_wall_us - WALL_US) // SECOND, t.detections) for t in tracks] == [
        (7, 10, 250),
        (7, 20, 50),
        (8, 24, 50),
    ]
    assert tracks[0].best.score == 0.9
    assert tracks[0].best_wall_us == WALL_US + 12 * SECOND
    first, *_ = events = store.events("gate", label="person")
    assert [(e.first_wall_us - WALL_US, e.last_wall_us - WALL_US, e.tracks) for e in events] == [
        (10 * SECOND, 25 * SECOND + 960_000, 3)
    ]
    assert (first.best.score, first.best_wall_us) == (0.9, WALL_US + 12 * SECOND)
    assert [e.label for e in store.events()] == ["car", "person", "car"]
    assert store.events(newest_first=True) == store.events()[::-1]
    assert store.events(newest_first=True, limit=1) == store.events()[2:]
    assert store.events("gate", label="person", to_us=WALL_US + 10 * SECOND) == ()
    assert len(store.tracks("gate", label="person", from_us=WALL_US + 20 * SECOND)) == 2, "one goes on over the edge"
    assert store.tracks("gate", label="person", score=0.95) == ()
    assert store.events("yard") == ()
    assert check(store) == ()


def test_an_untracked_class_is_cut_at_breaks(store: Store) -> None:
    seen_at = {0, 1, 2, 4, 12, 13, 30}
    record(
        store,
        [CodedFrame(p, (person(None),) if p.index / 25 in seen_at else ()) for p in make_packets(800, gop=50)],
    )
    tracks = store.tracks()
    assert [((t.first_wall_us - WALL_US) // SECOND, t.detections) for t in tracks] == [(0, 4), (12, 2), (30, 1)]
    assert len(store.events()) == 3


def test_activity_in_buckets(store: Store) -> None:
    frames = [CodedFrame(p, (person(),) if p.index < 300 else ()) for p in make_packets(1000, gop=50, segment=500)]
    record(store, frames)
    record(store, frames, "yard")
    found = activity(store, "gate", from_us=WALL_US, to_us=WALL_US + 38 * SECOND, bucket_us=5 * SECOND)
    assert [((a.from_us - WALL_US) // SECOND, a.tracks) for a in found] == [(s, {"person": 1}) for s in (0, 5, 10)]
    (both,) = activity(store, from_us=WALL_US, to_us=WALL_US + 5 * SECOND, bucket_us=9 * SECOND)
    assert (both.tracks, both.to_us) == ({"person": 2}, WALL_US + 5 * SECOND)
    assert activity(store, from_us=WALL_US, to_us=WALL_US + SECOND, bucket_us=SECOND, label="car") == ()
    with pytest.raises(UsageError, match="buckets"):
        activity(store, from_us=0, to_us=WALL_US, bucket_us=1)


def test_coverage_shows_gaps_between_and_inside_segments(store: Store) -> None:
    packets = make_packets(500, gop=25, segment=250)
    packets = shifted(shifted(packets, 350, 20 * SECOND), 100, 7 * SECOND)
    record(store, [CodedFrame(p) for p in packets])
    end = packets[-1].wall_us
    spans = covered(store, "gate", from_us=0, to_us=end + 60 * SECOND)
    edges = [(packets[a].wall_us, packets[b].wall_us) for a, b in ((0, 99), (100, 349), (350, 499))]
    assert spans == tuple(Span(a, b, "full") for a, b in edges)
    found = gaps(spans, from_us=WALL_US - SECOND, to_us=end + 60 * SECOND)
    assert found == ((edges[0][1], edges[1][0]), (edges[1][1], edges[2][0]), (end, end + 60 * SECOND))
    assert len(covered(store, "gate", from_us=0, to_us=end, gap_us=10 * SECOND)) == 2
    (part,) = covered(store, "gate", from_us=edges[1][0] + 5, to_us=edges[1][0] + 9)
    assert (part.from_us, part.to_us) == (edges[1][0] + 5, edges[1][0] + 9)
    with store.writing() as database:
        database.execute("UPDATE segments SET has_background = 0 WHERE number = 1")
    assert [s.level for s in covered(store, "gate", from_us=0, to_us=end)] == [
        "foreground",
        "foreground",
        "full",
        "full",
    ]
    assert covered(store, "yard", from_us=0, to_us=end) == ()


def test_a_clock_set_back_loses_no_footage(store: Store) -> None:
    packets = make_packets(200, gop=50)
    record(store, [CodedFrame(replace(p, wall_us=p.wall_us - (p.index >= 100) * 60 * SECOND)) for p in packets])
    (segment,) = store.segments("gate", to_us=WALL_US)
    assert segment.first_wall_us == WALL_US - 56 * SECOND
    assert segment.last_wall_us == packets[99].wall_us
    assert check(store) == ()


def test_many_threads_read_while_one_writes(store: Store) -> None:
    frames = [CodedFrame(p, (person(),)) for p in make_packets(500, gop=25, segment=250)]
    reader = Store(store.root, readonly=True)
    failures: list[BaseException] = []
    done = threading.Event()

    def read() -> None:
        try:
            while not done.is_set():
                reader.events("gate")
                covered(reader, "gate", from_us=0, to_us=WALL_US * 2)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    record(store, frames)
    done.set()
    for thread in threads:
        thread.join()
    assert failures == []


# -- versions

VERSION_1 = """
CREATE TABLE store (uuid TEXT NOT NULL, schema_version INTEGER NOT NULL) STRICT;
CREATE TABLE cameras (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, epoch INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE segments (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE CHECK (length(id) = 32),
    camera INTEGER NOT NULL REFERENCES cameras (number), epoch INTEGER NOT NULL,
    first_wall_us INTEGER NOT NULL, last_wall_us INTEGER NOT NULL,
    first_pts_us INTEGER NOT NULL, last_pts_us INTEGER NOT NULL CHECK (last_pts_us >= first_pts_us),
    frames INTEGER NOT NULL CHECK (frames > 0), bytes_foreground INTEGER NOT NULL CHECK (bytes_foreground > 0),
    bytes_background INTEGER NOT NULL CHECK (bytes_background >= 0),
    state TEXT NOT NULL CHECK (state IN ('open', 'closed', 'torn')),
    has_background INTEGER NOT NULL DEFAULT 1 CHECK (has_background IN (0, 1))) STRICT;
CREATE INDEX segments_by_time ON segments (camera, first_wall_us);
CREATE TABLE detections (
    segment INTEGER NOT NULL REFERENCES segments (number) ON DELETE CASCADE,
    camera INTEGER NOT NULL REFERENCES cameras (number), wall_us INTEGER NOT NULL, frame INTEGER NOT NULL,
    label TEXT NOT NULL, score REAL NOT NULL, x0 REAL NOT NULL, y0 REAL NOT NULL, x1 REAL NOT NULL, y1 REAL NOT NULL,
    track INTEGER) STRICT;
CREATE INDEX detections_by_time ON detections (camera, wall_us);
CREATE INDEX detections_by_segment ON detections (segment);
"""


def as_version_1(root: Path) -> None:
    """Put the index back to how version 1 had it, its rows kept."""
    old = sqlite3.connect(root / INDEX)
    kept = {
        "store": old.execute("SELECT uuid, 1 FROM store").fetchall(),
        "cameras": old.execute("SELECT number, id, epoch FROM cameras").fetchall(),
        "segments": old.execute(
            """SELECT number, id, camera, epoch, first_wall_us, last_wall_us, first_pts_us, last_pts_us, frames,
            bytes_foreground, bytes_background, state, has_background FROM segments"""
        ).fetchall(),
        "detections": old.execute("SELECT * FROM detections").fetchall(),
    }
    old.close()
    for path in root.glob(INDEX + "*"):
        path.unlink()
    new = sqlite3.connect(root / INDEX)
    new.executescript(VERSION_1)
    with new:
        for table, rows in kept.items():
            marks = ", ".join("?" * len(rows[0]))
            new.executemany(f"INSERT INTO {table} VALUES ({marks})", rows)
    new.close()


def shape(root: Path) -> list[object]:
    """Every table, column, check and index, without spaces and comments."""
    database = sqlite3.connect(root / INDEX)
    tables = [row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")]
    found: list[object] = [
        (
            table,
            database.execute(f"PRAGMA table_xinfo({table})").fetchall(),
            sorted(database.execute(f"PRAGMA foreign_key_list({table})").fetchall()),
            sorted(row[1:] for row in database.execute(f"PRAGMA index_list({table})")),
        )
        for table in tables
    ]
    indices = database.execute("SELECT name, sql FROM sqlite_master WHERE type = 'index' ORDER BY name").fetchall()
    database.close()
    return [found, [(name, " ".join((sql or "").split())) for name, sql in indices]]


def test_an_older_index_is_brought_up_to_date(store: Store, tmp_path: Path) -> None:
    record(store, [CodedFrame(p, (person(p.index // 100),)) for p in make_packets(500, gop=25, segment=250)])
    before = store.segments(), store.tracks()
    store.close()
    as_version_1(store.root)
    with pytest.raises(StoreError, match="index version 1"):
        Store(store.root, readonly=True)
    with Store(store.root) as again:
        assert (again.segments(), again.tracks()) == before
        assert check(again) == ()
        Store(tmp_path / "fresh").close()
        assert shape(again.root) == shape(tmp_path / "fresh")
    with Store(store.root, readonly=True) as again:
        assert len(again.detections("gate")) == 500


def test_a_later_index_is_refused(store: Store) -> None:
    with store.writing() as database:
        database.execute("UPDATE store SET schema_version = 99")
    for readonly in (True, False):
        with pytest.raises(StoreError, match="index version 99, this program knows"):
            Store(store.root, readonly=readonly)
