"""Frames to boxes: YOLO through ultralytics, OpenCV's background subtraction, boxes from a file, or none.

Knows nothing of tracks and masks. `ultralytics` (and with it torch) is imported only where YOLO runs, and kept from
calling anybody: no analytics, no crash reports, no installs, and no downloads unless the configuration asks for them.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np

from pipeline.color import planes_to_rgb, usual_matrix
from pipeline.config import DetectorConfig
from pipeline.errors import DetectorError, UsageError
from pipeline.types import Detection, Frame, Plane

MOTION = "motion"
BOXES_LINE_LIMIT = 1 << 20  # bytes; a line is one frame
CUDA_BATCH = 8  # frames a call


class Detector(Protocol):
    """`describe` says in one line which detector this is and why. Some have a memory: one a camera, frames in order.
    `gated`: it need not run where nothing has changed, for it would find the same again."""

    describe: str
    gated: bool

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        """The boxes of each frame, in source pixels, cut at the picture's bounds."""
        ...


def make_detector(config: DetectorConfig) -> Detector:
    """The detector that `config` asks for. Raises DetectorError where weights are missing or do not load, UsageError
    where the file of boxes is missing or malformed."""
    if config.kind == "none":
        return NoDetector()
    if config.kind == "boxes":
        if config.boxes is None:
            raise UsageError("detector kind 'boxes' needs a file of boxes (detector.boxes or --boxes)")
        return BoxesDetector(config.boxes)
    if config.kind == "motion":
        return MotionDetector("motion (as configured)")
    weights = _find_weights(config)
    if weights is not None:
        return YoloDetector(weights, config)
    if config.kind == "yolo":
        raise DetectorError(
            f"no such weights: {config.weights} (set detector.weights, or allow_download to fetch them)"
        )
    return MotionDetector(f"motion (auto: no weights at {config.weights}, and allow_download is off)")


def _find_weights(config: DetectorConfig) -> Path | None:
    """Where the weights are, or where ultralytics shall put what it may download."""
    path = Path(config.weights).expanduser()
    if path.exists():
        return path
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fovea" / "weights" / path.name
    return cache if config.allow_download or cache.exists() else None


class NoDetector:
    """Sees nothing: everything is background."""

    describe = "none (as configured)"
    gated = False

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        return [[] for _ in frames]


class BoxesDetector:
    """Boxes given from outside, one JSON object a line; see DetectorConfig.boxes. Frames without a line have none."""

    gated = False

    def __init__(self, path: Path) -> None:
        self._boxes = read_boxes(path)
        self.describe = f"boxes from {path} ({len(self._boxes)} frames)"

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        return [list(self._boxes.get(frame.index, ())) for frame in frames]


def read_boxes(path: Path) -> dict[int, list[Detection]]:
    """`{"frame": 0, "boxes": [[x0, y0, x1, y1, "person", 0.93], ...]}` a line, pixels, half-open, frames from 0. Raises
    UsageError that names the file and the line."""
    found: dict[int, list[Detection]] = {}
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(iter(lambda: lines.readline(BOXES_LINE_LIMIT + 1), b""), start=1):
                if not line.strip():
                    continue
                try:
                    index, boxes = _parse_line(line)
                    if index in found:
                        raise ValueError(f"frame {index} appears twice")
                except ValueError as error:
                    raise UsageError(f"{path}:{number}: {error}") from error
                found[index] = boxes
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    return found


def _parse_line(line: bytes) -> tuple[int, list[Detection]]:
    if len(line) > BOXES_LINE_LIMIT:
        raise ValueError(f"longer than {BOXES_LINE_LIMIT} bytes")
    try:
        item = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(item, dict) or set(item) != {"frame", "boxes"}:
        raise ValueError('expected {"frame": N, "boxes": [...]}')
    index, boxes = item["frame"], item["boxes"]
    if type(index) is not int or index < 0 or not isinstance(boxes, list):
        raise ValueError(f"frame must be a number from 0 and boxes a list, found {index!r} and {type(boxes).__name__}")
    return index, [_parse_box(box) for box in boxes]


def _parse_box(box: object) -> Detection:
    if not isinstance(box, list) or len(box) != 6:
        raise ValueError(f"expected [x0, y0, x1, y1, class, score], found {box!r:.80}")
    *corners, label, score = box
    for value in (*corners, score):
        if type(value) not in (int, float) or not math.isfinite(value):
            raise ValueError(f"not a finite number in a box: {value!r:.80}")
    if not isinstance(label, str):
        raise ValueError(f"a box's class must be text, found {label!r:.80}")
    x0, y0, x1, y1 = (float(value) for value in corners)
    return Detection(x0, y0, x1, y1, label, float(score))


class MotionDetector:
    """What differs from a learned background: MOG2 on reduced luma. Finds what moves, whatever it is, and forgets what
    stands still. A change of the light on the whole picture is compensated; one that cannot be, because most of the
    picture differs, is reported as nothing and relearned."""

    gated = False
    SIDE = 480  # longer side in pixels that the subtraction sees; the reduction is most of the noise filter
    WARM_UP = 4  # frames that only teach the background
    LEARNING = 0.002  # a tenth of the weight makes background: what stands still is forgotten after 50 updates
    FLOOD = 0.4  # part of the picture
    SMALLEST = 0.0004  # part of the picture
    GAINS = (0.5, 2.0)  # light beyond this is learned anew, for darkness multiplied is noise

    def __init__(self, describe: str) -> None:
        self.describe = describe
        self._model = cv2.createBackgroundSubtractorMOG2(history=200, varThreshold=30, detectShadows=False)
        self._learning = self.WARM_UP

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: Frame) -> list[Detection]:
        reduction = max(1.0, max(frame.width, frame.height) / self.SIDE)
        size = (max(1, round(frame.width / reduction)), max(1, round(frame.height / reduction)))
        luma = cv2.GaussianBlur(cv2.resize(frame.y, size, interpolation=cv2.INTER_AREA), (5, 5), 0)
        if self._learning < self.WARM_UP:
            luma = self._in_learned_light(luma)
        if self._learning > 0:
            self._model.apply(luma, learningRate=1.0 if self._learning == self.WARM_UP else 0.3)
            self._learning -= 1
            return []
        moving = self._model.apply(luma, learningRate=self.LEARNING)
        if cv2.countNonZero(moving) > self.FLOOD * moving.size:
            self._learning = self.WARM_UP
            return []
        return self._boxes(moving, frame.width / size[0], frame.height / size[1])

    def _in_learned_light(self, luma: Plane) -> Plane:
        """Scaled to the brightness of the background, by the median of pixels, which things that move do not shift."""
        sample, known = luma[::4, ::4].astype(np.float32), self._model.getBackgroundImage()[::4, ::4]
        gain = float(np.median((known + 8) / (sample + 8)))  # 8: dark pixels have no reliable ratio
        if not self.GAINS[0] < gain < self.GAINS[1]:
            self._learning = self.WARM_UP
            return luma
        scaled: Plane = cv2.convertScaleAbs(luma, alpha=gain)
        return scaled

    def _boxes(self, moving: Plane, scale_x: float, scale_y: float) -> list[Detection]:
        moving = cv2.morphologyEx(moving, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        moving = cv2.dilate(moving, np.ones((9, 5), np.uint8))  # taller than wide: joins head, trunk and legs
        contours, _ = cv2.findContours(moving, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        found = []
        for contour in contours:
            area = cv2.contourArea(contour)
            if area < self.SMALLEST * moving.size + 60:  # 60: a single pixel after the dilation
                continue
            x, y, w, h = cv2.boundingRect(contour)
            score = min(1.0, 0.5 + area / (2 * w * h))
            found.append(Detection(x * scale_x, y * scale_y, (x + w) * scale_x, (y + h) * scale_y, MOTION, score))
        return found


class YoloDetector:
    """An ultralytics detection network: `.pt`, or exported to ONNX, OpenVINO or TensorRT.

    Reports boxes down to half of the configured confidence: ByteTrack follows known objects through those and starts
    none from them. On CUDA frames go in batches of one size, filled up where there are fewer: another size may round
    differently, and what is recorded must not depend on how frames were batched. On a CPU, where batches gain nothing,
    and through an exported model, which has a size of its own, they go one by one.
    """

    gated = True

    def __init__(self, weights: Path, config: DetectorConfig) -> None:
        quiet_ultralytics(offline=not config.allow_download)
        import torch
        from ultralytics import YOLO

        self._size, self._floor = config.size, config.confidence / 2
        cuda = torch.cuda.is_available() and (weights.suffix in (".pt", ".engine", ".onnx"))
        self._device = config.device if config.device != "auto" else "cuda:0" if cuda else "cpu"
        self._batch = CUDA_BATCH if self._device.startswith("cuda") and weights.suffix == ".pt" else 1
        try:
            weights.parent.mkdir(parents=True, exist_ok=True)
            self._model = YOLO(str(weights), task="detect", verbose=False)
            names: dict[int, str] = dict(self._predict_names())
        except Exception as error:  # whatever a foreign loader raises on a file that is not its own
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise DetectorError(f"{weights}: cannot be loaded as a YOLO detector: {reason[0]}") from error
        self._names = names
        self._wanted = [number for number, name in names.items() if config.classes.get(name, 0.0) > 0]
        if not self._wanted:
            raise DetectorError(f"{weights}: knows none of the classes {', '.join(sorted(config.classes))}")
        self.describe = (
            f"yolo ({weights.name} on {self._device}, {'auto' if config.kind == 'auto' else 'as configured'})"
        )

    def _predict_names(self) -> dict[int, str]:
        """Run once, so that loading fails here and not at the first frame, and ask for the classes' names."""
        blank = np.zeros((self._size, self._size, 3), np.uint8)
        names: dict[int, str] = self._predict([blank], classes=None)[0].names
        return names

    def _predict(self, pictures: list[Plane], *, classes: list[int] | None) -> list[Any]:
        """Results of at most a batch of BGR pictures of one size."""
        filled = pictures + pictures[-1:] * (self._batch - len(pictures))
        results: list[Any] = self._model.predict(
            filled, imgsz=self._size, conf=self._floor, classes=classes, device=self._device, verbose=False, save=False
        )
        return results[: len(pictures)]

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        found = []
        for start in range(0, len(frames), self._batch):
            part = frames[start : start + self._batch]
            results = self._predict([_as_bgr(frame) for frame in part], classes=self._wanted)
            found += [self._boxes(frame, result) for frame, result in zip(part, results, strict=True)]
        return found

    def _boxes(self, frame: Frame, result: Any) -> list[Detection]:
        boxes = result.boxes.cpu().numpy()
        found = []
        for (x0, y0, x1, y1), score, number in zip(boxes.xyxy, boxes.conf, boxes.cls, strict=True):
            x0, x1 = (min(max(float(x), 0.0), float(frame.width)) for x in (x0, x1))
            y0, y1 = (min(max(float(y), 0.0), float(frame.height)) for y in (y0, y1))
            if x1 > x0 and y1 > y0:
                found.append(Detection(x0, y0, x1, y1, self._names[int(number)], float(score)))
        return found


def _as_bgr(frame: Frame) -> Plane:
    # ultralytics takes BGR. The matrix is the usual one: nets do not notice the difference.
    rgb = planes_to_rgb(frame.y, frame.u, frame.v, matrix=usual_matrix(frame.height))
    bgr: Plane = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
    return bgr


def quiet_ultralytics(*, offline: bool) -> None:
    """Import ultralytics so that it calls nobody and installs nothing. Its settings file is read, and left alone."""
    os.environ["YOLO_AUTOINSTALL"] = "false"
    os.environ.setdefault("YOLO_VERBOSE", "false")
    if offline:
        os.environ["YOLO_OFFLINE"] = "true"
    else:
        os.environ.pop("YOLO_OFFLINE", None)
    from ultralytics.utils import SETTINGS
    from ultralytics.utils.events import events

    dict.__setitem__(SETTINGS, "sync", False)  # past its own setter, which would write the user's file
    events.enabled = False
