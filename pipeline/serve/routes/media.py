"""Pictures. What they show was decoded by the pool; here it is addressed, checked and handed on."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from pipeline.serve.moving import ClipTask, LiveTask
from pipeline.serve.pictures import LatestTask, Look, PictureTask
from pipeline.serve.pool import Answer
from pipeline.serve.routes.asked import US, Camera, Flag, From, Here, Seconds, To, Who, Width, span_us
from pipeline.serve.served import Served
from pipeline.serve.worker import Head, Task

router = APIRouter(prefix="/api/cameras/{camera}")

MOST_TILES = 256
T = TypeVar("T")
LayerChoice = Annotated[Literal["full", "foreground"], Query()]


@router.get("/frame.jpg", response_class=Response)
async def frame(
    request: Request,
    here: Here,
    who: Who,
    camera: Camera,
    t: Seconds,
    layer: LayerChoice = "full",
    width: Width = None,
    boxes: Flag = False,
    mask: Flag = False,
    step: Annotated[int, Query(ge=-1, le=1)] = 0,
) -> Response:
    """What the camera showed at a moment; with `step` the frame after it, or before it."""
    task = PictureTask(camera, round(t * US), Look(layer, width, boxes, mask), step)
    head, body = await while_wanted(request, _picture(here, who.viewer, task))
    return Response(body, media_type=head.media_type, headers=dict(head.headers))


@router.get("/latest.jpg", response_class=Response)
async def latest(request: Request, here: Here, who: Who, camera: Camera, width: Width = None) -> Response:
    """The newest key frame. Decoded once for all who ask; unchanged, it is not sent again."""
    tiles: Tiles = request.app.state.tiles
    tile = await while_wanted(request, tiles.get(here, who.viewer, camera, width))
    headers = {"ETag": tile.tag, "Cache-Control": "private, no-cache", "X-Time": tile.time}
    if request.headers.get("if-none-match") == tile.tag:
        return Response(status_code=304, headers=headers)
    return Response(tile.body, media_type="image/jpeg", headers=headers)


@router.get("/clip.mp4", response_class=Response)
async def clip(
    request: Request,
    here: Here,
    who: Who,
    camera: Camera,
    begin: From,
    end: To,
    layer: LayerChoice = "full",
    speed: Annotated[float, Query(ge=1, le=16, allow_inf_nan=False)] = 1.0,
    boxes: Flag = False,
    mask: Flag = False,
    width: Width = None,
) -> Response:
    """A range as fragmented MP4, at the pace at which it is watched."""
    from_us, to_us = span_us(begin, end)
    task = ClipTask(camera, from_us, to_us, speed, Look(layer, width, boxes, mask))
    return await while_wanted(request, Stream.of(here, who.viewer, task))


@router.get("/live.mp4", response_class=Response)
async def live(request: Request, here: Here, who: Who, camera: Camera, width: Width = None) -> Response:
    """A camera as it is recorded, as fragmented MP4 that never ends."""
    return await while_wanted(request, Stream.of(here, who.viewer, LiveTask(camera, Look(width=width))))


class Stream(StreamingResponse):
    """What a task yields, as it comes. The task ends with the answer, however that ends."""

    def __init__(self, answer: Answer, stack: AsyncExitStack) -> None:
        super().__init__(aiter(answer), media_type=answer.head.media_type, headers=dict(answer.head.headers))
        self._stack = stack

    @classmethod
    async def of(cls, here: Served, viewer: str, task: Task) -> Stream:
        """Wait for a task's head. Raises what it raises before that."""
        async with AsyncExitStack() as stack:
            answer = await stack.enter_async_context(here.pool.answer(viewer, task))
            return cls(answer, stack.pop_all())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._stack:
            await super().__call__(scope, receive, send)


async def while_wanted(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Its result; the work is cancelled where the asker goes away first."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise HTTPException(499, "nobody waits for this any more")
        return task.result()
    finally:
        for one in (task, gone):
            if not one.done():
                one.cancel()
                with suppress(asyncio.CancelledError):
                    await one


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


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
