"""Pictures. What they show was decoded by the pool; here it is addressed, checked and handed on."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from pipeline.serve.pictures import LatestTask, Look, PictureTask
from pipeline.serve.routes.asked import US, Camera, Flag, Here, Seconds, Who, Width
from pipeline.serve.served import Served
from pipeline.serve.worker import Head, Task

router = APIRouter(prefix="/api/cameras/{camera}")

MOST_TILES = 256
LayerChoice = Annotated[Literal["full", "foreground"], Query()]


@router.get("/frame.jpg", response_class=Response)
async def frame(
    here: Here,
    who: Who,
    camera: Camera,
    t: Seconds,
    layer: LayerChoice = "full",
    width: Width = None,
    boxes: Flag = False,
    mask: Flag = False,
) -> Response:
    """What the camera showed at a moment."""
    task = PictureTask(camera, round(t * US), Look(layer, width, boxes, mask))
    head, body = await _picture(here, who.viewer, task)
    return Response(body, media_type=head.media_type, headers=dict(head.headers))


@router.get("/latest.jpg", response_class=Response)
async def latest(request: Request, here: Here, who: Who, camera: Camera, width: Width = None) -> Response:
    """The newest key frame. Decoded once for all who ask; unchanged, it is not sent again."""
    tiles: Tiles = request.app.state.tiles
    tile = await tiles.get(here, who.viewer, camera, width)
    headers = {"ETag": tile.tag, "Cache-Control": "private, no-cache", "X-Time": tile.time}
    if request.headers.get("if-none-match") == tile.tag:
        return Response(status_code=304, headers=headers)
    return Response(tile.body, media_type="image/jpeg", headers=headers)


@dataclass(frozen=True, slots=True)
class Tile:
    """A camera's newest picture. `tag` is its ETag, by the frame's time."""

    tag: str
    time: str
    body: bytes


class Tiles:
    """The newest pictures, each decoded once however many ask. For the event loop."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int | None], tuple[int, Tile]] = {}
        self._making: dict[tuple[str, int | None], asyncio.Lock] = {}

    async def get(self, here: Served, viewer: str, camera: str, width: int | None) -> Tile:
        key = camera, width
        lock = self._making.setdefault(key, asyncio.Lock())
        try:
            async with lock:
                stamp = await asyncio.to_thread(here.archive.newest_key_us, camera)
                if key in self._known and self._known[key][0] == stamp:
                    return self._known[key][1]
                head, body = await _picture(here, viewer, LatestTask(camera, Look(width=width)))
                time = dict(head.headers)["X-Time"]
                tile = Tile(f'"{time}-{width or 0}"', time, body)
                while len(self._known) >= MOST_TILES:
                    del self._known[next(iter(self._known))]
                self._known[key] = stamp, tile
                return tile
        finally:
            if not lock.locked():
                self._making.pop(key, None)


async def _picture(here: Served, viewer: str, task: Task) -> tuple[Head, bytes]:
    async with here.pool.answer(viewer, task) as answer:
        return answer.head, await answer.body()
