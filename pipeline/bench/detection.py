"""`fovea bench detector`: what is lost where YOLO does not see every frame, and what that saves.

YOLO's boxes on every frame are the truth; the same boxes stand in for YOLO in each manner of asking it more seldom, so
a clip costs one pass of the network. CPU time a frame is that of one detection times how many there were, and of the
rest as measured.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.bench.agreement import Agreement, same_objects, total
from pipeline.bench.run import clip_name
from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
from pipeline.detect import Detector, make_detector
from pipeline.mask import paint_importance
from pipeline.source import open_source
from pipeline.track import RoiStage
from pipeline.types import Detection, Frame, Masked

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Manner:
    """How often the detector is asked. `cells`: of those that YOLO's boxes on each frame touch, the share that the mask
    holds, weighed by the frame's boxes; `agreement`: tracks against YOLO's boxes of the same frame."""

    name: str
    every: int
    gate: bool
    frames: int
    detected: int
    agreement: Agreement
    cells: float
    cpu_seconds: float

    @property
    def share(self) -> float:
        return self.detected / self.frames


@dataclass(frozen=True, slots=True)
class Watched:
    """A clip. `cpu_seconds` of one detection."""

    clip: str
    width: int
    height: int
    fps: float
    frames: int
    boxes: int
    cpu_seconds: float
    manners: tuple[Manner, ...]


class _Recorded:
    """What a detector found, again."""

    gated = True

    def __init__(self, describe: str, found: Sequence[list[Detection]]) -> None:
        self.describe = describe
        self._found = found

    def detect(self, frames: Sequence[Frame]) -> list[list[Detection]]:
        return [list(self._found[frame.index]) for frame in frames]


def watch(
    url: str, config: DetectorConfig, *, frames: int, fps: float | None, report: Report = lambda _: None
) -> Watched:
    """Measure a clip, at most so many frames of it and at most `fps` a second. `config.every` is one of the manners."""
    with open_source(SourceConfig(url=url, frames=frames, fps=fps)) as source:
        pictures, rate = list(source), source.fps
    detector = make_detector(config)
    began = time.process_time()
    found = detector.detect(pictures)
    each = (time.process_time() - began) / len(pictures)
    sure = [[box for box in boxes if box.score >= config.confidence] for boxes in found]
    recorded, manners = _Recorded(detector.describe, found), []
    for every, gate in dict.fromkeys(((1, False), (config.every, False), (1, True), (config.every, True))):
        asked = config.model_copy(update={"every": every, "gate": gate})
        manners.append(_ask(asked, recorded, pictures, sure, each))
        report(f"{clip_name(url)}: {as_line(manners[-1])}")
    height, width = pictures[0].height, pictures[0].width
    boxes = sum(len(some) for some in sure)
    return Watched(clip_name(url), width, height, rate, len(pictures), boxes, each, tuple(manners))


def _ask(
    config: DetectorConfig, detector: Detector, frames: Sequence[Frame], truth: Sequence[list[Detection]], each: float
) -> Manner:
    stage = RoiStage(config, MaskConfig(), detector=detector)
    began = time.process_time()
    masked = stage.process(frames)
    spent = time.process_time() - began + each * stage.detected
    parts = [
        Agreement(len(boxes), len(item.detections), same_objects(boxes, item.detections))
        for boxes, item in zip(truth, masked, strict=True)
    ]
    name = f"every {config.every}" + (", where something changed" if config.gate else "")
    held = _held(masked, truth, config)
    count = len(frames)
    return Manner(name, config.every, config.gate, count, stage.detected, total(parts), held, spent / count)


def _held(masked: Iterable[Masked], truth: Iterable[list[Detection]], config: DetectorConfig) -> float:
    held = wanted = 0
    for item, boxes in zip(masked, truth, strict=True):
        cells = paint_importance(item.frame.height, item.frame.width, boxes, classes=config.classes) > 0
        wanted += int(cells.sum())
        held += int(np.count_nonzero(cells & item.mask.cells))
    return held / wanted if wanted else math.nan


def together(clips: Sequence[Watched]) -> tuple[Manner, ...]:
    """All clips' frames as one, manner by manner; masks weighed by boxes."""
    found = []
    for same in zip(*(clip.manners for clip in clips), strict=True):
        frames = sum(m.frames for m in same)
        weighed = [(m.cells, m.agreement.source) for m in same if m.agreement.source]
        boxes = sum(count for _, count in weighed)
        found.append(
            replace(
                same[0],
                frames=frames,
                detected=sum(m.detected for m in same),
                agreement=total([m.agreement for m in same]),
                cells=sum(cells * count for cells, count in weighed) / boxes if boxes else math.nan,
                cpu_seconds=sum(m.cpu_seconds * m.frames for m in same) / frames,
            )
        )
    return tuple(found)


def as_line(manner: Manner) -> str:
    return (
        f"{manner.name}: {manner.share:.0%} of frames detected, {1000 * manner.cpu_seconds:.1f} ms of CPU a frame, "
        f"recall {manner.agreement.recall:.3f}, precision {manner.agreement.precision:.3f}, cells {manner.cells:.3f}"
    )


def as_rows(name: str, manners: Sequence[Manner]) -> list[list[str]]:
    """Rows of a table, a title first."""
    rows = [[name, "detected", "CPU ms", "recall", "precision", "cells held"]]
    for m in manners:
        agreed = m.agreement
        shares = [f"{value:.3f}" for value in (agreed.recall, agreed.precision, m.cells)]
        rows.append([f"  {m.name}", f"{m.share:.0%}", f"{1000 * m.cpu_seconds:.1f}", *shares])
    return rows
