"""Boxes of some frames to tracks on every frame, and with `RoiStage` the whole way from frames to masks.

Tracking is ByteTrack (Zhang et al. 2022, arXiv:2110.06864) as ultralytics keeps it: detections are matched on some
frames, and its Kalman filter carries the boxes between.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum, auto
from types import SimpleNamespace
from typing import Any

import numpy as np

from pipeline.config import DetectorConfig, MaskConfig
from pipeline.detect import Detector, make_detector, quiet_ultralytics
from pipeline.gate import ChangeGate
from pipeline.mask import HeldMask, exact_mask
from pipeline.types import Detection, Frame, Masked

_LOST_ROUNDS = 1  # a track that the last so many detections missed is still shown
_KEPT_ROUNDS = 10  # and can be found again for so many


class Tracker:
    """Tracks of one camera. Call `update` on frames with detections and `predict` on the frames between, in order: each
    call is one frame's step of the filter."""

    def __init__(self, *, confidence: float) -> None:
        quiet_ultralytics(offline=True)
        from ultralytics.trackers.byte_tracker import BYTETracker

        self._labels: list[str] = []
        self._bytetrack: Any = BYTETracker(
            SimpleNamespace(
                track_high_thresh=confidence, new_track_thresh=confidence, track_low_thresh=confidence / 4,
                track_buffer=_KEPT_ROUNDS, match_thresh=0.9, fuse_score=False,
            )
        )  # fmt: skip

    def update(self, detections: Sequence[Detection], *, height: int, width: int) -> list[Detection]:
        """Match what was found on this frame; the tracks as they stand then."""
        from ultralytics.engine.results import Boxes

        rows = [[d.x0, d.y0, d.x1, d.y1, d.score, self._label_number(d.label)] for d in detections]
        self._bytetrack.update(Boxes(np.array(rows, np.float32).reshape(-1, 6), (height, width)))
        return self._tracks(height, width)

    def predict(self, *, height: int, width: int) -> list[Detection]:
        """The tracks on a frame without detections."""
        self._bytetrack.multi_predict([*self._bytetrack.tracked_stracks, *self._bytetrack.lost_stracks])
        return self._tracks(height, width)

    def _label_number(self, label: str) -> int:
        if label not in self._labels:
            self._labels.append(label)
        return self._labels.index(label)

    def _tracks(self, height: int, width: int) -> list[Detection]:
        tracker = self._bytetrack
        # Tracks that wait for their second detection are shown too: a mask that comes late loses what it is for.
        shown = [*tracker.tracked_stracks]
        shown += [track for track in tracker.lost_stracks if tracker.frame_id - track.end_frame <= _LOST_ROUNDS]
        found = []
        for track in sorted(shown, key=lambda track: int(track.track_id)):
            x0, y0, x1, y1 = (float(value) for value in track.xyxy)
            x0, y0, x1, y1 = max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))
            if x1 > x0 and y1 > y0:  # not for one that has left the picture, nor for NaN
                label = self._labels[int(track.cls)]
                found.append(Detection(x0, y0, x1, y1, label, float(track.score), int(track.track_id)))
        return found


class RoiStage:
    """Frames of one camera to masks: detects, tracks between, paints cells. Frames must come in order; how they are
    batched changes nothing in the result.

    YOLO runs where something has changed since it ran last, and while that goes on on every n-th frame; where nothing
    has changed its boxes hold. After `idle_s` of that it looks again, in case the change was too faint to see. Motion
    is looked for on every n-th frame. Boxes from a file are taken on every frame as they are,
    without tracks, and make an exact mask.

    `detector` replaces the one that the configuration asks for. Raises DetectorError or UsageError when made.
    """

    def __init__(self, config: DetectorConfig, mask: MaskConfig, *, detector: Detector | None = None) -> None:
        self._detector = detector or make_detector(config)
        self.describe = self._detector.describe
        self.detected = 0  # frames that the detector was given
        self._exact = config.kind == "boxes"
        self._every = 1 if self._exact else config.every
        self._gate = ChangeGate() if config.gate and self._detector.gated else None
        self._idle_us = round(config.idle_s * 1e6)
        self._classes = config.classes
        self._tracker = None if config.kind in ("boxes", "none") else Tracker(confidence=config.confidence)
        self._mask = HeldMask(mask, config.classes)
        self._since_detected = self._since_update = self._every  # frames
        self._detected_us = 0
        self._found: list[Detection] = []

    def __str__(self) -> str:
        return self.describe

    def process(self, frames: Iterable[Frame]) -> list[Masked]:
        """Each frame with its mask and the tracked detections that made it."""
        frames = list(frames)
        steps = [self._step(frame) for frame in frames]
        due = [frame for frame, step in zip(frames, steps, strict=True) if step is _Step.DETECT]
        found = iter(self._detector.detect(due))
        result = []
        for frame, step in zip(frames, steps, strict=True):
            if step is _Step.DETECT:
                self._found = next(found)
            result.append(self._masked(frame, None if step is _Step.CARRY else self._found))
        self.detected += len(due)
        return result

    def _step(self, frame: Frame) -> _Step:
        """What is due on a frame. Known before the detector runs, so that it gets all of a batch at once."""
        changed = self._gate is None or self._gate.differs(frame)
        idle = frame.pts_us - self._detected_us >= self._idle_us
        if self._since_detected >= self._every and (changed or idle):
            if self._gate is not None:
                self._gate.detected()
            self._since_detected, self._detected_us = 0, frame.pts_us
            step = _Step.DETECT
        else:
            step = _Step.HOLD if self._since_update >= self._every else _Step.CARRY
        self._since_detected += 1
        self._since_update = 1 if step is not _Step.CARRY else self._since_update + 1
        return step

    def _masked(self, frame: Frame, detections: list[Detection] | None) -> Masked:
        height, width = frame.height, frame.width
        if self._exact:
            boxes = detections or []
            return Masked(frame, exact_mask(height, width, boxes, self._classes), tuple(boxes))
        if self._tracker is None:
            tracks = []
        elif detections is None:
            tracks = self._tracker.predict(height=height, width=width)
        else:
            tracks = self._tracker.update(detections, height=height, width=width)
        return Masked(frame, self._mask.update(height, width, frame.pts_us, tracks), tuple(tracks))


class _Step(Enum):
    """What becomes of a frame: the detector sees it; what was found last still holds; tracks are carried on."""

    DETECT = auto()
    HOLD = auto()
    CARRY = auto()
