"""Samples into batches of layer inputs: random regions, qualities and weights, references that look decoded.

Samples live on the device and batches are drawn there. What is random comes from one generator on the host, the same
for every device, a batch at a time. The importance map doubles as the loss weight, from 1/32 (importance 0) to 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec.blocks import LUMA, PaddedPositions, Positions, to_blocks, to_planes, unweighted, weighted
from pipeline.codec.model import Kind, LayerInput, Modes, loss_weight, saving
from pipeline.codec.motion import fetch
from pipeline.codec.nets import QUALITIES, step_size
from pipeline.training.data import CORE, MARGIN, Samples
from pipeline.training.regions import random_choice_of_cells, random_regions

CELLS = CORE // 16
Planes = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Picture:
    """One time step of a batch. `planes` are whole crops (B,CROP,CROP) uint8."""

    planes: Planes
    vectors: Tensor  # (B,CORE/8,CORE/8,2) int64


def core(planes: Planes) -> Planes:
    """Without the margin."""
    half = MARGIN // 2
    return (
        planes[0][:, MARGIN:-MARGIN, MARGIN:-MARGIN],
        planes[1][:, half:-half, half:-half],
        planes[2][:, half:-half, half:-half],
    )


def with_core(planes: Planes, inner: Planes) -> Planes:
    """A copy of whole crops whose core is replaced."""
    whole = tuple(p.clone() for p in planes)
    for target, source in zip(core(whole), inner, strict=True):  # type: ignore[arg-type]
        target.copy_(source)
    return whole  # type: ignore[return-value]


def degrade(planes: Planes, q: Tensor, basis: Tensor) -> Planes:
    """A stand-in for a decoded reference: block transform, dead-zone quantiser, back. `q` (B,)."""
    blocks = to_blocks(*planes)
    step = step_size(q).view(-1, 1, 1, 1)
    latent = weighted(blocks - 128) @ basis.T / step
    back = (latent.sign() * (latent.abs() + 0.35).floor() * step) @ basis
    return to_planes((unweighted(back) + 128).round().clamp(0, 255).to(torch.uint8))


class Batches:
    """Draws batches of samples, which are copied to the device once."""

    def __init__(self, samples: Samples, *, batch: int, device: torch.device, seed: int) -> None:
        self.batch, self.device = batch, device
        self._planes = tuple(torch.from_numpy(a).to(device) for a in (samples.y, samples.u, samples.v))
        self._vectors = torch.from_numpy(samples.vectors).to(device)
        self.reseed(seed)

    def __len__(self) -> int:
        return len(self._vectors)

    def reseed(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def _send(self, values: npt.NDArray[Any]) -> Tensor:
        """To the device; from pinned memory, so that the host does not wait for it."""
        tensor = torch.from_numpy(np.ascontiguousarray(values))
        if self.device.type == "cuda":
            tensor = tensor.pin_memory()
        return tensor.to(self.device, non_blocking=True)

    def draw(self, chosen: npt.NDArray[np.int64] | None = None) -> list[Picture]:
        """The time steps of a batch; random samples, mirrored and darkened at random, unless `chosen` names them."""
        rng, random = self.rng, chosen is None
        index = self._send(rng.integers(0, len(self), self.batch) if chosen is None else chosen)
        y, u, v = (plane[index] for plane in self._planes)
        vectors = self._vectors[index].long()
        if random and rng.random() < 0.5:
            y, u, v, vectors = y.flip(-1), u.flip(-1), v.flip(-1), vectors.flip(3)
            vectors[..., 1].neg_()
        if random and rng.random() < 0.5:
            y, u, v, vectors = y.flip(-2), u.flip(-2), v.flip(-2), vectors.flip(2)
            vectors[..., 0].neg_()
        if random and rng.random() < 0.2:
            y = (y.float() * float(rng.uniform(0.4, 1.0))).round().to(torch.uint8)
        still = vectors.new_zeros(len(index), CORE // 8, CORE // 8, 2)
        return [Picture((y[:, t], u[:, t], v[:, t]), vectors[:, t - 1] if t else still) for t in range(y.shape[1])]

    def next(self, family: str) -> Batch:
        """What is random of a step of a family."""
        return self.batch_of(family, self.draw(), self.qualities(self.batch))

    def held(self, family: str, q: int) -> Iterator[Batch]:
        """All samples at one quality step, with the same random regions every time."""
        self.reseed(7)
        quality = torch.full((self.batch,), float(q), device=self.device)
        for chosen in np.arange(len(self) // self.batch * self.batch).reshape(-1, self.batch):
            yield self.batch_of(family, self.draw(chosen), quality)

    def batch_of(self, family: str, times: list[Picture], q: Tensor) -> Batch:
        """Of these pictures."""
        return self.still(times, q) if family == "intra" else self.moving(times, q)

    def qualities(self, count: int) -> Tensor:
        """One quality a sample, integers as float32; the ends are rarer."""
        low, high = self.rng.random((2, count))
        return self._send(np.floor((0.8 * low + 0.2 * high) * QUALITIES).astype(np.float32))

    def cells(self, now: Picture, reference: Planes) -> Tensor:
        """Coded cells (B,CELLS,CELLS): changed ones, random regions, or all; never none."""
        difference = (core(now.planes)[0].int() - core(reference)[0].int()).abs().float()
        energy = torch.nn.functional.avg_pool2d(difference[:, None], 16)[:, 0]
        usual = torch.quantile(energy.flatten(1), 0.6, dim=1).view(-1, 1, 1)
        changed = energy > usual.clamp(min=2.0)
        if_changed, other, spare = map(self._send, random_choice_of_cells(self.rng, len(energy), CELLS))
        cells = torch.where(if_changed & _any(changed), changed, other)
        return cells | (spare & ~_any(cells))

    def still(self, times: list[Picture], q: Tensor) -> StillBatch:
        """Whole plates of the first pictures. All of a plate is important: trained on regions as well, its nets get
        better at those and hardly at plates (docs/experiments.md)."""
        return StillBatch(times[0], torch.ones(len(q), CORE // 8, CORE // 8, 1, device=self.device), q)

    def moving(self, times: list[Picture], q: Tensor) -> MovingBatch:
        """Foreground or background, and what may be coded of it."""
        kind: Kind = "foreground" if self.rng.random() < 0.6 else "background"
        cells = self.cells(times[1], times[0].planes)
        importance = self.importance(len(q), kind)
        least_bits = self._send(np.array(self.rng.uniform(4, 16), np.float32))
        return MovingBatch(kind, times, cells, importance, q, least_bits)

    def importance(self, count: int, kind: Kind) -> Tensor:
        """(B,rows,cols,1) at latent resolution. Background layers are mostly of low importance."""
        maps = random_regions(self.rng, count, CORE // 8)
        if kind == "background":
            maps *= self.rng.random((count, 1, 1), dtype=np.float32)
        elif self.rng.random() < 0.5:
            maps = np.ones_like(maps)
        return self._send(maps[..., None])


def _any(cells: Tensor) -> Tensor:
    """(B,1,1): whether a map has a cell."""
    return cells.flatten(1).any(1).view(-1, 1, 1)


@dataclass(frozen=True, slots=True)
class Last:
    """What the last time step coded: `symbols` (B,rows,cols,96) and `coded` (B,rows,cols,1) int64."""

    symbols: Tensor
    coded: Tensor

    @classmethod
    def none(cls, count: int, device: torch.device) -> Last:
        """Nothing: a key frame."""
        grid = (count, CORE // 8, CORE // 8)
        return cls(torch.zeros(*grid, 96, device=device), torch.zeros(*grid, 1, dtype=torch.int64, device=device))

    @classmethod
    def of(cls, x: LayerInput, symbols: Tensor) -> Last:
        return cls(x.at.spread(symbols.detach()), x.at.chosen[..., None].long())


@dataclass(frozen=True, slots=True)
class MovingBatch:
    """What one step of inter training goes through: all of it drawn at random, none of it computed by the nets.

    `times`: the pictures. `cells` (B,CELLS,CELLS) bool may be coded, at every time. `importance` (B,rows,cols,1), `q`
    (B,) and `least_bits` (): see `moving_input`.
    """

    kind: Kind
    times: list[Picture]
    cells: Tensor
    importance: Tensor
    q: Tensor
    least_bits: Tensor

    def tensors(self) -> list[Tensor]:
        """All of them, in one order."""
        planes = [plane for now in self.times for plane in (*now.planes, now.vectors)]
        return [*planes, self.cells, self.importance, self.q, self.least_bits]


@dataclass(frozen=True, slots=True)
class StillBatch:
    """The same of intra training: whole plates. `planes` as of `Picture`."""

    now: Picture
    importance: Tensor
    q: Tensor
    kind: Kind = "plate"

    def tensors(self) -> list[Tensor]:
        """All of them, in one order."""
        return [*self.now.planes, self.now.vectors, self.importance, self.q]


Batch = MovingBatch | StillBatch


@dataclass(frozen=True, slots=True)
class Moving:
    """One inter layer of a time step. `prediction` (B,rows,cols,96) is what its cells show where nothing is coded, and
    the reference elsewhere."""

    layer: LayerInput
    prediction: Tensor


def moving_input(
    kind: Kind,
    now: Picture,
    reference: Planes,
    plate: Planes,
    *,
    at: Positions,
    cells: Tensor,
    importance: Tensor,
    q: Tensor,
    last: Last,
    age: int,
    basis: Tensor,
    least_bits: Tensor,
    most: int | None = None,
) -> Moving:
    """Each cell takes the best of the plane in place, the plane moved, and the plate; of the positions in `cells`
    (B,CELLS,CELLS) those are coded for which `saving`, by `basis`, is more than `least_bits`. `at` are all positions.

    `most`: code the best of them, at most so many, as padded positions; without it all of them, and at least one.
    """
    picture, row, col = at.picture, at.row + MARGIN // 8, at.col + MARGIN // 8
    moved = at.pick(now.vectors)
    blocks = at.pick(to_blocks(*core(now.planes)))
    predictions = torch.stack(
        [
            at.pick(to_blocks(*core(reference))),
            fetch(reference, picture, row, col, moved),
            at.pick(to_blocks(*core(plate))),
        ]
    )
    errors = (blocks[None, :, :LUMA] - predictions[:, :, :LUMA]).square().sum(2)
    cell_errors = torch.stack([_cell_sum(e, at) for e in errors])
    cell_errors[1] += 64 * step_size(q)[picture] ** 0.5  # a vector costs bits
    mode = cell_errors.argmin(0)
    n = torch.arange(len(at), device=mode.device)
    prediction = predictions[mode, n]
    vector = torch.where((mode == 1)[:, None], moved, 0)
    split = (_cell_sum((vector - _cell_first(vector, at)).abs().sum(1).float(), at) > 0).long()
    modes = Modes(mode, vector, split, at.pick(last.coded)[:, 0], torch.full_like(mode, age))
    step, weight = step_size(q)[picture], loss_weight(at.pick(importance)[:, 0])
    inside = at.pick(cells.repeat_interleave(2, 1).repeat_interleave(2, 2)[..., None])[:, 0]
    worth = saving(blocks - prediction, basis, step, weight) - least_bits
    coded = _chosen(at, torch.where(inside, worth, -1.0), most)
    kept = coded.index.clamp(max=len(at) - 1)
    grid = to_blocks(*core(reference))
    shown = torch.where(inside[:, None], prediction, grid.view(-1, grid.shape[-1])).view_as(grid)
    layer = LayerInput(
        kind, coded, blocks[kept], prediction[kept], importance, coded.pick(last.symbols), modes.select(kept),
        q[picture][kept],
    )  # fmt: skip
    return Moving(layer, shown)


def _chosen(at: Positions, worth: Tensor, most: int | None) -> Positions:
    """Of all positions those of `worth` (N,) above zero."""
    if most is None:
        worth[0] += ~(worth > 0).any() * 1e9  # so that a batch is never empty
        return at.select((worth > 0).nonzero().squeeze(1))
    best, place = worth.sort(descending=True)
    place = torch.where(best > 0, place, len(at))[:most].sort().values
    chosen = torch.zeros(len(at) + 1, dtype=torch.bool, device=worth.device).index_fill_(0, place, 1)[:-1]
    return PaddedPositions(chosen.view_as(at.chosen), place)


def _cell_sum(values: Tensor, at: Positions) -> Tensor:
    """Sum over each cell's four positions, at every position. (N,) -> (N,)."""
    grid = at.spread(values[:, None])
    pooled = grid.view(at.batch, at.rows // 2, 2, at.cols // 2, 2).sum((2, 4))
    return at.pick(pooled.repeat_interleave(2, 1).repeat_interleave(2, 2)[..., None])[:, 0]


def _cell_first(values: Tensor, at: Positions) -> Tensor:
    """The value at each cell's top left position, at every position. (N,C) -> (N,C)."""
    corner = at.spread(values)[:, ::2, ::2]
    return at.pick(corner.repeat_interleave(2, 1).repeat_interleave(2, 2))


def still_input(now: Picture, *, at: Positions, importance: Tensor, q: Tensor) -> LayerInput:
    """A plate: nothing to predict from."""
    blocks = at.pick(to_blocks(*core(now.planes)))
    prediction = torch.full_like(blocks, 128.0)
    before = torch.zeros_like(blocks)
    return LayerInput("plate", at, blocks, prediction, importance, before, Modes.still(at), q[at.picture])
