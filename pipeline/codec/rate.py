"""Rate control: the quality of the next frame, from what the last ones cost."""

from __future__ import annotations

import math

from pipeline.types import Packet

_WINDOW_S = 4.0  # the buffer: how much may be borrowed from the future


class RateControl:
    """Constant quality, or with a bit rate: a leaky bucket whose fill moves the quality by fractions of a step a frame.

    `ceiling` is the quality (0..63) that is never exceeded, so that quiet scenes stay below the target.
    """

    def __init__(self, ceiling: int, bitrate_bps: int | None) -> None:
        self._ceiling, self._bitrate = ceiling, bitrate_bps
        self._quality = float(ceiling)
        self._fill_bits = 0.0
        self._last_us: int | None = None

    def quality(self, pts_us: int) -> int:
        """The quality for the frame at `pts_us`."""
        if self._bitrate is None:
            return self._ceiling
        elapsed_s = 0.0 if self._last_us is None else (pts_us - self._last_us) / 1e6
        self._last_us = pts_us
        size = self._bitrate * _WINDOW_S
        self._fill_bits = max(-0.25 * size, self._fill_bits - self._bitrate * elapsed_s)
        # Bits halve about every nine steps; correct half of the overdraft within a window.
        pressure = self._fill_bits / size
        self._quality -= 9.0 * math.copysign(min(1.0, abs(pressure)), pressure) * elapsed_s
        self._quality = min(float(self._ceiling), max(0.0, self._quality))
        return round(self._quality)

    def spent(self, packet: Packet) -> None:
        """Account for a coded frame. A plate is paid off over its whole segment, so it is not charged at once."""
        self._fill_bits += 8 * (packet.nbytes - 0.9 * len(packet.plate))
