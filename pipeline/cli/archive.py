"""`fovea store ls`, `store check` and `export`: what an archive holds, and clips out of it."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import (
    DEVICES,
    LAYERS,
    Device,
    Json,
    Threads,
    Value,
    choice,
    counted,
    emit,
    parse_time,
    replacing,
    say,
    show_bytes,
    show_time,
)
from pipeline.cli.stream import fault_line, report_faults
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.store import CameraSummary
    from pipeline.types import LayerName

Archive = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of an archive.")]


def register(app: typer.Typer) -> None:
    store = typer.Typer(help="The archive: what is in it, and whether it is sound.")
    store.command("ls")(ls)
    store.command("check")(check)
    app.add_typer(store, name="store")
    app.command()(export)


def ls(directory: Archive, as_json: Json = False) -> int:
    """Cameras of an archive: segments, frames, times, bytes."""
    from pipeline.store import Store

    with Store(directory, readonly=True) as store:
        cameras = store.summary()
    listed: dict[str, Value] = {camera.camera: _plain(camera) for camera in cameras}
    text = "\n".join(_line(camera) for camera in cameras) or f"{directory}: no cameras yet"
    emit({"cameras": listed}, as_json=as_json, text=text)
    return 0


def _plain(camera: CameraSummary) -> dict[str, Value]:
    values: dict[str, Value] = asdict(camera)
    del values["camera"]
    return values


def _line(camera: CameraSummary) -> str:
    if camera.first_wall_us is None or camera.last_wall_us is None:
        return f"{camera.camera}: nothing recorded"
    return (
        f"{camera.camera}: {show_time(camera.first_wall_us)} to {show_time(camera.last_wall_us)}, "
        f"{camera.segments} segments, {camera.frames} frames, foreground {show_bytes(camera.bytes_foreground)}, "
        f"background {show_bytes(camera.bytes_background)}"
    )


def check(directory: Archive, as_json: Json = False) -> int:
    """Verify an archive's promises: index against files, sizes, checksums, order. One line a fault."""
    from pipeline.store import Store
    from pipeline.store import check as find_faults

    with Store(directory, readonly=True) as store:
        faults = find_faults(store)
    return report_faults(directory, faults, as_json=as_json)


def export(
    directory: Archive,
    camera: Annotated[str, typer.Argument(metavar="CAMERA")],
    out: Annotated[Path, typer.Argument(metavar="OUT.mp4")],
    begin: Annotated[str, typer.Option("--from", metavar="T", help="ISO 8601 with a zone, or Unix seconds.")],
    end: Annotated[str, typer.Option("--to", metavar="T", help="The first moment that is not shown.")],
    layer: Annotated[str, typer.Option(help="full, or foreground.")] = "full",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> int:
    """A clip out of an archive as MP4; gaps keep their duration."""
    choice(layer, LAYERS, "--layer")
    choice(device, DEVICES, "--device")
    choice(out.suffix.lower(), (".mp4",), "OUT.mp4: the file name's end")
    from_us, to_us = parse_time(begin), parse_time(end)
    if to_us <= from_us:
        raise UsageError(f"--to {end} is not after --from {begin}")
    from pipeline.store import Store

    with Store(directory, readonly=True) as store, replacing(out) as part:
        from pipeline.codec import Decoder
        from pipeline.export import export_mp4
        from pipeline.replay import replay

        started = time.monotonic()
        wanted: LayerName = "foreground" if layer == "foreground" else "full"
        make_decoder = partial(Decoder, device=device, threads=threads)
        shown = replay(store, camera, from_us, to_us, make_decoder=make_decoder, layer=wanted)
        result = export_mp4(counted(shown, "exported"), part, info=shown.info(), clock="wall")
    for item in shown.faults:
        say(f"fovea: {directory / item.path}: {fault_line(item.fault)}")
    values: dict[str, Value] = {
        "frames": result.frames, "width": result.width, "height": result.height,
        "seconds": round(time.monotonic() - started, 3), "bytes": result.bytes, "faults": len(shown.faults),
    }  # fmt: skip
    emit(values, as_json=as_json, text=f"{out}: {result.frames} frames over {result.seconds:.1f} s of camera time")
    return 0
