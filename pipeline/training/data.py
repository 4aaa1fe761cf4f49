"""Clips and photos cut into training samples, kept in one file each so that a resumed run sees the same ones.

A *moving* sample is `TIMES` frames of a crop with a margin for motion, and the block vectors between them; a *still*
sample is one crop. All are 8-bit 4:2:0.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from itertools import product
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pipeline.codec.match import match
from pipeline.errors import UsageError
from pipeline.training.coded import CodedLayers, code_clips
from pipeline.training.config import TrainConfig
from pipeline.training.footage import U8, Clip, Material, Yuv, read_photo
from pipeline.training.processes import on_all_cores

TIMES = 5  # frames of a moving sample
CORE = 128
MARGIN = 24  # luma pixels around the core that motion may reach into
CROP = CORE + 2 * MARGIN
REACH = (MARGIN - 8) * 4  # largest vector in quarter pixels: the filter needs some of the margin
_PART = 64  # samples whose vectors a process looks for at a time
_VECTOR_PRICE = 10.0  # squared error that a bit of vector is worth, at a usual quality


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

    @classmethod
    def cut(cls, crops: Iterable[Sequence[Yuv]], count: int, times: int) -> Samples:
        """Samples of `count` crops of `times` frames each. Filled one by one: crops are views that hold whole clips."""
        half = CROP // 2
        shapes = (count, times, CROP, CROP), (count, times, half, half), (count, times, half, half)
        y, u, v = (np.empty(shape, np.uint8) for shape in shapes)
        for number, crop in enumerate(crops):
            for time, frame in enumerate(crop):
                y[number, time], u[number, time], v[number, time] = frame
        return cls(y, u, v, _vectors(y))

    def part(self, where: slice) -> Samples:
        """Some of the samples, as views."""
        return Samples(self.y[where], self.u[where], self.v[where], self.vectors[where])

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial.npz")
        np.savez(temporary, y=self.y, u=self.u, v=self.v, vectors=self.vectors)
        temporary.rename(path)

    @classmethod
    def load(cls, path: Path) -> Samples:
        with np.load(path) as pack:
            return cls(pack["y"], pack["u"], pack["v"], pack["vectors"])


def joined(parts: Sequence[Samples]) -> Samples:
    """One after the other."""
    y, u, v = (np.concatenate([getattr(part, name) for part in parts]) for name in ("y", "u", "v"))
    return Samples(y, u, v, np.concatenate([part.vectors for part in parts]))


def _vectors(luma: U8) -> npt.NDArray[np.int8]:
    """Block vectors between the frames of each sample (N,T,CROP,CROP), by the search of the encoder, on all cores."""
    parts = [luma[first : first + _PART] for first in range(0, len(luma), _PART)]
    if luma.shape[1] == 1:
        return np.concatenate([_vectors_of(part) for part in parts])
    return np.concatenate(list(on_all_cores(_vectors_of, parts)))


def _vectors_of(luma: U8) -> npt.NDArray[np.int8]:
    """Those of some samples."""
    count, times = luma.shape[:2]
    cells, edge = CROP // 16, MARGIN // 8
    places = np.argwhere(np.ones((cells, cells), np.bool_))
    still = np.zeros_like(places)
    found = np.zeros((count, times - 1, CORE // 8, CORE // 8, 2), np.int8)
    for number, time in product(range(count), range(1, times)):
        before, now = luma[number, time - 1 : time + 1]
        own = match(now, before, places, still, price=_VECTOR_PRICE).own.reshape(cells, cells, 2, 2, 2)
        blocks = own.swapaxes(1, 2).reshape(2 * cells, 2 * cells, 2)
        found[number, time - 1] = blocks[edge:-edge, edge:-edge].clip(-REACH, REACH)
    return found


def _crop(frame: Yuv, top: int, left: int) -> Yuv:
    y, u, v = frame
    half = slice(top // 2, (top + CROP) // 2), slice(left // 2, (left + CROP) // 2)
    return y[top : top + CROP, left : left + CROP], u[half], v[half]


def _busy_place(first: U8, last: U8, rng: np.random.Generator, tries: int) -> tuple[int, int]:
    """Of some random crops the one where most changes: static ones teach little."""
    best, place = -1.0, (0, 0)
    for _ in range(tries):
        top, left = _place(first, rng)
        window = slice(top, top + CROP, 2), slice(left, left + CROP, 2)
        change = float(np.abs(first[window].astype(np.int16) - last[window]).mean())
        if change > best:
            best, place = change, (top, left)
    return place


def _place(luma: U8, rng: np.random.Generator) -> tuple[int, int]:
    """Top and left of a random crop, even."""
    height, width = luma.shape
    return int(rng.integers(0, (height - CROP) // 2 + 1)) * 2, int(rng.integers(0, (width - CROP) // 2 + 1)) * 2


def _frames(clip: Clip, most: int) -> list[Yuv]:
    """A clip's frames. Raises UsageError where they are too few or too small to cut from."""
    frames = clip.frames(most)
    if len(frames) < TIMES:
        part = {"whole": "frames", "early": "frames to train on", "late": "frames to hold back (the last fifth)"}
        raise UsageError(f"{clip.path}: {len(frames)} {part[clip.part]}, needed are {TIMES}")
    height, width = frames[0][0].shape
    if min(height, width) < CROP:
        raise UsageError(f"{clip.path}: pictures of {width}x{height} whole cells, needed are {CROP}x{CROP}")
    return frames


def cut_clips(clips: Sequence[Clip], count: int, *, most: int, seed: int) -> Samples:
    """`count` moving samples of the clips' first `most` frames, spread evenly over the clips. Gaps of 1 to 3 frames
    imitate other frame rates. Raises SourceError, UsageError."""
    rng = np.random.default_rng(seed)

    def crops() -> Iterator[list[Yuv]]:
        for number, clip in enumerate(clips):
            frames = _frames(clip, most)
            for _ in range(count // len(clips) + (number < count % len(clips))):
                gap = min(int(rng.choice([1, 1, 1, 2, 3])), (len(frames) - 1) // (TIMES - 1))
                start = int(rng.integers(len(frames) - (TIMES - 1) * gap))
                times = [frames[start + k * gap] for k in range(TIMES)]
                top, left = _busy_place(times[0][0], times[-1][0], rng, tries=6)
                yield [_crop(f, top, left) for f in times]

    return Samples.cut(crops(), count, TIMES)


def cut_stills(photos: Sequence[Path], clips: Sequence[Clip], count: int, *, most: int, seed: int) -> Samples:
    """`count` still samples: four of five from photos, the rest from frames of the clips. Raises SourceError,
    UsageError."""
    rng = np.random.default_rng(seed)
    crops = ([_crop(frame, *_place(frame[0], rng))] for frame in _still_frames(photos, clips, count, most, rng))
    return Samples.cut(crops, count, 1)


def _still_frames(
    photos: Sequence[Path], clips: Sequence[Clip], count: int, most: int, rng: np.random.Generator
) -> Iterator[Yuv]:
    usable = [f for f in (read_photo(p) for p in photos) if min(f[0].shape) >= CROP]
    if not usable:
        raise UsageError(f"no photo of at least {CROP}x{CROP} pixels among {len(photos)}")
    left = count - count * 4 // 5
    for _ in range(count - left):
        yield usable[int(rng.integers(len(usable)))]
    for number, clip in enumerate(clips):
        share = left // len(clips) + (number < left % len(clips))
        frames = _frames(clip, most) if share else []
        for _ in range(share):
            yield frames[int(rng.integers(len(frames)))]


S = TypeVar("S", Samples, CodedLayers)


class SampleSets:
    """What a run trains on and is validated on: loaded from `folder`, or cut first where it is not there yet, when
    asked for.

    Beside the samples stands what they were cut from. Raises UsageError when there is nothing to cut from, or when
    `folder` holds samples of other data.
    """

    def __init__(self, config: TrainConfig, folder: Path, report: Callable[[str], None]) -> None:
        self._config, self._folder, self._report = config, folder, report
        self.material = Material.find(config)

    @cached_property
    def still(self) -> Samples:
        return self._set("still", self._cut_stills, Samples.load)

    @property
    def still_parts(self) -> tuple[Samples, Samples]:
        """Those to train on, and the last `held_back`."""
        border = len(self.still) - self._config.held_back
        return self.still.part(slice(border)), self.still.part(slice(border, None))

    @cached_property
    def moving(self) -> Samples:
        config, clips = self._config, self.material.clips
        cut = partial(cut_clips, clips, config.moving_samples, most=config.clip_frames, seed=config.seed)
        return self._set("moving", cut, Samples.load)

    @cached_property
    def validation(self) -> Samples:
        """Moving samples that are not trained on."""
        config, clips = self._config, self.material.held_clips
        cut = partial(cut_clips, clips, config.validation_samples, most=config.clip_frames, seed=config.seed)
        return self._set("validation", cut, Samples.load)

    @cached_property
    def coded(self) -> CodedLayers:
        """Inter layers of the clips."""
        return self._set("coded", partial(self._code, self.material.clips), CodedLayers.load)

    @cached_property
    def coded_validation(self) -> CodedLayers:
        """Those that are not trained on."""
        return self._set("coded-validation", partial(self._code, self.material.held_clips), CodedLayers.load)

    def _code(self, clips: Sequence[Clip]) -> CodedLayers:
        config = self._config
        assert config.from_weights is not None  # a configuration with passes has them
        return code_clips(
            clips, config.from_weights, config.passes, most=config.clip_frames, seed=config.seed,
            detector=config.detector, report=self._report,
        )  # fmt: skip

    def _cut_stills(self) -> Samples:
        config, found = self._config, self.material
        if not found.photos:
            raise UsageError(f"no images in {config.images}; without them only the inter family can be fine-tuned")
        parts = (
            (found.photos, found.clips, config.still_samples - config.held_back),
            (found.held_photos, found.held_clips, config.held_back),
        )
        return joined([cut_stills(*part, most=config.clip_frames // 2, seed=config.seed) for part in parts])

    def _set(self, name: str, cut: Callable[[], S], load: Callable[[Path], S]) -> S:
        path = self._folder / f"{name}.npz"
        if path.exists():
            self._check(name)
            return load(path)
        self._report(f"cutting samples: {name}")
        samples = cut()
        samples.save(path)
        self._sources.write_text(json.dumps(self._recorded() | {name: self._origin(name)}, indent=1))
        return samples

    @property
    def _sources(self) -> Path:
        return self._folder / "samples.json"

    def _recorded(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = json.loads(self._sources.read_text()) if self._sources.exists() else {}
        return found

    def _origin(self, name: str) -> list[str]:
        """Whatever decides what a set of samples is, a line each."""
        config, found = self._config, self.material
        clips = found.held_clips if name.endswith("validation") else found.clips
        if name == "still":
            clips = clips + found.held_clips
        if name.startswith("coded"):
            start = "" if config.from_weights is None else config.from_weights.name
            count = f"{config.passes} passes with {start}, regions by {config.detector.kind}"
        else:
            count = f"{getattr(config, f'{name}_samples')} samples"
        lines = [f"{count}, seed {config.seed}, {config.clip_frames} frames a clip"]
        lines += [f"{clip.path.name} {clip.part}" for clip in clips]
        return [*lines, f"{len(found.photos)} photos, held back {config.held_back}"] if name == "still" else lines

    def _check(self, name: str) -> None:
        """Samples of other data under the same name would be trained on without a word. Those of before this record
        was kept are taken as they are."""
        was, wanted = self._recorded().get(name), self._origin(name)
        if was is not None and was != wanted:
            other = ", ".join(
                [line for line in was if line not in wanted] + [line for line in wanted if line not in was]
            )
            raise UsageError(f"{self._folder} has {name} samples of other data ({other}): choose another folder")
