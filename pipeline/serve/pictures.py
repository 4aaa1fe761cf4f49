"""Single pictures: a stored moment, and the newest one of a camera, as JPEG. Runs in the processes that decode."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np

from pipeline.color import frame_to_rgb
from pipeline.errors import StreamError
from pipeline.overlay import draw
from pipeline.player import Picture
from pipeline.serve.worker import Cells, Desk, Head, Part
from pipeline.store import EVER_US
from pipeline.types import CELL, Detection, Frame, LayerName, StreamInfo

_QUALITY = 85
_BOX_US = 500_000  # so long a box is shown where no newer ones are known


@dataclass(frozen=True, slots=True)
class Look:
    """How pictures are shown. `width`: at most, in pixels; `boxes` of what was detected; `mask`: what is not foreground
    is darkened."""

    layer: LayerName = "full"
    width: int | None = None
    boxes: bool = False
    mask: bool = False


@dataclass(frozen=True, slots=True)
class PictureTask:
    """The picture that a camera showed at a moment, as JPEG."""

    camera: str
    at_us: int
    look: Look
    step: int = 0  # 1, -1: the frame after that moment, or before it

    def run(self, desk: Desk) -> Iterator[Part]:
        with desk.player(self.camera) as player:
            if self.step:
                picture = player.step(self.at_us, back=self.step < 0)
            else:
                picture = player.at(self.at_us, layer=self.look.layer)
            if picture is None:
                raise StreamError("nothing is recorded there")
            yield from answered(desk, self.camera, picture, self.look)


@dataclass(frozen=True, slots=True)
class LatestTask:
    """The newest key frame of a camera: a second or two old where it records."""

    camera: str
    look: Look

    def run(self, desk: Desk) -> Iterator[Part]:
        with desk.player(self.camera) as player:
            picture = player.at(EVER_US, layer=self.look.layer, key=True)
            if picture is None:
                raise StreamError("nothing is recorded yet")
            yield from answered(desk, self.camera, picture, self.look)


def answered(desk: Desk, camera: str, picture: Picture, look: Look) -> Iterator[Part]:
    """A picture as the whole of an answer; its headers say when it was taken and which layers it shows."""
    frame = picture.frame
    info = desk.memory.info or StreamInfo(frame.width, frame.height, bytes(8))
    yield Head("image/jpeg", (("X-Time", f"{frame.wall_us / 1e6:.6f}"), ("X-Layer", picture.layer)))
    yield jpeg(dressed(desk, camera, frame, look), info, look.width)


def dressed(desk: Desk, camera: str, frame: Frame, look: Look) -> Frame:
    """The frame with what is to be shown over it."""
    if look.mask and (cells := desk.memory.mask(frame)) is not None:
        frame = _dimmed(frame, cells)
    if look.boxes:
        frame = draw(frame, boxes=boxes_at(desk, camera, frame.wall_us))
    return frame


def boxes_at(desk: Desk, camera: str, wall_us: int) -> tuple[Detection, ...]:
    """What was detected last at a moment."""
    seen = desk.store.detections(camera, from_us=wall_us - _BOX_US, to_us=wall_us + 1)
    return tuple(item.detection for item in seen if item.wall_us == seen[-1].wall_us)


def shown_size(width: int, height: int, info: StreamInfo | None, most: int | None) -> tuple[int, int]:
    """Width and height, even, with square pixels, of a picture that is at most so wide."""
    sar = info.sar[0] / info.sar[1] if info is not None and info.sar[0] > 0 and info.sar[1] > 0 else 1.0
    wide = width * min(max(sar, 0.25), 4.0)
    scale = min(1.0, (most or wide) / wide)
    return max(2, 2 * round(wide * scale / 2)), max(2, 2 * round(height * scale / 2))


def jpeg(frame: Frame, info: StreamInfo, width: int | None) -> bytes:
    """At most so wide, with square pixels."""
    rgb = frame_to_rgb(frame, matrix=info.matrix, full_range=info.full_range)
    size = shown_size(frame.width, frame.height, info, width)
    if size != (frame.width, frame.height):
        rgb = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", rgb[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    if not done:
        raise StreamError(f"a picture of {size[0]}x{size[1]} does not fit into a JPEG")
    return bytes(data)


def _dimmed(frame: Frame, cells: Cells) -> Frame:
    """Background cells at a third of their brightness."""
    wide = np.kron(cells, np.ones((CELL, CELL), np.bool_))[: frame.height, : frame.width]
    return replace(frame, y=np.where(wide, frame.y, frame.y // 3 + 10).astype(np.uint8))
