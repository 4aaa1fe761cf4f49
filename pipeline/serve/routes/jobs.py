"""Exports, pins, and what room there is."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, HTTPException, Path, Request
from fastapi.responses import FileResponse
from pydantic import BaseModel, ConfigDict, Field

from pipeline.config import CAMERA_ID
from pipeline.serve.accounts import Account
from pipeline.serve.exports import Exports, Job, Wish
from pipeline.serve.routes.asked import MOST_SECONDS, US, Admin, Here, Who, allow, span_us
from pipeline.serve.routes.people import Number, address_of
from pipeline.store import GB, Store, finite, forecast, pin, pins, unpin

router = APIRouter(prefix="/api")

LONGEST_S = 24 * 3600.0  # of an export
_FORECAST_S = 60.0
JobName = Annotated[str, Path(pattern=r"^[0-9a-f]{16}$")]
FileName = Annotated[str, Path(pattern=r"^[a-z0-9_-]{1,64}\.mp4(\.json)?$")]
CameraName = Annotated[str, Field(pattern=CAMERA_ID)]
Moment = Annotated[float, Field(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]


class _Range(BaseModel):
    model_config = ConfigDict(extra="forbid")

    begin: Moment = Field(alias="from")
    end: Moment = Field(alias="to")


class NewExport(_Range):
    camera: CameraName | None = None
    cameras: list[CameraName] = Field(default_factory=list, max_length=100)
    layer: Literal["full", "foreground"] = "full"
    time: bool = True
    boxes: bool = False
    pin: bool = True  # for admins: the footage is kept from aging


class NewPin(_Range):
    camera: CameraName
    note: str = Field(default="", max_length=500)


def _exports(request: Request) -> Exports:
    found: Exports = request.app.state.exports
    return found


@router.post("/exports")
async def export(request: Request, here: Here, who: Who, body: NewExport) -> dict[str, str]:
    """Queue a clip, one a camera. Done one after the other."""
    from_us, to_us = span_us(body.begin, body.end)
    cameras = tuple(dict.fromkeys([*([body.camera] if body.camera else []), *body.cameras]))
    if not cameras:
        raise HTTPException(422, "camera: which one, or several in cameras")
    if body.end - body.begin > LONGEST_S:
        raise HTTPException(422, f"at most {LONGEST_S / 3600:g} hours in one export")
    for camera in cameras:
        await asyncio.to_thread(allow, here, who, camera)
    if unknown := [camera for camera in cameras if camera not in here.archive.store.cameras()]:
        raise HTTPException(404, f"nothing is recorded of camera {unknown[0]}")
    wish = Wish(cameras, from_us, to_us, body.layer, body.time, body.boxes, body.pin and who.is_admin)
    job = _exports(request).add(who.name, wish)
    told = f"{job.id}: {', '.join(cameras)} {body.begin:.3f} to {body.end:.3f}"
    await asyncio.to_thread(here.accounts.note, who.name, address_of(request), "export", told)
    return {"id": job.id}


@router.get("/exports")
async def exports(request: Request, who: Who) -> list[dict[str, object]]:
    """One's own, an admin's all; the newest first."""
    return [_shown(job) for job in _exports(request).jobs() if _may(who, job)]


@router.delete("/exports/{job}")
async def remove_export(request: Request, here: Here, who: Who, job: JobName) -> dict[str, bool]:
    """Cancel it, or forget it with its files."""
    _exports(request).remove(_job(request, who, job))
    await asyncio.to_thread(here.accounts.note, who.name, address_of(request), "export removed", job)
    return {"ok": True}


@router.get("/exports/{job}/{file}", response_class=FileResponse)
async def download(request: Request, here: Here, who: Who, job: JobName, file: FileName) -> FileResponse:
    found = _job(request, who, job)
    path = _exports(request).path(found, file)
    if path is None or not path.is_file():
        raise HTTPException(404, f"export {job} has no file {file}")
    await asyncio.to_thread(here.accounts.note, who.name, address_of(request), "export downloaded", f"{job}/{file}")
    kind = "application/json" if file.endswith(".json") else "video/mp4"
    return FileResponse(path, media_type=kind, filename=f"{job}-{file}")


def _job(request: Request, who: Account, name: str) -> Job:
    job = _exports(request).get(name)
    if job is None or not _may(who, job):
        raise HTTPException(404, f"there is no export {name}")
    return job


def _may(who: Account, job: Job) -> bool:
    """Whether it is theirs, and of cameras that they may still see."""
    return who.is_admin or (job.user == who.name and all(map(who.sees, job.wish.cameras)))


def _shown(job: Job) -> dict[str, object]:
    wish = job.wish
    return {
        "id": job.id, "user": job.user, "created": job.made, "cameras": list(wish.cameras),
        "from": wish.from_us / US, "to": wish.to_us / US, "layer": wish.layer, "time": wish.time, "boxes": wish.boxes,
        "state": job.state, "progress": job.progress, "error": job.error or None,
        "files": [asdict(file) for file in job.files],
    }  # fmt: skip


@router.get("/pins")
def list_pins(here: Here, who: Who) -> list[dict[str, object]]:
    """What is kept from aging."""
    return [
        {"id": p.number, "camera": p.camera, "from": p.from_us / US, "to": p.to_us / US, "note": p.reason}
        for p in pins(here.archive.store)
        if who.sees(p.camera)
    ]


@router.post("/pins")
def add_pin(request: Request, here: Here, who: Admin, body: NewPin) -> dict[str, int]:
    from_us, to_us = span_us(body.begin, body.end)
    allow(here, who, body.camera)
    if body.camera not in here.archive.store.cameras():
        raise HTTPException(404, f"nothing is recorded of camera {body.camera}")
    with Store(here.archive.root) as store:
        made = pin(
            store, body.camera, from_us=from_us, to_us=to_us, reason=body.note, now_us=time.time_ns() // 1000
        )  # fmt: skip
    here.accounts.note(who.name, address_of(request), "pin", f"{made.number}: {body.camera}")
    return {"id": made.number}


@router.delete("/pins/{number}")
def remove_pin(request: Request, here: Here, who: Admin, number: Number) -> dict[str, bool]:
    if all(p.number != number for p in pins(here.archive.store)):
        raise HTTPException(404, f"there is no pin {number}")
    with Store(here.archive.root) as store:
        unpin(store, number)
    here.accounts.note(who.name, address_of(request), "pin removed", str(number))
    return {"ok": True}


@router.get("/storage")
def storage(request: Request, here: Here, who: Who) -> dict[str, object]:
    """What footage takes, what is free, and how long that lasts. `cap`: the most that it may take, if that is set for
    every camera."""
    site = here.site.now
    seen = [summary for summary in here.archive.summary().values() if who.sees(summary.camera)]
    caps = [policy.max_gb for policy in site.retentions.values()]
    return {
        "bytes": sum(s.bytes_foreground + s.bytes_background for s in seen),
        "free": shutil.disk_usage(here.archive.root).free,
        "cap": round(sum(cap for cap in caps if cap is not None) * GB) if None not in caps else None,
        "by_camera": [
            {
                "camera": s.camera, "foreground": s.bytes_foreground, "background": s.bytes_background,
                "oldest": s.first_wall_us / US if s.first_wall_us is not None else None,
            }
            for s in seen
        ],
        "forecast": {"cameras": _forecast(request, here, {s.camera for s in seen})},
    }  # fmt: skip


def _forecast(request: Request, here: Here, cameras: Iterable[str]) -> dict[str, object]:
    """Of these cameras, as it was at most a minute ago."""
    at_s, found = request.app.state.forecast
    if time.monotonic() - at_s > _FORECAST_S:
        site = here.site.now
        kept = round(site.keep_free_gb * GB)
        found = {
            item.camera: finite(item) for item in forecast(here.archive.store, site.retentions, keep_free_bytes=kept)
        }
        request.app.state.forecast = time.monotonic(), found
    return {camera: values for camera, values in found.items() if camera in cameras}
