"""Moving pictures: a stored range, and a camera live, as fragmented MP4. Runs in the processes that decode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.errors import StreamError
from pipeline.player import Picture
from pipeline.serve.fragments import Fragments
from pipeline.serve.pictures import Look, dressed
from pipeline.serve.worker import Desk, Head, Part
from pipeline.store import covered
from pipeline.tail import Tail
from pipeline.types import Frame, StreamInfo

AHEAD_S = 4.0  # so much is sent before it is due
LEAD_S = 0.04  # of media time, for the picture that stands first
POLL_S = 0.25  # at the end of what is recorded


@dataclass(frozen=True, slots=True)
class ClipTask:
    """A camera's frames in [from_us, to_us) at a speed. The first fragment is the key frame's foreground over the
    plate; after LEAD_S of media time follows the moment itself, and then what comes after it, in true time. Never more
    than AHEAD_S ahead of a viewer who watches; a viewer who stops is waited for."""

    camera: str
    from_us: int
    to_us: int
    speed: float
    look: Look

    def run(self, desk: Desk) -> Iterator[Part]:
        if not covered(desk.store, self.camera, from_us=self.from_us, to_us=self.to_us):
            raise StreamError("nothing is recorded there")
        with desk.player(self.camera) as player:
            played = player.play(self.from_us, speed=self.speed, until_us=self.to_us, layer=self.look.layer, lead=True)
            pictures = self._held_back(desk, played)
            first = next(pictures, None)
            if first is None:
                raise StreamError("nothing is recorded there")
            out = Fragments(desk.memory.info or _plain(first.frame), width=self.look.width)
            yield head(out, first.frame)
            yield self._added(desk, out, first, 0.0)
            yield self._added(desk, out, first, LEAD_S / 2)  # sends the one before on its way
            for picture in pictures:
                media_s = LEAD_S + max(0.0, (picture.frame.wall_us - self.from_us) / 1e6 / self.speed)
                yield self._added(desk, out, picture, media_s)
            yield out.end()

    def _held_back(self, desk: Desk, pictures: Iterator[Picture]) -> Iterator[Picture]:
        """The same, held back until they are nearly due."""
        began_s = desk.clock()
        for picture in pictures:
            ahead_s = picture.due_s - AHEAD_S - (desk.clock() - began_s)
            if ahead_s > 0:
                desk.sleep(ahead_s)
            yield picture

    def _added(self, desk: Desk, out: Fragments, picture: Picture, media_s: float) -> bytes:
        with desk.turn():
            return out.add(dressed(desk, self.camera, picture.frame, self.look), media_s)


@dataclass(frozen=True, slots=True)
class LiveTask:
    """A camera as it is recorded: at once the newest picture, then each frame as soon as it is durable. Ends when
    nobody watches. Media time is the frames' own, from the first one shown."""

    camera: str
    look: Look

    def run(self, desk: Desk) -> Iterator[Part]:
        tail = Tail(desk.store, self.camera, make_decoder=desk.decoder)
        newest: Frame | None = None
        for newest in tail.take():  # noqa: B007 - what comes before the newest picture is past
            pass
        if newest is None:
            raise StreamError("nothing is recorded yet")
        out = Fragments(desk.memory.info or _plain(newest), width=self.look.width)
        yield head(out, newest)
        yield self._added(desk, out, newest, 0.0)
        yield self._added(desk, out, newest, LEAD_S / 2)
        began_us = newest.wall_us
        while True:
            for frame in tail.take():
                yield self._added(desk, out, frame, LEAD_S + max(0, frame.wall_us - began_us) / 1e6)
            desk.sleep(POLL_S)

    def _added(self, desk: Desk, out: Fragments, frame: Frame, media_s: float) -> bytes:
        with desk.turn():
            return out.add(dressed(desk, self.camera, frame, self.look), media_s)


def head(out: Fragments, first: Frame) -> Head:
    """What a browser must know to take the rest."""
    return Head(
        f'video/mp4; codecs="{out.codec}"',
        (
            ("X-Codec", out.codec), ("X-Width", str(out.size[0])), ("X-Height", str(out.size[1])),
            ("X-Time", f"{first.wall_us / 1e6:.6f}"), ("X-Lead", f"{LEAD_S:g}"),
        ),
    )  # fmt: skip


def _plain(frame: Frame) -> StreamInfo:
    return StreamInfo(frame.width, frame.height, bytes(8))
