"""Rate control: the quality of the next frame, from what the last ones cost, and how much its background counts."""

from __future__ import annotations

import math

from pipeline.types import Packet

_HALVING, _PLATE_HALVING = 10.0, 14.0  # quality steps that halve the bits of a frame and of a plate
_MEMORY_S = 8.0  # of what frames between key frames cost: longer than a GOP, or quality would pump with it
_LATELY_S, _DEARER = 2.0, 3.0  # but never thought dearer than so many times what they cost lately: mud ends soon
_KEY_TO_OTHERS = 8.0  # what a key frame costs more, until both are known
_BUFFER_S = 12.0  # the most that is owed or saved, in seconds of the target, and how long either lasts
_LEAST_AIM = 0.5  # of what a frame may cost, however much is owed: nothing starves
_PLATE_SHARE = 0.5  # of its segment's budget, the most that a plate may take
_GAP_S = 2.0  # a longer silence was not recorded and earns nothing
_LEAST_ROOM = 0.2  # of the target, left to frames however dear their plate was
_CALM = 0.9  # quality steps: less is no reason to change the quality
_RISE, _FALL = 6.0, 20.0  # quality steps a second, the fastest; a fall by one in a frame is always allowed
_GAIN = 0.02  # of importance, for each decibel and measurement


class Loan:
    """Bits of a picture that the frames after it live on, paid back evenly over `term_s` seconds."""

    def __init__(self, term_s: float) -> None:
        self._term_s = term_s
        self._left_bits = self.rate_bps = 0.0

    def take(self, bits: float) -> None:
        """What is left of an earlier loan joins it."""
        self._left_bits += bits
        self.rate_bps = self._left_bits / self._term_s

    def pay(self, elapsed_s: float) -> float:
        """Bits due in this time."""
        paid = min(self._left_bits, self.rate_bps * elapsed_s)
        self._left_bits -= paid
        if not self._left_bits:
            self.rate_bps = 0.0
        return paid


class MovingAverage:
    """How much a second, on average over about the last `memory_s` seconds; at first over all that there were."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._sum = self._time_s = 0.0

    def add(self, amount: float) -> None:
        self._sum += amount

    def wait(self, elapsed_s: float) -> None:
        keep = math.exp(-elapsed_s / self._memory_s)
        self._sum, self._time_s = keep * self._sum, keep * self._time_s + elapsed_s

    @property
    def value(self) -> float:
        """Needs that some time has passed."""
        return self._sum / self._time_s


class RateControl:
    """Constant quality, or with a bit rate: the quality at which frames like the last ones would cost what the target
    leaves them. A frame's bits are modelled as c 2^(q/10), with one c for key frames and one for those between. What
    was spent against the target, plates and key frames as loans over their segment and GOP, moves the rate that is
    aimed at, so that errors of the model are paid back. As in x264's average bit rate mode, with a bounded buffer.

    `ceiling` is the quality (0..63) that is never exceeded, so that quiet scenes stay below the target. `gop_s` and
    `segment_s`: seconds from key frame to key frame, from plate to plate.
    """

    def __init__(self, ceiling: int, bitrate_bps: int | None, *, gop_s: float, segment_s: float) -> None:
        self._ceiling, self._bitrate = ceiling, bitrate_bps
        self._gop_s, self._segment_s = gop_s, segment_s
        self._quality, self._level = ceiling, float(ceiling)
        self._plate, self._key = Loan(segment_s), Loan(gop_s)
        self._debt_bits = 0.0  # without what is left of loans; negative is credit
        self._last_us: int | None = None
        self._interval_s = 0.0  # of the last two frames
        self._key_cost = 0.0  # of frames at quality 0, in bits
        self._costs = MovingAverage(_MEMORY_S), MovingAverage(_LATELY_S)  # of those between key frames

    def quality(self, pts_us: int) -> int:
        """The quality for the frame at `pts_us`."""
        elapsed_s = 0.0 if self._last_us is None else (pts_us - self._last_us) / 1e6
        self._last_us = pts_us
        if self._bitrate is None or elapsed_s <= 0:
            return self._quality
        if elapsed_s > max(_GAP_S, 4 * self._interval_s):
            elapsed_s = self._interval_s or _GAP_S
        self._interval_s = elapsed_s
        for average in self._costs:
            average.wait(elapsed_s)
        due = self._plate.pay(elapsed_s) + self._key.pay(elapsed_s)
        limit = _BUFFER_S * self._bitrate
        self._debt_bits = min(limit, max(-limit, self._debt_bits + due - self._bitrate * elapsed_s))
        wanted = _HALVING * math.log2(self._aim_bps(self._bitrate) / self._cost_bps())
        lowest, highest = self._level - max(1.0, _FALL * elapsed_s), self._level + _RISE * elapsed_s
        self._level = min(max(wanted, lowest, 0.0), highest, float(self._ceiling))
        if abs(self._level - self._quality) > _CALM:
            self._quality = round(self._level)
        return self._quality

    def plate_quality(self, quality: int, nbytes: int) -> int:
        """The quality at which a plate that took `nbytes` at this one is affordable; this one if it is."""
        if self._bitrate is None:
            return quality
        over = 8 * nbytes / (_PLATE_SHARE * self._bitrate * self._segment_s)
        return quality if over <= 1 else max(0, math.floor(quality - _PLATE_HALVING * math.log2(over)))

    def spent(self, packet: Packet) -> None:
        """Account for a coded frame."""
        bits = 8 * (packet.nbytes - len(packet.plate))
        cost = bits * 2 ** (-self._quality / _HALVING)
        if packet.plate:
            self._plate.take(8 * len(packet.plate))
        if packet.key:
            self._key.take(bits)
            first = not self._key_cost
            self._key_cost = cost if first else (self._key_cost + cost) / 2
            cost = cost / _KEY_TO_OTHERS if first else 0.0
        else:
            self._debt_bits += bits
        for average in self._costs:
            average.add(cost)

    def _aim_bps(self, target_bps: int) -> float:
        """What frames may cost now."""
        room = max(_LEAST_ROOM * target_bps, target_bps - self._plate.rate_bps)
        return max(_LEAST_AIM * room, room - self._debt_bits / _BUFFER_S)

    def _cost_bps(self) -> float:
        """What frames would cost at quality 0."""
        others, lately = (average.value for average in self._costs)
        return max(1.0, self._key_cost / self._gop_s + min(others, _DEARER * lately))


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
