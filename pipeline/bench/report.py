"""Results as one HTML page that needs nothing else: styles and pictures are inside, light and dark."""

from __future__ import annotations

import base64
import html
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence

import cv2

from pipeline.bench.agreement import GOOD_F1, IOU, MIN_BOXES
from pipeline.bench.bdrate import BACKGROUND_DB, MIN_OVERLAP_DB, MIN_POINTS, BdRate, Mean
from pipeline.bench.exhibits import Exhibit, Show
from pipeline.bench.plots import bits_png, curves_png
from pipeline.bench.results import ClipResult, Results, versions
from pipeline.types import Plane

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2026; --soft: #5d6672; --paper: #ffffff; --line: #e1e5ea;
  --good: #1a7f45; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #d7dce2; --soft: #98a2ae; --paper: #16191d; --line: #30363d;
  --good: #57c785; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 72rem; padding: 2rem 1.25rem 4rem; background: var(--paper); color: var(--ink);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 .25rem; } h2 { font-size: 1.2rem; margin: 2.75rem 0 .25rem; }
h3 { font-size: 1rem; margin: 1.75rem 0 .5rem; }
p { margin: .25rem 0; max-width: 60rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th { font-weight: 600; color: var(--soft); } th:first-child, td:first-child { text-align: left; }
td.why { text-align: left; white-space: normal; color: var(--soft); }
.good { color: var(--good); } .bad { color: var(--bad); }
img { max-width: 100%; height: auto; display: block; }
.crops { display: grid; grid-template-columns: repeat(auto-fit, minmax(12rem, 1fr)); gap: .75rem; }
figure { margin: 0; } figure img { width: 100%; border-radius: 4px; }
figcaption { font-size: .85rem; color: var(--soft); }
figcaption b { color: var(--ink); display: block; }
details { margin: .75rem 0; } summary { cursor: pointer; color: var(--soft); }
"""


def page(results: Results, shows: Mapping[str, Show]) -> str:
    """The whole page. `shows` by clip; a clip without one has no crops and no bits over time."""
    body = [
        "<h1>Fovea: rate and distortion</h1>",
        f'<p class="soft">{_measured_with()}</p>',
        *(f'<p class="bad">{_text(name)} was not measured: {_text(why)}.</p>' for name, why in results.unavailable),
        "<h2>BD-rate</h2>",
        f"<p>{_rules()}</p>",
        _means(results),
        *(_clip(clip, shows.get(clip.name)) for clip in results.clips),
    ]
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Fovea: rate and distortion</title><style>{_STYLE}</style>"
    )
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n' + "\n".join(body) + "\n</body></html>\n"


def _measured_with() -> str:
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items())
    return _text(f"{libraries}; {os.cpu_count()} cores, {platform.machine()}")


def _rules() -> str:
    return (
        "How many percent more bytes Fovea needs at equal quality; negative is fewer. PSNR is in 8-bit 4:2:0, YUV "
        "6:1:1; <b>weighted</b> is 0.8 of the foreground’s squared error and 0.2 of the background’s. A point of "
        f"Fovea counts only while its background is at most {BACKGROUND_DB:g} dB below the opponent’s at equal "
        "foreground; the number in brackets leaves that rule out. Curves are interpolated (PCHIP) and never continued: "
        f"there is no number below {MIN_OVERLAP_DB:g} dB of overlap or {MIN_POINTS} points. Each opponent has the best "
        "of its curves at every quality (GOP as ours and 10 s, three offsets where it is told the regions)."
    )


def _means(results: Results) -> str:
    rows = []
    for name in results.opponents:
        weighted, foreground = (mean for mean in results.means if mean.opponent == name)
        told = f"{weighted.counted} of {weighted.clips}", f"{foreground.counted} of {foreground.clips}"
        rows.append([_text(name), _percents(weighted), told[0], _percents(foreground), told[1]])
    return "<h3>Mean over clips</h3>" + _table(["opponent", "weighted", "clips", "foreground", "clips"], rows)


def _clip(clip: ClipResult, show: Show | None) -> str:
    facts = (
        f"{clip.width}x{clip.height}, {clip.frames} frames at {clip.fps:.4g} a second from frame {clip.skip}"
        f"{', at half size' if clip.halve else ''}; regions: {clip.detector}, "
        f"{clip.foreground_share:.0%} of the picture"
    )
    parts = [f'<h2>{_text(clip.name)}</h2><p class="soft">{_text(facts)}</p>']
    parts += [_themed(lambda dark: curves_png(clip, dark=dark), f"{clip.name}: curves"), _rates(clip)]
    if clip.source_boxes is not None:
        parts.append(_detections(clip))
    if show is not None:
        parts.append(_crops(show))
        parts.append("<h3>Bits over time</h3>")
        parts.append(_themed(lambda dark: bits_png(show.exhibits, clip.fps, dark=dark), f"{clip.name}: bits over time"))
    parts.append(_points(clip))
    return "\n".join(parts)


def _rates(clip: ClipResult) -> str:
    rows = []
    for name in dict.fromkeys(rate.opponent for rate in clip.bd_rates):
        weighted, foreground = clip.rates(name)
        rows.append(
            [_text(name), _percents(weighted), _percents(foreground), f"{weighted.counted} of {weighted.points}",
             _overlap(weighted), _overlap(foreground), _text(_reasons(weighted, foreground))]
        )  # fmt: skip
    heads = ["opponent", "weighted", "foreground", "points", "overlap, weighted", "overlap, foreground", ""]
    return _table(heads, rows, last="why")


def _reasons(weighted: BdRate, foreground: BdRate) -> str:
    return "; ".join(dict.fromkeys(rate.reason for rate in (weighted, foreground) if rate.reason))


def _overlap(rate: BdRate) -> str:
    return f"{rate.overlap_db:.1f} dB ({rate.overlap_share:.0%})"


def _percents(rate: BdRate | Mean) -> str:
    free = "none" if rate.any_background is None else f"{rate.any_background:+.1f} %"
    if rate.percent is None:
        return f'none <span class="soft">({free})</span>'
    look = "good" if rate.percent < 0 else "bad"
    return f'<b class="{look}">{rate.percent:+.1f} %</b> <span class="soft">({free})</span>'


def _detections(clip: ClipResult) -> str:
    words = f"{clip.source_boxes} boxes in the source, IoU {IOU:g}, same class."
    if not clip.detections:
        return f"<h3>Detection agreement</h3><p>{words} {MIN_BOXES} are needed for a comparison.</p>"
    rows = []
    for row in clip.detections:
        where = "beyond its curve" if row.nbytes is None else f"{row.nbytes}"
        ours = "" if row.nbytes is None else "beyond its curve" if row.f1 is None else f"{row.f1:.3f}"
        rows.append([_text(row.opponent), where, ours])
    heads = ["opponent", f"its bytes at F1 {GOOD_F1:.2f}", "Fovea’s F1 there"]
    return f"<h3>Detection agreement</h3><p>{words}</p>" + _table(heads, rows)


def _crops(show: Show) -> str:
    w = show.window
    figures = [_figure(show.source, "source", f"frame {w.frame}, {w.x1 - w.x0}x{w.y1 - w.y0} at {w.x0},{w.y0}")]
    figures += [_figure(exhibit.crop, exhibit.point.codec, _caption(exhibit)) for exhibit in show.exhibits]
    return '<h3>At about equal bytes</h3><div class="crops">' + "".join(figures) + "</div>"


def _caption(exhibit: Exhibit) -> str:
    point = exhibit.point
    return (
        f"{point.nbytes} bytes (setting {point.setting:g}), foreground {point.foreground_psnr:.2f} dB, "
        f"weighted {point.weighted_psnr:.2f} dB"
    )


def _figure(picture: Plane, title: str, caption: str) -> str:
    larger = cv2.resize(picture, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC)
    png = bytes(cv2.imencode(".png", cv2.cvtColor(larger, cv2.COLOR_RGB2BGR))[1])
    words = f"<b>{_text(title)}</b>{_text(caption)}"
    return f'<figure><img src="{_inline(png)}" alt="{_text(title)}"><figcaption>{words}</figcaption></figure>'


def _points(clip: ClipResult) -> str:
    heads = ["codec", "setting", "GOP", "offset", "bytes", "bit/pixel", "kbit/s", "weighted", "foreground",
             "background", "RGB", "MS-SSIM"]  # fmt: skip
    agreed = any(point.agreement for point in clip.points)
    rows = []
    for p in clip.points:
        row = [_text(p.codec), f"{p.setting:g}", f"{p.gop}", f"{p.offset:g}" if p.offset else "", f"{p.nbytes}",
               f"{p.bits_per_pixel:.4f}", f"{p.kbps:.1f}", f"{p.weighted_psnr:.2f}", f"{p.foreground_psnr:.2f}",
               f"{p.background_psnr:.2f}", f"{p.rgb_psnr:.2f}", f"{p.ms_ssim:.4f}"]  # fmt: skip
        if p.agreement:
            row += [f"{score:.3f}" for score in (p.agreement.precision, p.agreement.recall, p.agreement.f1)]
        rows.append(row)
    table = _table(heads + ["precision", "recall", "F1"] * agreed, rows)
    return f"<details><summary>All {len(clip.points)} points</summary>{table}</details>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], *, last: str = "") -> str:
    head = "".join(f"<th>{text}</th>" for text in heads)
    lines = []
    for row in rows:
        looks = [""] * (len(row) - 1) + [f' class="{last}"' if last else ""]
        lines.append(
            "<tr>" + "".join(f"<td{look}>{cell}</td>" for look, cell in zip(looks, row, strict=True)) + "</tr>"
        )
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table></div>'


def _themed(draw: Callable[[bool], bytes], alt: str) -> str:
    dark = f'<source media="(prefers-color-scheme: dark)" srcset="{_inline(draw(True))}">'
    return f'<picture>{dark}<img src="{_inline(draw(False))}" alt="{_text(alt)}"></picture>'


def _inline(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode("ascii")


def _text(text: str) -> str:
    return html.escape(text)
