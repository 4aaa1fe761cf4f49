"""Frames to files that others can play: MP4 (H.264) to look at, Matroska (FFV1) without further loss.

Streaming: one frame at a time is held. Knows PyAV; not where frames come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from pipeline.errors import JobError
from pipeline.types import Frame, Plane, StreamInfo

Clock = Literal["stream", "wall"]

MICROSECOND = Fraction(1, 1_000_000)
_MP4_TICK = Fraction(1, 90_000)
_LONGEST_US = 3_600_000_000  # between two samples: MP4 durations have 31 bits, so a long gap repeats its last picture
_CLOSEST_US = 1_000
_LIMITED, _FULL = 1, 2  # AVColorRange


@dataclass(frozen=True, slots=True)
class ExportResult:
    """`seconds` from the first frame's begin to the last one's."""

    frames: int
    seconds: float
    width: int
    height: int
    bytes: int


def export_mp4(
    frames: Iterable[Frame],
    path: Path,
    *,
    info: StreamInfo,
    clock: Clock = "stream",
    crf: int = 18,
    preset: str = "veryfast",
) -> ExportResult:
    """H.264 4:2:0 with the index in front. Times count from the first frame, on stream time or on the wall clock (whose
    steps back are flattened); gaps keep their duration. H.264 has even sizes: an odd one is padded by repeating the
    last row or column. A picture of another size than `info`'s is scaled to it. Raises JobError."""
    width, height = info.width + info.width % 2, info.height + info.height % 2
    with _output(path, "mp4", {"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=_rate(info), options={"crf": str(crf), "preset": preset})
        describe(stream, info, width, height, _MP4_TICK)
        first = last = count = 0
        for frame, time_us, repeated in _bridged(_timed(frames, clock)):
            first = time_us if count == 0 else first
            last, count = time_us, count + (not repeated)
            picture = to_picture(frame, frame.width + frame.width % 2, frame.height + frame.height % 2)
            if (picture.width, picture.height) != (width, height):
                picture = picture.reformat(width, height)
            picture.pts = round((time_us - first) * MICROSECOND / _MP4_TICK)
            picture.time_base = _MP4_TICK
            container.mux(stream.encode(picture))
        _finish(container, stream, count)
    return ExportResult(count, (last - first) / 1e6, width, height, path.stat().st_size)


def export_mkv(frames: Iterable[Frame], path: Path, *, info: StreamInfo, clock: Clock = "stream") -> ExportResult:
    """FFV1 with the planes exactly as decoded, and the source's time stamps (which Matroska rounds to milliseconds).
    The sample aspect stands in a tag, SAMPLE_ASPECT_RATIO, for PyAV cannot set Matroska's own field. Raises JobError,
    also where the picture's size changes."""
    with _output(path, "matroska", {}) as container:
        options = {"level": "3", "slices": "4", "slicecrc": "1", "g": "1"}
        stream = container.add_stream("ffv1", rate=_rate(info), options=options)
        describe(stream, info, info.width, info.height, MICROSECOND)
        container.metadata["SAMPLE_ASPECT_RATIO"] = f"{info.sar[0]}:{info.sar[1]}"
        first = last = count = 0
        for frame, time_us in _timed(frames, clock):
            if (frame.width, frame.height) != (info.width, info.height):
                raise JobError(
                    f"frame {frame.index} is {frame.width}x{frame.height}, the file {info.width}x{info.height}: "
                    "a lossless export cannot change its size"
                )
            first, last, count = (time_us if count == 0 else first), time_us, count + 1
            picture = to_picture(frame, frame.width, frame.height)
            picture.pts = time_us - (first if clock == "wall" else 0)
            picture.time_base = MICROSECOND
            container.mux(stream.encode(picture))
        _finish(container, stream, count)
    return ExportResult(count, (last - first) / 1e6, info.width, info.height, path.stat().st_size)


@contextmanager
def _output(path: Path, container_format: str, options: dict[str, str]) -> Iterator[Any]:
    try:
        with av.open(str(path), "w", format=container_format, options=options) as container:
            yield container
    except (av.error.FFmpegError, OSError) as error:
        raise JobError(f"{path}: {error}") from error


def describe(stream: Any, info: StreamInfo, width: int, height: int, tick: Fraction) -> None:
    stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
    stream.time_base = tick
    context = stream.codec_context
    context.time_base = tick
    context.colorspace = info.matrix
    context.color_range = _FULL if info.full_range else _LIMITED
    if info.sar[0] > 0 and info.sar[1] > 0:
        context.sample_aspect_ratio = Fraction(*info.sar)


def _finish(container: Any, stream: Any, count: int) -> None:
    if count == 0:
        raise JobError("there is no frame to export")
    container.mux(stream.encode(None))


def _rate(info: StreamInfo) -> Fraction:
    """Nominal; true times stand on the frames."""
    return Fraction(info.fps or 25.0).limit_denominator(1001)


def _timed(frames: Iterable[Frame], clock: Clock) -> Iterator[tuple[Frame, int]]:
    """Each frame and its time, a millisecond apart at least: Matroska knows no finer."""
    last = -_CLOSEST_US
    for frame in frames:
        last = max(frame.pts_us if clock == "stream" else frame.wall_us, last + _CLOSEST_US)
        yield frame, last


def _bridged(frames: Iterable[tuple[Frame, int]]) -> Iterator[tuple[Frame, int, bool]]:
    """Repeats a frame every hour of the gap that follows it; the flag marks repetitions."""
    before: tuple[Frame, int] | None = None
    for frame, time_us in frames:
        while before is not None and time_us - before[1] > _LONGEST_US:
            before = before[0], before[1] + _LONGEST_US
            yield *before, True
        before = frame, time_us
        yield frame, time_us, False


def to_picture(frame: Frame, width: int, height: int) -> Any:
    """A PyAV frame of at least the frame's size, padded by repeating the last row and column."""
    picture = av.VideoFrame(width, height, "yuv420p")
    chroma = (-(-height // 2), -(-width // 2))
    for plane, source, shape in zip(
        picture.planes, (frame.y, frame.u, frame.v), ((height, width), chroma, chroma), strict=True
    ):
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)
        rows[: shape[0], : shape[1]] = _padded(source, shape)
    return picture


def _padded(plane: Plane, shape: tuple[int, int]) -> Plane:
    if plane.shape == shape:
        return plane
    return np.pad(plane, ((0, shape[0] - plane.shape[0]), (0, shape[1] - plane.shape[1])), mode="edge")
