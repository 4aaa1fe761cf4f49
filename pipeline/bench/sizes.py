"""Clips at the picture sizes that a benchmark asks for. The demo scene is drawn at each; others are scaled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np

from pipeline.address import parse_address
from pipeline.bench.clip import Clip
from pipeline.bench.run import Plan, load_clip
from pipeline.config import MaskConfig
from pipeline.errors import UsageError
from pipeline.track import RoiStage
from pipeline.types import MAX_SIZE, MIN_SIZE, Frame, Plane

Size = tuple[int, int]


def parse_size(text: str) -> Size:
    """`1280x720` -> (1280, 720). Raises UsageError."""
    width, times, height = text.partition("x")
    if not times or not width.isdecimal() or not height.isdecimal():
        raise UsageError(f"size {text!r}: expected WIDTHxHEIGHT")
    if not all(MIN_SIZE <= int(side) <= MAX_SIZE for side in (width, height)):
        raise UsageError(f"size {text}: sizes from {MIN_SIZE} to {MAX_SIZE} are supported")
    return int(width), int(height)


def at_sizes(url: str, plan: Plan, sizes: list[Size]) -> Iterator[Clip]:
    """A clip with its regions at each size; as it is where there are none."""
    for size in sizes:
        if parse_address(url).kind == "demo":
            yield replace(load_clip(_demo(url, size), plan)[0], name="demo")
        else:
            yield _scaled(load_clip(url, plan)[0], plan, size)
    if not sizes:
        yield load_clip(url, plan)[0]


def _demo(url: str, size: Size) -> str:
    bare, _, query = url.partition("?")
    options = [option for option in query.split("&") if option and not option.startswith("size=")]
    return f"{bare}?{'&'.join([*options, f'size={size[0]}x{size[1]}'])}"


def _scaled(clip: Clip, plan: Plan, size: Size) -> Clip:
    """Scaled, and its regions found anew."""
    if size == (clip.width, clip.height):
        return clip
    frames = [_resized(item.frame, size) for item in clip.masked]
    return replace(clip, masked=tuple(RoiStage(plan.detector, MaskConfig()).process(frames)))


def _resized(frame: Frame, size: Size) -> Frame:
    chroma = -(-size[0] // 2), -(-size[1] // 2)
    way = cv2.INTER_AREA if size[0] < frame.width else cv2.INTER_CUBIC

    def plane(values: Plane, to: Size) -> Plane:
        return np.ascontiguousarray(cv2.resize(values, to, interpolation=way))

    return replace(frame, y=plane(frame.y, size), u=plane(frame.u, chroma), v=plane(frame.v, chroma))
