"""What a detector still sees in decoded frames, taking what it sees in the source as the truth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from threading import Lock

import numpy as np
import numpy.typing as npt

from pipeline.types import Detection, Frame

IOU = 0.5
GOOD_F1 = 0.9  # where codecs are compared
MIN_BOXES = 50  # in the source, for a comparison to mean anything

Detect = Callable[[Frame], Sequence[Detection]]


@dataclass(frozen=True, slots=True)
class Agreement:
    """Boxes in all frames: of the source, of the decoded frames, and of both that are the same object."""

    source: int
    decoded: int
    same: int

    @property
    def precision(self) -> float:
        """1 where nothing was found, for then nothing was found wrongly."""
        return self.same / self.decoded if self.decoded else 1.0

    @property
    def recall(self) -> float:
        return self.same / self.source if self.source else 1.0

    @property
    def f1(self) -> float:
        """1 where neither has boxes."""
        both = self.source + self.decoded
        return 2 * self.same / both if both else 1.0


def same_objects(source: Sequence[Detection], decoded: Sequence[Detection]) -> int:
    """How many decoded boxes, the surest first, find a source box of their class at IoU 0.5 that is still free: the
    rule of COCO's evaluation."""
    if not source or not decoded:
        return 0
    overlaps = _overlaps(decoded, source)
    free = np.ones(len(source), np.bool_)
    matched = 0
    for row in sorted(range(len(decoded)), key=lambda row: -decoded[row].score):
        allowed = free & [box.label == decoded[row].label for box in source]
        scores = np.where(allowed, overlaps[row], 0.0)
        if scores.max() >= IOU:
            free[scores.argmax()] = False
            matched += 1
    return matched


def _overlaps(rows: Sequence[Detection], cols: Sequence[Detection]) -> npt.NDArray[np.float64]:
    """(rows, cols) intersection over union."""
    a, b = (np.array([(d.x0, d.y0, d.x1, d.y1) for d in boxes]).reshape(-1, 4) for boxes in (rows, cols))
    low = np.maximum(a[:, None, :2], b[None, :, :2])
    high = np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b)]
    overlaps: npt.NDArray[np.float64] = shared / (areas[0][:, None] + areas[1][None] - shared)
    return overlaps


class Witness:
    """A detector and what it saw in the source. May be asked from several threads; the detector is asked one frame at a
    time. `detect` returns only boxes that count."""

    def __init__(self, detect: Detect, source: Sequence[Frame]) -> None:
        self._detect, self._lock = detect, Lock()
        self._seen = [tuple(detect(frame)) for frame in source]

    def compare(self, decoded: Frame) -> Agreement:
        """One decoded frame with its source, which is found by index."""
        with self._lock:
            found = self._detect(decoded)
        seen = self._seen[decoded.index]
        return Agreement(len(seen), len(found), same_objects(seen, found))


def total(parts: Sequence[Agreement]) -> Agreement:
    """Of several frames."""
    return Agreement(sum(p.source for p in parts), sum(p.decoded for p in parts), sum(p.same for p in parts))


def bytes_for(curve: Sequence[tuple[int, float]], f1: float) -> float:
    """The fewest bytes at which a curve of (bytes, F1) rises through `f1`, NaN where it does not: log-linear between
    points."""
    ordered = sorted(curve)
    for (low, below), (high, above) in pairwise(ordered):
        if below < f1 <= above:
            share = (f1 - below) / (above - below)
            return math.exp(math.log(low) + share * (math.log(high) - math.log(low)))
    return math.nan


def f1_at(curve: Sequence[tuple[int, float]], nbytes: float) -> float:
    """F1 where a curve of (bytes, F1) has `nbytes`, NaN outside it."""
    ordered = sorted(curve)
    if not ordered or not ordered[0][0] <= nbytes <= ordered[-1][0]:
        return math.nan
    return float(np.interp(math.log(nbytes), [math.log(size) for size, _ in ordered], [f1 for _, f1 in ordered]))
