"""Cameras added, changed, removed, tested, and their privacy masks. For admins; the recorder follows the site file."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from pipeline.config import CAMERA_ID, Share
from pipeline.serve import settings
from pipeline.serve.routes.asked import Admin, Here
from pipeline.serve.routes.people import address_of
from pipeline.serve.served import Served

router = APIRouter(prefix="/api/cameras/{camera}")

TEST_S = 10.0
MOST_TESTS = 2  # at once
Name = Annotated[str, Path(pattern=CAMERA_ID)]
Corner = Annotated[list[Share], Field(min_length=2, max_length=2)]
Corners = Annotated[list[Corner], Field(min_length=3, max_length=64)]


class Masks(BaseModel):
    model_config = ConfigDict(extra="forbid")

    masks: Annotated[list[Corners], Field(max_length=32)]


class TestUrl(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    url: str | None = Field(default=None, min_length=1, max_length=2000)


def _known(here: Served, camera: str) -> None:
    if camera not in here.site.now.cameras:
        raise HTTPException(404, f"there is no camera {camera} in the site file")


@router.get("/settings")
def get_settings(here: Here, who: Admin, camera: Name) -> dict[str, Any]:
    """The camera's part of the site file, passwords as ***."""
    found = settings.settings_of(here.site.path, camera)
    if found is None:
        raise HTTPException(404, f"there is no camera {camera} in the site file")
    return found


@router.put("")
def put_camera(request: Request, here: Here, who: Admin, camera: Name, body: dict[str, Any]) -> dict[str, bool]:
    """Add a camera, or make its settings these; *** stands for the password that is there."""
    new = settings.put_settings(here.site.path, camera, body)
    here.accounts.note(who.name, address_of(request), "camera added" if new else "camera changed", camera)
    return {"ok": True, "new": new}


@router.delete("")
def remove_camera(request: Request, here: Here, who: Admin, camera: Name) -> dict[str, bool]:
    """Take it out of the site file. Its footage stays."""
    _known(here, camera)
    settings.remove_camera(here.site.path, camera)
    here.accounts.note(who.name, address_of(request), "camera removed", camera)
    return {"ok": True}


@router.put("/masks")
def put_masks(request: Request, here: Here, who: Admin, camera: Name, body: Masks) -> dict[str, bool]:
    """Privacy masks: polygons that are black in everything recorded from now on."""
    _known(here, camera)
    settings.put_masks(here.site.path, camera, body.masks)
    here.accounts.note(who.name, address_of(request), "masks changed", f"{camera}: {len(body.masks)}")
    return {"ok": True}


@router.post("/test")
async def test(request: Request, here: Here, who: Admin, camera: Name, body: TestUrl) -> dict[str, object]:
    """Open a camera's address, its own or another, and say what it offers."""
    url = await asyncio.to_thread(settings.url_to_test, here.site.path, camera, body.url)
    await asyncio.to_thread(here.accounts.note, who.name, address_of(request), "camera tested", camera)
    tests: asyncio.Semaphore = request.app.state.tests
    async with tests:
        return await asyncio.to_thread(settings.tested, url, TEST_S)
