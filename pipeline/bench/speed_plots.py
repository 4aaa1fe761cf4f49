"""Speed as pictures: the chain's stages as stacked bars, and cost against activity with its straight line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pipeline.bench.plots import drawn
from pipeline.bench.speed import Activity

_THIN = 0.04  # of the whole: thinner slices have no number


def stages_png(bars: Mapping[str, Mapping[str, float]], *, opponents: Mapping[str, Mapping[str, float]]) -> bytes:
    """`bars`: a picture size -> a stage of the chain -> CPU seconds a frame; `opponents`: the same size -> a codec ->
    CPU seconds a frame of its encoding. On the right the same as shares."""
    return drawn(lambda axes: _stages(bars, opponents, axes), dark=False, columns=2)


def activity_png(lines: Mapping[str, Activity]) -> bytes:
    """A picture size -> CPU time at active shares; on the right the share of the time at full activity."""
    return drawn(lambda axes: _activity(lines, axes), dark=False, columns=2)


def _stages(bars: Mapping[str, Mapping[str, float]], opponents: Mapping[str, Mapping[str, float]], axes: Any) -> None:
    from matplotlib import colormaps

    names = list(next(iter(bars.values())))
    places = np.arange(len(bars))
    whole = np.array([sum(stages.values()) for stages in bars.values()])
    for place, scale in zip(axes, (np.full(len(bars), 1000.0), 100 / whole), strict=True):
        below = np.zeros(len(bars))
        for number, name in enumerate(names):
            values = np.array([stages[name] for stages in bars.values()])
            color = colormaps["tab20"](number / 20)
            place.bar(places, values * scale, bottom=below, width=0.6, label=name, color=color)
            for at, value, bottom in zip(places, values, below, strict=True):
                if place is axes[1] and value > _THIN * whole[at]:
                    middle = bottom + value * scale[at] / 2
                    place.text(at, middle, f"{100 * value / whole[at]:.0f}", ha="center", va="center", fontsize=7)
            below = below + values * scale
        place.set_xticks(places, list(bars))
    marks = ("_", "x", "+", "1", "2", "3")
    for number, codec in enumerate(dict.fromkeys(name for found in opponents.values() for name in found)):
        known = [
            (at, 1000 * opponents[size][codec]) for at, size in enumerate(bars) if codec in opponents.get(size, {})
        ]
        x, y = zip(*known, strict=True)
        axes[0].scatter(np.array(x) + 0.38, y, marker=marks[number % len(marks)], color="black", s=40, label=codec)
    axes[0].set(ylabel="CPU ms a frame", title="the chain by stage, one thread; marks: encoding alone")
    axes[1].set(ylabel="%", title="the same as shares")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right center", fontsize=8)


def _activity(lines: Mapping[str, Activity], axes: Sequence[Any]) -> None:
    for number, (size, line) in enumerate(lines.items()):
        x, y = (np.array(values) for values in zip(*line.points, strict=True))
        full = line.constant + line.slope
        for place, scale in ((axes[0], 1000.0), (axes[1], 100 / full)):
            place.scatter(100 * x, y * scale, color=f"C{number}", s=18)
            ends = np.array([0.0, 1.0])
            label = f"{size}: {1000 * line.constant:.0f} + {1000 * line.slope:.0f} x share, R² {line.r_squared:.3f}"
            place.plot(100 * ends, (line.constant + line.slope * ends) * scale, color=f"C{number}", label=label)
    axes[0].set(xlabel="active share of the picture, %", ylabel="CPU ms a frame", title="encoding against activity")
    axes[1].set(xlabel="active share of the picture, %", ylabel="% of a whole active picture", title="the same, scaled")
    for place in axes:
        place.set_ylim(0, None)
        place.set_xlim(0, 100)
    axes[0].legend(fontsize=8)
