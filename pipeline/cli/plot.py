"""Pictures of a stream's bits. The one user of matplotlib, which ultralytics brings along."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.bitstream import StreamReport


def plot_stream(report: StreamReport, out: Path) -> None:
    """Bytes a frame, stacked by layer, over time; a logarithmic plate would dwarf the rest, so plates are marks."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    seconds = [frame.pts_us / 1e6 for frame in report.frames]
    foreground = [frame.foreground for frame in report.frames]
    background = [frame.background for frame in report.frames]
    figure, axes = pyplot.subplots(figsize=(10, 4), layout="constrained")
    axes.stackplot(seconds, foreground, background, labels=("foreground", "background"), colors=("#c0392b", "#7f8c8d"))
    for place, frame in enumerate(frame for frame in report.frames if frame.plate):
        label = f"plate ({report.plates} bytes in all)" if place == 0 else None
        axes.axvline(frame.pts_us / 1e6, color="#2c3e50", linestyle=":", label=label)
    axes.set(xlabel="seconds", ylabel="bytes a frame", title=f"{report.width}x{report.height}, {report.bytes} bytes")
    axes.margins(x=0)
    axes.legend(loc="upper right")
    figure.savefig(out, dpi=120)
    pyplot.close(figure)
