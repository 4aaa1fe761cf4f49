"""Footage to train on, made on the spot: small, smooth and moving."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

WIDTH, HEIGHT = 224, 192

CONFIG = """
images: {0}/images
clips: {0}/clips
held_back_clips: ["held*"]
still_samples: 64
moving_samples: 8
validation_samples: 32
held_back: 32
batch: 2
steps: 2
validate_every: 2
device: cpu
"""


def texture(height: int, width: int, seed: int) -> npt.NDArray[np.uint8]:
    """A grey picture with structure of all sizes."""
    chance = np.random.default_rng(seed)
    picture = np.zeros((height, width), np.float32)
    for cells in (4, 12, 36):
        coarse = chance.random((cells, cells), np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC) / cells
    return cv2.normalize(picture, None, 20, 230, cv2.NORM_MINMAX).astype(np.uint8)


def write_clip(
    path: Path, *, frames: int = 25, seed: int = 0, width: int = WIDTH, height: int = HEIGHT, step: int = 2
) -> None:
    """A texture that slides over another, `step` pixels a frame, 10 frames a second, without loss."""
    still, moving = texture(height, width, seed), texture(height // 2, width + step * frames, seed + 1)
    chroma = np.full((height // 2, width), 128, np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for time in range(frames):
            luma = still.copy()
            luma[: height // 2] = moving[:, step * time : step * time + width]
            picture = av.VideoFrame.from_ndarray(np.concatenate((luma, chroma)), format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())


def write_photo(path: Path, *, seed: int = 0, width: int = 240, height: int = 200) -> None:
    """A photo in colour."""
    cv2.imwrite(str(path), np.stack([texture(height, width, seed + k) for k in range(3)], axis=-1))


def write_material(folder: Path) -> Path:
    """Two photos, a clip to train on, one to hold back, and the configuration that uses them."""
    for name in ("images", "clips"):
        (folder / name).mkdir()
    for seed, name in enumerate(("one.jpg", "two.png")):
        write_photo(folder / "images" / name, seed=seed)
    for seed, name in enumerate(("a.mkv", "held.mkv")):
        write_clip(folder / "clips" / name, seed=10 * seed)
    config = folder / "train.yaml"
    config.write_text(CONFIG.format(folder))
    return config
