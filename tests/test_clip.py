"""Clips as evidence: true durations, gaps that show, a manifest that names what they were made from."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.clip import ClipRequest, export_clip
from pipeline.errors import JobCancelled, StreamError, UsageError
from pipeline.overlay import clock_text, draw
from pipeline.store import Sink, Store, pins
from pipeline.types import CodedFrame, Detection, Frame
from tests.streams import INFO, WALL_US, FakeDecoder, make_packets

SECOND = 1_000_000
PERSON = Detection(10, 12, 50, 60, "person", 0.9, 1)
HOUR = WALL_US + 3600 * SECOND


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Two segments of 100 frames with a minute of silence between them; someone is there in the second one."""
    store = Store(tmp_path / "archive")
    packets = make_packets(200, gop=25, segment=100)
    sink = Sink(store, "gate", INFO)
    for packet in packets:
        late = replace(packet, wall_us=packet.wall_us + 60 * SECOND * (packet.index >= 100))
        sink.append(CodedFrame(late, (PERSON,) if packet.index >= 150 and packet.index % 5 == 0 else ()))
    sink.close()
    return store


def read(path: Path) -> tuple[list[float], list[np.ndarray], float]:
    """Times, luma planes, and the duration of an MP4."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.duration is not None
        assert stream.time_base is not None
        duration = float(stream.duration * stream.time_base)
        frames = list(container.decode(stream))
    return [f.time for f in frames], [f.to_ndarray()[: INFO.height, : INFO.width] for f in frames], duration


def test_a_clip_has_the_true_duration_and_shows_its_gap(store: Store, tmp_path: Path) -> None:
    told: list[tuple[float, int]] = []
    out = tmp_path / "clip.mp4"
    clip = export_clip(
        store, ClipRequest("gate", WALL_US, HOUR), out, make_decoder=FakeDecoder,
        progress=lambda part, frames: told.append((part, frames)),
    )  # fmt: skip
    assert clip.result.frames == 200
    assert clip.result.seconds == pytest.approx(199 * 0.04 + 60)
    assert clip.gaps == ((WALL_US + 99 * 40_000, WALL_US + 100 * 40_000 + 60 * SECOND),)
    times, pictures, duration = read(out)
    assert len(times) == 201
    assert duration == pytest.approx(200 * 0.04 + 60, abs=0.04), "to one frame, the gap included"
    assert times[100] - times[99] == pytest.approx(1.0), "then it shows that nothing was recorded"
    assert times[101] - times[99] == pytest.approx(60.04)
    assert abs(pictures[100].astype(int) - pictures[99]).max() > 100
    assert [frames for _, frames in told] == list(range(1, 201))
    assert [part for part, _ in told] == sorted(part for part, _ in told)

    plain = ClipRequest("gate", WALL_US, HOUR, mark_gaps=False)
    assert export_clip(store, plain, out, make_decoder=FakeDecoder).result.frames == 200
    assert len(read(out)[0]) == 200


def test_the_manifest_names_what_the_clip_was_made_from(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    clip = export_clip(store, ClipRequest("gate", WALL_US, HOUR), out, make_decoder=FakeDecoder)
    manifest = json.loads(clip.manifest.read_text())
    assert clip.manifest == tmp_path / "clip.mp4.json"
    assert manifest["output"] == {
        "file": "clip.mp4", "bytes": out.stat().st_size, "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
    }  # fmt: skip
    assert manifest["store"] == store.uuid
    assert manifest["request"]["camera"] == "gate"
    assert (manifest["frames"], len(manifest["gaps"]), manifest["faults"]) == (200, 1, [])
    assert [segment["id"] for segment in manifest["segments"]] == [s.id for s in store.segments()]
    for segment in manifest["segments"]:
        for item in segment["files"]:
            data = (store.root / item["file"]).read_bytes()
            assert (item["bytes"], item["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())


def test_a_segment_under_writing_is_hashed_as_far_as_its_row_says(tmp_path: Path) -> None:
    store = Store(tmp_path / "archive")
    sink = Sink(store, "gate", INFO)
    for packet in make_packets(60, gop=25):
        sink.append(CodedFrame(packet))
    clip = export_clip(store, ClipRequest("gate", WALL_US, HOUR), tmp_path / "a.mp4", make_decoder=FakeDecoder)
    sink.close()
    (segment,) = json.loads(clip.manifest.read_text())["segments"]
    assert segment["state"] == "open"
    for item in segment["files"]:
        data = (store.root / item["file"]).read_bytes()
        assert len(data) > item["bytes"]
        assert hashlib.sha256(data[: item["bytes"]]).hexdigest() == item["sha256"]


def test_what_is_exported_is_pinned(store: Store, tmp_path: Path) -> None:
    request = ClipRequest("gate", WALL_US, WALL_US + SECOND)
    export_clip(store, request, tmp_path / "a.mp4", make_decoder=FakeDecoder, keep=False)
    assert pins(store) == ()
    export_clip(store, request, tmp_path / "a.mp4", make_decoder=FakeDecoder)
    assert [(p.from_us, p.to_us, p.reason) for p in pins(store)] == [(WALL_US, WALL_US + SECOND, "exported to a.mp4")]
    with Store(store.root, readonly=True) as readonly, pytest.raises(UsageError, match="open for reading"):
        export_clip(readonly, request, tmp_path / "b.mp4", make_decoder=FakeDecoder)


def test_a_clip_that_fails_leaves_nothing(store: Store, tmp_path: Path) -> None:
    out = tmp_path / "out" / "clip.mp4"
    out.parent.mkdir()
    asked = 0

    def cancelled() -> bool:
        nonlocal asked
        asked += 1
        return asked > 50

    with pytest.raises(JobCancelled, match="after 50 frames"):
        export_clip(
            store, ClipRequest("gate", WALL_US, HOUR), out, make_decoder=FakeDecoder, cancelled=cancelled
        )  # fmt: skip
    with pytest.raises(StreamError, match="nothing is recorded"):
        export_clip(store, ClipRequest("gate", HOUR, HOUR + 1), out, make_decoder=FakeDecoder)
    with pytest.raises(UsageError, match="no directory"):
        export_clip(store, ClipRequest("gate", 0, HOUR), tmp_path / "no" / "a.mp4", make_decoder=FakeDecoder)
    assert list(out.parent.iterdir()) == []
    assert pins(store) == ()


def test_time_and_boxes_are_burned_in(store: Store, tmp_path: Path) -> None:
    frames = {}
    for name, request in {
        "plain": ClipRequest("gate", WALL_US, HOUR),
        "time": ClipRequest("gate", WALL_US, HOUR, show_time=True),
        "boxes": ClipRequest("gate", WALL_US, HOUR, show_boxes=True),
    }.items():
        out = tmp_path / f"{name}.mp4"
        export_clip(store, request, out, make_decoder=FakeDecoder)
        frames[name] = read(out)[1]
    assert np.abs(frames["time"][5].astype(int) - frames["plain"][5]).max() > 60
    changed = [
        bool(np.abs(a.astype(int) - b).max() > 60) for a, b in zip(frames["boxes"], frames["plain"], strict=True)
    ]
    assert changed == [n > 150 for n in range(201)], "held between the frames that were looked at"


def test_drawing_leaves_the_frame_alone() -> None:
    y, half = np.full((64, 96), 100, np.uint8), np.full((32, 48), 128, np.uint8)
    y.setflags(write=False)
    frame = Frame(y=y, u=half, v=half, index=0, pts_us=0, wall_us=0)
    drawn = draw(frame, texts=["x"], boxes=[PERSON], dim=True)
    assert (y == 100).all()
    assert drawn.y[12:60, 10].max() == 235
    assert drawn.u is half
    assert clock_text(1_500_000) == "1970-01-01 00:00:01.500 UTC"
