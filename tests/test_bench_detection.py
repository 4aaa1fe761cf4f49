"""What asking YOLO more seldom costs: counted against boxes that the tests know."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipeline.bench import detection
from pipeline.bench.agreement import Agreement
from pipeline.bench.detection import Manner, as_rows, together, watch
from pipeline.cli import call
from pipeline.config import DetectorConfig
from pipeline.types import Detection, Frame


class Sure:
    """Finds one box that stands still, another on every sixth frame alone, and a third that is too weak to count."""

    describe, gated = "sure", True

    def __init__(self, config: DetectorConfig) -> None:
        self.asked: list[int] = []

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        self.asked += [frame.index for frame in frames]
        still = Detection(16, 16, 48, 64, "person", 0.9)
        brief = Detection(64, 0, 80, 16, "car", 0.9)
        weak = Detection(0, 48, 16, 64, "dog", 0.2)
        return [[still, weak, *([brief] if frame.index % 6 == 5 else [])] for frame in frames]


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> DetectorConfig:
    monkeypatch.setattr(detection, "make_detector", Sure)
    return DetectorConfig(kind="yolo", every=3, idle_s=1.0)


def test_what_is_lost_is_counted(config: DetectorConfig) -> None:
    said: list[str] = []
    found = watch("demo://street?size=96x64", config, frames=30, fps=None, report=said.append)
    assert (found.clip, found.width, found.height, found.frames, found.boxes) == ("street_size_96x64", 96, 64, 30, 35)
    every, seldom, gated, both = found.manners
    assert [m.detected for m in (every, seldom)] == [30, 10]
    assert (gated.every, gated.gate, both.every, both.gate) == (1, True, 3, True)
    assert both.detected <= 10 <= gated.detected
    assert every.agreement.recall == every.cells == 1.0
    assert (seldom.agreement.source, seldom.agreement.same) == (35, 30), "the brief box is never on a third frame"
    assert seldom.cells == pytest.approx(30 * 6 / (30 * 6 + 5))
    assert all(m.cpu_seconds > 0 for m in found.manners)
    assert len(said) == 4


def test_clips_are_weighed_by_what_is_in_them(config: DetectorConfig) -> None:
    one = Manner("every 3", 3, False, 100, 34, Agreement(100, 90, 80), 0.9, 0.03)
    other = Manner("every 3", 3, False, 300, 100, Agreement(300, 300, 300), 1.0, 0.01)
    empty = Manner("every 3", 3, False, 100, 1, Agreement(0, 0, 0), float("nan"), 0.01)
    clip = watch("demo://street?size=96x64", config, frames=3, fps=None)
    clips = [detection.replace(clip, manners=(manner,)) for manner in (one, other, empty)]
    (whole,) = together(clips)
    assert (whole.frames, whole.detected) == (500, 135)
    assert whole.agreement == Agreement(400, 390, 380)
    assert whole.cells == pytest.approx(0.975)
    assert whole.cpu_seconds == pytest.approx((3 + 3 + 1) / 500)
    assert as_rows("all", [whole])[1] == ["  every 3", "27%", "14.0", "0.950", "0.974", "0.975"]


@pytest.mark.shared
def test_the_command(shared: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("openvino")
    weights = str(shared / "weights" / "yolo11n_int8_openvino_model")
    assert call(["bench", "detector", "demo://street", "--weights", weights, "--frames", "6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [m["detected"] for m in found["clips"][0]["manners"]][:2] == [6, 2]
    assert found["all"][0]["agreement"]["same"] > 0
