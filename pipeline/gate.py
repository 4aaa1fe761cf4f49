"""Whether a picture differs from the one that the detector saw last: if not, what was found there still holds.

Judged on reduced luma and against the camera's own noise. Knows no detector, no tracks and no codec.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.types import Frame

_SIDE = 320  # longer side in pixels of what is compared: half of what YOLO sees
_SIGMAS = 7.0  # of noise, whose largest in a minute of pictures is about 6
_LEAST = 3.0  # grey levels; under it lie the steps of a coded source
_MOST_NOISE = 8.0  # standard deviation of a difference: more is a scene that moves everywhere
_MEAN = 0.798  # of a normal distribution's absolute values, in standard deviations
_QUIET = 4.0  # times the median: what is beyond moves

Reduced = npt.NDArray[np.float32]


class ChangeGate:
    """One camera's. Compared is with the picture that the detector saw, not with the last one, so what moves slowly
    adds up; noise is learned from one picture to the next, so that it does not."""

    def __init__(self) -> None:
        self._now: Reduced | None = None
        self._seen: Reduced | None = None
        self._noise = 0.0

    def differs(self, frame: Frame) -> bool:
        """Whether anything has changed since `detected`. Call it once a frame, in order."""
        before, self._now = self._now, _reduced(frame)
        if before is None or before.shape != self._now.shape:
            self._seen = None
        else:
            self._learn(cv2.absdiff(before, self._now)[::2, ::2])
        if self._seen is None:
            return True
        peak = float(cv2.absdiff(self._seen, self._now).max())
        return peak > max(_LEAST, _SIGMAS * self._noise)

    def detected(self) -> None:
        """The detector is given the frame of the last call."""
        self._seen = self._now

    def _learn(self, difference: Reduced) -> None:
        quiet = difference[difference <= _QUIET * np.median(difference)]
        noise = float(quiet.mean()) / _MEAN
        if noise > 0:  # a source that repeats pictures has no noise between them
            known = self._noise or noise
            self._noise = min(_MOST_NOISE, 0.9 * known + 0.1 * noise)


def _reduced(frame: Frame) -> Reduced:
    scale = min(1.0, _SIDE / max(frame.width, frame.height))
    size = (max(1, round(frame.width * scale)), max(1, round(frame.height * scale)))
    small = cv2.resize(frame.y, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    found: Reduced = cv2.blur(small, (3, 3))
    return found
