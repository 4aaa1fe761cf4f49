"""Clips and photos cut into training samples, kept in one file each so that a resumed run sees the same ones.

A *moving* sample is `TIMES` frames of a crop with a margin for motion, and the block vectors between them; a *still*
sample is one crop. All are 8-bit 4:2:0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from pipeline.codec.motion import FlowSearch
from pipeline.color import frame_from_rgb
from pipeline.config import SourceConfig
from pipeline.errors import SourceError, UsageError
from pipeline.source import open_source
from pipeline.training.config import TrainConfig
from pipeline.types import CELL, Frame

TIMES = 4  # frames of a moving sample
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
    """The first frames of a clip, cut to whole cells; those of `halve_from` rows or more are halved, so that source
    artefacts average out. Raises SourceError."""
    config = SourceConfig(url=str(path), frames=most)
    with open_source(config) as source:
        halve = source.height >= halve_from
    with open_source(config.model_copy(update={"halve": halve})) as source:
        return [_whole_cells(frame) for frame in source]


def _whole_cells(frame: Frame) -> Yuv:
    h, w = frame.height // CELL * CELL, frame.width // CELL * CELL
    half = slice(h // 2), slice(w // 2)
    return frame.y[:h, :w].copy(), frame.u[half].copy(), frame.v[half].copy()


def read_photo(path: Path) -> Yuv:
    """A photo as 4:2:0, BT.601 full range as JPEG has it, cut to whole cells. Raises SourceError."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise SourceError(f"{path}: not an image")
    return _whole_cells(frame_from_rgb(np.ascontiguousarray(bgr[..., ::-1]), 0, 0, 0, matrix=6, full_range=True))


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
            gap = min(int(rng.choice([1, 1, 1, 2, 3])), (len(frames) - 1) // (TIMES - 1))
            start = int(rng.integers(len(frames) - (TIMES - 1) * gap))
            times = [frames[start + k * gap] for k in range(TIMES)]
            top, left = _busy_place(times[0][0], times[-1][0], rng, tries=6)
            crop = [_crop(f, top, left) for f in times]
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


@dataclass(frozen=True, slots=True)
class SampleSets:
    """What a run trains on and is validated on."""

    still: Samples
    moving: Samples
    validation: Samples

    @classmethod
    def prepare(cls, config: TrainConfig, folder: Path, report: Callable[[str], None]) -> SampleSets:
        """Load the run's samples from `folder`; cut them first where they are not there yet. Raises UsageError when
        there is nothing to cut from."""
        clips = sorted(p for p in config.clips.glob("*") if p.is_file())
        held = [p for p in clips if any(p.match(pattern) for pattern in config.held_back_clips)]
        clips = [p for p in clips if p not in held]
        photos = sorted(p for p in config.images.glob("*") if p.is_file())
        for what, found in (("training clips", clips), ("held-back clips", held), ("images", photos)):
            if not found:
                raise UsageError(f"no {what} in {config.clips if 'clips' in what else config.images}")
        cuts: dict[str, Callable[[], Samples]] = {
            "still": lambda: cut_photos(photos, clips, config.still_samples, config.seed),
            "moving": lambda: cut_clips(clips, config.moving_samples, config.seed),
            "validation": lambda: cut_clips(held, config.validation_samples, config.seed),
        }
        sets = []
        for name, cut in cuts.items():
            path = folder / f"{name}.npz"
            if not path.exists():
                report(f"cutting samples: {name}")
                cut().save(path)
            sets.append(Samples.load(path))
        return cls(*sets)
