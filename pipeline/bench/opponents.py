"""Other codecs on the same frames, through PyAV's x264, x265 and SVT-AV1 and OpenCV's JPEG.

Their rate is the sum of their packets and parameter sets, without any container and without the note in which x264 and
x265 sign their streams: generous to them. Each runs on one thread, for slices and frame threads cost quality.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import av
import av.filter
import cv2
import numpy as np
import numpy.typing as npt

from pipeline.bench.clip import Clip, Coded
from pipeline.errors import JobError, UsageError
from pipeline.types import CELL, Frame, Masked

Cells = npt.NDArray[np.bool_]

os.environ.setdefault("SVT_LOG", "1")  # else its encoder prints twenty lines a run, past FFmpeg's log level


@dataclass(frozen=True, slots=True)
class Opponent:
    """A codec with its preset. `options` go to the encoder; `settings` are the quality settings of its curve, coarse to
    fine. `offsets` are quantiser offsets of the foreground, in parts of the encoder's whole range (FFmpeg's `addroi`),
    each of which makes a curve; 0 leaves the encoder alone. With `frozen` the background stands still."""

    name: str
    codec: str
    options: tuple[tuple[str, str], ...]
    settings: tuple[int, ...]
    offsets: tuple[float, ...] = (0.0,)
    frozen: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """An opponent at one point of its curves. `gop` in frames."""

    setting: int
    gop: int
    offset: float = 0.0


_CRF = tuple(range(51, 14, -4))
_OFFSETS = (-0.1, -0.2, -0.3)  # 5, 10 and 15 steps of 51
_ZERO_LATENCY = ("tune", "zerolatency")


def _x264(name: str, preset: str, *extra: tuple[str, str], offsets: tuple[float, ...] = (0.0,)) -> Opponent:
    return Opponent(name, "libx264", (("preset", preset), ("threads", "1"), *extra), _CRF, offsets)


def _x265(name: str, *extra: tuple[str, str], offsets: tuple[float, ...] = (0.0,), frozen: bool = False) -> Opponent:
    own = ("x265-params", "log-level=error:info=0:pools=1:frame-threads=1")
    return Opponent(name, "libx265", (("preset", "medium"), own, *extra), _CRF, offsets, frozen)


OPPONENTS = {
    o.name: o
    for o in (
        Opponent("mjpeg", "jpeg", (), (4, 8, 15, 25, 40, 55, 70, 82, 90, 95)),
        _x264("x264-veryfast-zl", "veryfast", _ZERO_LATENCY),
        _x264("x264-medium", "medium"),
        _x264("x264-medium-zl", "medium", _ZERO_LATENCY),
        _x265("x265-medium"),
        _x265("x265-medium-zl", _ZERO_LATENCY),
        Opponent("svt-av1-8", "libsvtav1", (("preset", "8"), ("svtav1-params", "lp=1")), (63, 57, 50, 43, 36, 29, 22)),
        _x264("x264-roi", "medium", offsets=_OFFSETS),
        _x265("x265-roi", offsets=_OFFSETS),
        _x265("x265-frozen", frozen=True),
    )
}

_DECODERS = {"libx264": "h264", "libx265": "hevc", "libsvtav1": "libdav1d"}


def missing(opponent: Opponent) -> str:
    """What this installation lacks for an opponent, in words; empty where it can run."""
    if opponent.codec == "jpeg":
        return ""
    lacks = [name for name in (opponent.codec, _DECODERS[opponent.codec]) if name not in av.codecs_available]
    if any(opponent.offsets) and "addroi" not in av.filter.filters_available:
        lacks.append("the filter addroi")
    return f"this PyAV was built without {', '.join(lacks)}" if lacks else ""


def code(opponent: Opponent, clip: Clip, attempt: Attempt) -> Coded:
    """Encode a clip. Raises UsageError for an opponent that this installation lacks."""
    if opponent.codec == "jpeg":
        return _jpeg([item.frame for item in clip.masked], attempt.setting)
    if lacks := missing(opponent):
        raise UsageError(f"{opponent.name}: {lacks}")
    packets, headers = _encode(opponent, clip, attempt)
    sizes = Counter[int]()
    for packet in packets:
        sizes[packet.pts] += packet.size
    sizes[0] += headers - _signature(opponent, bytes(packets[0]))
    layers = {"stream": tuple(sizes[number] for number in range(len(clip)))}
    return Coded(sum(sizes.values()), layers, _decode(opponent, packets, clip))


def _encode(opponent: Opponent, clip: Clip, attempt: Attempt) -> tuple[list[Any], int]:
    """Packets, and the bytes of headers that are in none of them."""
    context: Any = av.CodecContext.create(opponent.codec, "w")
    # Odd sizes are padded to even ones, as every user of these codecs must.
    context.width, context.height = clip.width + clip.width % 2, clip.height + clip.height % 2
    context.pix_fmt = "yuv420p"
    context.framerate = Fraction(clip.fps).limit_denominator(1001)
    context.time_base = 1 / context.framerate
    context.options = dict(opponent.options) | {"crf": str(attempt.setting), "g": str(attempt.gop)}
    packets = []
    for number, frame in enumerate(_frozen(clip.masked) if opponent.frozen else (m.frame for m in clip.masked)):
        picture = _picture(frame)
        picture.pts, picture.time_base = number, context.time_base
        if attempt.offset:
            picture = _with_regions(picture, clip.masked[number].mask.cells, attempt.offset)
        packets += context.encode(picture)
    packets += context.encode(None)
    return packets, len(context.extradata or b"")


def _signature(opponent: Opponent, packet: bytes) -> int:
    """Bytes of the SEI unit that x264 signs its first packet with; x265 is told not to."""
    if opponent.codec != "libx264":
        return 0
    return sum(len(unit) + 3 for unit in packet.split(b"\0\0\1") if unit[:2] == b"\x06\x05")


def _with_regions(picture: Any, cells: Cells, offset: float) -> Any:
    """The same picture with its foreground marked: a filter graph hangs the side data on that encoders read."""
    boxes = rectangles(cells)
    if not boxes:
        return picture
    graph = av.filter.Graph()
    last = graph.add_buffer(width=picture.width, height=picture.height, format="yuv420p", time_base=picture.time_base)
    for row, col, rows, cols in boxes:
        box = f"x={col * CELL}:y={row * CELL}:w={cols * CELL}:h={rows * CELL}:qoffset={offset}"
        region = graph.add("addroi", box)
        last.link_to(region)
        last = region
    last.link_to(graph.add("buffersink"))
    graph.configure()
    graph.push(picture)
    return graph.pull()


def rectangles(cells: Cells) -> list[tuple[int, int, int, int]]:
    """(row, col, rows, cols) of rectangles that cover exactly the cells that are set, each once: runs of a row, joined
    with the same run of the rows below."""
    left, found = cells.copy(), []
    while left.any():
        row, col = (int(place) for place in np.argwhere(left)[0])
        ends = np.flatnonzero(~left[row, col:])
        cols = int(ends[0]) if len(ends) else left.shape[1] - col
        full = left[row:, col : col + cols].all(axis=1)
        rows = int(full.argmin()) if not full.all() else len(full)
        left[row : row + rows, col : col + cols] = False
        found.append((row, col, rows, cols))
    return found


def _frozen(masked: Sequence[Masked]) -> Iterator[Frame]:
    """Frames whose background is, cell by cell, the first that the clip shows of it. What is never background shows
    the first frame, under the foreground for good."""
    clean = masked[0].frame
    unseen = masked[0].mask.cells
    for item in masked[1:]:
        clean = pasted(clean, item.frame, unseen & ~item.mask.cells)
        unseen = unseen & item.mask.cells
    for item in masked:
        yield pasted(clean, item.frame, item.mask.cells)


def pasted(under: Frame, over: Frame, cells: Cells) -> Frame:
    """`over` where cells are set."""
    planes = []
    for a, b, size in ((under.y, over.y, CELL), (under.u, over.u, CELL // 2), (under.v, over.v, CELL // 2)):
        planes.append(np.where(cells.repeat(size, 0).repeat(size, 1)[: a.shape[0], : a.shape[1]], b, a))
    return _like(over, *planes)


def _picture(frame: Frame) -> Any:
    height, width = frame.height + frame.height % 2, frame.width + frame.width % 2
    planes = [(frame.y, height, width), (frame.u, height // 2, width // 2), (frame.v, height // 2, width // 2)]
    padded = [np.pad(p, ((0, h - p.shape[0]), (0, w - p.shape[1])), mode="edge") for p, h, w in planes]
    stacked = np.concatenate([p.reshape(-1) for p in padded]).reshape(height * 3 // 2, width)
    return av.VideoFrame.from_ndarray(stacked, format="yuv420p")


def _decode(opponent: Opponent, packets: list[Any], clip: Clip) -> Iterator[Frame]:
    context: Any = av.CodecContext.create(_DECODERS[opponent.codec], "r")
    number = 0
    for packet in [*packets, None]:
        for picture in context.decode(packet):
            yield _from_picture(picture, clip.masked[number].frame)
            number += 1
    if number != len(clip):
        raise JobError(f"{opponent.name} gave back {number} of {len(clip)} frames")


def _from_picture(picture: Any, source: Frame) -> Frame:
    stacked = picture.to_ndarray(format="yuv420p")
    height, width = picture.height, picture.width
    y = stacked[:height, : source.width][: source.height]
    chroma = stacked[height:].reshape(2, height // 2, width // 2)[:, : source.u.shape[0], : source.u.shape[1]]
    return _like(source, *(np.ascontiguousarray(plane) for plane in (y, chroma[0], chroma[1])))


def _like(source: Frame, y: Any, u: Any, v: Any) -> Frame:
    return Frame(y, u, v, source.index, source.pts_us, source.wall_us)


def _jpeg(frames: Sequence[Frame], setting: int) -> Coded:
    options = [cv2.IMWRITE_JPEG_QUALITY, setting, cv2.IMWRITE_JPEG_OPTIMIZE, 1]
    streams = [bytes(cv2.imencode(".jpg", _as_bgr(frame), options)[1]) for frame in frames]
    sizes = tuple(len(stream) for stream in streams)
    decoded = (_jpeg_frame(stream, frame) for stream, frame in zip(streams, frames, strict=True))
    return Coded(sum(sizes), {"stream": sizes}, decoded)


def _as_bgr(frame: Frame) -> Any:
    """OpenCV's JPEG takes BGR only; full-range BT.601 both ways makes the trip nearly lossless."""
    size = (frame.width, frame.height)
    u, v = (cv2.resize(p, size, interpolation=cv2.INTER_LINEAR) for p in (frame.u, frame.v))
    return cv2.cvtColor(np.dstack((frame.y, v, u)), cv2.COLOR_YCrCb2BGR)


def _jpeg_frame(stream: bytes, source: Frame) -> Frame:
    bgr = cv2.imdecode(np.frombuffer(stream, np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise JobError("OpenCV could not read back its own JPEG")
    ycc = cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb)
    half = source.u.shape[1], source.u.shape[0]
    v, u = (cv2.resize(ycc[..., k], half, interpolation=cv2.INTER_AREA) for k in (1, 2))
    return _like(source, np.ascontiguousarray(ycc[..., 0]), u, v)


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Of the libraries behind the opponents, as far as they tell: x264 and x265 sign what they code."""
    found = {"pyav": av.__version__, "ffmpeg": av.ffmpeg_version_info, "opencv": cv2.__version__}
    for codec, pattern in (
        ("libx264", rb"x264 - (core \d+[ -~]*?) - H"),
        ("libx265", rb"x265 \(build \d+\) - ([^:]+)"),
    ):
        if codec in av.codecs_available:
            signed = re.search(pattern, _one_grey_picture(codec))
            found[codec] = signed[1].decode("ascii", "replace") if signed else "unknown"
    return found


def _one_grey_picture(codec: str) -> bytes:
    context: Any = av.CodecContext.create(codec, "w")
    context.width = context.height = 64
    context.pix_fmt, context.time_base = "yuv420p", Fraction(1, 25)
    context.options = {"x265-params": "log-level=error:pools=1"} if codec == "libx265" else {}
    picture: Any = av.VideoFrame.from_ndarray(np.full((96, 64), 128, np.uint8), format="yuv420p")
    return b"".join(bytes(packet) for packet in [*context.encode(picture), *context.encode(None)])
