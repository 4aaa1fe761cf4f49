"""`fovea bench`: the codec beside its opponents, on one's own clips."""

from __future__ import annotations

import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import Json, Value, build, choice, emit, say
from pipeline.errors import SourceError, UsageError

if TYPE_CHECKING:
    from pipeline.bench.rd import Point

DETECTORS = ("auto", "yolo", "motion", "none")


def register(app: typer.Typer) -> None:
    bench = typer.Typer(help="Measure the codec beside x264, x265, SVT-AV1 and JPEG.")
    bench.callback()(lambda: None)  # with one command only, typer would make it the group itself
    bench.command("rd")(rd)
    app.add_typer(bench, name="bench")


def rd(
    clip: Annotated[str, typer.Argument(metavar="IN", help="A video file or URL.")],
    frames: Annotated[int, typer.Option(min=2, help="How many; they are held in memory.")] = 150,
    halve: Annotated[bool, typer.Option("--halve", help="At half size: source artefacts average out.")] = False,
    detector: Annotated[str, typer.Option(help="What makes the regions that all codecs share.")] = "auto",
    weights: Annotated[str, typer.Option(help="For yolo.")] = "yolo11n.pt",
    boxes: Annotated[Path | None, typer.Option(help="JSON lines with boxes, in place of a detector.")] = None,
    quality: Annotated[list[float] | None, typer.Option(help="Of Fovea; may be given several times.")] = None,
    opponent: Annotated[list[str] | None, typer.Option(help="May be given several times.")] = None,
    at: Annotated[float | None, typer.Option(help="Foreground PSNR in dB at which bytes are compared.")] = None,
    as_json: Json = False,
) -> int:
    """Rate-distortion points of Fovea and its opponents: same frames, same regions, one run."""
    from pipeline.bench import rd as measure
    from pipeline.bench.opponents import OPPONENTS
    from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
    from pipeline.source import open_source
    from pipeline.track import RoiStage

    names = opponent or ["mjpeg", "x264-zerolatency"]
    for name in names:
        choice(name, tuple(OPPONENTS), "--opponent")
    choice(detector, DETECTORS, "--detector")
    kind = "boxes" if boxes else detector
    roi = RoiStage(build(DetectorConfig, kind=kind, weights=weights, boxes=boxes, every=1), MaskConfig())
    say(str(roi))
    with open_source(build(SourceConfig, url=clip, frames=frames, halve=halve)) as source:
        fps = source.fps or 25.0
        masked = roi.process(source)
    if not masked:
        raise SourceError(f"{clip}: no frames")
    qualities = quality or [30.0, 45.0, 60.0, 75.0]
    points = measure.curves(masked, names=names, qualities=qualities, fps=fps, report=say)
    compared = _compared(points, names, at)
    listed: list[Value] = [dict(asdict(point)) for point in points]
    emit({"points": listed, "at": compared}, as_json=as_json, text=_text(compared))
    return 0


def _compared(points: list[Point], names: list[str], at: float | None) -> dict[str, Value]:
    """Bytes of every codec at equal quality: at the asked foreground PSNR, else at each of Fovea's weighted PSNRs."""
    from pipeline.bench.rd import bytes_at

    own = [p for p in points if p.codec == "fovea"]
    if at is not None:
        places = [(f"foreground {at:g} dB", at, "foreground_psnr")]
    else:
        places = [(f"weighted {p.weighted_psnr:.2f} dB", p.weighted_psnr, "weighted_psnr") for p in own]
    table: dict[str, Value] = {}
    for label, psnr, measure in places:
        row: dict[str, Value] = {}
        for name in ("fovea", *names):
            found = bytes_at((p for p in points if p.codec == name), psnr, measure=measure)
            row[name] = None if math.isnan(found) else round(found)
        table[label] = row
    if not table:
        raise UsageError("nothing to compare")
    return table


def _text(compared: dict[str, Value]) -> str:
    lines = []
    for label, row in compared.items():
        if isinstance(row, dict):
            own = row["fovea"]
            others = ", ".join(f"{name} {_times(own, row[name])}" for name in row if name != "fovea")
            lines.append(f"{label}: fovea {own if own is not None else 'beyond its curve'} bytes; {others}")
    return "\n".join(lines)


def _times(own: Value, other: Value) -> str:
    if not isinstance(own, int) or not isinstance(other, int):
        return "beyond its curve"
    return f"{other} ({own / other:.2f})"
