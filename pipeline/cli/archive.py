"""`fovea store ls`, `store check` and `export`: what an archive holds, and clips out of it. More in `upkeep`."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli import upkeep
from pipeline.cli.output import (
    DEVICES,
    LAYERS,
    Device,
    Json,
    Threads,
    Value,
    choice,
    emit,
    existing,
    progress,
    say,
    show_bytes,
    show_time,
    time_range,
)
from pipeline.cli.stream import fault_line, report_faults
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.clip import ClipRequest
    from pipeline.replay import MakeDecoder
    from pipeline.store import CameraSummary, Event, Span, Store
    from pipeline.types import LayerName

Archive = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of an archive.")]


def register(app: typer.Typer) -> None:
    store = typer.Typer(help="The archive: what is in it, and whether it is sound.")
    store.command("ls")(ls)
    store.command("check")(check)
    upkeep.register(store)
    app.add_typer(store, name="store")
    app.command()(export)


Camera = Annotated[str | None, typer.Option(metavar="ID", help="Only this camera.")]
From = Annotated[str, typer.Option("--from", metavar="T", help="ISO 8601 with a zone, or Unix seconds.")]
To = Annotated[str, typer.Option("--to", metavar="T", help="The first moment that is not meant.")]


def ls(
    directory: Archive,
    camera: Camera = None,
    label: Annotated[str | None, typer.Option("--class", metavar="NAME", help="When this was seen.")] = None,
    begin: From = "",
    end: To = "",
    limit: Annotated[int, typer.Option(min=1, help="Of events.")] = 1000,
    as_json: Json = False,
) -> int:
    """Cameras of an archive: segments, frames, times, bytes. With a time, what of it is recorded; with a class, when it
    was seen."""
    from pipeline.store import EVER_US, Store, covered

    from_us, to_us = time_range(begin, end, default=(0, EVER_US))
    with Store(directory, readonly=True) as store:
        cameras = [summary for summary in store.summary() if camera in (None, summary.camera)]
        if camera is not None and not cameras:
            raise UsageError(f"camera {camera!r} is not in {directory}")
        result: dict[str, Value] = {"cameras": {summary.camera: _plain(summary) for summary in cameras}}
        lines = [_line(summary) for summary in cameras] or [f"{directory}: no cameras yet"]
        if begin or end:
            spans = {c.camera: covered(store, c.camera, from_us=from_us, to_us=to_us) for c in cameras}
            result["covered"] = {name: [asdict(span) for span in found] for name, found in spans.items()}
            lines = [_span_line(name, span) for name, found in spans.items() for span in found] or ["nothing recorded"]
        if label is not None:
            events = store.events(camera, label=label, from_us=from_us, to_us=to_us, limit=limit)
            result["events"] = [asdict(event) for event in events]
            lines = [_event_line(event) for event in events] or [f"no {label} was seen"]
    emit(result, as_json=as_json, text="\n".join(lines))
    return 0


def _plain(camera: CameraSummary) -> dict[str, Value]:
    values: dict[str, Value] = asdict(camera)
    del values["camera"]
    return values


def _line(camera: CameraSummary) -> str:
    if camera.first_wall_us is None or camera.last_wall_us is None:
        return f"{camera.camera}: nothing recorded"
    aged = f", {camera.foreground} without background, {camera.thin} thinned" if camera.full < camera.segments else ""
    aged += f", {camera.elsewhere} elsewhere" if camera.elsewhere else ""
    return (
        f"{camera.camera}: {show_time(camera.first_wall_us)} to {show_time(camera.last_wall_us)}, "
        f"{camera.segments} segments{aged}, {camera.frames} frames, foreground {show_bytes(camera.bytes_foreground)}, "
        f"background {show_bytes(camera.bytes_background)}"
    )


def _span_line(camera: str, span: Span) -> str:
    return f"{camera}: {show_time(span.from_us)} to {show_time(span.to_us)}, {span.level}"


def _event_line(event: Event) -> str:
    seconds = (event.last_wall_us - event.first_wall_us) / 1e6
    best = f"best {event.best.score:.2f} at {show_time(event.best_wall_us)}"
    tracks = f"{event.tracks} track{'s' * (event.tracks > 1)}"
    return f"{event.camera}: {show_time(event.first_wall_us)}, {seconds:.1f} s, {event.label}, {tracks}, {best}"


def check(
    directory: Archive,
    mend: Annotated[
        bool, typer.Option("--repair", help="Put right what can be; the rest goes to quarantine/.")
    ] = False,
    as_json: Json = False,
) -> int:
    """Verify an archive's promises: index against files, sizes, checksums, order. One line a fault."""
    from pipeline.store import Store, repair
    from pipeline.store import check as find_faults

    for mended in repair(directory) if mend else ():
        say(f"fovea: mended: {directory / mended.path}: {mended.what}")
    with Store(directory, readonly=True) as store:
        faults = find_faults(store)
    return report_faults(directory, faults, as_json=as_json)


def export(
    directory: Archive,
    cameras: Annotated[str, typer.Argument(metavar="CAMERA", help="Several with commas between them, or all.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.mp4", help="With several cameras: a directory.")],
    begin: From,
    end: To,
    layer: Annotated[str, typer.Option(help="full, or foreground.")] = "full",
    show_time: Annotated[bool, typer.Option("--time", help="Write the time into the picture.")] = False,
    show_boxes: Annotated[bool, typer.Option("--boxes", help="Draw what was detected.")] = False,
    mark_gaps: Annotated[bool, typer.Option(help="Say in the picture where nothing is recorded.")] = True,
    keep: Annotated[bool, typer.Option("--pin/--no-pin", help="Keep what is exported from aging.")] = True,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> int:
    """Clips out of an archive as MP4, each with a manifest beside it; gaps keep their duration."""
    choice(layer, LAYERS, "--layer")
    choice(device, DEVICES, "--device")
    from_us, to_us = time_range(begin, end, default=(0, 0))
    from pipeline.store import Store

    with existing(directory), Store(directory, readonly=not keep) as store:
        from pipeline.clip import ClipRequest
        from pipeline.codec import Decoder

        wanted: LayerName = "foreground" if layer == "foreground" else "full"
        results: dict[str, Value] = {}
        lines = []
        for camera, path in _targets(cameras, out, store.cameras()).items():
            request = ClipRequest(camera, from_us, to_us, wanted, show_time, show_boxes, mark_gaps)
            decoder = partial(Decoder, device=device, threads=threads)
            results[camera], line = _export(store, request, path, make_decoder=decoder, keep=keep)
            lines.append(line)
    single = results.get(cameras)
    emit(single if isinstance(single, dict) else {"cameras": results}, as_json=as_json, text="\n".join(lines))
    return 0


def _targets(cameras: str, out: Path, known: tuple[str, ...]) -> dict[str, Path]:
    """The file of each camera. Raises UsageError."""
    if cameras in known or (cameras != "all" and "," not in cameras):
        choice(out.suffix.lower(), (".mp4",), "OUT.mp4: the file name's end")
        return {cameras: out}
    if not out.is_dir():
        raise UsageError(f"{out}: with several cameras this must be a directory")
    return {name: out / f"{name}.mp4" for name in (known if cameras == "all" else cameras.split(","))}


def _export(
    store: Store, request: ClipRequest, out: Path, *, make_decoder: MakeDecoder, keep: bool
) -> tuple[dict[str, Value], str]:
    """One camera's clip, with a line of progress: its result and a line about it."""
    from pipeline.clip import export_clip

    started = time.monotonic()
    done = (0.0, 0)
    with progress(lambda: f"{request.camera}: {done[0]:.0%}, {done[1]} frames exported") as show:

        def note(part: float, frames: int) -> None:
            nonlocal done
            done = part, frames
            show()

        clip = export_clip(store, request, out, make_decoder=make_decoder, keep=keep, progress=note)
    for item in clip.faults:
        say(f"fovea: {store.root / item.path}: {fault_line(item.fault)}")
    result = clip.result
    values: dict[str, Value] = {
        "frames": result.frames, "width": result.width, "height": result.height,
        "seconds": round(time.monotonic() - started, 3), "bytes": result.bytes, "faults": len(clip.faults),
        "gaps": [list(gap) for gap in clip.gaps], "manifest": str(clip.manifest),
    }  # fmt: skip
    gaps = f", {len(clip.gaps)} gaps" if clip.gaps else ""
    return values, f"{out}: {result.frames} frames over {result.seconds:.1f} s of camera time{gaps}"
