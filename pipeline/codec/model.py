"""All learned parts in one module, and one layer's way through them. The same code trains, encodes and decodes.

Three kinds of layer: the *plate* (intra: nothing to predict from), the *foreground* and the *background* (both inter).
One analysis serves foreground and background, two decoders reconstruct them; the plate has nets of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from pipeline.codec.blocks import CHROMA_WEIGHT, LUMA, SAMPLES, Positions, weighted
from pipeline.codec.entropy import RING, SIDE, IndexNet, IntegerLinear, MeanNet, Step, logistic_bits, steps, table_scale
from pipeline.codec.native import compiled, on_host
from pipeline.codec.nets import Analysis, Curve, Enhancement, RegionAttention, Synthesis, step_size

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Kind = Literal["plate", "foreground", "background"]

# Rate-distortion in one number: bits + squared error * LAMBDA / step^2. High-rate theory gives 8.7 for a uniform
# quantiser.
LAMBDA = 8.7
LEAST_BITS = 3.0  # what a position has to save to get symbols
_LEVEL_BITS = 6.0  # of a component that is not zero
_LEVEL_COSTS = (_LEVEL_BITS + 2 * np.log2(np.maximum(1, np.arange(4096)))).astype(np.float32)
_LEAST_LEVEL = 0.5  # of a component, in steps: what is smaller is rounded away
_CHROMA_SHARE = np.float32(CHROMA_WEIGHT**2)
# See `guessed_loss`; fitted on the development clips.
_DEAD, _GROUP_SIZES = 0.75, (8, 16, 24, 48)
_GUESSED_FLAG, _GUESSED_BITS, _GUESSED_ERROR = 13.35, (-2.35, 0.52, 3.0, 4.98), (-0.61, 0.63, -0.49)

# How much of what the synthesis would miss of an unquantised latent is given back to it. Nothing in the background,
# whose error counts less than its latent says: allocation is for the analysis to make.
PROJECTED: dict[Kind, float] = {"plate": 0.5, "foreground": 0.4, "background": 0.0}


@dataclass(frozen=True, slots=True)
class Modes:
    """What a layer's positions are predicted from, as integers known to both ends. All (N,) int64.

    `mode`: 0 the plane in place, 1 the plane moved, 2 the plate (plates themselves: 0). `vector` (N,2) quarter pixels.
    """

    mode: Tensor
    vector: Tensor
    split: Tensor
    coded_before: Tensor
    age: Tensor  # frames since the key frame

    @classmethod
    def still(cls, at: Positions) -> Modes:
        """Nothing moves, nothing was coded before: a plate."""
        zero = at.index.new_zeros(len(at))
        return cls(zero, zero.new_zeros(len(at), 2), zero, zero, zero)

    def select(self, kept: Tensor) -> Modes:
        """Those of the positions for which `kept` (N,) is true."""
        return Modes(self.mode[kept], self.vector[kept], self.split[kept], self.coded_before[kept], self.age[kept])


def side_features(kind: Kind, q: Tensor, modes: Modes, at: Positions) -> Tensor:
    """The index net's side inputs, (N,SIDE) float32 integers 0..255. Normative."""
    n = len(at)
    if on_host(at.index):
        side = torch.empty(n, SIDE)
        _fill_side(
            kind != "background", q.numpy(), modes.mode.numpy(), modes.vector.numpy(), modes.split.numpy(),
            modes.coded_before.numpy(), modes.age.numpy(), at.row.numpy(), at.col.numpy(), at.neighbours(RING).numpy(),
            side.numpy(),
        )  # fmt: skip
        return side
    side = torch.zeros(n, SIDE, device=at.index.device)
    side[:, 0] = 0.0 if kind == "background" else 255.0
    side[:, 1] = q * 4
    for place, mode in ((2, 1), (3, 2), (4, 0)):
        side[:, place] = (modes.mode == mode) * 255
    side[:, 5:7] = modes.vector.abs().clamp(max=63) * 4
    side[:, 7] = modes.split * 255
    side[:, 8] = modes.coded_before * 255
    side[:, 9] = _neighbours(at) * 31
    side[:, 10] = (at.row % 2) * 255
    side[:, 11] = (at.col % 2) * 255
    side[:, 12] = (modes.age == 0) * 255
    side[:, 13] = modes.age.clamp(max=15) * 17
    return side


@compiled
def _fill_side(
    foreground: bool, q: Floats, mode: Ints, vector: Ints, split: Ints, before: Ints, age: Ints, row: Ints, col: Ints,
    around: Ints, side: Floats,
) -> None:  # fmt: skip
    for n in range(len(side)):
        here, count = side[n], 0
        for k in range(around.shape[1]):
            count += around[n, k] < len(side)
        here[0] = 255 * foreground
        here[1] = q[n if len(q) > 1 else 0] * 4
        for k, which in enumerate((1, 2, 0)):
            here[2 + k] = 255 * (mode[n] == which)
        here[5], here[6] = 4 * min(abs(vector[n, 0]), 63), 4 * min(abs(vector[n, 1]), 63)
        here[7], here[8] = 255 * split[n], 255 * before[n]
        here[9] = 31 * count
        here[10], here[11] = 255 * (row[n] % 2), 255 * (col[n] % 2)
        here[12], here[13] = 255 * (age[n] == 0), 17 * min(age[n], 15)


def _neighbours(at: Positions) -> Tensor:
    """How many of the eight positions around each are coded too."""
    # Counted, not convolved: cuDNN may choose a convolution by Winograd or FFT, which rounds what must be an integer.
    return (at.neighbours(RING) < len(at)).sum(1)


class EntropyModel(nn.Module):
    """Index net and mean net of one family of layers (intra or inter)."""

    def __init__(self) -> None:
        super().__init__()
        self.index = IndexNet()
        self.mean = MeanNet()


def family_of(kind: Kind) -> str:
    """Plates are intra coded, the layers above them inter."""
    return "intra" if kind == "plate" else "inter"


class CodecNets(nn.Module):
    """The codec's parameters. `depth` counts the blocks of analysis and synthesis, `intra_depth` those of plates."""

    def __init__(
        self,
        *,
        inter_channels: int = 96,
        intra_channels: int = 128,
        depth: Sequence[int] = (3, 4),
        intra_depth: Sequence[int] | None = None,
        enhancement: Enhancement = "mgfe",
    ) -> None:
        super().__init__()
        intra_depth = depth if intra_depth is None else intra_depth
        self.analysis = nn.ModuleDict(
            {
                "intra": Analysis(intra_channels, intra_depth[0], enhancement=enhancement),
                "inter": Analysis(inter_channels, depth[0], enhancement=enhancement),
            }
        )
        self.synthesis = nn.ModuleDict(
            {
                "plate": Synthesis(intra_channels, intra_depth[1]),
                "foreground": Synthesis(inter_channels, depth[1]),
                "background": Synthesis(inter_channels, depth[1]),
            }
        )
        self.entropy = nn.ModuleDict({"intra": EntropyModel(), "inter": EntropyModel()})

    def freeze(self) -> CodecNets:
        """For inference with these weights, on the device where they are."""
        for module in self.modules():
            if isinstance(module, IntegerLinear | Curve | RegionAttention):
                module.freeze()
        return self

    def analysis_of(self, kind: Kind) -> Analysis:
        return cast(Analysis, self.analysis[family_of(kind)])

    def synthesis_of(self, kind: Kind) -> Synthesis:
        return cast(Synthesis, self.synthesis[kind])

    def entropy_of(self, kind: Kind) -> EntropyModel:
        return cast(EntropyModel, self.entropy[family_of(kind)])


@dataclass(frozen=True, slots=True)
class LayerInput:
    """One layer of a batch of pictures, at its N positions. `blocks` and `prediction` (N,96) grey levels."""

    kind: Kind
    at: Positions
    blocks: Tensor
    prediction: Tensor
    importance: Tensor  # (B,rows,cols,1) 0..1
    before: Tensor  # (N,96) symbols at the place in the last frame of this layer
    modes: Modes
    q: Tensor  # (N,)


@dataclass(frozen=True, slots=True)
class LayerLoss:
    """`pictures` (N,96) grey levels; `symbols` (N,96); bits (N,): of the symbols as coded, and their smooth
    stand-in."""

    pictures: Tensor
    symbols: Tensor
    bits: Tensor
    smooth_bits: Tensor


def loss_weight(importance: Tensor) -> Tensor:
    """What error counts at an importance 0..1: 1/32..1, a factor two every fifth."""
    return torch.exp2(5 * (importance - 1))


def saving(residual: Tensor, basis: Tensor, step: Tensor, weight: Tensor) -> Tensor:
    """How many bits of a residual's error coding it saves, beyond what it costs, (N,). Positions that save enough get
    symbols, the others keep their prediction as it is.

    `residual` (N,96), its principal components `basis`, `step` (N,) of the quantiser, `weight` (N,) of the error.
    """
    if on_host(residual):
        found, loud = torch.zeros(len(residual)), _louder(residual, step, _LEAST_LEVEL)
        parts = (residual[loud] @ weighted(basis).T).float()
        _savings(parts.numpy(), loud.numpy(), step.numpy(), (LAMBDA * weight).numpy(), found.numpy())
        return found
    size = (weighted(residual) @ basis.T).abs() / step[:, None]
    level = size.round()
    saved = LAMBDA * weight.unsqueeze(-1) * (size.square() - (size - level).square())
    cost = _LEVEL_BITS + 2 * torch.log2(level.clamp(min=1))
    return torch.where(level > 0, saved - cost, 0.0).clamp(min=0).sum(1)


def _louder(residual: Tensor, step: Tensor, least: float) -> Tensor:
    """Which of residuals (N,96) have more error than one component of `least` steps: in the others all are smaller."""
    which = torch.empty(len(residual), dtype=torch.int64)
    return which[: _find_louder(residual.numpy(), step.numpy(), least, which.numpy())]


@compiled
def _find_louder(residual: Floats, step: Floats, least: float, which: Ints) -> int:
    count, share = 0, np.float32(least * least)
    for n in range(len(residual)):
        luma, chroma = np.float32(0), np.float32(0)
        for i in range(LUMA):
            luma += residual[n, i] * residual[n, i]
        for i in range(LUMA, SAMPLES):
            chroma += residual[n, i] * residual[n, i]
        if luma + _CHROMA_SHARE * chroma > share * step[n] * step[n]:
            which[count] = n
            count += 1
    return count


@compiled
def error_and_saving(parts: Floats, step: float, price: float) -> tuple[np.float32, np.float32]:
    """The principal components (96,) of a residual that is not coded: its error, in bits, and how many of them coding
    it saves. `price`: LAMBDA and the error's weight.

    The components are rounded to the step. Each is worth the error that it takes away, less six bits and more that it
    costs.
    """
    error, saved, unit, worth = np.float32(0), np.float32(0), np.float32(step), np.float32(price)
    for part in parts:
        size = abs(part) / unit
        error += size * size
        if size > np.float32(0.5):
            level = np.rint(size)
            gain = worth * (size * size - (size - level) * (size - level))
            gain -= _LEVEL_COSTS[min(int(level), len(_LEVEL_COSTS) - 1)]
            saved += max(gain, np.float32(0))
    return worth * error, saved


@compiled
def _savings(parts: Floats, which: Ints, step: Floats, price: Floats, found: Floats) -> None:
    """Fills `found` (N,) at the places `which` (n,), of which `parts` (n,96) are the components."""
    for k in range(len(parts)):
        n = which[k]
        found[n] = error_and_saving(parts[k], step[n], price[n])[1]


def guessed_loss(residual: Tensor, basis: Tensor, step: Tensor, weight: Tensor) -> Tensor:
    """About how many bits coding a residual will take beyond what the error that it removes is worth, (N,): a linear
    fit of what `layer.Attempt.paid` finds, right six times in seven. Shapes as `saving`."""
    if on_host(residual):
        found, loud = torch.full((len(residual),), _GUESSED_FLAG), _louder(residual, step, _DEAD)
        parts = (residual[loud] @ weighted(basis).T).float()
        _guess(parts.numpy(), loud.numpy(), step.numpy(), (LAMBDA * weight).numpy(), found.numpy())
        return found
    size = (weighted(residual) @ basis.T).abs() / step[:, None]
    level = torch.where(size > _DEAD, size.round().clamp(min=1), 0.0)
    error, missed = size.square().sum(1), (size - level).square().sum(1)
    bits = torch.log2(1 + size.square())
    spent = [
        part.sum(1) * cost for part, cost in zip(torch.split(bits, list(_GROUP_SIZES), 1), _GUESSED_BITS, strict=True)
    ]
    worth = _GUESSED_ERROR[0] * error + _GUESSED_ERROR[1] * missed + _GUESSED_ERROR[2]
    return _GUESSED_FLAG + torch.stack(spent).sum(0) + LAMBDA * weight * worth


@compiled
def _guess(parts: Floats, which: Ints, step: Floats, price: Floats, found: Floats) -> None:
    """Fills `found` (N,) at the places `which` (n,), of which `parts` (n,96) are the components. What is left at the
    others never pays."""
    one, dead = np.float32(1), np.float32(_DEAD)
    for k in range(len(parts)):
        n, start = which[k], 0
        unit, error, missed, spent = step[n], np.float32(0), np.float32(0), float(_GUESSED_FLAG)
        for group in range(len(_GROUP_SIZES)):
            product = 1.0  # of up to 48 factors: a logarithm of each would take most of the time
            for c in range(start, start + _GROUP_SIZES[group]):
                size = abs(parts[k, c]) / unit
                level = max(np.rint(size), one) if size > dead else np.float32(0)
                square = size * size
                error += square
                missed += (size - level) * (size - level)
                product *= float(one + square)
            spent += _GUESSED_BITS[group] * float(np.log2(product))
            start += _GROUP_SIZES[group]
        worth = _GUESSED_ERROR[0] * error + _GUESSED_ERROR[1] * missed + _GUESSED_ERROR[2]
        found[n] = spent + price[n] * worth


def quantise(values: Tensor, scale: Tensor, strength: float = 1.0) -> Tensor:
    """Rate-distortion-optimised rounding: of the nearest integer and the one towards zero, the cheaper by
    error^2 + bits / LAMBDA, in units of the step."""
    nearest = values.round()
    lower = values.trunc()
    rate = strength / LAMBDA
    cost_nearest = (values - nearest).square() + rate * logistic_bits(nearest, scale)
    cost_lower = (values - lower).square() + rate * logistic_bits(lower, scale)
    return torch.where(cost_lower < cost_nearest, lower, nearest)


def _added(total: Tensor, part: Tensor, step: Step) -> Tensor:
    """`total` (N,...) plus what a step found for its positions."""
    if step.mask is not None:
        part = torch.where(step.mask.view(-1, *(1,) * (part.dim() - 1)), part, 0.0)
    return total + part if step.rows is None else total.index_add(0, step.rows, part)


def given_back(
    share: float, synthesis: Synthesis, latent: Tensor, source: Tensor, prediction: Tensor, q: Tensor, at: Positions
) -> Tensor:
    """A latent (N,96), not yet rounded, and a share of what the synthesis would miss of it."""
    missed = weighted(source - synthesis(latent, prediction, q, at))
    return latent + share * synthesis.project(missed, q)


def train_layer(nets: CodecNets, x: LayerInput, *, projected: float = 0.0) -> LayerLoss:
    """A layer through analysis, quantisation and synthesis, differentiable. `projected`: the share of `given_back`.

    The entropy model learns from the symbols as they will be coded, the analysis from a noisy stand-in (their gradients
    never mix), the synthesis straight through the rounding.
    """
    entropy = nets.entropy_of(x.kind)
    latent_in = nets.analysis_of(x.kind)(x.blocks - x.prediction, x.prediction, x.importance, x.q, x.at)
    with torch.autocast(latent_in.device.type, enabled=False):
        latent_in = latent_in.float()
        if projected:
            synthesis = nets.synthesis_of(x.kind)
            latent_in = given_back(projected, synthesis, latent_in, x.blocks, x.prediction, x.q, x.at)
        shared = entropy.index.begin(x.before, side_features(x.kind, x.q, x.modes, x.at))
        scale_of_step = step_size(x.q).unsqueeze(1) / 16
        latent = torch.zeros_like(latent_in)
        symbols = torch.zeros_like(latent_in)
        bits = latent_in.new_zeros(len(x.at))
        smooth = latent_in.new_zeros(len(x.at))
        for step in steps(x.at):
            rows = step.selection
            index = entropy.index(shared, symbols, step)
            mean = entropy.mean(latent, scale_of_step, step)
            centred = latent_in[rows, step.start : step.end] - mean
            scale = table_scale(index)
            with torch.no_grad():
                # A floor under the scale: else a table that predicts zero makes the quantiser produce zero, and both
                # stay.
                coded = quantise(centred, scale.clamp(min=0.12))
            noisy = centred + torch.empty_like(centred).uniform_(-0.5, 0.5)
            step_bits = logistic_bits(coded, scale).sum(1)
            step_smooth = logistic_bits(noisy, scale.detach()).sum(1)
            through = coded + centred - centred.detach() + mean
            pad = (step.start, latent.shape[1] - step.end)
            latent = _added(latent, nn.functional.pad(through, pad), step)
            symbols = _added(symbols, nn.functional.pad(coded, pad), step)
            bits = _added(bits, step_bits, step)
            smooth = _added(smooth, step_smooth, step)
    pictures = nets.synthesis_of(x.kind)(latent, x.prediction, x.q, x.at)
    return LayerLoss(pictures, symbols, bits, smooth)
