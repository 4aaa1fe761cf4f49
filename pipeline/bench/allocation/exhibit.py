"""The comparison in words and as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pipeline.bench.allocation.coding import Point
from pipeline.bench.allocation.run import Comparison
from pipeline.bench.allocation.surface import LEVEL_DB, Saving, Surface
from pipeline.bench.allocation.variants import ANCHOR, EXPLICIT, IMPLICIT, TOLD, VARIANTS
from pipeline.bench.plots import drawn

_SHOWN_OUTSIDE = 1 / 3  # the table has one background weight; the JSON has all
_HUES = ("#2a7fd4", "#2a9d57", "#e08a1e", "#8d99ae")  # implicit, explicit, both, blind
_MARKS = "osD^vPX*<>hpd"
_TICKS_BPP = (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5)


def as_text(made: Comparison) -> list[list[str]]:
    """Rows to align: the savings, then bits and PSNRs at one background weight."""
    against = {each.name: each for each in made.savings if each.anchor == ANCHOR}
    rows = [[f"bits against {ANCHOR}", "", "95 % of photos", "background", "loss", "CPU s"]]
    for name, each in made.measured.items():
        columns = _said(against[name]) if name in against else ["", "", ""]
        rows.append([name, *columns, f"{each.loss:.1f}", f"{each.cpu_s:.0f}"])
    rows += [[f"{each.name} against {each.anchor}", *_said(each), "", ""] for each in made.savings[len(against) :]]
    rows += [[""] * 6, ["", "q", "bpp", "region dB", "background dB", "importance outside"]]
    for name, each in made.measured.items():
        for point in nearest(each.points, _SHOWN_OUTSIDE):
            mean = point.mean()
            psnrs = [f"{mean[key]:.2f}" for key in ("inside_psnr", "outside_psnr", "outside")]
            rows.append([name, str(point.q), f"{mean['bpp']:.3f}", *psnrs])
    return rows


def nearest(points: Sequence[Point], outside: float) -> list[Point]:
    """Those with the background weight nearest to `outside`."""
    weight = min((point.outside for point in points), key=lambda value: abs(value - outside))
    return [point for point in points if point.outside == weight]


def _said(saving: Saving) -> list[str]:
    """Percent, interval, and the range of background PSNR that they are of."""
    if saving.percent is None:
        return ["none", "", "the surfaces do not meet"]
    interval = "" if saving.low is None else f"{saving.low:+.1f} .. {saving.high:+.1f} %"
    return [f"{saving.percent:+.1f} %", interval, f"{saving.level_low:.1f} .. {saving.level_high:.1f} dB"]


def picture(made: Comparison) -> bytes:
    """A PNG: rate over the region's PSNR at one background PSNR, and the savings with their intervals."""
    return drawn(lambda axes: _draw(made, axes), dark=False, columns=2)


def _draw(made: Comparison, axes: Sequence[Any]) -> None:
    _draw_lines(made, axes[0])
    _draw_savings([each for each in made.savings if each.anchor == ANCHOR and each.percent is not None], axes[1])


def _draw_lines(made: Comparison, axes: Any) -> None:
    from matplotlib.ticker import NullLocator

    level = common_level(made.savings)
    if level is None:
        axes.set_title("no two surfaces meet")
        return
    for name, each in made.measured.items():
        line = Surface(each.points, np.arange(len(made.photos))).lines(np.array([level]))[0]
        if line is None:
            continue
        inside, rate = line[0], np.exp(line[1])
        axes.plot(rate, inside, color=_hue(name))
        axes.plot(rate[-1:], inside[-1:], _mark(name), color=_hue(name), label=name)  # tells lines of one hue apart
    axes.set(xscale="log", xlabel="bits a pixel", ylabel="PSNR of the region, dB", title=f"background {level:.2f} dB")
    low, high = axes.get_xlim()
    ticks = [tick for tick in _TICKS_BPP if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.legend(fontsize=7, ncols=2, loc="upper left")


def _draw_savings(savings: Sequence[Saving], axes: Any) -> None:
    for place, each in enumerate(savings):
        if each.low is not None:
            axes.plot((each.low, each.high), (place, place), color=_hue(each.name), linewidth=2)
        axes.plot(each.percent, place, _mark(each.name), color=_hue(each.name))
    axes.axvline(0, color="#888888", linewidth=0.8)
    axes.set_yticks(range(len(savings)), [each.name for each in savings])
    axes.invert_yaxis()
    axes.set(xlabel="%", title=f"bits against {ANCHOR} at equal PSNR inside and outside")


def common_level(savings: Sequence[Saving]) -> float | None:
    """A background PSNR in the middle of what was compared; None when nothing was."""
    middles = [
        (each.level_low + each.level_high) / 2
        for each in savings
        if each.level_low is not None and each.level_high is not None
    ]
    return round(float(np.median(middles)) / LEVEL_DB) * LEVEL_DB if middles else None


def _hue(name: str) -> str:
    variant = VARIANTS[name]
    if variant.blind:
        return _HUES[3]
    implicit = name in IMPLICIT + TOLD or not variant.dual
    return _HUES[0 if implicit else 1 if name in EXPLICIT else 2]


def _mark(name: str) -> str:
    return _MARKS[list(VARIANTS).index(name) % len(_MARKS)]
