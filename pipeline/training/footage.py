"""Clips and photos as frames of 8-bit 4:2:0, and which of them are held back. Knows nothing of samples.

Where PyAV is missing, OpenCV reads the clips. Luma is then the same (but where OpenCV 5 reads a clip that says BT.709:
off by 1 to 3 grey levels), chroma went through RGB and back (off by up to 0.4 on average, more at sharp edges of
colour), which is fine for training.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.color import BT601, frame_from_rgb
from pipeline.config import SourceConfig
from pipeline.errors import SourceError, UsageError
from pipeline.training.config import TrainConfig
from pipeline.types import CELL, Frame

HALVE_FROM = 720  # clips of so many rows or more are halved, so that source artefacts average out

U8 = npt.NDArray[np.uint8]
Yuv = tuple[U8, U8, U8]


def read_clip(path: Path, *, most: int = 400) -> list[Yuv]:
    """The first frames of a clip, cut to whole cells, large ones halved. Raises SourceError."""
    exact = importlib.util.find_spec("av") is not None
    frames = _decoded(path, most) if exact else islice(_decoded_by_opencv(path), most)
    return [_whole_cells((frame.y, frame.u, frame.v)) for frame in frames]


def _decoded(path: Path, most: int) -> Iterator[Frame]:
    from pipeline.source import open_source

    config = SourceConfig(url=str(path), frames=most)
    with open_source(config) as source:
        halve = source.height >= HALVE_FROM
    with open_source(config.model_copy(update={"halve": halve})) as source:
        yield from source


def _decoded_by_opencv(path: Path) -> Iterator[Frame]:
    """Two readers side by side: one gives luma as it was coded, the other colour."""
    luma, colour = cv2.VideoCapture(str(path)), cv2.VideoCapture(str(path))
    luma.set(cv2.CAP_PROP_CONVERT_RGB, 0)
    try:
        found, bgr = colour.read()
        if not found:
            raise SourceError(f"{path}: OpenCV can read no frame of it")
        while found:
            with _quiet_opencv():  # it warns that luma alone is no picture to it
                has_luma, y = luma.read()
            yield _from_bgr(bgr, y if has_luma else None)
            found, bgr = colour.read()
    finally:
        luma.release()
        colour.release()


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    log = cv2 if hasattr(cv2, "setLogLevel") else cv2.utils.logging  # type: ignore[attr-defined]  # since OpenCV 5
    level = log.getLogLevel()
    log.setLogLevel(2)  # errors
    try:
        yield
    finally:
        log.setLogLevel(level)


def _from_bgr(bgr: U8, luma: U8 | None) -> Frame:
    """OpenCV converts by BT.601 whatever a clip says, so that is undone here."""
    frame = frame_from_rgb(np.ascontiguousarray(bgr[..., ::-1]), 0, 0, 0, matrix=BT601)
    h, w = frame.height, frame.width
    if luma is not None and luma.ndim == 2 and luma.shape[1] == w and luma.shape[0] >= h:
        frame = Frame(np.ascontiguousarray(luma[:h]), frame.u, frame.v, index=0, pts_us=0, wall_us=0)
    if h < HALVE_FROM:
        return frame
    return Frame(*_halved((frame.y, frame.u, frame.v)), index=0, pts_us=0, wall_us=0)


def _halved(planes: Yuv) -> Yuv:
    h, w = planes[0].shape
    sizes = (w // 2, h // 2), (-(-(w // 2) // 2), -(-(h // 2) // 2))
    pairs = zip(planes, (sizes[0], sizes[1], sizes[1]), strict=True)
    y, u, v = (cv2.resize(plane, size, interpolation=cv2.INTER_AREA) for plane, size in pairs)
    return y, u, v


def _whole_cells(planes: Yuv) -> Yuv:
    y, u, v = planes
    h, w = y.shape[0] // CELL * CELL, y.shape[1] // CELL * CELL
    half = slice(h // 2), slice(w // 2)
    return y[:h, :w].copy(), u[half].copy(), v[half].copy()


def halved(planes: Yuv) -> Yuv:
    """Half as many rows and columns, cut to whole cells."""
    return _whole_cells(_halved(planes))


def read_photo(path: Path) -> Yuv:
    """A photo as 4:2:0, BT.601 full range as JPEG has it, cut to whole cells. Raises SourceError."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SourceError(f"{path}: not an image")
    frame = frame_from_rgb(np.ascontiguousarray(bgr[..., ::-1]), 0, 0, 0, matrix=BT601, full_range=True)
    return _whole_cells((frame.y, frame.u, frame.v))


@dataclass(frozen=True, slots=True)
class Clip:
    """A clip, or its first four fifths (`early`), or the rest (`late`)."""

    path: Path
    part: Literal["whole", "early", "late"] = "whole"

    def frames(self, most: int) -> list[Yuv]:
        """Of the clip's first `most` frames the part's. Raises SourceError."""
        frames = read_clip(self.path, most=most)
        border = len(frames) - len(frames) // 5
        return {"whole": frames, "early": frames[:border], "late": frames[border:]}[self.part]


@dataclass(frozen=True, slots=True)
class Material:
    """What samples are cut from, and apart from it what is held back for validation.

    Clips that `held_back_clips` names are held back whole; where it names none, the last fifth of every clip is. Every
    tenth photo is held back; a single photo serves both.
    """

    clips: list[Clip]
    held_clips: list[Clip]
    photos: list[Path]
    held_photos: list[Path]

    @classmethod
    def find(cls, config: TrainConfig) -> Material:
        """Look into the configuration's folders. Raises UsageError when there is no clip to train on."""
        paths = _files(config.clips)
        held = [p for p in paths if any(p.match(pattern) for pattern in config.held_back_clips)]
        if len(held) == len(paths):
            raise UsageError(f"no training clips in {config.clips}")
        if held:
            clips, held_clips = [Clip(p) for p in paths if p not in held], [Clip(p) for p in held]
        else:
            clips, held_clips = [Clip(p, "early") for p in paths], [Clip(p, "late") for p in paths]
        photos = _files(config.images)
        held_photos = photos[::10]
        return cls(clips, held_clips, [p for p in photos if p not in held_photos] or photos, held_photos)


def _files(folder: Path) -> list[Path]:
    """Sorted by name; none where there is no such folder."""
    return sorted(p for p in folder.glob("*") if p.is_file() and not p.name.startswith("."))
