"""Samples into batches of layer inputs: random regions, qualities and weights, references that look decoded.

No mask shape is memorised: boxes, blobs, gradients, uniform and changed areas are mixed. The importance map doubles as
the loss weight, from 1/32 (importance 0) to 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec.blocks import LUMA, Positions, to_blocks, to_planes, unweighted, weighted
from pipeline.codec.model import Kind, LayerInput, Modes, loss_weight, worth_coding
from pipeline.codec.motion import fetch
from pipeline.codec.nets import QUALITIES, step_size
from pipeline.training.data import CORE, MARGIN, Samples

CELLS = CORE // 16
Planes = tuple[Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class Picture:
    """One time step of a batch. `planes` are whole crops (B,CROP,CROP) uint8."""

    planes: Planes
    vectors: Tensor  # (B,CORE/8,CORE/8,2) int64


def random_region(rng: np.random.Generator, size: int) -> npt.NDArray[np.float32]:
    """A smooth or sharp random importance map (size,size) in 0..1."""
    kind = rng.integers(5)
    if kind == 0:
        return np.full((size, size), 1.0, np.float32)
    if kind == 1:
        return np.full((size, size), rng.random(), np.float32)
    if kind == 2:
        ramp = np.linspace(rng.random(), rng.random(), size, dtype=np.float32)
        return np.tile(ramp, (size, 1)) if rng.random() < 0.5 else np.tile(ramp[:, None], (1, size))
    low, high = np.sort(rng.random(2))
    if kind == 3:
        area = np.full((size, size), low, np.float32)
        for _ in range(int(rng.integers(1, 4))):
            y0, x0 = rng.integers(0, size - 1, 2)
            h, w = rng.integers(1, size // 2 + 1, 2)
            area[y0 : y0 + h, x0 : x0 + w] = high
        return area
    noise = cv2.resize(rng.random((4, 4), dtype=np.float32), (size, size), interpolation=cv2.INTER_CUBIC)
    return np.where(noise > 0.5, high, low).astype(np.float32)


def random_cells(rng: np.random.Generator, changed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Which cells a layer codes: changed ones, random regions, or all; never none."""
    kind = rng.random()
    if kind < 0.45 and changed.any():
        cells = changed.copy()
    elif kind < 0.8:
        cells = random_region(rng, CELLS) > rng.random()
    else:
        cells = np.ones((CELLS, CELLS), np.bool_)
    if not cells.any():
        cells[rng.integers(CELLS), rng.integers(CELLS)] = True
    return cells


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
    """Draws batches from samples held in memory."""

    def __init__(self, samples: Samples, *, batch: int, device: torch.device, seed: int) -> None:
        self.samples, self.batch, self.device = samples, batch, device
        self.rng = np.random.default_rng(seed)

    def draw(self, chosen: npt.NDArray[np.int64] | None = None) -> list[Picture]:
        """The time steps of a batch; random samples, mirrored and darkened at random, unless `chosen` names them."""
        rng, s = self.rng, self.samples
        random = chosen is None
        index = rng.integers(0, len(s), self.batch) if chosen is None else chosen
        arrays = [torch.from_numpy(a[index]).to(self.device) for a in (s.y, s.u, s.v)]
        vectors = torch.from_numpy(s.vectors[index].astype(np.int64)).to(self.device)
        if random and rng.random() < 0.5:
            arrays = [a.flip(-1) for a in arrays]
            vectors = vectors.flip(3) * vectors.new_tensor([1, -1])
        if random and rng.random() < 0.2:
            gain = float(rng.uniform(0.4, 1.0))
            arrays[0] = (arrays[0].float() * gain).round().to(torch.uint8)
        times = arrays[0].shape[1]
        still = vectors.new_zeros(len(index), CORE // 8, CORE // 8, 2)
        return [
            Picture(tuple(a[:, t] for a in arrays), vectors[:, t - 1] if t else still)  # type: ignore[arg-type]
            for t in range(times)
        ]

    def qualities(self, count: int) -> Tensor:
        """One quality a sample, integers as float32; the ends are rarer."""
        low, high = self.rng.random((2, count))
        q = np.floor((0.8 * low + 0.2 * high) * QUALITIES)
        return torch.from_numpy(q.astype(np.float32)).to(self.device)

    def cells(self, now: Picture, reference: Planes) -> Tensor:
        """Coded cells (B,CELLS,CELLS)."""
        difference = (core(now.planes)[0].int() - core(reference)[0].int()).abs().float()
        energy = torch.nn.functional.avg_pool2d(difference[:, None], 16)[:, 0].cpu().numpy()
        chosen = [random_cells(self.rng, e > max(2.0, float(np.quantile(e, 0.6)))) for e in energy]
        return torch.from_numpy(np.stack(chosen)).to(self.device)

    def importance(self, count: int, kind: Kind) -> Tensor:
        """(B,rows,cols,1) at latent resolution. Background layers are mostly of low importance."""
        maps = np.stack([random_region(self.rng, CORE // 8) for _ in range(count)])
        if kind == "background":
            maps = maps * self.rng.uniform(0, 1, (count, 1, 1)).astype(np.float32)
        elif self.rng.random() < 0.5:
            maps = np.ones_like(maps)
        return torch.from_numpy(maps)[..., None].to(self.device)


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
    cells: Tensor,
    importance: Tensor,
    q: Tensor,
    last: Last,
    age: int,
    basis: Tensor,
    least_bits: float,
) -> Moving:
    """Each cell takes the best of the plane in place, the plane moved, and the plate; positions that are worth it are
    coded, see `worth_coding`, which has `basis` and `least_bits`."""
    at = Positions.of_cells(cells)
    picture = torch.div(at.index, at.rows * at.cols, rounding_mode="floor")
    row, col = at.row + MARGIN // 8, at.col + MARGIN // 8
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
    kept = worth_coding(blocks - prediction, basis, step, weight, least_bits=least_bits)
    kept[0] = True  # so that a batch is never empty
    coded = at.select(kept)
    grid = to_blocks(*core(reference))
    shown = grid.view(-1, grid.shape[-1]).index_copy(0, at.index, prediction).view_as(grid)
    layer = LayerInput(
        kind, coded, blocks[kept], prediction[kept], importance, coded.pick(last.symbols), modes.select(kept),
        q[picture][kept],
    )  # fmt: skip
    return Moving(layer, shown)


def _cell_sum(values: Tensor, at: Positions) -> Tensor:
    """Sum over each cell's four positions, at every position. (N,) -> (N,)."""
    grid = at.spread(values[:, None])
    pooled = grid.view(at.batch, at.rows // 2, 2, at.cols // 2, 2).sum((2, 4))
    return at.pick(pooled.repeat_interleave(2, 1).repeat_interleave(2, 2)[..., None])[:, 0]


def _cell_first(values: Tensor, at: Positions) -> Tensor:
    """The value at each cell's top left position, at every position. (N,C) -> (N,C)."""
    corner = at.spread(values)[:, ::2, ::2]
    return at.pick(corner.repeat_interleave(2, 1).repeat_interleave(2, 2))


def still_input(now: Picture, *, cells: Tensor, importance: Tensor, q: Tensor) -> LayerInput:
    """A plate: nothing to predict from."""
    at = Positions.of_cells(cells)
    picture = torch.div(at.index, at.rows * at.cols, rounding_mode="floor")
    blocks = at.pick(to_blocks(*core(now.planes)))
    prediction = torch.full_like(blocks, 128.0)
    before = torch.zeros_like(blocks)
    return LayerInput("plate", at, blocks, prediction, importance, before, Modes.still(at), q[picture])
