"""Rate control: the quality of the next frame, from what the last ones cost, and how much its background counts."""

from __future__ import annotations

import math

from pipeline.types import Packet

_WINDOW_S = 4.0  # the buffer: how much may be borrowed from the future
# Bits halve about every nine steps. The slow part corrects half of an overdraft within a window; alone it would swing
# for ever about its target, so the overdraft also acts at once.
_GAIN = 0.02  # of importance, for each decibel and measurement
_SLOW, _FAST = 9.0, 30.0  # quality steps for a full window of overdraft: a second, and immediately


class RateControl:
    """Constant quality, or with a bit rate: a leaky bucket whose fill moves the quality. Debts of more than a window
    are forgiven: a sudden scene must not be paid for with a minute of mud.

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
        self._fill_bits = min(size, max(-0.25 * size, self._fill_bits - self._bitrate * elapsed_s))
        pressure = self._fill_bits / size
        self._quality = min(float(self._ceiling), max(0.0, self._quality - _SLOW * pressure * elapsed_s))
        return round(min(float(self._ceiling), max(0.0, self._quality - _FAST * pressure)))

    def spent(self, packet: Packet) -> None:
        """Account for a coded frame. A plate is paid off over its whole segment, so it is not charged at once."""
        self._fill_bits += 8 * (packet.nbytes - 0.9 * len(packet.plate))


class BackgroundBalance:
    """Keeps the background's error within `slack_db` of the foreground's, by how much it counts. Where nothing changes
    the background is the plate, better than that, and costs nothing; where much does, it gets what it needs and no
    more.

    `importance`: what the encoder is told of background cells, 0..1.
    """

    def __init__(self, slack_db: float) -> None:
        self._slack_db = slack_db
        self._foreground: float | None = None
        self.importance = 0.7

    def seen(self, foreground: float | None, background: float | None) -> None:
        """Mean squared errors of a coded frame; None where it has none of that."""
        if foreground is not None:
            old = foreground if self._foreground is None else self._foreground
            self._foreground = 0.9 * old + 0.1 * foreground
        if background is not None and self._foreground is not None:
            gap_db = 10 * math.log10(max(background, 0.1) / max(self._foreground, 0.1))
            self.importance = min(1.0, max(0.5, self.importance + _GAIN * (gap_db - self._slack_db)))
