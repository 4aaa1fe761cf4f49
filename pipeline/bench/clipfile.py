"""A clip with its regions in a file, so that another process, or a machine without video libraries, can measure on it.

An `.npz`: `y` (T,H,W), `u` and `v` (T,H/2,W/2) uint8, each frame as its difference to the one before, modulo 256, for
where a camera stands still there is nothing to write; `pts_us` (T,); `importance` (T,rows,cols) uint8, foreground where
it is not 0; `fps`, `matrix`, `full_range`, `name` and `detector` as in `Clip`.
"""

from __future__ import annotations

import zipfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.bench.clip import Clip
from pipeline.errors import UsageError
from pipeline.types import Frame, Masked, RoiMask

SUFFIX = ".npz"


def save_clip(clip: Clip, path: Path) -> None:
    """Write it, without loss but for the boxes behind the masks."""
    frames = [item.frame for item in clip.masked]
    planes = {name: np.stack([getattr(frame, name) for frame in frames]) for name in "yuv"}
    for plane in planes.values():
        plane[1:] -= plane[:-1].copy()
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            **planes,
            pts_us=np.array([frame.pts_us for frame in frames]),
            importance=np.stack([item.mask.importance for item in clip.masked]),
            fps=np.array(clip.fps),
            name=np.array(clip.name),
            detector=np.array(clip.detector),
            matrix=np.array(clip.matrix),
            full_range=np.array(clip.full_range),
        )


def load_clip(path: Path) -> Clip:
    """The inverse of `save_clip`. Raises UsageError for a file that is none."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            y, u, v = (_summed(arrays[name]) for name in "yuv")
            pts_us, importance = arrays["pts_us"].tolist(), arrays["importance"]
            fps, name, detector = float(arrays["fps"]), str(arrays["name"]), str(arrays["detector"])
            matrix, full_range = int(arrays["matrix"]), bool(arrays["full_range"])
        masked = tuple(
            Masked(Frame(*planes, index, pts, pts), RoiMask(area > 0, area))
            for index, (planes, pts, area) in enumerate(zip(zip(y, u, v, strict=True), pts_us, importance, strict=True))
        )
        return Clip(name, masked, fps, detector, matrix, full_range)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: not a clip with regions: {error}") from error


def _summed(planes: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """Differences to pictures, in place: a process whose memory is measured holds its frames once."""
    for before, now in pairwise(planes):
        now += before
    return planes
