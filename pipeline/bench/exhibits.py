"""What a report shows beside numbers: one object in the source and as some codecs decode it at about equal bytes, and
where in time those bytes are. The few points shown are coded once more, so that measuring need not keep pictures."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.bench import fovea, opponents
from pipeline.bench.clip import Clip, Coded
from pipeline.bench.opponents import OPPONENTS, Attempt
from pipeline.bench.rd import Point, measure
from pipeline.color import frame_to_rgb
from pipeline.types import Detection, Frame, Plane

SHOWN = ("x264-veryfast-zl", "x265-medium", "svt-av1-8")
_MOST = 3
_SMALLEST = 160  # pixels a side of a crop


@dataclass(frozen=True, slots=True)
class Window:
    """A part of one frame, in pixels, half-open."""

    frame: int
    x0: int
    y0: int
    x1: int
    y1: int


@dataclass(frozen=True, slots=True, eq=False)
class Exhibit:
    """One codec at one setting: `crop` is (h,w,3) RGB, `layers` are bytes a frame."""

    point: Point
    crop: Plane
    layers: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True, eq=False)
class Show:
    """Of one clip: the source's crop, ours, and some opponents."""

    window: Window
    source: Plane
    exhibits: tuple[Exhibit, ...]


def make_show(clip: Clip, points: Sequence[Point]) -> Show:
    """Ours at its middle point, and up to three of the opponents among `points`."""
    own = sorted((point for point in points if point.codec == "fovea"), key=lambda point: point.nbytes)
    middle = own[len(own) // 2]
    window = subject(clip)
    coded = fovea.code(clip, middle.setting, gop_s=middle.gop / clip.fps)
    exhibits = [_exhibit(clip, window, coded, middle.codec, middle.setting, middle.gop)]
    names = list(dict.fromkeys(point.codec for point in points if point.codec != "fovea"))
    chosen = ([name for name in SHOWN if name in names] + [name for name in names if name not in SHOWN])[:_MOST]
    for name in chosen:
        tried = like(middle.nbytes, [point for point in points if point.codec == name])
        coded = opponents.code(OPPONENTS[name], clip, tried)
        exhibits.append(_exhibit(clip, window, coded, name, tried.setting, tried.gop, tried.offset))
    return Show(window, _crop(clip, clip.masked[window.frame].frame, window), tuple(exhibits))


def like(nbytes: int, points: Sequence[Point]) -> Attempt:
    """The setting of an opponent that comes nearest to so many bytes, on that of its curves which is best there."""
    candidates = []
    for gop, offset in sorted({(point.gop, point.offset) for point in points}):
        curve = sorted((p for p in points if (p.gop, p.offset) == (gop, offset)), key=lambda p: p.nbytes)
        sizes, at = [math.log(point.nbytes) for point in curve], math.log(nbytes)
        setting = _continued(at, list(zip(sizes, (point.setting for point in curve), strict=True)))
        quality = _continued(at, list(zip(sizes, (point.weighted_psnr for point in curve), strict=True)))
        allowed = OPPONENTS[curve[0].codec].settings
        setting = min(max(setting, min(allowed)), max(allowed))
        candidates.append((quality, Attempt(round(setting), gop, offset)))
    return max(candidates, key=lambda candidate: candidate[0])[1]


def _continued(at: float, curve: Sequence[tuple[float, float]]) -> float:
    """Through the two points next to `at`: a guess that is measured before it is shown."""
    if len(curve) == 1:
        return curve[0][1]
    (x0, y0), (x1, y1) = sorted(sorted(curve, key=lambda pair: abs(pair[0] - at))[:2])
    return y0 + (y1 - y0) * (at - x0) / (x1 - x0) if x1 > x0 else y0


def subject(clip: Clip) -> Window:
    """Around the largest object, a whole one of the second half if there is one; else in the picture's middle."""
    half = len(clip) // 2
    boxes = [(box, item.frame.index) for item in clip.masked for box in item.detections]
    if boxes:
        box, frame = max(boxes, key=lambda found: (_whole(found[0], clip), found[1] >= half, _area(found[0])))
        x, y, width, height = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2, box.x1 - box.x0, box.y1 - box.y0
    else:
        x, y, width, height, frame = clip.width / 2, clip.height / 2, 0.0, 0.0, half
    side = round(max(1.25 * width, 1.25 * height, _SMALLEST))
    across, down = min(side, clip.width), min(side, clip.height)
    left = min(max(round(x - across / 2), 0), clip.width - across)
    top = min(max(round(y - down / 2), 0), clip.height - down)
    return Window(frame, left, top, left + across, top + down)


def _whole(box: Detection, clip: Clip) -> bool:
    """Not cut by the picture's edge, and not most of it."""
    inside = box.x0 > 1 and box.y0 > 1 and box.x1 < clip.width - 1 and box.y1 < clip.height - 1
    return inside and _area(box) < clip.width * clip.height / 4


def _area(box: Detection) -> float:
    return (box.x1 - box.x0) * (box.y1 - box.y0)


def _exhibit(
    clip: Clip, window: Window, coded: Coded, codec: str, setting: float, gop: int, offset: float = 0.0
) -> Exhibit:
    crops: list[Plane] = []

    def watched() -> Iterator[Frame]:
        for frame in coded.frames:
            if frame.index == window.frame:
                crops.append(_crop(clip, frame, window))
            yield frame

    seen = Coded(coded.nbytes, coded.layers, watched())
    point = measure(clip, seen, codec=codec, setting=setting, gop=gop, offset=offset)
    return Exhibit(point, crops[0], coded.layers)


def _crop(clip: Clip, frame: Frame, window: Window) -> Plane:
    rgb = frame_to_rgb(frame, matrix=clip.matrix, full_range=clip.full_range)
    return np.ascontiguousarray(rgb[window.y0 : window.y1, window.x0 : window.x1])
