"""`fovea bench photos`: the intra codec alone, photos coded as plates, beside published curves of learned image codecs.

PSNR in RGB against the photo itself, so the loss of 4:2:0, which learned image codecs do not have, counts against ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.bench.bdrate import Curve
from pipeline.bench.quality import psnr
from pipeline.codec.brain import Brain
from pipeline.codec.encoder import quality_step
from pipeline.codec.plate import encode_plate
from pipeline.codec.state import Geometry
from pipeline.color import BT601, frame_from_rgb, planes_to_rgb
from pipeline.errors import SourceError, UsageError

# (bits a pixel, RGB PSNR) on Kodak, the mean over its 24 photos, from CompressAI's published results.
MBT2018_MEAN = (
    (0.1239, 27.699), (0.1980, 29.359), (0.3072, 31.129), (0.4606, 32.951),
    (0.6617, 34.968), (0.9144, 36.911), (1.2342, 38.838), (1.6191, 40.633),
)  # fmt: skip
KODAK = 24
_SAMPLES = 1000

Rgb = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class PhotoPoint:
    """The mean over photos at one quality."""

    quality: float
    bits_per_pixel: float
    rgb_psnr: float

    def __str__(self) -> str:
        return f"quality {self.quality:g}: {self.bits_per_pixel:.4f} bits a pixel, {self.rgb_psnr:.2f} dB"


def read_photos(folder: Path) -> list[Rgb]:
    """(H,W,3) each. Raises UsageError for a folder without any, SourceError for one that is none."""
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in (".png", ".jpg", ".jpeg"))
    if not paths:
        raise UsageError(f"{folder}: no photos")
    photos = []
    for path in paths:
        bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if bgr is None:
            raise SourceError(f"{path}: not an image")
        photos.append(np.ascontiguousarray(bgr[..., ::-1]))
    return photos


def measure_photos(
    brain: Brain, photos: Sequence[Rgb], qualities: Iterable[float], *, report: Callable[[str], None] = lambda _: None
) -> list[PhotoPoint]:
    """Code every photo at every quality."""
    points = []
    for quality in qualities:
        coded = [_code(brain, photo, quality) for photo in photos]
        bits, decibels = (sum(column) / len(coded) for column in zip(*coded, strict=True))
        points.append(PhotoPoint(quality, bits, decibels))
        report(str(points[-1]))
    return points


def _code(brain: Brain, photo: Rgb, quality: float) -> tuple[float, float]:
    """Bits a pixel and PSNR."""
    frame = frame_from_rgb(photo, 0, 0, 0, matrix=BT601, full_range=True)
    geometry = Geometry(frame.height, frame.width)
    with brain.at_work():
        payload, plate = encode_plate(
            brain,
            geometry,
            geometry.pad(frame, brain.device),
            unclean=np.zeros(geometry.cells, np.bool_),
            q=quality_step(quality),
        )
    shown = planes_to_rgb(*geometry.crop(plate), matrix=BT601, full_range=True)
    error = float(np.square(shown.astype(np.int32) - photo).mean())
    return 8 * len(payload) / (frame.height * frame.width), psnr(error)


def saving(points: Iterable[PhotoPoint], published: Sequence[tuple[float, float]]) -> tuple[float, float] | None:
    """(percent more bits at equal PSNR than the published curve, shared decibels); None where they share none."""
    ours = Curve.through((p.rgb_psnr, math.log(p.bits_per_pixel)) for p in points)
    theirs = Curve.through((decibels, math.log(bits)) for bits, decibels in published)
    low, high = max(ours.x[0], theirs.x[0]), min(ours.x[-1], theirs.x[-1])
    if low >= high:
        return None
    at = low + (np.arange(_SAMPLES) + 0.5) * (high - low) / _SAMPLES
    return 100 * math.expm1(float((ours(at) - theirs(at)).mean())), float(high - low)
