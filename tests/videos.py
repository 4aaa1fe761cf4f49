"""Small videos made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from pipeline.types import Frame


def still(height: int = 96, width: int = 128, *, index: int = 0, pts_us: int | None = None, value: int = 90) -> Frame:
    """A flat grey frame at 10 frames a second."""
    chroma = np.full((-(-height // 2), -(-width // 2)), 128, np.uint8)
    time_us = index * 100_000 if pts_us is None else pts_us
    return Frame(np.full((height, width), value, np.uint8), chroma, chroma.copy(), index, time_us, time_us)


def picture(
    width: int, height: int, pixel_format: str, *, seed: int = 0
) -> tuple[av.VideoFrame, list[npt.NDArray[np.uint8]]]:
    """A random picture, and its planes' bytes without padding."""
    chance = np.random.default_rng(seed)
    made = av.VideoFrame(width, height, pixel_format)
    planes = []
    wide = 2 if "10" in pixel_format or "16" in pixel_format else 1
    for plane in made.planes:
        high = 4 if wide == 2 else 256  # the upper byte of ten bits
        values = chance.integers(0, 256, (plane.height, plane.line_size), dtype=np.uint8)
        if wide == 2:
            values[:, 1::2] %= high
        plane.update(values.tobytes())
        planes.append(values[:, : plane.width * wide])
    return made, planes


def write_video(
    path: Path,
    *,
    width: int = 128,
    height: int = 96,
    pixel_format: str = "yuv420p",
    codec: str = "ffv1",
    times: Sequence[int] = tuple(range(0, 500, 100)),
    rotation: int = 0,
    color_range: int = 0,
    metadata: dict[str, str] | None = None,
    options: dict[str, str] | None = None,
) -> list[list[npt.NDArray[np.uint8]]]:
    """Write one random picture for each of `times` (milliseconds). Returns each picture's planes."""
    written = []
    with av.open(str(path), "w") as container:
        container.metadata.update(metadata or {})
        stream = container.add_stream(codec, rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, pixel_format
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.options = options or {}
        if color_range:
            stream.codec_context.color_range = color_range
        if rotation:
            stream.set_display_rotation(rotation)
        for seed, time_ms in enumerate(times):
            made, planes = picture(width, height, pixel_format, seed=seed)
            made.pts, made.time_base = time_ms, Fraction(1, 1000)
            written.append(planes)
            container.mux(stream.encode(made))
        container.mux(stream.encode())
    return written
