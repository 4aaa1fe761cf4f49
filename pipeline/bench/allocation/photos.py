"""Photos: crops to train on, with random regions, and whole ones with instance masks to measure on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.bench.allocation.variants import region_map
from pipeline.codec.blocks import LUMA, to_blocks
from pipeline.color import BT601, frame_from_rgb
from pipeline.errors import SourceError, UsageError
from pipeline.training.footage import read_photo
from pipeline.types import CELL

CROP = 96
LEAST_SHARE, MOST_SHARE = 0.05, 0.6  # of the cells that are in the region: there must be something of both

U8 = npt.NDArray[np.uint8]


def cut_crops(folder: Path, count: int, *, seed: int) -> Tensor:
    """(count,CROP/8,CROP/8,96) uint8 blocks of random crops of a folder's photos. Raises UsageError, SourceError."""
    rng = np.random.default_rng(seed)
    paths = sorted(p for p in folder.glob("*") if p.is_file() and not p.name.startswith("."))
    photos = [photo for photo in map(read_photo, paths) if min(photo[0].shape) >= CROP]
    if not photos:
        raise UsageError(f"{folder}: no photos of at least {CROP}x{CROP} pixels")
    crops = []
    for _ in range(count):
        y, u, v = photos[int(rng.integers(len(photos)))]
        top, left = (2 * int(rng.integers(0, (size - CROP) // 2 + 1)) for size in y.shape)
        half = slice(top // 2, (top + CROP) // 2), slice(left // 2, (left + CROP) // 2)
        planes = y[top : top + CROP, left : left + CROP], u[half], v[half]
        crops.append(to_blocks(*(torch.from_numpy(p.copy())[None] for p in planes)).to(torch.uint8))
    return torch.cat(crops)


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """A photo to measure on. `blocks` (1,rows,cols,96) grey levels; `region` the same shape, bool: the samples of an
    instance."""

    name: str
    blocks: Tensor
    region: Tensor

    @property
    def pixels(self) -> int:
        return self.blocks.shape[1] * self.blocks.shape[2] * 64


def read_scenes(folder: Path, count: int) -> list[Scene]:
    """The first `count` photos by name that suit, at half size, with the polygons of `instances.json` (COCO). Raises
    UsageError when there is none, SourceError for a photo that cannot be read."""
    try:
        found = json.loads((folder / "instances.json").read_text())
        polygons: dict[int, list[list[float]]] = {}
        for instance in found["annotations"]:
            if isinstance(instance["segmentation"], list):  # crowds are run lengths
                polygons.setdefault(instance["image_id"], []).extend(instance["segmentation"])
        names = sorted((image["file_name"], image["id"]) for image in found["images"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{folder}: no instances.json of COCO's kind in it: {error}") from error
    scenes: list[Scene] = []
    for name, number in names:
        if len(scenes) < count and (scene := _scene(folder / name, polygons.get(number, []))) is not None:
            scenes.append(scene)
    if not scenes:
        raise UsageError(f"{folder}: no photo whose instances cover {LEAST_SHARE:.0%} to {MOST_SHARE:.0%}")
    return scenes


def _scene(path: Path, polygons: Sequence[Sequence[float]]) -> Scene | None:
    """None for a photo with too little or too much in its region."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SourceError(f"{path}: not an image")
    mask = np.zeros(bgr.shape[:2], np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.round(np.array(polygon).reshape(-1, 1, 2)).astype(np.int32)], 255)
    height, width = (size // 2 // CELL * CELL for size in mask.shape)
    half_size = mask.shape[1] // 2, mask.shape[0] // 2
    small, luma = (cv2.resize(a, half_size, interpolation=cv2.INTER_AREA)[:height, :width] for a in (bgr, mask))
    region = samples_of(luma[None] > 127)
    share = float(region_map(region, fine=False).float().mean())
    if not LEAST_SHARE <= share <= MOST_SHARE or not region[..., LUMA:].any():
        return None
    frame = frame_from_rgb(np.ascontiguousarray(small[..., ::-1]), 0, 0, 0, matrix=BT601, full_range=True)
    planes = (torch.from_numpy(np.ascontiguousarray(plane))[None] for plane in (frame.y, frame.u, frame.v))
    return Scene(path.name, to_blocks(*planes), region)


def samples_of(masks: npt.NDArray[np.bool_]) -> Tensor:
    """The samples (B,rows,cols,96) that are in the masks (B,height,width) of luma; of chroma those of which half is."""
    count, height, width = masks.shape
    luma = torch.from_numpy(masks)
    chroma = torch.from_numpy(masks.reshape(count, height // 2, 2, width // 2, 2).mean((2, 4)) >= 0.5)
    return to_blocks(luma, chroma, chroma) > 0
