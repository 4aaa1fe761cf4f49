"""`fovea bench`: the codec beside its opponents on one's own clips, and ways to allocate bits beside each other."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.fleet import fleet
from pipeline.cli.output import DEVICES, Json, Threads, Value, aligned, build, choice, emit, listed, say
from pipeline.cli.speed import ALL, DETECTORS, opponents_asked, speed
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.bench.allocation.training import Plan
    from pipeline.bench.bdrate import BdRate, Mean
    from pipeline.bench.results import ClipResult, Results

QUALITIES = "30,45,60,75"
PHOTO_QUALITIES = "15,30,45,60,75,90"
MINUTES = "Stop after this long, with --train-only; without --steps, as many for each as fit."
OPPONENTS = "x264-veryfast-zl,x265-medium,svt-av1-8"


def register(app: typer.Typer) -> None:
    bench = typer.Typer(help="Measure the codec beside x264, x265, SVT-AV1 and JPEG, and what its parts are worth.")
    bench.command("rd")(rd)
    bench.command("allocation")(allocation)
    bench.command("photos")(photos)
    bench.command("speed")(speed)
    bench.command("fleet")(fleet)
    bench.command("detector")(detector)
    app.add_typer(bench, name="bench")


def rd(
    clips: Annotated[list[str], typer.Argument(metavar="IN...", help="Video files or URLs.")],
    out: Annotated[
        Path | None, typer.Option(help="A directory for points.json, regions.npz, plots and report.html.")
    ] = None,
    frames: Annotated[int, typer.Option(min=2, help="Of each clip; they are held in memory.")] = 150,
    skip: Annotated[int, typer.Option(min=0, help="Frames to leave out at the start of each.")] = 0,
    halve: Annotated[bool, typer.Option("--halve", help="At half size: source artefacts average out.")] = False,
    detector: Annotated[str, typer.Option(help="What makes the regions that all codecs share.")] = "auto",
    weights: Annotated[str, typer.Option(help="For yolo and --agreement.")] = "yolo11n.pt",
    boxes: Annotated[Path | None, typer.Option(help="JSON lines with boxes, in place of a detector.")] = None,
    regions: Annotated[Path | None, typer.Option(help="An earlier run's regions.npz, in place of a detector.")] = None,
    quality: Annotated[list[str] | None, typer.Option(help="Of Fovea; with commas or several times.")] = None,
    gop: Annotated[
        float, typer.Option(min=0.1, help="Seconds of Fovea's GOP; opponents have the best of 2 and 10.")
    ] = 10.0,
    effort: Annotated[str, typer.Option(help="Of Fovea: best, balanced or fast.")] = "best",
    mini_gop: Annotated[int, typer.Option(min=1, max=16, help="Of Fovea; 1: no B-frames.")] = 16,
    opponents: Annotated[
        list[str] | None, typer.Option(help=f"With commas or several times, or {ALL}. Unless told: {OPPONENTS}.")
    ] = None,
    agreement: Annotated[bool, typer.Option("--agreement", help="Ask YOLO what it sees in decoded frames.")] = False,
    at: Annotated[float | None, typer.Option(help="List bytes at this foreground PSNR (dB) too.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Keep opponents' points that --out has already.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Curves of opponents measured at a time.")] = 1,
    as_json: Json = False,
) -> int:
    """Rate-distortion curves of Fovea and its opponents, and what they save: same frames, same regions, one run."""
    from pipeline.bench import run
    from pipeline.bench.regions import load_regions
    from pipeline.bench.results import to_json
    from pipeline.config import DetectorConfig
    from pipeline.pace import LEVELS

    if len({run.clip_name(url) for url in clips}) < len(clips):
        raise UsageError("two clips have the same name")
    if resume and out is None:
        raise UsageError("--resume needs --out")
    names, unavailable = opponents_asked(listed(opponents, OPPONENTS))
    kind = "boxes" if boxes else choice(detector, DETECTORS, "--detector")
    plan = run.Plan(
        detector=build(DetectorConfig, kind=kind, weights=weights, boxes=boxes, every=1, gate=False),
        qualities=tuple(_quality(text) for text in listed(quality, QUALITIES)),
        gop_s=gop,
        effort=choice(effort, LEVELS, "--effort"),
        mini_gop=mini_gop,
        opponents=names,
        frames=frames,
        skip=skip,
        halve=halve,
        witness=build(DetectorConfig, kind="yolo", weights=weights) if agreement else None,
        jobs=jobs,
    )
    given = load_regions(regions) if regions else None
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
    for name, why in unavailable:
        say(f"{name} is not measured: {why}")
    results = run.measure_clips(clips, plan, given=given, unavailable=unavailable, out=out, resume=resume, report=say)
    emit(to_json(results), as_json=as_json, text=_text(results, at))
    return 0


def allocation(
    images: Annotated[Path, typer.Option(help="A folder of photos to train on.")],
    out: Annotated[Path, typer.Option(help="A directory for results; a run found there goes on.")],
    coco: Annotated[
        Path | None, typer.Option(help="Photos to measure on, with COCO's instances.json beside them.")
    ] = None,
    train_only: Annotated[bool, typer.Option("--train-only", help="Train in --out, measure later.")] = False,
    jobs: Annotated[int, typer.Option(min=1, help="Variants trained at a time, with --train-only.")] = 1,
    minutes: Annotated[float | None, typer.Option(min=0.1, help=MINUTES)] = None,
    variants: Annotated[
        list[str] | None, typer.Option(help="With commas or several times. Unless told: all of them.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each variant's training.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Crops of a step.")] = 8,
    seed: Annotated[int, typer.Option(min=0, help="Of nets, batches and noise, the same for all.")] = 1,
    photos: Annotated[int, typer.Option(min=1, help="To measure on, at most.")] = 100,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda, with --train-only; it measures on the CPU.")] = "cpu",
    threads: Threads = None,
    as_json: Json = False,
) -> int:
    """Implicit against explicit bit allocation: same nets, data, steps and seed; trained and measured on photos."""
    if train_only == (coco is not None):
        raise UsageError("either --train-only, or --coco with photos to measure on")
    if not train_only and (jobs > 1 or minutes is not None):
        raise UsageError("--jobs and --minutes need --train-only")
    if choice(device, DEVICES, "--device") != "cpu" and not train_only:
        raise UsageError("--device needs --train-only")
    import torch

    from pipeline.bench.allocation.training import Plan
    from pipeline.bench.allocation.variants import VARIANTS

    names = tuple(dict.fromkeys(listed(variants, ",".join(VARIANTS))))
    for name in names:
        choice(name, tuple(VARIANTS), "--variants")
    if threads is not None:
        torch.set_num_threads(threads)
    plan = Plan(seed=seed, batch=batch)
    if steps is not None:
        plan = replace(plan, steps=steps)
    if coco is None:
        fit = minutes is not None and steps is None
        return _train_apart(
            images, out, plan, names, jobs=jobs, minutes=minutes, fit=fit, device=device, as_json=as_json
        )
    from pipeline.bench.allocation.exhibit import as_text, picture
    from pipeline.bench.allocation.run import compare

    made = compare(images, coco, out, plan=plan, photos=photos, names=names, report=say)
    (out / "allocation.png").write_bytes(picture(made))
    emit(
        {"out": str(out), "photos": len(made.photos), "savings": [asdict(each) for each in made.savings]},
        as_json=as_json,
        text="\n".join(aligned(as_text(made))),
    )
    return 0


def _train_apart(
    images: Path,
    out: Path,
    plan: Plan,
    names: tuple[str, ...],
    *,
    jobs: int,
    minutes: float | None,
    fit: bool,
    device: str,
    as_json: bool,
) -> int:
    import torch

    from pipeline.bench.allocation.parallel import train_apart
    from pipeline.training.run import training_device

    chosen = torch.device(training_device(device))
    made = train_apart(
        images, out, plan=plan, names=names, jobs=jobs, minutes=minutes, fit=fit, device=chosen, report=say
    )
    rows = [[name, f"{done}/{made.plan.steps} steps"] for name, done in made.steps.items()]
    emit(
        {"out": str(out), "plan": asdict(made.plan), "steps": dict(made.steps)},
        as_json=as_json,
        text="\n".join(aligned(rows)),
    )
    return 0


def photos(
    folder: Annotated[Path, typer.Argument(help="A folder of photos; Kodak's 24 for the published curve.")],
    quality: Annotated[list[str] | None, typer.Option(help="With commas or several times.")] = None,
    threads: Threads = None,
    as_json: Json = False,
) -> int:
    """The intra codec alone: photos coded as plates, and for Kodak the BD-rate against mbt2018-mean as published."""
    import torch

    from pipeline.bench.photos import KODAK, MBT2018_MEAN, measure_photos, read_photos, saving
    from pipeline.codec import weights

    if threads is not None:
        torch.set_num_threads(threads)
    qualities = [_quality(text) for text in listed(quality, PHOTO_QUALITIES)]
    pictures = read_photos(folder)
    brain = replace(weights.load(weights.newest(), "cpu"), threads=torch.get_num_threads())
    points = measure_photos(brain, pictures, qualities, report=say)
    found = saving(points, MBT2018_MEAN) if len(pictures) == KODAK and len(points) > 1 else None
    text = f"{len(pictures)} photos"
    beside: dict[str, Value] | None = None
    if found is not None:
        text += f"; against mbt2018-mean {found[0]:+.1f} % bits at equal RGB PSNR, over {found[1]:.1f} dB"
        beside = {"percent": found[0], "overlap_db": found[1]}
    emit(
        {"photos": len(pictures), "points": [asdict(p) for p in points], "mbt2018_mean": beside},
        as_json=as_json,
        text=text,
    )
    return 0


def detector(
    clips: Annotated[list[str], typer.Argument(metavar="IN...", help="Video files or URLs.")],
    weights: Annotated[str, typer.Option(help="Of YOLO.")] = "yolo11n.pt",
    every: Annotated[int, typer.Option(min=2, help="Detect on every n-th frame, as a site file's detector.every.")] = 3,
    frames: Annotated[int, typer.Option(min=2, help="Of each clip; they are held in memory.")] = 300,
    fps: Annotated[float, typer.Option(min=0.1, help="At most so many frames a second.")] = 10.0,
    as_json: Json = False,
) -> int:
    """What is lost and saved where YOLO sees only every n-th frame, and only where something changed: tracks and masks
    against its boxes on every frame."""
    from pipeline.bench.detection import as_rows, together, watch
    from pipeline.bench.results import plain
    from pipeline.config import DetectorConfig

    config = build(DetectorConfig, kind="yolo", weights=weights, every=every)
    found = [watch(url, config, frames=frames, fps=fps, report=say) for url in clips]
    lines: list[str] = []
    for clip in found:
        title = f"{clip.clip}, {clip.width}x{clip.height}, {clip.frames} frames, {clip.boxes} boxes"
        lines += [*aligned(as_rows(title, clip.manners)), ""]
    lines += aligned(as_rows("all", together(found)))
    whole = {"clips": plain([asdict(clip) for clip in found]), "all": plain([asdict(m) for m in together(found)])}
    emit(whole, as_json=as_json, text="\n".join(lines))
    return 0


def _quality(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise UsageError(f"--quality {text}: a number from 0 to 100")
    return value


def _text(results: Results, at: float | None) -> str:
    lines = ["BD-rate of Fovea against each opponent; in brackets without the background rule"]
    for clip in results.clips:
        share = f"{clip.foreground_share:.0%} of the picture"
        lines.append(f"\n{clip.name}, {clip.width}x{clip.height}, {clip.frames} frames; {clip.detector}, {share}")
        rows = [["", "weighted", "foreground", "points", "overlap", ""]]
        for name in results.opponents:
            weighted, foreground = clip.rates(name)
            overlap = f"{weighted.overlap_db:.1f} dB ({weighted.overlap_share:.0%})"
            counted = f"{weighted.counted} of {weighted.points}"
            rows.append([name, _percents(weighted), _percents(foreground), counted, overlap, weighted.reason])
        lines += aligned(rows)
        lines += aligned(_detection_rows(clip)) + aligned(_byte_rows(clip, at))
    lines.append("\nmean over clips")
    rows = [["", "weighted", "clips", "foreground", "clips"]]
    for name in results.opponents:
        weighted_mean, foreground_mean = (mean for mean in results.means if mean.opponent == name)
        means = [[_percents(mean), f"{mean.counted} of {mean.clips}"] for mean in (weighted_mean, foreground_mean)]
        rows.append([name, *means[0], *means[1]])
    return "\n".join(lines + aligned(rows))


def _percents(rate: BdRate | Mean) -> str:
    ruled, free = ("none" if p is None else f"{p:+.1f} %" for p in (rate.percent, rate.any_background))
    return f"{ruled} ({free})"


def _detection_rows(clip: ClipResult) -> list[list[str]]:
    from pipeline.bench.agreement import GOOD_F1, MIN_BOXES

    if clip.source_boxes is None:
        return []
    if not clip.detections:
        return [["", f"no comparison of detections: {clip.source_boxes} boxes in the source, {MIN_BOXES} are needed"]]
    rows = [["", f"bytes at F1 {GOOD_F1:.2f}", "Fovea's F1 there"]]
    for row in clip.detections:
        ours = "" if row.nbytes is None else "beyond its curve" if row.f1 is None else f"{row.f1:.3f}"
        rows.append([row.opponent, str(row.nbytes or "beyond its curve"), ours])
    return rows


def _byte_rows(clip: ClipResult, at: float | None) -> list[list[str]]:
    """Bytes of every codec at a foreground PSNR."""
    from pipeline.bench.bdrate import Envelope

    if at is None:
        return []
    rows = [["", f"bytes at a foreground of {at:g} dB"]]
    for name in dict.fromkeys(point.codec for point in clip.points):
        nbytes = Envelope(clip.of(name), "foreground_psnr").nbytes(at)
        rows.append([name, "beyond its curve" if math.isnan(nbytes) else f"{nbytes:.0f}"])
    return rows
