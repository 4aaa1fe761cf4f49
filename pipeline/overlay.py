"""What is written over exported pictures: the time, boxes, and that nothing was recorded. Knows OpenCV and types."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime

import cv2
import numpy as np

from pipeline.types import Detection, Frame, Plane

_WHITE, _BLACK = 235, 16  # of limited range; close enough in full
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def draw(frame: Frame, *, texts: Iterable[str] = (), boxes: Iterable[Detection] = (), dim: bool = False) -> Frame:
    """A copy with lines of text at the top left and boxes with their classes, in white; `dim` darkens the picture.
    Only the luma is drawn on."""
    y: Plane = (frame.y // 3 + 10).astype(np.uint8) if dim else frame.y.copy()
    scale = max(0.4, frame.height / 720)
    thickness = max(1, round(2 * scale))
    for box in boxes:
        corners = (round(box.x0), round(box.y0)), (round(box.x1) - 1, round(box.y1) - 1)
        cv2.rectangle(y, *corners, _BLACK, thickness + 2)
        cv2.rectangle(y, *corners, _WHITE, thickness)
        above = (corners[0][0], max(round(16 * scale), corners[0][1] - round(6 * scale)))
        _write(y, f"{box.label} {box.score:.2f}", above, scale * 0.6, thickness)
    for line, text in enumerate(texts):
        _write(y, text, (round(10 * scale), round(32 * scale * (line + 1))), scale, thickness)
    return replace(frame, y=y)


def clock_text(wall_us: int) -> str:
    """Time as it is burned in: UTC, to the millisecond."""
    return datetime.fromtimestamp(wall_us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + " UTC"


def _write(y: Plane, text: str, at: tuple[int, int], scale: float, thickness: int) -> None:
    cv2.putText(y, text, at, _FONT, scale, _BLACK, thickness + 2, cv2.LINE_AA)
    cv2.putText(y, text, at, _FONT, scale, _WHITE, thickness, cv2.LINE_AA)
