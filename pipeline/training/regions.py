"""Random importance maps, a whole batch at a time. No mask shape is memorised: uniform areas, gradients, boxes and
blobs are mixed."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

Maps = npt.NDArray[np.float32]
Flags = npt.NDArray[np.bool_]


def random_regions(rng: np.random.Generator, count: int, size: int) -> Maps:
    """`count` smooth or sharp maps (count,size,size) in 0..1."""
    kind = rng.integers(5, size=(count, 1, 1))
    first, second = rng.random((2, count, 1, 1), dtype=np.float32)
    along = np.linspace(0, 1, size, dtype=np.float32)
    ramp = first + (second - first) * np.where(rng.random((count, 1, 1)) < 0.5, along, along[:, None])
    inside = np.where(kind == 3, _boxes(rng, count, size), _blobs(rng, count, size))
    sharp = np.where(inside, np.maximum(first, second), np.minimum(first, second))
    maps = np.select([kind == 0, kind == 1, kind == 2], [np.ones_like(first), first, ramp], sharp)
    return maps.astype(np.float32)


def _boxes(rng: np.random.Generator, count: int, size: int) -> Flags:
    """One to three rectangles in each map."""
    most = 3
    used = np.arange(most) < rng.integers(1, most + 1, (count, 1))
    start = rng.integers(0, size - 1, (2, count, most, 1))
    along = np.arange(size)
    rows, cols = (along >= start) & (along < start + rng.integers(1, size // 2 + 1, start.shape))
    boxes = rows[..., :, None] & cols[..., None, :] & used[..., None, None]
    return boxes.any(1)


def _blobs(rng: np.random.Generator, count: int, size: int) -> Flags:
    """Coarse noise, enlarged bicubically, over one half."""
    weights = cv2.resize(np.eye(4, dtype=np.float32), (4, size), interpolation=cv2.INTER_CUBIC)
    return weights @ rng.random((count, 4, 4), dtype=np.float32) @ weights.T > 0.5


def random_choice_of_cells(rng: np.random.Generator, count: int, size: int) -> tuple[Flags, Flags, Flags]:
    """What `Batches.cells` chooses by: whether a map takes the changed cells (count,1,1), which cells it takes
    otherwise, and the single cell that it takes rather than none, both (count,size,size)."""
    kind = rng.random((count, 1, 1))
    region = random_regions(rng, count, size) > rng.random((count, 1, 1))
    spare = rng.integers(size * size, size=(count, 1)) == np.arange(size * size)
    return kind < 0.45, region | (kind >= 0.8), spare.reshape(count, size, size)
