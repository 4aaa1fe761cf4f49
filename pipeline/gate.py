"""Whether a picture differs from the one that the detector saw last: if not, what was found there still holds.

Judged on reduced luma and, place by place, against how much the picture flickers there: noise, leaves, the steps of a
coded source. Knows no detector, no tracks and no codec.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.types import Frame

_SIDE = 160  # longer side in pixels of what is compared: four of YOLO's are one
_FLICKERS = 5.0  # times the mean difference from one picture to the next is a change
_LEAST, _MOST = 4.0, 12.0  # grey levels: less never is, more always is
_CLIP = 4.0  # what passes by is not to count as flicker
_RATE = 1 / 32  # of a picture, in the mean

Reduced = npt.NDArray[np.float32]


class ChangeGate:
    """One camera's. Compared is with the picture that the detector saw, not with the last one, so what moves slowly
    adds up; flicker is learned from one picture to the next, so that it does not."""

    def __init__(self) -> None:
        self._now: Reduced | None = None
        self._seen: Reduced | None = None
        self._flicker: Reduced | None = None

    def differs(self, frame: Frame) -> bool:
        """Whether anything has changed since `detected`. Call it once a frame, in order."""
        before, self._now = self._now, _reduced(frame)
        if before is None or before.shape != self._now.shape:
            self._seen = self._flicker = None
        else:
            self._learn(np.minimum(cv2.absdiff(before, self._now), _CLIP))
        if self._seen is None or self._flicker is None:
            return True
        threshold = np.clip(_FLICKERS * self._flicker, _LEAST, _MOST)
        return bool((cv2.absdiff(self._seen, self._now) > threshold).any())

    def detected(self) -> None:
        """The detector is given the frame of the last call."""
        self._seen = self._now

    def _learn(self, difference: Reduced) -> None:
        if self._flicker is None:
            self._flicker = difference
        elif difference.any():  # a source that repeats pictures has no flicker between them
            self._flicker = self._flicker + _RATE * (difference - self._flicker)


def _reduced(frame: Frame) -> Reduced:
    scale = min(1.0, _SIDE / max(frame.width, frame.height))
    size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    small = cv2.resize(frame.y, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    found: Reduced = cv2.blur(small, (3, 3))
    return found
