from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from pipeline.color import planes_to_rgb
from pipeline.config import DetectorConfig, SourceConfig
from pipeline.demo import StreetScene
from pipeline.detect import make_detector
from pipeline.errors import DetectorError, UsageError
from pipeline.source import open_source
from pipeline.types import Detection, Frame
from tests.videos import still

OPENVINO = Path("weights", "yolo11n_int8_openvino_model")


def overlap(a: Detection, b: Detection) -> float:
    """Intersection over union."""
    shared = max(0.0, min(a.x1, b.x1) - max(a.x0, b.x0)) * max(0.0, min(a.y1, b.y1) - max(a.y0, b.y0))
    return shared / ((a.x1 - a.x0) * (a.y1 - a.y0) + (b.x1 - b.x0) * (b.y1 - b.y0) - shared)


def recall(truth: Iterable[list[Detection]], found: Iterable[list[Detection]], *, least: float) -> float:
    hits = [
        any(overlap(one, other) >= least for other in seen)
        for expected, seen in zip(truth, found, strict=True)
        for one in expected
    ]
    assert len(hits) > 10
    return sum(hits) / len(hits)


def street(indices: Iterable[int]) -> tuple[list[Frame], list[list[Detection]]]:
    scene = StreetScene(seed=1)
    indices = list(indices)
    frames = [Frame(*scene.planes(index), index=index, pts_us=index * 100_000, wall_us=0) for index in indices]
    return frames, [scene.boxes(index) for index in indices]


def noisy(count: int) -> list[Frame]:
    chance = np.random.default_rng(0)
    frames = []
    for index in range(count):
        flat = still(180, 320, index=index)
        luma = np.clip(flat.y + chance.normal(0, 6, flat.y.shape), 0, 255).astype(np.uint8)
        frames.append(Frame(luma, flat.u, flat.v, index, flat.pts_us, flat.wall_us))
    return frames


def test_none() -> None:
    detector = make_detector(DetectorConfig(kind="none"))
    assert detector.detect([still(), still()]) == [[], []]
    assert "none" in detector.describe


def test_motion_is_not_deceived_by_noise() -> None:
    assert not any(make_detector(DetectorConfig(kind="motion")).detect(noisy(30)))


def test_motion_finds_what_moves() -> None:
    frames = noisy(40)
    for frame in frames[10:]:
        x = 4 * frame.index
        frame.y[60:120, x : x + 40] = 200
    found = make_detector(DetectorConfig(kind="motion")).detect(frames)
    truth = [[Detection(4 * f.index, 60, 4 * f.index + 40, 120, "motion", 1)] for f in frames[12:]]
    assert not any(found[:10])
    assert recall(truth, found[12:], least=0.6) > 0.95
    assert all(one.label == "motion" and 0 < one.score <= 1 for seen in found for one in seen)


def test_motion_takes_a_light_switch_for_light() -> None:
    frames = [still(index=index, value=90 if index < 10 else 130) for index in range(30)]
    assert not any(make_detector(DetectorConfig(kind="motion")).detect(frames))


def test_motion_on_the_street() -> None:
    frames, truth = street(range(0, 150, 2))
    found = make_detector(DetectorConfig(kind="motion")).detect(frames)
    assert recall(truth[10:], found[10:], least=0.3) > 0.7


def boxes_file(path: Path, text: str) -> DetectorConfig:
    path.write_text(text)
    return DetectorConfig(kind="boxes", boxes=path)


def test_boxes_from_a_file(tmp_path: Path) -> None:
    text = '{"frame": 2, "boxes": [[1, 2.5, 30, 40, "person", 0.93], [0, 0, 1, 1, "zebra", 1]]}\n\n'
    text += '{"frame": 0, "boxes": []}\n'
    detector = make_detector(boxes_file(tmp_path / "b.jsonl", text))
    found = detector.detect([still(index=index) for index in range(4)])
    assert [len(seen) for seen in found] == [0, 0, 2, 0]
    assert found[2][0] == Detection(1, 2.5, 30, 40, "person", 0.93)


@pytest.mark.parametrize(
    "line",
    [
        "{", "[]", "null", '{"frame": 0}', '{"frame": -1, "boxes": []}', '{"frame": true, "boxes": []}',
        '{"frame": 0, "boxes": {}}', '{"frame": 0, "boxes": [[1, 2, 3]]}',
        '{"frame": 0, "boxes": [[5, 5, 5, 9, "a", 1]]}',
        '{"frame": 0, "boxes": [[0, 0, NaN, 9, "a", 1]]}', '{"frame": 0, "boxes": [["0", 0, 4, 9, "a", 1]]}',
        '{"frame": 0, "boxes": [[0, 0, 4, 9, 7, 1]]}', '{"frame": 7, "boxes": []}', "[" * 50_000, "\x00",
    ],
)  # fmt: skip
def test_malformed_boxes_name_file_and_line(tmp_path: Path, line: str) -> None:
    path = tmp_path / "b.jsonl"
    with pytest.raises(UsageError) as caught:
        make_detector(boxes_file(path, '{"frame": 7, "boxes": []}\n' + line + "\n"))
    assert str(caught.value).startswith(f"{path}:2: ")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < len(str(path)) + 250


def test_missing_boxes_file(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.jsonl"):
        make_detector(DetectorConfig(kind="boxes", boxes=tmp_path / "none.jsonl"))
    with pytest.raises(UsageError, match="file of boxes"):
        make_detector(DetectorConfig(kind="boxes"))


def test_auto_without_weights_is_motion_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert "motion (auto: no weights at yolo11n.pt" in make_detector(DetectorConfig()).describe
    with pytest.raises(DetectorError, match=r"no such weights: yolo11n\.pt"):
        make_detector(DetectorConfig(kind="yolo"))


def test_weights_that_are_none(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(b"not weights")
    with pytest.raises(DetectorError, match="cannot be loaded"):
        make_detector(DetectorConfig(weights=str(path)))


def random_weights(folder: Path) -> Path:
    from ultralytics import YOLO

    made = YOLO("yolo11n.yaml", task="detect", verbose=False)
    made.model.names = {number: "person" if number == 0 else str(number) for number in range(80)}
    made.save(folder / "random.pt")
    return folder / "random.pt"


def test_yolo_weights_on_disk_are_loaded(tmp_path: Path) -> None:
    path = random_weights(tmp_path)
    config = DetectorConfig(weights=str(path), size=128, device="cpu")
    detector = make_detector(config)
    assert detector.describe == "yolo (random.pt on cpu, auto)"
    frames, _ = street([0, 60])
    found = detector.detect(frames)
    assert len(found) == 2
    assert found[1] == detector.detect(frames[1:])[0]
    with pytest.raises(DetectorError, match="unicorn"):
        make_detector(config.model_copy(update={"classes": {"unicorn": 1.0}}))


def test_yolo_batches_of_one_size_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = random_weights(tmp_path)
    detector = make_detector(DetectorConfig(weights=str(path), size=64, device="cpu", confidence=1e-6))
    sizes: list[int] = []
    model = detector._model  # type: ignore[attr-defined]
    predict = model.predict
    monkeypatch.setattr(model, "predict", lambda given, **more: (sizes.append(len(given)), predict(given, **more))[1])
    monkeypatch.setattr(detector, "_batch", 4)
    frames, _ = street(range(0, 60, 10))
    together = detector.detect(frames)
    assert sizes == [4, 4], "the second is filled up"
    assert all(together), "an untrained network sees everything everywhere"
    assert together == [detector.detect([frame])[0] for frame in frames]
    assert detector.detect([]) == []


def test_nothing_is_sent_or_installed() -> None:
    from pipeline.detect import quiet_ultralytics

    quiet_ultralytics(offline=True)
    from ultralytics.utils import SETTINGS, checks
    from ultralytics.utils.events import events

    assert not SETTINGS["sync"]
    assert not events.enabled
    assert not checks.AUTOINSTALL


@pytest.fixture(scope="module")
def openvino(shared: Path) -> DetectorConfig:
    pytest.importorskip("openvino")
    return DetectorConfig(kind="yolo", weights=str(shared / OPENVINO))


@pytest.mark.shared
def test_yolo_finds_people_in_real_footage(openvino: DetectorConfig, shared: Path) -> None:
    clip = shared / "data" / "eval" / "clips" / "11_pedestrians_360p.mp4"
    with open_source(SourceConfig(url=str(clip), frames=1)) as source:
        frame = next(iter(source))
    found = make_detector(openvino).detect([frame])[0]
    assert sum(one.label == "person" and one.score > 0.3 for one in found) >= 2
    assert all(0 <= one.x0 < one.x1 <= frame.width and 0 <= one.y0 < one.y1 <= frame.height for one in found)


@pytest.mark.shared
def test_yolo_finds_people_on_the_street(openvino: DetectorConfig) -> None:
    frames, truth = street(range(0, 200, 20))
    found = make_detector(openvino).detect(frames)
    people = [[one for one in seen if one.label == "person" and one.score >= 0.3] for seen in found]
    assert recall(truth, people, least=0.5) > 0.75


def test_the_street_has_the_colours_of_its_photograph() -> None:
    frames, _ = street([0])
    rgb = planes_to_rgb(frames[0].y, frames[0].u, frames[0].v)
    hue = cv2.cvtColor(rgb[125:200, 300:600], cv2.COLOR_RGB2HSV)[..., 0]
    assert 98 < np.median(hue) < 115  # the bus is blue
