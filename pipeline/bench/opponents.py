"""Other codecs on the same frames, through PyAV's x264, x265, SVT-AV1 and OpenCV's JPEG.

Their rate is the sum of their packets and parameter sets, without any container: generous to them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np

from pipeline.errors import UsageError
from pipeline.types import Frame


@dataclass(frozen=True, slots=True)
class Opponent:
    """A codec with its preset. `options` go to the encoder; `settings` are the quality settings of its curve."""

    name: str
    codec: str
    options: tuple[tuple[str, str], ...]
    settings: tuple[int, ...]


OPPONENTS = {
    o.name: o
    for o in (
        Opponent("mjpeg", "jpeg", (), (8, 15, 25, 40, 55, 70, 82, 90, 95)),
        Opponent(
            "x264-zerolatency",
            "libx264",
            (("preset", "veryfast"), ("tune", "zerolatency"), ("threads", "1")),
            (17, 21, 25, 29, 33, 37, 41),
        ),
        Opponent("x264", "libx264", (("preset", "medium"), ("threads", "1")), (17, 21, 25, 29, 33, 37, 41)),
        Opponent("x265", "libx265", (("preset", "medium"),), (17, 21, 25, 29, 33, 37, 41)),
        Opponent("svt-av1", "libsvtav1", (("preset", "8"),), (18, 26, 34, 42, 50, 57, 63)),
    )
}


def run(
    opponent: Opponent, frames: Sequence[Frame], *, setting: int, gop: int, fps: float
) -> tuple[int, Iterator[Frame]]:
    """(bytes, the decoded frames in order). `gop` in frames. Raises UsageError when this PyAV lacks the codec."""
    if opponent.codec == "jpeg":
        return _jpeg(frames, setting)
    if opponent.codec not in av.codecs_available:
        raise UsageError(f"{opponent.name}: this PyAV was built without {opponent.codec}")
    packets, extra = _encode(opponent, frames, setting=setting, gop=gop, fps=fps)
    return sum(p.size for p in packets) + extra, _decode(opponent, packets, frames)


def _jpeg(frames: Sequence[Frame], setting: int) -> tuple[int, Iterator[Frame]]:
    streams = [_jpeg_bytes(frame, setting) for frame in frames]
    return sum(len(s) for s in streams), (_jpeg_frame(s, f) for s, f in zip(streams, frames, strict=True))


def _jpeg_bytes(frame: Frame, setting: int) -> bytes:
    options = [cv2.IMWRITE_JPEG_QUALITY, setting, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    return bytes(cv2.imencode(".jpg", _as_bgr(frame), options)[1])


def _as_bgr(frame: Frame) -> Any:
    """OpenCV's JPEG takes BGR only; full-range BT.601 both ways makes the trip nearly lossless."""
    size = (frame.width, frame.height)
    u, v = (cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in (frame.u, frame.v))
    return cv2.cvtColor(np.dstack((frame.y, v, u)), cv2.COLOR_YCrCb2BGR)


def _jpeg_frame(stream: bytes, source: Frame) -> Frame:
    bgr = cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise UsageError("OpenCV could not read back its own JPEG")
    ycc = cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb)
    half = source.u.shape[1], source.u.shape[0]
    v, u = (cv2.resize(ycc[..., k], half, interpolation=cv2.INTER_AREA) for k in (1, 2))
    return _like(source, np.ascontiguousarray(ycc[..., 0]), u, v)


def _like(source: Frame, y: Any, u: Any, v: Any) -> Frame:
    return Frame(y, u, v, source.index, source.pts_us, source.wall_us)


def _encode(
    opponent: Opponent, frames: Sequence[Frame], *, setting: int, gop: int, fps: float
) -> tuple[list[Any], int]:
    first = frames[0]
    context: Any = av.CodecContext.create(opponent.codec, "w")
    # Odd sizes are padded to even ones, as every user of these codecs must.
    context.width, context.height = first.width + first.width % 2, first.height + first.height % 2
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(fps or 25).limit_denominator(1000)
    context.time_base = 1 / context.framerate
    context.options = dict(opponent.options) | _quality(opponent, setting, gop)
    packets = []
    for number, frame in enumerate(frames):
        picture = _picture(frame)
        picture.pts, picture.time_base = number, context.time_base
        packets += context.encode(picture)
    packets += context.encode(None)
    return packets, len(context.extradata or b"")


def _quality(opponent: Opponent, setting: int, gop: int) -> dict[str, str]:
    options = {"crf": str(setting), "g": str(gop)}
    if opponent.codec == "libx265":
        options["x265-params"] = f"log-level=error:keyint={gop}:pools=1:frame-threads=1"
    if opponent.codec == "libsvtav1":
        options["svtav1-params"] = "lp=1"
    return options


def _picture(frame: Frame) -> Any:
    height, width = frame.height + frame.height % 2, frame.width + frame.width % 2
    planes = [(frame.y, height, width), (frame.u, height // 2, width // 2), (frame.v, height // 2, width // 2)]
    padded = [np.pad(p, ((0, h - p.shape[0]), (0, w - p.shape[1])), mode="edge") for p, h, w in planes]
    stacked = np.concatenate([p.reshape(-1) for p in padded]).reshape(height * 3 // 2, width)
    return av.VideoFrame.from_ndarray(stacked, format="yuv420p")


_DECODERS = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "libdav1d"}


def _decode(opponent: Opponent, packets: list[Any], frames: Sequence[Frame]) -> Iterator[Frame]:
    context: Any = av.CodecContext.create(_DECODERS[opponent.codec], "r")
    number = 0
    for packet in [*packets, None]:
        for picture in context.decode(packet):
            yield _from_picture(picture, frames[number])
            number += 1
    if number != len(frames):
        raise UsageError(f"{opponent.name} gave back {number} of {len(frames)} frames")


def _from_picture(picture: Any, source: Frame) -> Frame:
    stacked = picture.to_ndarray(format="yuv420p")
    height, width = picture.height, picture.width
    y = stacked[:height, : source.width][: source.height]
    chroma = stacked[height:].reshape(2, height // 2, width // 2)[:, : source.u.shape[0], : source.u.shape[1]]
    return _like(source, *(np.ascontiguousarray(plane) for plane in (y, chroma[0], chroma[1])))
