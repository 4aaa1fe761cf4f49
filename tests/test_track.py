from __future__ import annotations

import itertools
from collections.abc import Container, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import DetectorConfig, MaskConfig
from pipeline.demo import StreetScene
from pipeline.gate import ChangeGate
from pipeline.track import RoiStage, Tracker
from pipeline.types import Detection, Frame, Masked
from tests.videos import still

SIZE = {"height": 360, "width": 640}


def person(x: float, *, score: float = 0.8, y: float = 100) -> Detection:
    return Detection(x, y, x + 40, y + 120, "person", score)


def street(count: int) -> list[Frame]:
    scene = StreetScene(seed=1, width=320, height=180)
    return [Frame(*scene.planes(index), index=index, pts_us=index * 100_000, wall_us=0) for index in range(count)]


def run(frames: Sequence[Frame], sizes: Sequence[int], config: DetectorConfig) -> list[Masked]:
    stage = RoiStage(config, MaskConfig())
    rest = list(frames)
    result: list[Masked] = []
    for size in itertools.cycle(sizes):
        if not rest:
            return result
        result += stage.process(rest[:size])
        rest = rest[size:]
    raise AssertionError("cycle ended")


def test_a_track_is_carried_between_detections() -> None:
    tracker = Tracker(confidence=0.3)
    for frame in range(60):
        x = 20 + 5 * frame
        tracks = tracker.update([person(x)], **SIZE) if frame % 3 == 0 else tracker.predict(**SIZE)
        assert [track.track_id for track in tracks] == [1]
        if frame > 30:
            assert tracks[0].x0 == pytest.approx(x, abs=3)
            assert tracks[0].label == "person"


def test_two_people_keep_their_numbers() -> None:
    tracker = Tracker(confidence=0.3)
    for frame in range(0, 60, 3):
        tracks = tracker.update([person(20 + 3 * frame), person(400 - 2 * frame, y=200)], **SIZE)
        assert {track.track_id for track in tracks} == {1, 2}
        tracks = tracker.predict(**SIZE)
    assert [round(track.y0, -2) for track in tracks] == [100, 200]


def test_weak_detections_continue_tracks_and_start_none() -> None:
    tracker = Tracker(confidence=0.3)
    assert tracker.update([person(50, score=0.2)], **SIZE) == []
    tracker.update([person(50, score=0.5)], **SIZE)
    tracker.update([person(50, score=0.5)], **SIZE)
    for _ in range(5):
        assert len(tracker.update([person(50, score=0.2)], **SIZE)) == 1


def test_a_missed_detection_does_not_flicker_and_an_end_is_an_end() -> None:
    tracker = Tracker(confidence=0.3)
    for _ in range(4):
        tracker.update([person(50)], **SIZE)
    assert len(tracker.update([], **SIZE)) == 1
    assert tracker.update([], **SIZE) == []
    assert [track.track_id for track in tracker.update([person(51)], **SIZE)] == [1]


def test_boxes_stay_in_the_picture() -> None:
    tracker = Tracker(confidence=0.3)
    for frame in range(40):
        x0 = 400 + 12 * frame
        seen = [Detection(x0, -10, min(x0 + 60, 640), 90, "car", 0.9)] if x0 < 630 else []
        for track in tracker.update(seen, **SIZE) if frame % 3 == 0 else tracker.predict(**SIZE):
            assert 0 <= track.x0 < track.x1 <= 640
            assert 0 <= track.y0 < track.y1 <= 360


def test_the_result_does_not_depend_on_batches() -> None:
    frames = street(50)
    config = DetectorConfig(kind="motion", every=3)
    expected = run(frames, [1], config)
    assert any(item.mask.cells.any() for item in expected)
    for sizes in ([50], [8], [1, 5, 2], [3]):
        for ours, theirs in zip(run(frames, sizes, config), expected, strict=True):
            assert ours.frame is theirs.frame
            assert ours.detections == theirs.detections
            assert np.array_equal(ours.mask.importance, theirs.mask.importance)


class Spy:
    """Notes the frames that it is asked about, and finds what it is told to."""

    describe = "spy"

    def __init__(self, found: list[Detection], *, gated: bool) -> None:
        self.found, self.gated = found, gated
        self.asked: list[int] = []

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        self.asked += [frame.index for frame in frames]
        return [list(self.found) for _ in frames]


def test_detections_come_on_every_nth_frame() -> None:
    spy = Spy([person(10, y=-60)], gated=False)
    stage = RoiStage(DetectorConfig(kind="motion", every=4), MaskConfig(), detector=spy)
    result = [item for index in range(0, 12, 3) for item in stage.process([still(index=index + i) for i in range(3)])]
    assert spy.asked == [0, 4, 8]
    assert stage.detected == 3
    assert all(item.detections[0].track_id == 1 for item in result)


def noisy_scene(moving: Container[int], *, count: int, shift: float = 4.0, fps: float = 10.0) -> Iterator[Frame]:
    """A scene with noise; a bright thing moves on the frames `moving`."""
    rng = np.random.default_rng(1)
    wall = rng.integers(60, 160, (12, 20)).astype(np.float32).repeat(30, 0).repeat(32, 1)
    x = 20.0
    for n in range(count):
        x += shift * (n in moving)
        y = wall + rng.normal(scale=3.0, size=wall.shape)
        y[200:240, round(x) : round(x) + 16] = 230
        chroma = np.full((180, 320), 128, np.uint8)
        planes = np.clip(y, 0, 255).astype(np.uint8), chroma, chroma
        yield Frame(*planes, index=n, pts_us=round(n * 1e6 / fps), wall_us=0)


def looked(frames: Iterable[Frame], *, batch: int = 8, **settings: float) -> tuple[list[int], list[Masked]]:
    spy = Spy([person(20)], gated=True)
    stage = RoiStage(DetectorConfig(kind="yolo", **settings), MaskConfig(), detector=spy)
    rest, result = list(frames), []
    while rest:
        result += stage.process(rest[:batch])
        rest = rest[batch:]
    return spy.asked, result


def test_a_detector_rests_while_nothing_changes() -> None:
    asked, result = looked(noisy_scene((), count=60), idle_s=60.0)
    assert asked == [0]
    assert all(len(item.detections) == 1 for item in result), "what was found still holds"
    boxes = [item.detections[0] for item in result]
    assert {box.track_id for box in boxes} == {1}
    assert max(abs(box.x0 - 20) for box in boxes) < 1
    assert all(item.mask.cells.any() for item in result)


def test_a_detector_runs_when_something_changes_and_while_it_does() -> None:
    asked, _ = looked(noisy_scene(range(20, 30), count=60), every=3, idle_s=60.0)
    assert asked == [0, 20, 23, 26, 29]
    asked, _ = looked(noisy_scene(range(20, 31), count=60), every=3, idle_s=60.0)
    assert asked == [0, 20, 23, 26, 29, 32], "the last change too is seen"
    for batch in (1, 5, 60):
        assert looked(noisy_scene(range(20, 31), count=60), every=3, idle_s=60.0, batch=batch)[0] == asked


def test_what_moves_slowly_adds_up() -> None:
    asked, _ = looked(noisy_scene(range(60), count=60, shift=0.2), every=1, idle_s=60.0)
    assert 3 < len(asked) < 40


def test_a_detector_looks_again_after_a_while() -> None:
    assert looked(noisy_scene((), count=60), idle_s=2.0)[0] == [0, 20, 40]
    assert len(looked(noisy_scene((), count=60), every=3, gate=False)[0]) == 20


def test_a_picture_of_another_size_is_a_change() -> None:
    gate = ChangeGate()
    assert gate.differs(still(width=64, height=64))
    gate.detected()
    assert not gate.differs(still(width=64, height=64, index=1))
    assert gate.differs(still(width=96, height=64, index=2))


def test_boxes_from_a_file_make_an_exact_mask_on_every_frame(tmp_path: Path) -> None:
    path = tmp_path / "b.jsonl"
    path.write_text('{"frame": 1, "boxes": [[16, 16, 48, 32, "zebra", 0.1]]}\n')
    stage = RoiStage(DetectorConfig(kind="boxes", boxes=path, every=3), MaskConfig(dilate=64, hold_s=5))
    result = stage.process([still(index=index) for index in range(3)])
    assert [np.argwhere(item.mask.cells).tolist() for item in result] == [[], [[1, 1], [1, 2]], []]
    assert result[1].detections[0].track_id is None


def test_without_a_detector_all_is_background() -> None:
    stage = RoiStage(DetectorConfig(kind="none"), MaskConfig())
    assert not any(item.mask.cells.any() for item in stage.process([still(), still(index=1)]))
    assert str(stage) == stage.describe == "none (as configured)"


@pytest.mark.shared
def test_yolo_does_not_depend_on_batches(shared: Path) -> None:
    pytest.importorskip("openvino")
    weights = str(shared / "weights" / "yolo11n_int8_openvino_model")
    frames = street(16)
    config = DetectorConfig(kind="yolo", weights=weights, every=5)
    for ours, theirs in zip(run(frames, [16], config), run(frames, [1, 3], config), strict=True):
        assert ours.detections == theirs.detections
        assert np.array_equal(ours.mask.importance, theirs.mask.importance)
