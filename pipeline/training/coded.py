"""Inter layers as the encoder has them while it codes clips: what its nets are given, with references that were
decoded, from mini-GOPs, at the positions that were worth symbols. What crops of clips (`data`) only imitate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from pipeline.codec import Encoder, weights
from pipeline.codec.blocks import Positions, to_blocks, to_planes
from pipeline.codec.brain import Brain
from pipeline.codec.model import Kind, LayerInput, Modes
from pipeline.config import DetectorConfig, MaskConfig
from pipeline.errors import UsageError
from pipeline.training.footage import U8, Clip, Yuv, halved
from pipeline.training.processes import on_all_cores
from pipeline.types import Frame, Packet

_GOP_S = 10.0
_FRAME_US = 100_000
_QUALITIES = (3.0, 78.0)
_GAPS = (1, 1, 2, 3)  # of frames, as at other frame rates
_LEAST_ROWS = 160  # that halving must leave
_LOUDEST = 15  # magnitude of a symbol of the frame before, beyond which the nets see no difference
_POSITIONS, _LAYERS = 1000, 16  # of a batch: layers are added until it has so many positions, or is so many layers
_COMMON = 400  # positions, beyond which a layer is drawn no more often
_FOREGROUND_SHARE = 0.65  # of batches
_NEAR, _CHECKED = 6, 64  # quality steps around one that is validated, and layers that are, at most

Report = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class CodedLayer:
    """What one layer's nets were given at its N positions. `chosen` (rows,cols) bool, `importance` (rows,cols) float16;
    `blocks` and `prediction` (N,96) uint8, `before` (N,96) int8, `modes` (N,6) int16: mode, vector down and right,
    split, coded before, age."""

    kind: Kind
    q: int
    chosen: npt.NDArray[np.bool_]
    importance: npt.NDArray[np.float16]
    blocks: U8
    prediction: U8
    before: npt.NDArray[np.int8]
    modes: npt.NDArray[np.int16]

    @classmethod
    def of(cls, x: LayerInput) -> CodedLayer:
        """A copy, of one picture's layer."""
        m = x.modes
        modes = (m.mode, m.vector[:, 0], m.vector[:, 1], m.split, m.coded_before, m.age)
        return cls(
            x.kind,
            int(x.q[0]),
            x.at.chosen[0].cpu().numpy().copy(),
            x.importance[0, :, :, 0].cpu().numpy().astype(np.float16),
            x.blocks.cpu().numpy().astype(np.uint8),
            x.prediction.cpu().numpy().astype(np.uint8),
            x.before.clamp(-_LOUDEST, _LOUDEST).cpu().numpy().astype(np.int8),
            torch.stack(modes, 1).cpu().numpy().astype(np.int16),
        )

    def __len__(self) -> int:
        return len(self.blocks)

    def mirrored(self, axis: int) -> CodedLayer:
        """Upside down (0) or left to right (1). The symbols before stay: only their magnitudes are looked at, and
        principal components are nearly even or odd."""
        number = np.full(self.chosen.shape, -1)
        number[self.chosen] = np.arange(len(self))
        order = np.flip(number, axis)
        order = order[order >= 0]
        modes = self.modes[order]
        modes[:, 1 + axis] *= -1
        return replace(
            self,
            chosen=np.flip(self.chosen, axis),
            importance=np.flip(self.importance, axis),
            blocks=_mirrored(self.blocks[order], axis),
            prediction=_mirrored(self.prediction[order], axis),
            before=self.before[order],
            modes=modes,
        )


def _mirrored(blocks: U8, axis: int) -> U8:
    """Blocks (N,96), each by itself."""
    y, u, v = (plane.flip(1 + axis) for plane in to_planes(torch.from_numpy(blocks)[:, None, None]))
    return cast(U8, to_blocks(y, u, v)[:, 0, 0].numpy().astype(np.uint8))


@dataclass(frozen=True, slots=True)
class CodedLayers:
    """Layers of any size."""

    layers: tuple[CodedLayer, ...]

    def __len__(self) -> int:
        return len(self.layers)

    def save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial.npz")
        layers = self.layers
        np.savez(
            temporary,
            foreground=np.array([layer.kind == "foreground" for layer in layers]),
            q=np.array([layer.q for layer in layers]),
            shape=np.array([layer.chosen.shape for layer in layers]).reshape(-1, 2),
            count=np.array([len(layer) for layer in layers]),
            chosen=np.concatenate([layer.chosen.ravel() for layer in layers]),
            importance=np.concatenate([layer.importance.ravel() for layer in layers]),
            **{name: np.concatenate([getattr(layer, name) for layer in layers]) for name in _BY_POSITION},
        )
        temporary.rename(path)

    @classmethod
    def load(cls, path: Path) -> CodedLayers:
        with np.load(path) as file:
            found = {name: file[name] for name in file.files}
        shapes, positions = found["shape"], np.cumsum(found["count"])[:-1]
        places = np.cumsum(shapes.prod(1))[:-1]
        maps = (
            [part.reshape(shape) for part, shape in zip(np.split(found[name], places), shapes, strict=True)]
            for name in ("chosen", "importance")
        )
        lists = (np.split(found[name], positions) for name in _BY_POSITION)
        kinds: list[Kind] = ["foreground" if first else "background" for first in found["foreground"]]
        return cls(tuple(map(CodedLayer, kinds, found["q"].tolist(), *maps, *lists)))


_BY_POSITION = ("blocks", "prediction", "before", "modes")


def encode(
    brain: Brain, frames: Sequence[Yuv], *, quality: float, gop_s: float, detector: DetectorConfig | None = None
) -> list[Packet]:
    """Code frames, for what the brain collects of it. Regions by motion where there is no `detector`."""
    from pipeline.track import RoiStage  # its tracker is not where training alone is

    height, width = frames[0][0].shape
    encoder = Encoder(width=width, height=height, quality=quality, gop_us=round(gop_s * 1_000_000), brain=brain)
    timed = [Frame(*planes, index, index * _FRAME_US, index * _FRAME_US) for index, planes in enumerate(frames)]
    roi = RoiStage(detector or DetectorConfig(kind="motion"), MaskConfig())
    return encoder.encode_all([(item.frame, item.mask) for item in roi.process(timed)])


def code_clips(
    clips: Sequence[Clip], file: Path, passes: int, *, most: int, seed: int, detector: DetectorConfig, report: Report
) -> CodedLayers:
    """The layers of the clips' first `most` frames, coded `passes` times each with the weights in `file`, on all cores:
    each time at another quality, and at random mirrored, backwards, halved, with frames left out. Raises SourceError,
    CodecError; UsageError where nothing was worth coding."""
    jobs = [(clip, number) for clip in clips for number in range(passes)]
    work = partial(_coded, file=file, passes=passes, most=most, seed=seed, detector=detector)
    found: list[CodedLayer] = []
    for (clip, number), layers in zip(jobs, on_all_cores(work, jobs), strict=True):
        report(f"{clip.path.name}, {number + 1} of {passes}: {sum(map(len, layers))} positions")
        found += layers
    if not found:
        raise UsageError(f"{', '.join(clip.path.name for clip in clips)}: nothing in them was worth coding")
    return CodedLayers(tuple(found))


def _coded(
    job: tuple[Clip, int], *, file: Path, passes: int, most: int, seed: int, detector: DetectorConfig
) -> list[CodedLayer]:
    """One pass over one clip."""
    clip, number = job
    rng = np.random.default_rng([seed, number, *clip.path.name.encode()])
    frames = _varied(clip.frames(most), rng)
    low, high = _QUALITIES
    quality = low + (high - low) * (number + rng.random()) / passes
    found: list[CodedLayer] = []
    brain = replace(weights.read(file), watch=lambda x: found.append(CodedLayer.of(x)))
    brain.nets.freeze()
    encode(brain, frames, quality=quality, gop_s=_GOP_S, detector=detector)
    return found


def _varied(frames: Sequence[Yuv], rng: np.random.Generator) -> list[Yuv]:
    """The same scene as another camera might have it."""
    frames = frames[:: int(rng.choice(_GAPS))]
    if rng.random() < 0.3:
        frames = frames[::-1]
    if rng.random() < 0.5:
        frames = [cast(Yuv, tuple(np.ascontiguousarray(plane[:, ::-1]) for plane in frame)) for frame in frames]
    if min(frames[0][0].shape) >= 2 * _LEAST_ROWS and rng.random() < 0.6:
        frames = [halved(frame) for frame in frames]
    return list(frames)


class CodedBatches:
    """Draws batches of layers, of one kind each."""

    def __init__(self, samples: CodedLayers, *, device: torch.device, seed: int) -> None:
        self._device = device
        layers: dict[Kind, list[CodedLayer]] = {
            kind: [layer for layer in samples.layers if layer.kind == kind] for kind in ("foreground", "background")
        }
        self._layers = {kind: found for kind, found in layers.items() if found}
        self._chances = {kind: _chances(found) for kind, found in self._layers.items()}
        self.reseed(seed)

    def reseed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def next(self, _family: str) -> LayerInput:
        """Some layers of one kind at random, mirrored at random."""
        kinds = list(self._layers)
        kind = kinds[int(len(kinds) > 1 and self.rng.random() > _FOREGROUND_SHARE)]
        chosen: list[CodedLayer] = []
        while sum(map(len, chosen)) < _POSITIONS and len(chosen) < _LAYERS:
            layer = self._layers[kind][int(self.rng.choice(len(self._chances[kind]), p=self._chances[kind]))]
            for axis in (0, 1):
                layer = layer.mirrored(axis) if self.rng.random() < 0.5 else layer
            chosen.append(layer)
        return together(chosen, self._device)

    def held(self, _family: str, q: int) -> Iterator[LayerInput]:
        """Some that were coded at about that quality step, the same every time; of all where there are none."""
        for layers in self._layers.values():
            near = [layer for layer in layers if abs(layer.q - q) <= _NEAR] or layers
            some = near[:: -(-len(near) // _CHECKED)]
            for first in range(0, len(some), _LAYERS):
                yield together(some[first : first + _LAYERS], self._device)


def _chances(layers: Sequence[CodedLayer]) -> npt.NDArray[np.float64]:
    """How often each is drawn: more often where there is more of it."""
    weight = np.sqrt([float(min(len(layer), _COMMON)) for layer in layers])
    return cast(npt.NDArray[np.float64], weight / weight.sum())


def together(layers: Sequence[CodedLayer], device: torch.device) -> LayerInput:
    """Layers of one kind as one input, in the upper left corners of as many grids."""
    rows, cols = np.max([layer.chosen.shape for layer in layers], axis=0)
    chosen = torch.zeros(len(layers), rows, cols, dtype=torch.bool)
    importance = torch.ones(len(layers), rows, cols, 1)
    for number, layer in enumerate(layers):
        part = number, slice(layer.chosen.shape[0]), slice(layer.chosen.shape[1])
        chosen[part] = torch.from_numpy(layer.chosen.copy())
        importance[part] = torch.from_numpy(layer.importance.astype(np.float32))[..., None]
    blocks, prediction, before, modes = (
        torch.from_numpy(np.concatenate([getattr(layer, name) for layer in layers])).to(device) for name in _BY_POSITION
    )
    modes = modes.long()
    q = torch.cat([torch.full((len(layer),), float(layer.q)) for layer in layers])
    return LayerInput(
        layers[0].kind, Positions(chosen.to(device)), blocks.float(), prediction.float(), importance.to(device),
        before.float(), Modes(modes[:, 0], modes[:, 1:3], modes[:, 3], modes[:, 4], modes[:, 5]), q.to(device),
    )  # fmt: skip
