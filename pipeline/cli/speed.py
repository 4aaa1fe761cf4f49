"""`fovea bench speed`: what a frame costs, by codec, task, stage, picture size and activity."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import Json, Value, aligned, build, choice, emit, listed, say
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.bench.chain import Throughput
    from pipeline.bench.clip import Clip
    from pipeline.bench.footprint import Footprint
    from pipeline.bench.run import Plan
    from pipeline.bench.speed import Activity, Speed

DETECTORS = ("auto", "yolo", "motion", "none")
FAST_OPPONENTS = "x264-veryfast-zl,x264-medium,x265-medium,svt-av1-8"
ALL = "all"
SIZES = "320x240,640x360,1280x720,1920x1080"
RAY_SIZE = "640x360"


def speed(
    clips: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IN...]", help=f"Video files or URLs; unless told the demo at {SIZES}."),
    ] = None,
    frames: Annotated[int, typer.Option(min=3, help="Of each clip; they are held in memory.")] = 60,
    size: Annotated[
        list[str] | None, typer.Option(help="WIDTHxHEIGHT, with commas or several times; clips are scaled to each.")
    ] = None,
    halve: Annotated[bool, typer.Option("--halve", help="At half size.")] = False,
    detector: Annotated[str, typer.Option(help="What makes the regions.")] = "auto",
    weights: Annotated[str, typer.Option(help="For yolo.")] = "yolo11n.pt",
    quality: Annotated[float, typer.Option(min=0, max=100, help="Of Fovea.")] = 50.0,
    opponents: Annotated[
        list[str] | None, typer.Option(help=f"With commas or several times, or {ALL}. Unless told: {FAST_OPPONENTS}.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, help="Of everything in turn; the best counts.")] = 2,
    activity: Annotated[
        bool, typer.Option("--activity", help="Time against the active share of the picture too.")
    ] = False,
    chain: Annotated[
        bool, typer.Option("--chain", help="The whole chain by stage too, from a camera's H.264 to the archive.")
    ] = False,
    footprint: Annotated[
        bool, typer.Option("--footprint", help="Memory at its peak and time to the first frame too, in new processes.")
    ] = False,
    ray: Annotated[
        int, typer.Option(min=0, help=f"So many frames of the demo at {RAY_SIZE} through Ray and in one process.")
    ] = 0,
    out: Annotated[Path | None, typer.Option(help="A directory for speed.json and plots.")] = None,
    as_json: Json = False,
) -> int:
    """Time a frame of encoding and decoding, one thread each: ours by stage and beside opponents."""
    import torch

    from pipeline.bench import run, sizes
    from pipeline.bench.results import plain
    from pipeline.bench.speed import as_text, measure_activity, measure_speed
    from pipeline.config import DetectorConfig

    torch.set_num_threads(1)
    names, unavailable = opponents_asked(listed(opponents, FAST_OPPONENTS))
    for name, why in unavailable:
        say(f"{name} is not measured: {why}")
    kind = choice(detector, DETECTORS, "--detector")
    plan = run.Plan(
        detector=build(DetectorConfig, kind=kind, weights=weights, every=1, gate=False),
        qualities=(quality,), opponents=names, frames=frames, halve=halve,
    )  # fmt: skip
    wanted = [sizes.parse_size(text) for text in listed(size, "" if clips else SIZES)]
    measured: list[_Measured] = []
    lines: list[str] = []
    for url in clips or ["demo://street"]:
        for clip in sizes.at_sizes(url, plan, wanted):
            say(f"{clip.name}, {clip.width}x{clip.height}: {len(clip)} frames, regions: {clip.detector}")
            one = _Measured(measure_speed(clip, quality=quality, names=names, rounds=rounds, report=say))
            one.activity = measure_activity(clip, quality=quality) if activity else None
            if chain:
                one.chain = _chain(clip, plan, one.speed)
            if footprint:
                one.footprints = _footprints(clip, plan)
            measured.append(one)
            lines += [*aligned(as_text(one.speed)), *one.more(), ""]
    result: dict[str, Value] = {"quality": quality, "clips": [one.plain() for one in measured]}
    if ray:
        through = _ray(ray, plan)
        result["ray"] = plain(asdict(through) | {"ratio": through.ratio})
        lines.append(str(through))
    if out is not None:
        _write(out, result, measured)
    emit(result, as_json=as_json, text="\n".join(lines))
    return 0


class _Measured:
    """One clip at one size."""

    def __init__(self, speed: Speed) -> None:
        self.speed = speed
        self.activity: Activity | None = None
        self.chain: dict[str, float] = {}  # stage -> CPU seconds a frame
        self.footprints: list[Footprint] = []

    @property
    def title(self) -> str:
        return f"{self.speed.width}x{self.speed.height}"

    def plain(self) -> Value:
        from pipeline.bench.results import plain

        activity = asdict(self.activity) if self.activity else None
        footprints = [asdict(each) for each in self.footprints]
        return plain(
            {"speed": asdict(self.speed), "activity": activity, "chain": self.chain or None, "footprints": footprints}
        )

    def more(self) -> list[str]:
        """Lines of a table beyond the codec's times."""
        lines = [str(self.activity)] if self.activity else []
        if self.chain:
            whole = sum(self.chain.values())
            rows = [["the chain, one thread", "CPU ms", ""], ["  whole", f"{1000 * whole:.1f}", ""]]
            rows += [[f"  {name}", f"{1000 * t:.1f}", f"{t / whole:.0%}"] for name, t in self.chain.items()]
            lines += aligned(rows)
        if self.footprints:
            rows = [["process", "idle MiB", "peak MiB", "import s", "first frame s"]]
            for each in self.footprints:
                first = "" if each.first_s is None else f"{each.first_s:.2f}"
                rows.append([each.codec, f"{each.idle_mib:.0f}", f"{each.peak_mib:.0f}", f"{each.import_s:.2f}", first])
            lines += aligned(rows)
        return lines


def _chain(clip: Clip, plan: Plan, speed: Speed) -> dict[str, float]:
    from pipeline.bench.chain import as_video, by_stage, chain_times, plan_chain

    with TemporaryDirectory() as folder:
        video = as_video(clip, Path(folder, "camera.mp4"))
        detector = plan.detector.model_copy(update={"every": 3, "gate": True})  # as recorded unless told otherwise
        times = chain_times(plan_chain(video, Path(folder, "store"), detector=detector, quality=plan.qualities[0]))
    return by_stage(times, speed.stages)


def _footprints(clip: Clip, plan: Plan) -> list[Footprint]:
    from pipeline.bench.clipfile import save_clip
    from pipeline.bench.footprint import FOVEA, measure_footprint
    from pipeline.bench.speed import GOP_S

    with TemporaryDirectory() as folder:
        path = Path(folder, "clip.npz")
        save_clip(clip, path)
        return [
            measure_footprint(codec, path, quality=plan.qualities[0], gop_s=GOP_S) for codec in (FOVEA, *plan.opponents)
        ]


def _ray(frames: int, plan: Plan) -> Throughput:
    """The same video through the chain in this process and on Ray, each into an archive of its own."""
    from pipeline.bench.chain import Throughput, as_video, plan_chain, throughput
    from pipeline.bench.sizes import at_sizes, parse_size
    from pipeline.config import RayConfig
    from pipeline.local import run_chain
    from workers.runtime import runtime

    config = RayConfig()
    (clip,) = at_sizes("demo://street", replace(plan, frames=frames), [parse_size(RAY_SIZE)])
    with TemporaryDirectory() as folder:
        video = as_video(clip, Path(folder, "camera.mp4"))
        detector = plan.detector.model_copy(update={"every": 3, "gate": True})
        here, there = (
            plan_chain(video, Path(folder, name), detector=detector, quality=plan.qualities[0])
            for name in ("local", "ray")
        )
        local_fps = throughput(here, run_chain)
        say(f"in one process: {local_fps:.2f} frames a second")
        with runtime(config, cameras=1):
            from workers.chain import ray_chain  # Ray reads its settings on import

            ray_fps = throughput(there, ray_chain(config))
        say(f"on Ray: {ray_fps:.2f} frames a second")
    return Throughput(clip.width, clip.height, frames, local_fps, ray_fps)


def _write(out: Path, result: dict[str, Value], measured: Sequence[_Measured]) -> None:
    from pipeline.bench.speed_plots import activity_png, stages_png

    out.mkdir(parents=True, exist_ok=True)
    (out / "speed.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    bars = {one.title: one.chain for one in measured if one.chain}
    if bars:
        marks = {
            one.title: {t.codec: t.cpu_seconds for t in one.speed.timings if t.task == "encode" and t.codec != "fovea"}
            for one in measured
        }
        (out / "speed-stages.png").write_bytes(stages_png(bars, opponents=marks))
    lines = {one.title: one.activity for one in measured if one.activity}
    if lines:
        (out / "speed-activity.png").write_bytes(activity_png(lines))


def opponents_asked(asked: Sequence[str]) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """Names of those that can be measured; those that cannot, and why."""
    from pipeline.bench.opponents import OPPONENTS as KNOWN
    from pipeline.bench.opponents import missing

    names = tuple(KNOWN) if ALL in asked else tuple(dict.fromkeys(asked))
    for name in names:
        choice(name, tuple(KNOWN), "--opponents")
    lacking = {name: why for name in names if (why := missing(KNOWN[name]))}
    if len(lacking) == len(names):
        raise UsageError("\n".join(f"{name}: {why}" for name, why in lacking.items()) or "no opponents")
    return tuple(name for name in names if name not in lacking), tuple(lacking.items())
