"""Results as pictures, each a PNG in memory, for paper or for a dark screen. Uses matplotlib, which ultralytics brings
along."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pipeline.bench.bdrate import Envelope
from pipeline.bench.exhibits import Exhibit
from pipeline.bench.rd import Point
from pipeline.bench.results import ClipResult

_TITLES = {"weighted_psnr": "weighted PSNR", "foreground_psnr": "foreground PSNR"}
_MARGIN_DB = 2.0  # shown beyond our range of quality

# A hue a family, a dash a manner.
_HUES = {"fovea": "#d62839", "x264": "#2a7fd4", "x265": "#2a9d57", "svt": "#e08a1e", "mjpeg": "#888888"}
_DASHES = {"zl": "--", "roi": "-.", "frozen": ":"}
_LAYERS = {"foreground": "#d62839", "background": "#8d99ae"}

_PAPER = {"figure.facecolor": "#ffffff", "axes.facecolor": "#ffffff"}
_INK = "#d7dce2"
_DARK = {"figure.facecolor": "#16191d", "axes.facecolor": "#16191d", "legend.facecolor": "#16191d"} | dict.fromkeys(
    ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "axes.titlecolor"), _INK
)


def curves_png(clip: ClipResult, *, dark: bool = False) -> bytes:
    """Rate on a logarithmic axis against weighted and foreground PSNR: ours, and the best of each opponent's curves."""
    return drawn(lambda axes: _curves(clip, axes), dark=dark, columns=2)


def bits_png(exhibits: Sequence[Exhibit], fps: float, *, dark: bool = False) -> bytes:
    """Bytes a frame by layer of the first exhibit, which is ours, and everybody's bytes so far."""
    return drawn(lambda axes: _bits(exhibits, fps, axes), dark=dark, columns=2)


def drawn(draw: Callable[[Sequence[Any]], None], *, dark: bool, columns: int) -> bytes:
    """A PNG of what `draw` puts on `columns` axes side by side."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    style: Any = {"axes.grid": True, "grid.alpha": 0.25, "font.size": 9} | (_DARK if dark else _PAPER)
    with pyplot.rc_context(style):
        figure, axes = pyplot.subplots(1, columns, figsize=(11, 4.2), layout="constrained")
        draw(axes)
        file = io.BytesIO()
        figure.savefig(file, dpi=110, metadata={"Software": None})
        pyplot.close(figure)
    return file.getvalue()


def _curves(clip: ClipResult, axes: Sequence[Any]) -> None:
    from matplotlib.ticker import LogLocator, NullLocator

    own = clip.of("fovea")
    names = list(dict.fromkeys(point.codec for point in clip.points))
    for place, (measure, title) in zip(axes, _TITLES.items(), strict=True):
        values = [getattr(point, measure) for point in own]
        if np.isnan(values).any():
            place.set_title(f"{title}: the clip has no foreground")
            continue
        low, high = min(values) - _MARGIN_DB, max(values) + _MARGIN_DB
        for name in names:
            if _near(own, clip.of(name)):
                _curve(place, clip.of(name), measure, clip.frames / clip.fps, (low, high))
        place.set(xscale="log", xlabel="kbit/s", ylabel="dB", title=title, ylim=(low, high))
        place.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        place.xaxis.set_minor_locator(NullLocator())
        place.xaxis.set_major_formatter("{x:g}")
    axes[0].figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=6, fontsize=8)


def _near(own: Sequence[Point], points: Sequence[Point]) -> bool:
    """Whether a curve can share an axis with ours: JPEG needs twenty times the bytes."""
    return min(p.nbytes for p in points) < 4 * max(p.nbytes for p in own)


def _curve(place: Any, points: Sequence[Point], measure: str, seconds: float, shown: tuple[float, float]) -> None:
    name = points[0].codec
    at = np.linspace(*shown, 400)
    rate = np.exp(Envelope(points, measure).log_bytes(at)) * 8 / seconds / 1000
    ours = name == "fovea"
    look = {"color": _hue(name), "linestyle": _dash(name), "linewidth": 2.4 if ours else 1.3}
    place.plot(rate, at, label=name, zorder=3 if ours else 2, **look)
    inside = [p for p in points if shown[0] <= getattr(p, measure) <= shown[1]]
    place.scatter(
        [p.kbps for p in inside],
        [getattr(p, measure) for p in inside],
        s=22 if ours else 6,
        color=_hue(name),
        alpha=1.0 if ours else 0.5,
        zorder=3,
    )


def _bits(exhibits: Sequence[Exhibit], fps: float, axes: Sequence[Any]) -> None:
    ours = exhibits[0]
    seconds = np.arange(len(next(iter(ours.layers.values())))) / fps
    shown = [name for name in _LAYERS if name in ours.layers]
    axes[0].stackplot(
        seconds, *(ours.layers[name] for name in shown), labels=shown, colors=[_LAYERS[name] for name in shown]
    )
    # A plate would dwarf the rest, so plates are marks.
    for number, (second, size) in enumerate((s, b) for s, b in zip(seconds, ours.layers["plate"], strict=True) if b):
        axes[0].axvline(
            second, color=_LAYERS["background"], linestyle=":", label=None if number else f"plate ({size} B)"
        )
    axes[0].set(xlabel="seconds", ylabel="bytes a frame", title=f"{ours.point.codec}: bytes a frame by layer")
    for exhibit in exhibits:
        sums = np.cumsum(np.sum(list(exhibit.layers.values()), axis=0)) / 1024
        name = exhibit.point.codec
        axes[1].plot(seconds, sums, label=name, color=_hue(name), linestyle=_dash(name))
    axes[1].set(xlabel="seconds", ylabel="KiB", title="KiB so far", ylim=(0, None))
    for place in axes:
        place.margins(x=0)
        place.legend(fontsize=8)


def _hue(name: str) -> str:
    return _HUES[name.split("-")[0]]


def _dash(name: str) -> str:
    parts = name.split("-")
    if "veryfast" in parts:
        return ":"
    return next((dash for part, dash in _DASHES.items() if part in parts), "-")
