"""`fovea encode`, `decode`, `inspect`, `verify`: single stream files, and archives for `verify`."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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
    build,
    choice,
    counted,
    emit,
    replacing,
    say,
    show_bytes,
    watch,
)
from pipeline.errors import StreamError, UsageError

if TYPE_CHECKING:
    from pipeline.bitstream import Fault, Loss, StreamReader, StreamReport
    from pipeline.config import CameraConfig
    from pipeline.local import SiteRun
    from pipeline.store import StoreFault
    from pipeline.types import LayerName, StreamInfo
    from pipeline.verify import FileLoss

StreamFile = Annotated[Path, typer.Argument(metavar="IN.fov", help="A stream file.")]


def register(app: typer.Typer) -> None:
    for function in (encode, decode, inspect, verify):
        app.command()(function)


def encode(
    source: Annotated[str, typer.Argument(metavar="IN", help="A video file or URL; demo://street is built in.")],
    out: Annotated[Path, typer.Argument(metavar="OUT.fov")],
    quality: Annotated[float | None, typer.Option(min=0, max=100, help="Default 50.")] = None,
    bitrate: Annotated[int | None, typer.Option(min=1000, help="Bits a second; quality 50 at most.")] = None,
    detector: Annotated[str, typer.Option(help="auto, yolo, motion or none.")] = "auto",
    weights: Annotated[str | None, typer.Option(help="YOLO weights.")] = None,
    boxes: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help="Boxes found elsewhere.")] = None,
    gop: Annotated[float, typer.Option(help="Seconds from key frame to key frame.")] = 2.0,
    device: Device = "auto",
    frames: Annotated[int | None, typer.Option(min=1, help="Stop after so many.")] = None,
    halve: Annotated[bool, typer.Option("--halve", help="Half width and height.")] = False,
    threads: Threads = None,
    effort: Annotated[str, typer.Option(help="best, balanced or fast: bytes against time.")] = "best",
    mini_gop: Annotated[int, typer.Option(min=1, max=16, help="Frames that are coded together; 1: no B-frames.")] = 16,
    as_json: Json = False,
) -> int:
    """One video into one stream file."""
    from pipeline.pace import LEVELS

    if quality is not None and bitrate is not None:
        raise UsageError("--quality and --bitrate: one of them")
    choice(detector, ("auto", "yolo", "motion", "none"), "--detector")
    choice(device, DEVICES, "--device")
    choice(effort, LEVELS, "--effort")
    config = _camera(
        source={"url": source, "frames": frames, "halve": halve, "reconnect": False},
        detector=_detector(detector, weights, boxes, device),
        mask={"dilate": 0, "hold_s": 0} if boxes else {},
        codec={
            "quality": 50.0 if quality is None else quality, "bitrate_bps": bitrate,
            "gop_s": gop, "device": device, "threads": threads, "effort": effort, "mini_gop": mini_gop,
        },
    )  # fmt: skip
    with replacing(out) as part:
        job, info = _encode(config, part)
        size = part.stat().st_size
    counters = job.cameras["encode"].counters
    pixels = counters.coded * info.width * info.height
    result: dict[str, Value] = {
        "frames": counters.coded, "width": info.width, "height": info.height, "fps": info.fps,
        "seconds": round(job.seconds, 3), "bytes": size, "bytes_foreground": counters.bytes_foreground,
        "bytes_background": counters.bytes_background, "bpp": round(size * 8 / pixels, 6),
    }  # fmt: skip
    text = (
        f"{out}: {counters.coded} frames of {info.width}x{info.height} in {job.seconds:.1f} s, {show_bytes(size)} "
        f"({size * 8 / pixels:.4f} bits a pixel; foreground {show_bytes(counters.bytes_foreground)}, "
        f"background {show_bytes(counters.bytes_background)})"
    )
    emit(result, as_json=as_json, text=text)
    return 0


def _camera(**stages: dict[str, object]) -> CameraConfig:
    from pipeline.config import CameraConfig

    return build(CameraConfig, **stages)


def _detector(kind: str, weights: str | None, boxes: Path | None, device: str) -> dict[str, object]:
    settings: dict[str, object] = {"kind": kind, "device": device}
    if weights is not None:
        if not Path(weights).exists():
            raise UsageError(f"--weights {weights}: no such file")
        settings["weights"] = weights
    if boxes is not None:
        if kind != "auto" or weights is not None:
            raise UsageError("--boxes takes the place of --detector and --weights")
        if not boxes.is_file():
            raise UsageError(f"--boxes {boxes}: no such file")
        settings |= {"kind": "boxes", "boxes": boxes}
    return settings


def _encode(config: CameraConfig, part: Path) -> tuple[SiteRun, StreamInfo]:
    """Run the chain into a file. Raises what the chain raised, KeyboardInterrupt if it was stopped."""
    from pipeline.graph import CameraPlan
    from pipeline.local import SiteRun
    from pipeline.offline import BATCH
    from pipeline.recording import FileSink

    opened: list[StreamInfo] = []
    job = SiteRun([CameraPlan("encode", config, partial(FileSink, part, opened), BATCH)])
    stopped = watch(job)
    report = job.cameras["encode"]
    if report.error is not None:
        raise report.unexpected or report.error
    if stopped:
        raise KeyboardInterrupt
    return job, opened[0]


@contextmanager
def open_stream(path: Path, *, strict: bool) -> Iterator[StreamReader]:
    """A reader of a stream file. StreamErrors leave with the file's name."""
    from pipeline.bitstream import StreamReader

    if not path.is_file():
        raise UsageError(f"{path}: {'not a file' if path.exists() else 'no such file'}")
    try:
        with path.open("rb") as file:
            yield StreamReader(file, strict=strict)
    except StreamError as error:
        where = "" if error.offset < 0 or re.search(r"byte \d", str(error)) else f" (byte {error.offset})"
        raise StreamError(f"{path}: {error}{where}", offset=error.offset) from error


def inspect(
    source: StreamFile,
    plot: Annotated[Path | None, typer.Option(metavar="OUT.png", help="Draw bits by layer and frame.")] = None,
    as_json: Json = False,
) -> int:
    """Header, GOPs, bits by layer and frame."""
    from pipeline.bitstream import inspect_stream

    with open_stream(source, strict=False) as reader:
        report = inspect_stream(reader)
    if plot is not None:
        from pipeline.cli.plot import plot_stream

        with replacing(plot) as part:
            plot_stream(report, part)
    emit(json.loads(report.to_json()), as_json=as_json, text=_inspection(source, report))
    for fault in report.faults:
        say(f"fovea: {source}: {fault_line(fault)}")
    for loss in report.losses:
        say(f"fovea: {source}: {loss_line(loss)}")
    return 1 if report.faults else 0


def _inspection(path: Path, report: StreamReport) -> str:
    pixels = report.width * report.height
    bits = report.bytes * 8 / max(1, len(report.frames) * pixels)
    lines = [
        f"{path}: {report.width}x{report.height}, {report.fps:g} frames a second nominal, "
        f"{len(report.frames)} frames in {report.seconds:.2f} s, codec {report.fingerprint}",
        f"{show_bytes(report.bytes)}, {bits:.4f} bits a pixel: plates {show_bytes(report.plates)}, foreground "
        f"{show_bytes(report.foreground)}, background {show_bytes(report.background)}, container "
        f"{show_bytes(report.overhead)}",
    ]
    if not report.closed:
        lines.append("not closed: its end is missing")
    lines.append("   GOP   frame   time s  frames    plate  foreground  background")
    for place, gop in enumerate(report.gops):
        lines.append(
            f"{place:6} {gop.first:7} {gop.pts_us / 1e6:8.2f} {gop.frames:7} {gop.plate:8} "
            f"{gop.foreground:11} {gop.background:11}"
        )
    return "\n".join(lines)


def fault_line(fault: Fault) -> str:
    where = [f"frame {fault.frame}"] if fault.frame >= 0 else []
    where += [fault.layer.name.lower()] if fault.layer is not None else []
    where += [f"byte {fault.offset}"] if fault.offset >= 0 else []
    return f"{', '.join(where)}: {fault.reason}" if where else fault.reason


def decode(
    source: StreamFile,
    out: Annotated[Path, typer.Argument(metavar="OUT", help=".mp4 (H.264), or .mkv without further loss (FFV1).")],
    layer: Annotated[str, typer.Option(help="full, or foreground: over the plate, without the background.")] = "full",
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> int:
    """A stream file into a video that others can play."""
    choice(layer, LAYERS, "--layer")
    choice(device, DEVICES, "--device")
    choice(out.suffix.lower(), (".mp4", ".mkv"), "OUT: the file name's end")
    with open_stream(source, strict=True) as reader, replacing(out) as part:
        from pipeline.codec import Decoder
        from pipeline.export import export_mkv, export_mp4
        from pipeline.replay import decode_stream

        export = export_mkv if out.suffix.lower() == ".mkv" else export_mp4
        decoder = Decoder(reader.info, device=device, threads=threads)
        started = time.monotonic()
        wanted: LayerName = "foreground" if layer == "foreground" else "full"
        frames = decode_stream(reader, decoder, layer=wanted)
        result = export(counted(frames, "decoded"), part, info=reader.info)
    seconds = time.monotonic() - started
    values: dict[str, Value] = {
        "frames": result.frames, "width": result.width, "height": result.height, "seconds": round(seconds, 3),
        "bytes": result.bytes,
    }  # fmt: skip
    text = f"{out}: {result.frames} frames of {result.width}x{result.height} in {seconds:.1f} s"
    emit(values, as_json=as_json, text=text)
    return 0


def verify(
    path: Annotated[Path, typer.Argument(help="A stream file, or the directory of an archive.")],
    deep: Annotated[bool, typer.Option("--decode", help="Decode every frame too, and compare its symbols.")] = False,
    device: Device = "auto",
    as_json: Json = False,
) -> int:
    """Checksums of a stream file or a whole archive; index against files. Exit status 1 and one line a fault; which
    frames are lost."""
    from pipeline.verify import verify as judge

    make_decoder = None
    choice(device, DEVICES, "--device")
    if deep:
        from pipeline.codec import Decoder

        make_decoder = partial(Decoder, device=device)
    verdict = judge(path, make_decoder=make_decoder)
    return report_faults(path, verdict.faults, losses=verdict.losses, as_json=as_json)


def report_faults(
    path: Path, faults: Sequence[StoreFault], *, losses: Sequence[FileLoss] | None = None, as_json: bool
) -> int:
    """Print faults and losses, returns the exit status. In JSON, an archive's reasons begin with the file's name."""
    many = path.is_dir()
    found: list[Value] = []
    lines = []
    for item in faults:
        fault = item.fault
        found.append({
            "frame": fault.frame,
            "layer": fault.layer.name.lower() if fault.layer is not None else None,
            "offset": fault.offset,
            "reason": f"{item.path}: {fault.reason}" if many and item.path else fault.reason,
        })  # fmt: skip
        lines.append(f"{path / item.path if many and item.path else path}: {fault_line(fault)}")
    result: dict[str, Value] = {"ok": not faults, "faults": found}
    if not faults:
        lines.append(f"{path}: sound")
    if losses is not None:
        result["losses"] = [_loss_values(item, many=many) for item in losses]
        lines += [f"{path / item.path if many else path}: {loss_line(item.loss)}" for item in losses]
    emit(result, as_json=as_json, text="\n".join(lines))
    return 1 if faults else 0


def _loss_values(item: FileLoss, *, many: bool) -> Value:
    loss = item.loss
    reason = f"{item.path}: {loss.reason}" if many else loss.reason
    return {
        "first": loss.first, "last": loss.last, "layer": loss.layer.name.lower(), "offset": loss.offset,
        "reason": reason,
    }  # fmt: skip


def loss_line(loss: Loss) -> str:
    first, last = (str(frame) if frame >= 0 else "?" for frame in (loss.first, loss.last))
    return f"lost: {loss.layer.name.lower()} of frames {first} to {last}: {loss.reason}"
