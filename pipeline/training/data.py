"""Clips and photos cut into training samples, kept in one file each so that a resumed run sees the same ones.

A *moving* sample is three frames of a crop with a margin for motion, and the block vectors between them; a *still*
sample is one crop. All are 8-bit 4:2:0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt

from pipeline.codec.motion import FlowSearch

CORE = 128
MARGIN = 24  # luma pixels around the core that motion may reach into
CROP = CORE + 2 * MARGIN
REACH = (MARGIN - 8) * 4  # largest vector in quarter pixels: the filter needs some of the margin

U8 = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """`y` (N,T,CROP,CROP), `u` and `v` (N,T,CROP/2,CROP/2) uint8; `vectors` (N,T-1,CORE/8,CORE/8,2) int8 quarter pixels
    from frame t+1 to frame t."""

    y: U8
    u: U8
    v: U8
    vectors: npt.NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.y)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial.npz")
        np.savez(temporary, y=self.y, u=self.u, v=self.v, vectors=self.vectors)
        temporary.rename(path)

    @classmethod
    def load(cls, path: Path) -> Samples:
        with np.load(path) as pack:
            return cls(pack["y"], pack["u"], pack["v"], pack["vectors"])


Yuv = tuple[U8, U8, U8]


def read_clip(path: Path, *, halve_from: int = 720, most: int = 400) -> list[Yuv]:
    """The first frames of a clip; those of `halve_from` rows or more are halved, so that source artefacts average
    out."""
    frames: list[Yuv] = []
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            halve = 2 if picture.height >= halve_from else 1
            w, h = picture.width // halve // 16 * 16, picture.height // halve // 16 * 16
            planar = picture.reformat(width=picture.width // 2 * 2, height=picture.height // 2 * 2, format="yuv420p")
            i420 = planar.to_ndarray()
            rows = planar.height
            y = i420[:rows]
            chroma = i420[rows:].reshape(2, rows // 2, planar.width // 2)
            if halve == 2:
                y = cv2.resize(y, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
                chroma = np.stack([cv2.resize(c, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA) for c in chroma])
            frames.append(
                (y[:h, :w].copy(), chroma[0][: h // 2, : w // 2].copy(), chroma[1][: h // 2, : w // 2].copy())
            )
            if len(frames) >= most:
                break
    return frames


def read_photo(path: Path) -> Yuv:
    """A photo as 4:2:0, BT.601 full range as JPEG has it."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise OSError(f"{path}: not an image")
    h, w = bgr.shape[0] // 16 * 16, bgr.shape[1] // 16 * 16
    ycc = cv2.cvtColor(bgr[:h, :w], cv2.COLOR_BGR2YCrCb)
    small = cv2.resize(ycc, (w // 2, h // 2), interpolation=cv2.INTER_AREA)
    return ycc[..., 0].copy(), small[..., 2].copy(), small[..., 1].copy()


def _crop(frame: Yuv, top: int, left: int) -> Yuv:
    y, u, v = frame
    half = slice(top // 2, (top + CROP) // 2), slice(left // 2, (left + CROP) // 2)
    return y[top : top + CROP, left : left + CROP], u[half], v[half]


def _busy_place(first: U8, last: U8, rng: np.random.Generator, tries: int) -> tuple[int, int]:
    """Of some random crops the one where most changes: static ones teach little."""
    best, place = -1.0, (0, 0)
    for _ in range(tries):
        top = int(rng.integers(0, (first.shape[0] - CROP) // 2 + 1)) * 2
        left = int(rng.integers(0, (first.shape[1] - CROP) // 2 + 1)) * 2
        window = slice(top, top + CROP, 2), slice(left, left + CROP, 2)
        change = float(np.abs(first[window].astype(np.int16) - last[window]).mean())
        if change > best:
            best, place = change, (top, left)
    return place


def _vectors(frames: Sequence[Yuv], flow: FlowSearch) -> npt.NDArray[np.int8]:
    edge = MARGIN // 8
    found = []
    for current, reference in zip(frames[1:], frames[:-1], strict=True):
        medians = flow.block_medians(np.ascontiguousarray(current[0]), np.ascontiguousarray(reference[0]))
        found.append(np.clip(medians[edge:-edge, edge:-edge], -REACH, REACH))
    return np.stack(found).astype(np.int8)


def _stack(crops: list[list[Yuv]], vectors: list[npt.NDArray[np.int8]]) -> Samples:
    planes = [np.stack([np.stack([frame[i] for frame in crop]) for crop in crops]) for i in range(3)]
    return Samples(planes[0], planes[1], planes[2], np.stack(vectors))


def cut_clips(clips: Sequence[Path], count: int, seed: int) -> Samples:
    """`count` moving samples, spread evenly over the clips. Gaps of 1 to 3 frames imitate other frame rates."""
    rng = np.random.default_rng(seed)
    flow = FlowSearch()
    crops: list[list[Yuv]] = []
    vectors: list[npt.NDArray[np.int8]] = []
    for number, path in enumerate(clips):
        frames = read_clip(path)
        share = count // len(clips) + (number < count % len(clips))
        for _ in range(share):
            gap = int(rng.choice([1, 1, 1, 2, 3]))
            start = int(rng.integers(0, len(frames) - 2 * gap))
            three = [frames[start + k * gap] for k in range(3)]
            top, left = _busy_place(three[0][0], three[2][0], rng, tries=6)
            crop = [_crop(f, top, left) for f in three]
            crops.append(crop)
            vectors.append(_vectors(crop, flow))
    return _stack(crops, vectors)


def cut_photos(photos: Sequence[Path], clips: Sequence[Path], count: int, seed: int) -> Samples:
    """`count` still samples: four of five from photos (at full or half size), the rest from frames of the clips."""
    rng = np.random.default_rng(seed)
    crops: list[list[Yuv]] = []
    for frame in _still_frames(photos, clips, count, rng):
        top = int(rng.integers(0, (frame[0].shape[0] - CROP) // 2 + 1)) * 2
        left = int(rng.integers(0, (frame[0].shape[1] - CROP) // 2 + 1)) * 2
        crops.append([_crop(frame, top, left)])
    nothing = np.zeros((0, CORE // 8, CORE // 8, 2), np.int8)
    return _stack(crops, [nothing] * len(crops))


def _still_frames(photos: Sequence[Path], clips: Sequence[Path], count: int, rng: np.random.Generator) -> Iterator[Yuv]:
    usable = [f for f in (read_photo(p) for p in photos) if min(f[0].shape) >= CROP]
    for _ in range(count * 4 // 5):
        yield usable[int(rng.integers(len(usable)))]
    left = count - count * 4 // 5
    for path in clips:
        frames = read_clip(path, most=200)
        for _ in range(-(-left // len(clips))):
            yield frames[int(rng.integers(len(frames)))]
