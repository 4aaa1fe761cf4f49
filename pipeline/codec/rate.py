"""Rate control: the quality of the next frame, from what the last ones cost."""

from __future__ import annotations

from pipeline.types import Packet

_WINDOW_S = 4.0  # the buffer: how much may be borrowed from the future
# Bits halve about every nine steps. The slow part corrects half of an overdraft within a window; alone it would swing
# for ever about its target, so the overdraft also acts at once.
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
