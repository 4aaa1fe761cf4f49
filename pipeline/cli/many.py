"""`fovea encode-many` and `fovea probe`: videos and cameras that nobody is recording yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import DEVICES, Device, Json, Threads, build, choice, emit, progress, show_bytes

if TYPE_CHECKING:
    from pipeline.config import CameraConfig
    from pipeline.offline import Outcome, Task


def register(app: typer.Typer) -> None:
    app.command("encode-many")(encode_many)
    app.command("probe")(probe)


def encode_many(
    inputs: Annotated[list[Path], typer.Argument(metavar="IN...", help="Videos, folders, or .txt lists of paths.")],
    out: Annotated[Path, typer.Option("--out", help="The folder for the stream files.")],
    quality: Annotated[float, typer.Option(min=0, max=100)] = 50.0,
    detector: Annotated[str, typer.Option(help="auto, yolo, motion or none.")] = "auto",
    frames: Annotated[int | None, typer.Option(min=1, help="Stop each after so many.")] = None,
    device: Device = "auto",
    threads: Threads = 1,
    runner: Annotated[str, typer.Option(help="ray, or local for one process.")] = "ray",
    cluster: Annotated[str | None, typer.Option(help="A running Ray cluster, host:port.")] = None,
    as_json: Json = False,
) -> int:
    """Many videos into stream files, on Ray. What is there already is left out, so a run may be cut off and begun
    again; a video that fails does not stop the rest."""
    from pipeline.config import CameraConfig
    from pipeline.offline import tasks

    choice(device, DEVICES, "--device")
    choice(runner, ("ray", "local"), "--runner")
    choice(detector, ("auto", "yolo", "motion", "none"), "--detector")
    settings = build(
        CameraConfig, source={"url": "in.mp4", "frames": frames}, detector={"kind": detector, "device": device},
        codec={"quality": quality, "device": device, "threads": threads},
    )  # fmt: skip
    todo = tasks(inputs, out)
    outcomes: list[Outcome] = []
    with progress(lambda: f"{len(outcomes)} of {len(todo)} videos") as refresh:
        for outcome in _run(todo, settings, runner, cluster):
            outcomes.append(outcome)
            refresh(f"{outcome.source}: {outcome.error}" if outcome.error else "")
    outcomes.sort(key=lambda outcome: outcome.source)
    failed = sum(outcome.state == "failed" for outcome in outcomes)
    emit({"failed": failed, "files": [asdict(outcome) for outcome in outcomes]}, as_json=as_json, text=_text(outcomes))
    return 1 if failed else 0


def _run(todo: tuple[Task, ...], settings: CameraConfig, runner: str, cluster: str | None) -> Iterator[Outcome]:
    from pipeline.config import RayConfig
    from pipeline.offline import encode_file

    if runner == "local":
        yield from (encode_file(task, settings) for task in todo)
        return
    from workers.runtime import runtime

    config = build(RayConfig, address=cluster)
    with runtime(config, cameras=1):
        from workers.files import encode_files

        yield from encode_files(todo, settings, config)


def _text(outcomes: list[Outcome]) -> str:
    width = max(len(outcome.source) for outcome in outcomes)
    lines = [f"{'video'.ljust(width)}  state   frames  frames/s       size"]
    for item in outcomes:
        rate = f"{item.frames / item.seconds:.1f}" if item.seconds else ""
        size = show_bytes(item.bytes) if item.bytes else ""
        row = f"{item.source.ljust(width)}  {item.state:<6}  {item.frames or '':>6}  {rate:>8}  {size:>9}"
        lines.append(f"{row}  {item.error}".rstrip())
    states = [item.state for item in outcomes]
    summary = f"{states.count('done')} done, {states.count('there')} there already, {states.count('failed')} failed"
    return "\n".join([*lines, summary])


def probe(
    url: Annotated[str, typer.Argument(help="A camera, file or demo:// scene.")],
    timeout: Annotated[float, typer.Option(min=0.5, help="Seconds to wait for it.")] = 10.0,
    as_json: Json = False,
) -> None:
    """What a camera offers: codec, size, rate, and whether it can be opened again."""
    from pipeline.source import probe as look

    found = look(url, timeout_s=timeout)
    rate = f"{found.fps:g} fps" if found.fps else "unknown rate"
    live = "live" if found.is_live else "a recording"
    again = "can be opened again" if found.reconnects else "could NOT be opened again"
    text = (
        f"{found.url}: {found.codec} {found.pixel_format}, {found.width}x{found.height}, {rate}, {live}; "
        f"first frame after {found.open_s:.2f} s, {again}"
    )
    emit(asdict(found), as_json=as_json, text=text)
