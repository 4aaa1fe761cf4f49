"""Regions in a file: found once on the source, shared by every codec and by later runs.

An `.npz` with, for the k-th clip, `k.importance` (frames, rows, cols) uint8, foreground where it is not 0, and `k.crcs`
(frames,) uint32, the CRC-32 of each frame's planes, so that regions never meet frames that they were not made on.
`header` is JSON text: the clips' names and detectors, and the boxes that made the masks. Masks from elsewhere, e.g. of
instances, can be brought in the same way.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import UsageError
from pipeline.types import Detection, Frame, Masked, RoiMask

SCHEMA = 1


@dataclass(frozen=True, slots=True, eq=False)
class Regions:
    """Of one clip, frame by frame. Importance is (frames, rows, cols) uint8, `crcs` (frames,) uint32."""

    clip: str
    detector: str
    importance: npt.NDArray[np.uint8]
    crcs: npt.NDArray[np.uint32]
    boxes: tuple[tuple[Detection, ...], ...]

    def __post_init__(self) -> None:
        frames = len(self.boxes)
        if self.importance.dtype != np.uint8 or self.importance.ndim != 3 or len(self.importance) != frames:
            raise ValueError(f"importance is {self.importance.dtype} {self.importance.shape} for {frames} frames")
        if self.crcs.dtype != np.uint32 or self.crcs.shape != (frames,):
            raise ValueError(f"crcs are {self.crcs.dtype} {self.crcs.shape} for {frames} frames")


def regions_of(clip: str, detector: str, masked: Sequence[Masked]) -> Regions:
    """What a detector made of a clip. Raises ValueError for masks whose importance does not tell their cells."""
    for item in masked:
        if not np.array_equal(item.mask.cells, item.mask.importance > 0):
            raise ValueError(f"{clip}, frame {item.frame.index}: importance must be above 0 exactly in the foreground")
    return Regions(
        clip,
        detector,
        np.stack([item.mask.importance for item in masked]),
        np.array([_crc(item.frame) for item in masked], np.uint32),
        tuple(item.detections for item in masked),
    )


def put_on(regions: Regions, frames: Sequence[Frame]) -> tuple[Masked, ...]:
    """The frames with their regions, of which there may be more than frames. Raises UsageError where the regions were
    made on other frames."""
    if len(regions.crcs) < len(frames):
        raise UsageError(f"{regions.clip}: regions of {len(regions.crcs)} frames for {len(frames)} frames")
    masked = []
    for frame, crc, importance, boxes in zip(frames, regions.crcs, regions.importance, regions.boxes, strict=False):
        if _crc(frame) != crc:
            raise UsageError(
                f"{regions.clip}: its regions were made on other frames, from frame {frame.index} on (the file, --skip "
                "and --halve must be the same)"
            )
        masked.append(Masked(frame, RoiMask(importance > 0, importance), boxes))
    return tuple(masked)


def _crc(frame: Frame) -> int:
    crc = 0
    for plane in (frame.y, frame.u, frame.v):
        crc = zlib.crc32(plane.data, crc)
    return crc


def save_regions(path: Path, regions: Sequence[Regions]) -> None:
    """Write the regions of several clips."""
    clips = [
        {"name": r.clip, "detector": r.detector, "boxes": [[astuple(box) for box in boxes] for boxes in r.boxes]}
        for r in regions
    ]
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "header": np.array(json.dumps({"schema": SCHEMA, "clips": clips}, separators=(",", ":")))
    }
    for number, item in enumerate(regions):
        arrays |= {f"{number}.importance": item.importance, f"{number}.crcs": item.crcs}
    with path.open("wb") as file:
        np.savez_compressed(file, **arrays)


def load_regions(path: Path) -> dict[str, Regions]:
    """Clip name -> its regions. Raises UsageError that names the file."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            header = json.loads(str(arrays["header"]))
            if header["schema"] != SCHEMA:
                raise ValueError(f"schema {header['schema']}, expected {SCHEMA}")
            return {
                item["name"]: Regions(
                    item["name"],
                    item["detector"],
                    arrays[f"{number}.importance"],
                    arrays[f"{number}.crcs"],
                    tuple(tuple(Detection(*box) for box in boxes) for boxes in item["boxes"]),
                )
                for number, item in enumerate(header["clips"])
            }
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: not a file of regions: {error}") from error
