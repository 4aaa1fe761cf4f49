"""BD-rate on the region's PSNR at matched background PSNR.

A variant is measured on a grid of qualities and background weights. At each quality in between (PCHIP along quality)
rate and the region's PSNR are functions of the background's PSNR (PCHIP along the weights). Read at one background PSNR
that is a line of rate over the region's PSNR; two variants' lines give a BD-rate over the range that both reach. The
mean over all background levels counts. Nothing is extrapolated: where two surfaces do not meet, nothing is said.

A blind variant has one background weight only, so a curve in place of a surface: a point at each background level.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.bench.allocation.coding import Point
from pipeline.bench.bdrate import Curve

LEVEL_DB = 0.25  # between background levels
MIN_OVERLAP_DB = 0.5  # of the region's PSNR, at a level that counts
MIN_LEVELS = 4
RESAMPLES = 100  # of the photos, for the interval
_SAMPLES = 32  # of a line

Array = npt.NDArray[np.float64]
Chosen = npt.NDArray[np.int64]
Line = tuple[Array, Array]  # the region's PSNR, rising, and ln(rate)


class Surface:
    """Means over the photos `chosen` (n,), repeats allowed. Raises ValueError for less than two qualities."""

    def __init__(self, points: Sequence[Point], chosen: Chosen) -> None:
        weights = sorted({point.outside for point in points})
        q = sorted({point.q for point in points})
        if len(q) < 2:
            raise ValueError(f"{len(q)} qualities, at least 2 are needed")
        means = {(point.outside, point.q): _means(point, chosen) for point in points}
        dense = np.arange(q[0], q[-1] + 1.0)
        rate, inside, outside = (  # (weights, dense qualities) each
            np.stack([Curve.through((float(k), means[w, k][part]) for k in q)(dense) for w in weights])
            for part in range(3)
        )
        # Curves over the background's PSNR: of a blind variant one, along quality; else one a quality, along weights.
        self._blind = len(weights) == 1
        rows = zip(*(grid if self._blind else grid.T for grid in (outside, inside, rate)), strict=True)
        self._curves = [(_curve(b, f), _curve(b, r)) for b, f, r in rows]
        self._low, self._high = float(outside.min()), float(outside.max())

    @property
    def levels(self) -> Array:
        """The background PSNRs that are reached, as multiples of LEVEL_DB."""
        return np.arange(math.ceil(self._low / LEVEL_DB), math.floor(self._high / LEVEL_DB) + 1) * LEVEL_DB

    def lines(self, levels: Array) -> list[Line | None]:
        """What is reached at each background level; one point where the variant is blind, None where nothing is."""
        inside, rate = (np.stack([pair[part](levels) for pair in self._curves], axis=1) for part in range(2))
        return [_line(*found) for found in zip(inside, rate, strict=True)]

    @property
    def least_overlap_db(self) -> float:
        """What lines must share with others to count."""
        return 0.0 if self._blind else MIN_OVERLAP_DB


def _curve(x: Array, y: Array) -> Curve:
    return Curve.through(zip(x.tolist(), y.tolist(), strict=True))


def _means(point: Point, chosen: Chosen) -> tuple[float, float, float]:
    values = np.array((point.bpp, point.inside_psnr, point.outside_psnr))
    bpp, inside, outside = values[:, chosen].mean(1).tolist()
    return math.log(bpp), inside, outside


def _line(inside: Array, rate: Array) -> Line | None:
    known = ~np.isnan(inside)
    if not known.any():
        return None
    order = np.argsort(inside[known])
    return inside[known][order], rate[known][order]


@dataclass(frozen=True, slots=True)
class Saving:
    """How many percent more bits `name` needs than `anchor` at equal PSNR inside and outside; negative is fewer. `low`
    and `high`: the middle 95 % over resampled photos. None where there is no telling.

    `levels` background levels counted, between `level_low` and `level_high` dB.
    """

    name: str
    anchor: str
    percent: float | None
    low: float | None
    high: float | None
    levels: int
    level_low: float | None
    level_high: float | None


def saving(name: str, points: Sequence[Point], anchor: str, others: Sequence[Point], *, resamples: int) -> Saving:
    """Compare two variants measured on the same photos."""
    photos = len(points[0].bpp)
    every = np.arange(photos)
    differences = _differences(Surface(points, every), Surface(others, every))
    if len(differences) < MIN_LEVELS:
        return Saving(name, anchor, None, None, None, len(differences), None, None)
    rng = np.random.default_rng(1)
    found = []
    for _ in range(resamples):
        chosen = rng.integers(0, photos, photos)
        resampled = _differences(Surface(points, chosen), Surface(others, chosen))
        if len(resampled) >= MIN_LEVELS:
            found.append(_percent(resampled))
    low, high = np.percentile(found, (2.5, 97.5)).tolist() if found else (None, None)
    counted = len(differences), min(differences), max(differences)
    return Saving(name, anchor, _percent(differences), low, high, *counted)


def _percent(differences: dict[float, float]) -> float:
    return 100 * math.expm1(sum(differences.values()) / len(differences))


def _differences(own: Surface, other: Surface) -> dict[float, float]:
    """Background level -> mean difference of ln(rate) there, where both say something."""
    levels = other.levels
    least = min(own.least_overlap_db, other.least_overlap_db)
    found = {}
    for level, ours, theirs in zip(levels.tolist(), own.lines(levels), other.lines(levels), strict=True):
        if ours is None or theirs is None:
            continue
        low, high = max(ours[0][0], theirs[0][0]), min(ours[0][-1], theirs[0][-1])
        if high - low >= least:
            at = np.linspace(low, high, _SAMPLES)
            found[level] = float((np.interp(at, *ours) - np.interp(at, *theirs)).mean())
    return found
