"""What a codec saves: Bjontegaard's rate difference (VCEG-M33) between curves of log-rate over PSNR.

Curves are piecewise cubic (PCHIP, Fritsch and Butland 1984) through their points and end with them; nothing is said
where two curves do not overlap. An opponent with several curves (GOPs, offsets) is as good as the best of them at each
quality. A point of ours counts only while its background is at most BACKGROUND_DB below the opponent's at equal
foreground, for a foreground alone can be won by throwing the background away.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import numpy.typing as npt

from pipeline.bench.rd import Point

BACKGROUND_DB = 3.0
MIN_OVERLAP_DB = 1.0
MIN_POINTS = 3
MEASURES = ("weighted_psnr", "foreground_psnr")  # the headline first

_SAMPLES = 1000

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Curve:
    """A smooth function through points (`x` strictly increasing), NaN outside them. It rises where they rise."""

    x: Array
    y: Array
    slopes: Array

    @classmethod
    def through(cls, pairs: Iterable[tuple[float, float]]) -> Curve:
        """Of several points at one x, the lowest. Raises ValueError without points."""
        lowest = {x: y for x, y in sorted(pairs, reverse=True)}
        if not lowest:
            raise ValueError("a curve needs a point")
        x, y = (np.array(column) for column in zip(*sorted(lowest.items()), strict=True))
        return cls(x, y, _slopes(x, y))

    def __call__(self, at: Array) -> Array:
        if len(self.x) == 1:
            return np.where(at == self.x[0], self.y[0], np.nan)
        k = np.clip(np.searchsorted(self.x, at, side="right") - 1, 0, len(self.x) - 2)
        width = self.x[k + 1] - self.x[k]
        t = (at - self.x[k]) / width
        value = (
            (1 + 2 * t) * (1 - t) ** 2 * self.y[k]
            + t**2 * (3 - 2 * t) * self.y[k + 1]
            + width * t * (1 - t) * ((1 - t) * self.slopes[k] - t * self.slopes[k + 1])
        )
        return np.where((at >= self.x[0]) & (at <= self.x[-1]), value, np.nan)


def _slopes(x: Array, y: Array) -> Array:
    """At each point: the weighted harmonic mean of the chords beside it, 0 where they disagree in sign."""
    if len(x) < 3:
        return np.full(len(x), (y[-1] - y[0]) / (x[-1] - x[0]) if len(x) == 2 else 0.0)
    h = np.diff(x)
    chord = np.diff(y) / h
    left, right = 2 * h[1:] + h[:-1], h[1:] + 2 * h[:-1]
    agree = chord[:-1] * chord[1:] > 0
    before, after = (np.where(agree, part, 1.0) for part in (chord[:-1], chord[1:]))
    inner = np.where(agree, (left + right) / (left / before + right / after), 0.0)
    ends = _end_slope(h[0], h[1], chord[0], chord[1]), _end_slope(h[-1], h[-2], chord[-1], chord[-2])
    return np.concatenate((ends[:1], inner, ends[1:]))


def _end_slope(h0: float, h1: float, chord0: float, chord1: float) -> float:
    """Three-point formula, held back so that the curve does not overshoot."""
    slope = ((2 * h0 + h1) * chord0 - h0 * chord1) / (h0 + h1)
    if slope * chord0 <= 0:
        return 0.0
    if chord0 * chord1 < 0 and abs(slope) > 3 * abs(chord0):
        return 3 * chord0
    return slope


class Envelope:
    """The curves of one codec, and at each quality the best of them."""

    def __init__(self, points: Iterable[Point], measure: str) -> None:
        ordered = sorted(points, key=_variant)
        self._points = [list(group) for _, group in groupby(ordered, key=_variant)]
        self._curves = [Curve.through((getattr(p, measure), math.log(p.nbytes)) for p in g) for g in self._points]
        self._measure = measure

    def log_bytes(self, at: Array) -> Array:
        """ln(bytes) at a measure, NaN where no curve reaches."""
        least: Array = np.fmin.reduce([self._bound(curve, at) for curve in self._curves])
        return least

    def _bound(self, curve: Curve, at: Array) -> Array:
        """One curve's bytes for at least this quality: where another reaches lower, its lowest point still serves."""
        lowest = min(float(each.x[0]) for each in self._curves)
        return np.where(at >= lowest, curve(np.maximum(at, curve.x[0])), np.nan)

    def nbytes(self, at: float) -> float:
        """Bytes at a measure, NaN where no curve reaches."""
        return math.exp(float(self.log_bytes(np.array([at]))[0]))

    def other(self, at: float, measure: str) -> float:
        """Another measure of this codec at `at`, on the curve that is best there; NaN where none reaches."""
        found = [float(self._bound(curve, np.array([at]))[0]) for curve in self._curves]
        known = [(value, number) for number, value in enumerate(found) if not math.isnan(value)]
        if not known:
            return math.nan
        best = min(known)[1]
        curve = Curve.through((getattr(p, self._measure), getattr(p, measure)) for p in self._points[best])
        return float(curve(np.array([max(at, float(curve.x[0]))]))[0])


def _variant(point: Point) -> tuple[int, float]:
    return point.gop, point.offset


@dataclass(frozen=True, slots=True)
class BdRate:
    """How many percent more bytes ours needs than the opponent at equal `measure`; negative is fewer. None where there
    is no telling, and `reason` says why. `any_background` is the same without the background rule.

    `overlap_db` is how much of the opponent's range of quality ours shares, counting points only; `overlap_share` is
    that in parts of the range of all of our points.
    """

    opponent: str
    measure: str
    percent: float | None
    any_background: float | None
    counted: int
    points: int
    overlap_db: float
    overlap_share: float
    reason: str = ""


def bd_rate(own: Sequence[Point], others: Sequence[Point], measure: str) -> BdRate:
    """Compare two codecs on one clip. Raises ValueError where one has no points."""
    if not own or not others:
        raise ValueError(f"{len(own)} points of ours and {len(others)} of theirs: both are needed")
    counting = [point for point in own if background_holds(point, others)]
    percent, overlap_db, reason = _saving(counting, others, measure)
    if reason and len(counting) < len(own):
        reason = f"the background rule leaves {len(counting)} of {len(own)} points"
    values = [getattr(point, measure) for point in own]
    spread = max(values) - min(values)
    return BdRate(
        opponent=others[0].codec,
        measure=measure,
        percent=percent,
        any_background=_saving(own, others, measure)[0],
        counted=len(counting),
        points=len(own),
        overlap_db=overlap_db,
        overlap_share=overlap_db / spread if spread > 0 else 0.0,
        reason=reason,
    )


def background_holds(point: Point, others: Sequence[Point]) -> bool:
    """Whether a point's background is good enough beside theirs at equal foreground. It is not where they have no such
    foreground, and always where the clip has no foreground at all."""
    if math.isnan(point.foreground_psnr) or math.isnan(point.background_psnr):
        return True
    theirs = Envelope(others, "foreground_psnr").other(point.foreground_psnr, "background_psnr")
    return point.background_psnr >= theirs - BACKGROUND_DB


def _saving(own: Sequence[Point], others: Sequence[Point], measure: str) -> tuple[float | None, float, str]:
    """Percent or None, overlap in dB, and why None."""
    if math.isnan(getattr(others[0], measure)):
        return None, 0.0, "the clip has no foreground"
    if len(own) < MIN_POINTS:
        return None, 0.0, f"{len(own)} points, {MIN_POINTS} are needed"
    ours = Curve.through((getattr(p, measure), math.log(p.nbytes)) for p in own)
    low, high = float(ours.x[0]), float(ours.x[-1])
    at = low + (np.arange(_SAMPLES) + 0.5) * (high - low) / _SAMPLES
    difference = ours(at) - Envelope(others, measure).log_bytes(at)
    shared = difference[~np.isnan(difference)]
    overlap = (high - low) * len(shared) / _SAMPLES
    if overlap < MIN_OVERLAP_DB:
        return None, overlap, f"the curves share {overlap:.1f} dB, {MIN_OVERLAP_DB:g} are needed"
    return 100 * math.expm1(float(shared.mean())), overlap, ""


@dataclass(frozen=True, slots=True)
class Mean:
    """Of the clips that have a number, beside how many there are."""

    opponent: str
    measure: str
    percent: float | None
    any_background: float | None
    counted: int
    clips: int


def mean_over_clips(rates: Sequence[BdRate]) -> list[Mean]:
    """A row for each opponent and measure, in the order of their first appearance."""
    rows = []
    for opponent, measure in dict.fromkeys((rate.opponent, rate.measure) for rate in rates):
        same = [rate for rate in rates if (rate.opponent, rate.measure) == (opponent, measure)]
        ruled = [rate.percent for rate in same if rate.percent is not None]
        free = [rate.any_background for rate in same if rate.any_background is not None]
        rows.append(Mean(opponent, measure, _mean(ruled), _mean(free), len(ruled), len(same)))
    return rows


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
