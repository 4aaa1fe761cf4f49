"""`fovea bench fleet`: frames a second of several cameras at once, and what a GPU does for them."""

from __future__ import annotations

import json
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import DEVICES, Device, Json, Value, aligned, build, choice, emit, listed, say
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.bench.clip import Clip
    from pipeline.bench.fleet import FleetSpeed, Task
    from pipeline.bench.launches import Launches

DETECTORS = ("auto", "yolo", "motion", "none")
TASKS = ("encode", "decode")


def fleet(
    source: Annotated[
        str,
        typer.Argument(metavar="[IN]", help="A video file or URL, or a clip that --save wrote, which needs no PyAV."),
    ] = "demo://street",
    cameras: Annotated[list[str] | None, typer.Option(help="How many at once; with commas or several times.")] = None,
    task: Annotated[list[str] | None, typer.Option(help="encode, decode; with commas or several times.")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="How long each is measured.")] = 5.0,
    frames: Annotated[int, typer.Option(min=2, help="Played to and fro; every camera holds them in memory.")] = 12,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT; unless told the source's own.")] = "",
    detector: Annotated[str, typer.Option(help="What makes the regions.")] = "auto",
    weights: Annotated[str, typer.Option(help="For yolo.")] = "yolo11n.pt",
    quality: Annotated[float, typer.Option(min=0, max=100)] = 50.0,
    effort: Annotated[str, typer.Option(help="best, balanced or fast.")] = "best",
    device: Device = "auto",
    bf16: Annotated[bool, typer.Option("--bf16", help="The encoder's analysis in bfloat16.")] = False,
    profile: Annotated[bool, typer.Option("--profile", help="What one camera asks of the device too.")] = False,
    save: Annotated[Path | None, typer.Option(help="Keep frames and regions here (.npz), for another machine.")] = None,
    out: Annotated[Path | None, typer.Option(help="A JSON file with all that was measured.")] = None,
    as_json: Json = False,
) -> int:
    """Frames a second of several cameras at once, a process each, on one device."""
    from pipeline.bench.clipfile import SUFFIX, load_clip, save_clip
    from pipeline.bench.fleet import Work, measure_fleet
    from pipeline.bench.launches import measure_launches
    from pipeline.codec.encoder import choose_device
    from pipeline.pace import LEVELS

    counts = [_count(text) for text in listed(cameras, "1,2")]
    tasks = tuple(_task(name) for name in listed(task, "encode"))
    chosen, level = choose_device(choice(device, DEVICES, "--device")), choice(effort, LEVELS, "--effort")
    with ExitStack() as stack:
        if source.endswith(SUFFIX):
            path, clip = Path(source), load_clip(Path(source))
        else:
            path = save or Path(stack.enter_context(TemporaryDirectory()), f"clip{SUFFIX}")
            clip = _read(source, frames, size, detector, weights)
            save_clip(clip, path)
        share = f"{clip.foreground_share:.0%} foreground"
        say(f"{clip.name}, {clip.width}x{clip.height}: {len(clip)} frames, {share}, regions: {clip.detector}")
        found: list[FleetSpeed] = []
        profiles: list[Launches] = []
        lines: list[str] = []
        work = Work(path, tasks, chosen, quality, seconds, bf16, level)
        for each in measure_fleet(work, counts):
            found.append(each)
            say(str(each))
        for name in tasks if profile else ():
            profiles.append(measure_launches(work, name))
            lines += aligned(profiles[-1].rows())
    result: dict[str, Value] = {
        "clip": clip.name, "width": clip.width, "height": clip.height, "frames": len(clip),
        "foreground_share": clip.foreground_share, "regions": clip.detector, "quality": quality, "effort": effort,
        "bf16": bf16, "device": _named(chosen),
        "fleets": [asdict(each) | {"fps": each.fps} for each in found],
        "profiles": [asdict(each) for each in profiles],
    }  # fmt: skip
    _tell(result, out, as_json=as_json, text="\n".join([*map(str, found), *lines]))
    return 0


def _tell(result: dict[str, Value], out: Path | None, *, as_json: bool, text: str) -> None:
    if out is not None:
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    emit(result, as_json=as_json, text=text)


def _task(text: str) -> Task:
    return "encode" if choice(text, TASKS, "--task") == "encode" else "decode"


def _count(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise UsageError(f"--cameras {text}: how many, at least one")
    return int(text)


def _read(source: str, frames: int, size: str, detector: str, weights: str) -> Clip:
    """Frames of a video with their regions."""
    from pipeline.bench.run import Plan
    from pipeline.bench.sizes import at_sizes, parse_size
    from pipeline.config import DetectorConfig

    kind = choice(detector, DETECTORS, "--detector")
    config = build(DetectorConfig, kind=kind, weights=weights, every=1, gate=False)
    plan = Plan(detector=config, qualities=(), opponents=(), frames=frames)
    (clip,) = at_sizes(source, plan, [parse_size(size)] if size else [])
    return clip


def _named(device: str) -> str:
    """With torch's version, and the GPU's name."""
    import torch

    return f"{torch.cuda.get_device_name() if device == 'cuda' else device}, torch {torch.__version__}"
