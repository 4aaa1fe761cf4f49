"""What is compared: how an encoder learns where the bits should go. All else is the same.

Every variant's loss counts an error outside the region less, by the importance there, sample by sample. Every decoder
knows a map of the region, of 16-pixel cells or finer, that is coded with the picture, and so does the index net of the
entropy model. Only where the gain is transmitted, or the importance told, does the decoder know more.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.codec.blocks import PaddedPositions, Positions, unweighted, weighted
from pipeline.codec.entropy import Step, steps
from pipeline.codec.model import CodecNets, LayerInput, Modes, loss_weight
from pipeline.codec.nets import LATENT, QUALITIES, Analysis, Curve, Enhancement, RegionAttention, Synthesis, step_size

GAIN_STEPS = 30.0  # of quality between importance 1 and 0: the root of the loss weight's 1/32, 12 steps to the octave
_FILLINGS, _THRESHOLD = 8, 0.35  # of `fill_in`: how often, and in quantiser steps


@dataclass(frozen=True, slots=True)
class Variant:
    """`enhancement` and `sft` let the analysis see the importance (`outside`: RAA acts outside the region alone),
    `gate` acts on the latent, `told` lets the decoder know it. A variant without any is `blind`: the importance changes
    its training, not what it codes.

    What is transmitted and what acts on a latent can be no finer than a latent's position, 8 pixels; the map has cells
    of 16 unless it is `fine`. An encoder that `fills` in sees the region as it is.

    Told the importance, index net and decoders see it as a number more, and a gain undoes what the encoder made of it.
    Told it by a mirror, they see the quality that an explicit gain would code the outside with, and divide the latent
    by a gate of their own, of the same form as the encoder's.
    """

    name: str
    words: str
    enhancement: Enhancement = "none"
    sft: bool = False
    gate: Literal["none", "hard", "soft", "gain"] = "none"
    dual: bool = True
    outside: bool = False
    told: Literal["nothing", "importance", "mirror"] = "nothing"
    fine: bool = False
    fills: bool = False

    @property
    def mirrors(self) -> bool:
        return self.told == "mirror"

    @property
    def steps_vary(self) -> bool:
        """Whether the outside has a quality of its own, of which both ends know."""
        return self.gate == "gain" or self.mirrors

    @property
    def blind(self) -> bool:
        return self.enhancement in ("none", "fsca") and not self.sft and self.gate == "none"

    def __post_init__(self) -> None:
        if self.told != "nothing" and (self.blind or not self.dual):
            raise ValueError(f"{self.name}: what is told is the importance that the encoder sees, to two decoders")
        if self.outside and self.enhancement not in ("mgfe", "raa"):
            raise ValueError(f"{self.name}: enhancement {self.enhancement} has no RAA to act outside")


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("mgfe", "implicit: RAA and FSCA in the analysis", enhancement="mgfe"),
        Variant("gain", "explicit: latent gain, its map transmitted", gate="gain"),
        Variant("loss", "region-weighted loss alone"),
        Variant("soft", "explicit: learned gate on the latent", gate="soft"),
        Variant("raa", "implicit: RAA alone", enhancement="raa"),
        Variant("mgfe-single", "as mgfe, with one decoder", enhancement="mgfe", dual=False),
        Variant("hard", "explicit: outside only the first channels pass", gate="hard"),
        Variant("sft", "implicit: spatial feature transform", sft=True),
        Variant("fsca", "FSCA alone, which sees no mask", enhancement="fsca"),
        Variant("mgfe-gain", "both: MGFE, and latent gain", enhancement="mgfe", gate="gain"),
        Variant("mgfe-told", "as mgfe, the decoder is told the importance", enhancement="mgfe", told="importance"),
        Variant("mgfe-outside", "as mgfe, RAA acts outside alone", enhancement="mgfe", outside=True),
        Variant(
            "mgfe-mirror", "the same, and the decoder mirrors RAA", enhancement="mgfe", outside=True, told="mirror"
        ),
        Variant("gain-fine", "explicit: latent gain, its map finer", gate="gain", fine=True),
        Variant("mgfe-fill", "as mgfe, the encoder sees the samples", enhancement="mgfe", fills=True),
        Variant(
            "mirror-fill",
            "as mgfe-mirror, the encoder sees the samples",
            enhancement="mgfe",
            outside=True,
            told="mirror",
            fills=True,
        ),
        Variant("gain-fill", "both: latent gain, the encoder sees the samples", gate="gain", fills=True),
    )
}
ANCHOR = "mgfe"  # what the others are compared with
IMPLICIT, EXPLICIT = ("mgfe", "raa", "sft", "mgfe-outside", "mgfe-fill"), ("gain", "gain-fine", "soft", "hard")
TOLD = ("mgfe-told", "mgfe-mirror", "mirror-fill")  # implicit, and the decoder knows as much as that of `gain`


class RegionPositions(Positions):
    """All positions of some pictures; `inside` (N,) bool says which belong to the region by the map, `importance` (N,)
    how much each counts by it, `counts` (N,96) how much each sample does; `quality` (N,) is that of the pictures."""

    def __init__(self, region: Tensor, outside: Tensor, q: Tensor, *, fine: bool) -> None:
        """`region` (B,rows,cols,96) bool: its samples; `outside` (B,): importance of the rest; `q` (B,)."""
        touched = region_map(region, fine=True)
        self._set(torch.ones_like(touched), torch.arange(touched.numel(), device=touched.device), dense=True)
        self.steps = _steps_of_all(*touched.shape, touched.device)
        self.quality, rest = (each.repeat_interleave(self.rows * self.cols) for each in (q, outside))
        told = touched if fine else region_map(region, fine=False).repeat_interleave(2, 1).repeat_interleave(2, 2)
        self.inside = told.flatten()
        self.importance = torch.where(self.inside, 1.0, rest)
        self.touched = torch.where(touched.flatten(), 1.0, rest)
        self.counts = torch.where(region.flatten(0, 2), 1.0, rest[:, None])

    def importance_map(self, *, fine: bool = False) -> Tensor:
        """(B,rows,cols,1): by the map, or finer, where what the region does not touch is outside."""
        return (self.touched if fine else self.importance).view(self.batch, self.rows, self.cols, 1)


def region_map(region: Tensor, *, fine: bool) -> Tensor:
    """What of a region (B,rows,cols,96) is transmitted: the positions that it touches, (B,rows,cols), or the cells,
    (B,rows/2,cols/2)."""
    touched = region.any(3)
    return touched if fine else touched.unfold(1, 2, 2).unfold(2, 2, 2).any(4).any(3)


@cache
def _steps_of_all(batch: int, rows: int, cols: int, device: torch.device) -> tuple[Step, ...]:
    """The coding steps of whole pictures, found once: finding them makes the host wait, which no recording may do."""
    return steps(Positions(torch.ones(batch, rows, cols, dtype=torch.bool, device=device)))


class OutsideAttention(RegionAttention):
    """RAA that leaves the region as it is: m^(1 - importance), so that a gate need not learn where the region ends. An
    m that is the same everywhere makes the gain that high-rate theory asks for, 2^(2.5 (importance - 1)) at m = 0.18;
    it begins at 1."""

    def forward(self, importance: Tensor, at: Positions) -> Tensor:
        gates: Tensor = super().forward(importance, at) ** (1 - at.pick(importance))
        return gates


class FeatureTransform(nn.Module):
    """SFT (Wang et al., CVPR 2018): features scaled and shifted by what two convolutions make of the importance."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scale, self.shift = RegionAttention(channels), RegionAttention(channels)

    def forward(self, x: Tensor, importance: Tensor, at: Positions) -> Tensor:
        scale, shift = self.scale(importance, at), self.shift(importance, at) - 1  # one and zero at first
        transformed: Tensor = x * scale + shift
        return transformed


class FeatureTransformAnalysis(Analysis):
    """The analysis with SFT before each block, and on the linear path."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__(channels, depth, enhancement="none")
        self.transforms = nn.ModuleList(FeatureTransform(channels) for _ in range(depth))
        self.linear_transform = FeatureTransform(LATENT)

    def forward(self, residual: Tensor, prediction: Tensor, importance: Tensor, q: Tensor, at: Positions) -> Tensor:
        scaled = weighted(residual)
        x = self.enter(torch.cat((scaled / 16, (prediction - 128) / 64), dim=1)) * torch.exp(self.quality(q))
        for transform, block in zip(self.transforms, self.blocks, strict=True):
            x = block(transform(x, importance, at), at)
        latent: Tensor = self.linear_transform(scaled @ self.basis.T, importance, at) + 16 * self.leave(x)
        latent = latent * torch.exp(self.gain(q)) / step_size(q).unsqueeze(1)
        return latent


class GatedAnalysis(nn.Module):
    """A variant's encoder: an analysis, and what acts on its latent."""

    def __init__(self, variant: Variant, channels: int, depth: int) -> None:
        super().__init__()
        self.hard, self.fills = variant.gate == "hard", variant.fills
        self.even, self.steps_vary = variant.mirrors, variant.steps_vary
        self.soft = RegionAttention(LATENT) if variant.gate == "soft" else None
        self.analysis = (
            FeatureTransformAnalysis(channels, depth)
            if variant.sft
            else Analysis(channels, depth, enhancement=variant.enhancement)
        )
        if variant.outside:
            self.analysis.regions = nn.ModuleList(OutsideAttention(channels) for _ in range(depth))
            self.analysis.linear_region = OutsideAttention(LATENT)

    def forward(
        self, residual: Tensor, prediction: Tensor, importance: Tensor, q: Tensor, at: RegionPositions
    ) -> Tensor:
        step_q = at.quality if self.even else q
        if self.fills:
            share = loss_weight(at.counts)
            if self.steps_vary:  # then what the map says of the outside is already seen to
                share = share / loss_weight(at.importance)[:, None]
            residual = fill_in(residual, share.sqrt(), self.analysis.basis, step_size(step_q))
        latent: Tensor = self.analysis(residual, prediction, importance, step_q, at)
        if self.soft is not None:
            latent = latent * self.soft(importance, at)
        if self.hard:
            latent = latent * open_channels(at.pick(importance))
        return latent


@torch.no_grad()
def fill_in(residual: Tensor, share: Tensor, basis: Tensor, step: Tensor) -> Tensor:
    """Blocks (N,96) whose less important samples give way to what costs fewer bits: all coefficients shrink, `share`
    (N,96) 0..1 of each sample is put back, and so on (iterated thresholding: Daubechies, Defrise and De Mol, 2004).
    `basis` (96,96) and `step` (N,) of the quantiser."""
    made = blocks = weighted(residual)
    for _ in range(_FILLINGS):
        kept = F.softshrink(made @ basis.T / step[:, None], _THRESHOLD) * step[:, None]
        made = torch.lerp(kept @ basis, blocks, share)
    return unweighted(made)


def open_channels(importance: Tensor) -> Tensor:
    """The hard gate, (N,1) -> (N,96) of 0 and 1: all channels at importance 1, fewer geometrically, one at 0."""
    return (torch.arange(LATENT, device=importance.device) < LATENT**importance).float()


class RegionSynthesis(nn.Module):
    """Two decoders, each sees its own positions alone, as the codec's layers do. Told the importance, they first undo
    what the encoder made of it."""

    def __init__(self, variant: Variant, channels: int, depth: int) -> None:
        super().__init__()
        self.inside, self.outside = Synthesis(channels, depth), Synthesis(channels, depth)
        self.gain = Curve(LATENT) if variant.told == "importance" else None
        self.mirror = OutsideAttention(LATENT) if variant.mirrors else None

    def forward(self, latent: Tensor, prediction: Tensor, q: Tensor, at: RegionPositions) -> Tensor:
        if self.gain is not None:
            latent = latent * torch.exp(self.gain((QUALITIES - 1) * at.importance))
        if self.mirror is not None:  # outside, `q` is what the decoders go by, but not what the step was
            latent = latent / self.mirror(at.importance_map(), at) * (step_size(at.quality) / step_size(q)).unsqueeze(1)
        out = torch.zeros_like(prediction)
        apart = self.padded if latent.device.type == "cuda" else self.listed
        for decoder, chosen in ((self.inside, at.inside), (self.outside, ~at.inside)):
            out = out + apart(decoder, latent, prediction, q, at, chosen)
        return out

    @staticmethod
    def listed(
        decoder: Synthesis, latent: Tensor, prediction: Tensor, q: Tensor, at: RegionPositions, chosen: Tensor
    ) -> Tensor:
        """A decoder's blocks (N,96) at its positions `chosen` (N,) bool, zero elsewhere."""
        kept = chosen.nonzero().squeeze(1)
        blocks = decoder(latent[kept], prediction[kept], q[kept], at.select(kept))
        return torch.zeros_like(prediction).index_copy(0, kept, blocks)

    @staticmethod
    def padded(
        decoder: Synthesis, latent: Tensor, prediction: Tensor, q: Tensor, at: RegionPositions, chosen: Tensor
    ) -> Tensor:
        """The same with as many places as the picture has, so that no shape depends on data and CUDA can record it."""
        index = torch.where(chosen, at.index, len(at)).sort().values
        kept = PaddedPositions(chosen.view_as(at.chosen), index)
        blocks = decoder(kept.pick(latent), kept.pick(prediction), kept.pick(q[:, None])[:, 0], kept)
        return kept.spread(blocks).flatten(0, 2)


def build(variant: Variant, *, width: int, depth: int, basis: Tensor, seed: int) -> CodecNets:
    """A variant's nets, those of plates. What variants share begins alike. `basis` (96,96): principal components."""
    torch.manual_seed(seed)
    analysis, synthesis = Analysis(width, depth, enhancement="none"), Synthesis(width, depth)
    nets = CodecNets(inter_channels=1, intra_channels=1, depth=(1, 1), enhancement="none")
    analysis.basis.copy_(basis)
    synthesis.basis.copy_(basis)
    encoder = GatedAnalysis(variant, width, depth)
    encoder.analysis.load_state_dict(analysis.state_dict(), strict=False)
    nets.analysis["intra"] = encoder
    nets.synthesis["plate"] = synthesis
    if variant.dual:
        decoders = RegionSynthesis(variant, width, depth)
        for decoder in (decoders.inside, decoders.outside):
            decoder.load_state_dict(synthesis.state_dict())
        if decoders.mirror is not None and encoder.analysis.linear_region is not None:
            decoders.mirror.load_state_dict(encoder.analysis.linear_region.state_dict())
        nets.synthesis["plate"] = decoders
    return nets


def layer_input(variant: Variant, blocks: Tensor, region: Tensor, outside: Tensor, q: Tensor) -> LayerInput:
    """Pictures as `blocks` (B,rows,cols,96) with the samples of their `region` (B,rows,cols,96) bool, the importance
    `outside` (B,) of the rest, and their quality `q` (B,)."""
    at = RegionPositions(region, outside, q, fine=variant.fine)
    quality = at.quality
    if variant.steps_vary:
        quality = (quality - GAIN_STEPS * (1 - at.importance)).round().clamp(min=0)
    # The index net has places for numbers that both ends know of a position.
    modes = replace(Modes.still(at), coded_before=at.inside.long())
    if variant.told == "importance":
        modes = replace(modes, age=(15 * (1 - at.importance)).round().long())
    x = blocks.flatten(0, 2)
    return LayerInput(
        kind="plate",
        at=at,
        blocks=x,
        prediction=torch.full_like(x, 128.0),
        importance=at.importance_map(fine=variant.fills and not variant.mirrors),
        before=torch.zeros_like(x),
        modes=modes,
        q=quality,
    )
