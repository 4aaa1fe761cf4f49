"""`fovea bench rd` without the command line: a clip to its result, and results to a directory."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.address import parse_address
from pipeline.bench import fovea, rd
from pipeline.bench.agreement import Witness
from pipeline.bench.clip import Clip, cut
from pipeline.bench.exhibits import Show, make_show
from pipeline.bench.plots import bits_png, curves_png
from pipeline.bench.regions import Regions, put_on, regions_of, save_regions
from pipeline.bench.report import page
from pipeline.bench.results import ClipResult, Results, clip_result, known_points, to_json
from pipeline.codec.effort import BEST
from pipeline.codec.encoder import MINI_GOP
from pipeline.config import DetectorConfig, MaskConfig, SourceConfig
from pipeline.detect import make_detector
from pipeline.errors import SourceError, UsageError
from pipeline.source import open_source
from pipeline.track import RoiStage
from pipeline.types import Detection, Frame

POINTS, REGIONS, REPORT = "points.json", "regions.npz", "report.html"
_UNKNOWN_FPS = 25.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is done with every clip. `detector` makes regions where none are given; `gop_s` and `mini_gop` are Fovea's,
    `effort` one of EFFORTS; `opponents` are names in OPPONENTS, with their own GOPs; `witness` is the detector for
    agreement, `jobs` the curves of opponents that are measured at a time."""

    detector: DetectorConfig
    qualities: tuple[float, ...]
    opponents: tuple[str, ...]
    gop_s: float = fovea.GOP_S
    effort: str = BEST.name
    mini_gop: int = MINI_GOP
    frames: int = 150
    skip: int = 0
    halve: bool = False
    witness: DetectorConfig | None = None
    jobs: int = 1


def measure_clips(
    urls: Sequence[str],
    plan: Plan,
    *,
    given: Mapping[str, Regions] | None = None,
    unavailable: tuple[tuple[str, str], ...] = (),
    out: Path | None = None,
    resume: bool = False,
    report: rd.Report = lambda _: None,
) -> Results:
    """Every clip in turn. With `out` everything is written there, points and regions after each clip; with `resume`
    opponents' points that lie there already are kept."""
    clips: list[ClipResult] = []
    shows: dict[str, Show] = {}
    regions: list[Regions] = []
    earlier = _read(out / POINTS) if out and resume else ""
    for url in urls:
        clip, found = load_clip(url, plan, given)
        report(f"{clip.name}: {len(clip)} frames of {clip.width}x{clip.height}, regions: {clip.detector}")
        clips.append(measure_clip(clip, plan, earlier=earlier, report=report))
        regions.append(found)
        if out is not None:
            write_points(out, Results(tuple(clips), unavailable))
            write_regions(out, regions)
            shows[clip.name] = make_show(clip, clips[-1].points)
    results = Results(tuple(clips), unavailable)
    if out is not None:
        write_report(out, results, shows)
    return results


def clip_name(url: str) -> str:
    """Without folder and ending, fit for a file's name."""
    address = parse_address(url)
    name = Path(address.name).stem if address.kind == "file" else address.name.rpartition("/")[2]
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", name).strip("_.") or "clip"


def load_clip(url: str, plan: Plan, given: Mapping[str, Regions] | None = None) -> tuple[Clip, Regions]:
    """Read a clip and find its regions, or take them from those that are `given` by clip name. Raises UsageError where
    none are given for it, or for other frames."""
    name = clip_name(url)
    if given is not None and name not in given:
        raise UsageError(f"no regions for {name}; there are some for {', '.join(given) or 'nothing'}")
    with open_source(SourceConfig(url=url, frames=plan.skip + plan.frames, halve=plan.halve)) as source:
        frames = cut(source, skip=plan.skip, count=plan.frames)
        fps, matrix, full_range = source.fps or _UNKNOWN_FPS, source.matrix, source.full_range
    if not frames:
        raise SourceError(f"{name}: no frames after the first {plan.skip}")
    if given is not None:
        regions = given[name]
    else:
        stage = RoiStage(plan.detector, MaskConfig())
        regions = regions_of(name, stage.describe, stage.process(frames))
    return Clip(name, put_on(regions, frames), fps, regions.detector, matrix, full_range), regions


def measure_clip(clip: Clip, plan: Plan, *, earlier: str = "", report: rd.Report = lambda _: None) -> ClipResult:
    """Every point of a clip. Opponents' points for the very same input are taken from `earlier`, the text of a
    points.json."""
    witness = _witness(plan.witness, clip) if plan.witness else None
    known = known_points(earlier, clip) if earlier else []
    if witness is not None:
        known = [point for point in known if point.agreement]
    if known:
        report(f"{clip.name}: {len(known)} points of opponents are known from an earlier run")
    own = rd.measure_fovea(
        clip, plan.qualities, gop_s=plan.gop_s, effort=plan.effort, mini_gop=plan.mini_gop, witness=witness,
        report=report,
    )  # fmt: skip
    others = rd.measure_opponents(
        clip, plan.opponents, own=own, known=known, witness=witness, jobs=plan.jobs, report=report
    )
    return clip_result(
        clip, [*own, *others], skip=plan.skip, halve=plan.halve, effort=plan.effort, mini_gop=plan.mini_gop
    )


def _witness(config: DetectorConfig, clip: Clip) -> Witness:
    detector = make_detector(config)

    def detect(frame: Frame) -> list[Detection]:
        return [box for box in detector.detect([frame])[0] if box.score >= config.confidence]

    return Witness(detect, [item.frame for item in clip.masked])


def write_points(out: Path, measured: Results) -> None:
    """points.json, after every clip, so that what was measured survives."""
    _put(out / POINTS, json.dumps(to_json(measured), indent=1).encode())


def write_regions(out: Path, regions: Sequence[Regions]) -> None:
    part = out / f".{REGIONS}.part"
    save_regions(part, regions)
    os.replace(part, out / REGIONS)


def write_report(out: Path, measured: Results, shows: Mapping[str, Show]) -> None:
    """Plots and the page."""
    for clip in measured.clips:
        _put(out / f"{clip.name}-curves.png", curves_png(clip))
        if clip.name in shows:
            _put(out / f"{clip.name}-bits.png", bits_png(shows[clip.name].exhibits, clip.fps))
    _put(out / REPORT, page(measured, shows).encode())


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


def _put(path: Path, content: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_bytes(content)
    os.replace(part, path)
