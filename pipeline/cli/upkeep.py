"""What an archive keeps, where, and what it knows: `fovea store age`, `forecast`, `pin`, `pins`, `unpin`, `rm`,
`redetect`, `copy`, `move`."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import (
    DEVICES,
    Device,
    Json,
    Threads,
    Value,
    build,
    choice,
    emit,
    existing,
    parse_time,
    progress,
    show_bytes,
    show_time,
    time_range,
)
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.store import Forecast

Archive = Annotated[Path, typer.Argument(metavar="DIR", help="The directory of an archive.")]
CameraId = Annotated[str, typer.Argument(metavar="CAMERA")]
Begin = Annotated[str, typer.Option("--from", metavar="T", help="ISO 8601 with a zone, or Unix seconds.")]
End = Annotated[str, typer.Option("--to", metavar="T", help="The first moment that is not meant.")]
Config = Annotated[Path | None, typer.Option(metavar="SITE.yaml", help="The site file, for its `retention`.")]


def register(store: typer.Typer) -> None:
    for function in (age, forecast, pin, pins, unpin, redetect, copy, move):
        store.command()(function)
    store.command("rm")(remove)


def age(
    directory: Archive,
    config: Annotated[Path, typer.Option(metavar="SITE.yaml", help="The site file, for its `retention`.")],
    as_json: Json = False,
) -> int:
    """Let footage age as a site's `retention` says, and free the disk where it runs full. `fovea run` does this by
    itself."""
    from pipeline.config import load_site
    from pipeline.store import GB, Store, keep, purge_line

    site = load_site(config)
    with existing(directory), Store(directory) as store:
        done = keep(store, site.retentions, keep_free_bytes=round(site.keep_free_gb * GB))
    result: dict[str, Value] = {"purges": [asdict(purge) for purge in done], "bytes": sum(p.bytes for p in done)}
    emit(result, as_json=as_json, text="\n".join(map(purge_line, done)) or f"{directory}: nothing is due")
    return 0


def forecast(directory: Archive, config: Config = None, as_json: Json = False) -> int:
    """How many days fit: from the last day's rate by camera and layer, before and after aging."""
    from pipeline.config import load_site
    from pipeline.store import GB, Store, finite
    from pipeline.store import forecast as foresee

    site = load_site(config) if config is not None else None
    keep_free = round(site.keep_free_gb * GB) if site is not None else 0
    with Store(directory, readonly=True) as store:
        found = foresee(store, site.retentions if site is not None else {}, keep_free_bytes=keep_free)
    listed: dict[str, Value] = {item.camera: {**finite(item)} for item in found}
    text = "\n".join(_forecast_line(item) for item in found) or f"{directory}: nothing recorded"
    emit({"cameras": listed}, as_json=as_json, text=text)
    return 0


def _forecast_line(item: Forecast) -> str:
    return (
        f"{item.camera}: a day writes {show_bytes(item.foreground_rate)} foreground and "
        f"{show_bytes(item.background_rate)} background; {show_bytes(item.room_bytes)} hold "
        f"{item.days_full:.1f} days in full, {item.days_foreground:.1f} without background, "
        f"{item.days_thin:.1f} thinned; as configured {item.days_aged:.1f}"
    )


def pin(
    directory: Archive,
    camera: CameraId,
    begin: Begin,
    end: End,
    reason: Annotated[str, typer.Option(help="Shown by `pins`.")] = "",
    as_json: Json = False,
) -> int:
    """Keep footage as it is: it neither ages nor goes until it is unpinned."""
    from pipeline.store import Store
    from pipeline.store import pin as keep

    from_us, to_us = time_range(begin, end, default=(0, 0))
    with existing(directory), Store(directory) as store:
        made = keep(store, camera, from_us=from_us, to_us=to_us, reason=reason, now_us=time.time_ns() // 1000)
    emit(asdict(made), as_json=as_json, text=f"pin {made.number}")
    return 0


def pins(directory: Archive, as_json: Json = False) -> int:
    """What is pinned."""
    from pipeline.store import Store
    from pipeline.store import pins as find

    with Store(directory, readonly=True) as store:
        found = find(store)
    lines = [f"{p.number}: {p.camera}, {show_time(p.from_us)} to {show_time(p.to_us)}: {p.reason}" for p in found]
    emit({"pins": [asdict(p) for p in found]}, as_json=as_json, text="\n".join(lines) or "no pins")
    return 0


def unpin(directory: Archive, number: Annotated[int, typer.Argument(metavar="PIN")], as_json: Json = False) -> int:
    """Let pinned footage age again."""
    from pipeline.store import Store
    from pipeline.store import unpin as release

    with existing(directory), Store(directory) as store:
        release(store, number)
    emit({"number": number}, as_json=as_json, text=f"pin {number} is gone")
    return 0


def remove(directory: Archive, camera: CameraId, begin: Begin, end: End, as_json: Json = False) -> int:
    """Remove the segments of a camera that lie wholly in a time range, but for what is pinned."""
    from pipeline.store import Store, purge_line, remove_range

    from_us, to_us = parse_time(begin), parse_time(end)
    with existing(directory), Store(directory) as store:
        if camera not in store.cameras():
            raise UsageError(f"camera {camera!r} is not in {directory}")
        done = remove_range(store, camera, from_us=from_us, to_us=to_us, now_us=time.time_ns() // 1000)
    result: dict[str, Value] = {"segments": sum(p.segments for p in done), "bytes": sum(p.bytes for p in done)}
    emit(result, as_json=as_json, text="\n".join(map(purge_line, done)) or "nothing to remove")
    return 0


def redetect(
    directory: Archive,
    camera: CameraId,
    begin: Begin,
    end: End,
    detector: Annotated[str, typer.Option(help="auto, yolo or motion.")] = "auto",
    weights: Annotated[str | None, typer.Option(help="YOLO weights.")] = None,
    every: Annotated[int, typer.Option(min=1, help="Detect on every n-th frame.")] = 3,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> int:
    """Detect again on stored footage; what is seen takes the place of what the index knew of the segments."""
    choice(detector, ("auto", "yolo", "motion"), "--detector")
    choice(device, DEVICES, "--device")
    from_us, to_us = time_range(begin, end, default=(0, 0))
    if weights is not None and not Path(weights).exists():
        raise UsageError(f"--weights {weights}: no such file")
    from pipeline.config import DetectorConfig, MaskConfig
    from pipeline.store import Store

    settings: dict[str, object] = {"kind": detector, "device": device, "every": every}
    config = build(DetectorConfig, **settings | ({"weights": weights} if weights is not None else {}))
    with existing(directory), Store(directory) as store:
        from pipeline.codec import Decoder
        from pipeline.redetect import Redetected
        from pipeline.redetect import redetect as look_again
        from pipeline.track import RoiStage

        done = Redetected()
        with progress(lambda: f"{done.segments} segments, {done.frames} frames, {done.after} detections") as show:

            def note(now: Redetected) -> None:
                nonlocal done
                done = now
                show()

            done = look_again(
                store, camera, from_us=from_us, to_us=to_us, detect=RoiStage(config, MaskConfig()).process,
                make_decoder=partial(Decoder, device=device, threads=threads), progress=note,
            )  # fmt: skip
    left = f"; {done.left} segments left as they were (being written, thinned or damaged)" if done.left else ""
    text = f"{done.segments} segments, {done.frames} frames: {done.after} detections, {done.before} before{left}"
    emit(asdict(done), as_json=as_json, text=text)
    return 0


Target = Annotated[Path, typer.Argument(metavar="TO", help="The other archive; made where there is none.")]


def copy(directory: Archive, camera: CameraId, to: Target, begin: Begin, end: End, as_json: Json = False) -> int:
    """Copy the segments of a camera in a time range to another archive, with what was seen in them."""
    return _transfer(directory, camera, to, time_range(begin, end, default=(0, 0)), moved=False, as_json=as_json)


def move(directory: Archive, camera: CameraId, to: Target, begin: Begin, end: End, as_json: Json = False) -> int:
    """Move them: they stay in the index, and are read from where they lie."""
    return _transfer(directory, camera, to, time_range(begin, end, default=(0, 0)), moved=True, as_json=as_json)


def _transfer(directory: Path, camera: str, to: Path, span_us: tuple[int, int], *, moved: bool, as_json: bool) -> int:
    from pipeline.store import Store, Transferred, transfer

    with existing(directory), Store(directory) as store, Store(to) as target:
        done = Transferred()
        with progress(lambda: f"{done.segments} segments, {show_bytes(done.bytes)}") as show:

            def note(now: Transferred) -> None:
                nonlocal done
                done = now
                show()

            done = transfer(
                store, target, camera, from_us=span_us[0], to_us=span_us[1], move=moved, progress=note
            )  # fmt: skip
    left = f"; {done.left} left (being written, elsewhere, or other there)" if done.left else ""
    there = f", {done.there} were there" if done.there else ""
    text = f"{done.segments} segments {'moved' if moved else 'copied'}, {show_bytes(done.bytes)}{there}{left}"
    emit(asdict(done), as_json=as_json, text=text)
    return 0
