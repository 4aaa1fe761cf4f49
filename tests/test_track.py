from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import DetectorConfig, MaskConfig
from pipeline.demo import StreetScene
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


def test_detections_come_on_every_nth_frame() -> None:
    stage = RoiStage(DetectorConfig(kind="motion", every=4), MaskConfig())
    asked: list[int] = []

    class Spy:
        describe = "spy"

        def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
            asked.extend(frame.index for frame in frames)
            return [[person(10, y=-60)] for _ in frames]

    stage._detector = Spy()
    result = [item for index in range(0, 12, 3) for item in stage.process([still(index=index + i) for i in range(3)])]
    assert asked == [0, 4, 8]
    assert all(item.detections[0].track_id == 1 for item in result)


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
