"""The transforms: mask-guided analysis, and a synthesis for each layer. Float; knows nothing of entropy coding.

The method is that of "ROI-based Deep Image Compression with Implicit Bit Allocation" (arXiv 2511.08918): the encoder
sees the importance map through mask-guided feature enhancement (MGFE: region-adaptive attention, RAA, and
frequency-spatial collaborative attention, FSCA), a region-weighted loss teaches it where the bits go, and foreground
and background are reconstructed by two decoders. The paper's text beyond its abstract is not public; the insides of
RAA's surroundings and of FSCA are ours.

Beside each net runs a *linear path*: a projection of 96-sample blocks onto their principal components (KLT). The nets'
last layers begin at zero, so an untrained codec is a KLT codec and training only improves on it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import chain, repeat
from typing import Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.codec.blocks import SAMPLES, Positions, around, unweighted, weighted
from pipeline.codec.native import compiled_in_order, on_host

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LATENT = SAMPLES
QUALITIES = 64  # integer quality steps, 12 to the octave
Enhancement = Literal["mgfe", "raa", "fsca", "none"]


# What a gated pair multiplies at most. Usual values are below 5, rare ones 20; without a limit a picture unlike all
# before sends them, squared from block to block, to infinity.
_LOUDEST = 16.0


def step_size(q: Tensor) -> Tensor:
    """Quantiser step in grey levels of an orthonormal transform: 128 at q=0, 3.4 at q=63."""
    return 128.0 * torch.exp2(-q.float() / 12.0)


def _zero(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


class Curve(nn.Module):
    """A learned vector for every quality, linear between nine knots; zero at the start."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.knots = nn.Parameter(torch.zeros(9, channels))
        self._known: Tensor | None = None  # (QUALITIES, channels)

    def freeze(self) -> None:
        """Work out every quality of weights that stay as they are."""
        self._known = self._between(torch.arange(QUALITIES, device=self.knots.device)).detach()

    def forward(self, q: Tensor) -> Tensor:
        """(N,) -> (N, channels)."""
        return self._between(q) if self._known is None else self._known.index_select(0, q.int())

    def _between(self, q: Tensor) -> Tensor:
        place = q.float() * (8.0 / (QUALITIES - 1))
        low = place.floor().clamp(0, 7)
        part, index = (place - low).unsqueeze(1), low.int()
        # Value by value, and not as a product of matrices: it must come out the same for one quality and for many.
        below, above = (self.knots.index_select(0, knot) for knot in (index, index + 1))
        return below * (1 - part) + above * part


_SQUARE = tuple((dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1))
_MOST_KNOWN = 64  # importances whose gates are kept
_AT_ONCE = 2048  # positions a thread, whose features a core's own cache holds


def _in_parts(pointwise: Callable[..., Tensor], *features: Tensor) -> Tensor:
    """What a function makes of each position's features, (N,...) each or (1,...) for all, some positions at a time:
    memory is slower."""
    if not on_host(features[0]):
        return pointwise(*features)
    count, many = max(map(len, features)), _AT_ONCE * torch.get_num_threads()
    if count <= many:
        return pointwise(*features)
    split = (torch.split(each, many) if len(each) == count else repeat(each) for each in features)
    parts = (pointwise(*part) for part in zip(*split, strict=False))
    first = next(parts)
    made = first.new_empty(count, first.shape[1])
    for place, part in zip(torch.split(made, many), chain((first,), parts), strict=True):
        place.copy_(part)
    return made


class SpatialMix(nn.Module):
    """Depthwise 3x3 over the grid of coded cells."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, groups=channels)

    def forward(self, features: Tensor, at: Positions) -> Tensor:
        if on_host(features) and features.dtype == torch.float32 and torch.get_num_threads() == 1:
            mixed, weight = torch.empty_like(features), self.conv.weight.flatten(1).T.contiguous()
            _mix(
                features.numpy(), at.neighbours(_SQUARE).numpy(), weight.numpy(), cast(Tensor, self.conv.bias).numpy(),
                mixed.numpy(),
            )  # fmt: skip
            return mixed
        if at.sparse:  # the same sums on squares around the positions
            squares = (
                around(features, at.neighbours(_SQUARE)).view(len(at), 3, 3, features.shape[1]).permute(0, 3, 1, 2)
            )
            conv = self.conv
            return F.conv2d(squares, conv.weight, conv.bias, groups=conv.groups).flatten(1)
        grid = at.spread(features).permute(0, 3, 1, 2)  # NHWC memory seen as NCHW: channels-last without a copy
        return at.pick(self.conv(grid).permute(0, 2, 3, 1))


@compiled_in_order
def _mix(features: Floats, places: Ints, weight: Floats, bias: Floats, mixed: Floats) -> None:
    """What oneDNN's convolution gives, to the bit, without what its call takes: `weight` (9,C) times the features at
    the `places` (N,9), in their order, and the bias at the end."""
    count, channels = features.shape
    for n in range(count):
        line = mixed[n]
        for c in range(channels):
            line[c] = 0
        for k in range(places.shape[1]):
            place = places[n, k]
            if place < count:
                there, by = features[place], weight[k]
                for c in range(channels):
                    line[c] += there[c] * by[c]
        for c in range(channels):
            line[c] += bias[c]


class Block(nn.Module):
    """Depthwise-separable residual block, then a gated pointwise pair, also residual."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, channels)
        self.mix = SpatialMix(channels)
        self.leave = nn.Linear(channels, channels)
        self.widen = nn.Linear(channels, 2 * channels)
        self.narrow = nn.Linear(channels, channels)
        for layer in (self.leave, self.narrow):
            nn.init.normal_(layer.weight, std=0.3 / math.sqrt(channels))
            nn.init.zeros_(layer.bias)

    def pass_through(self) -> None:
        """Begin without effect: a block that is put behind trained ones."""
        _zero(self.leave)
        _zero(self.narrow)

    def forward(self, x: Tensor, at: Positions) -> Tensor:
        return _in_parts(self._gated, x, self.mix(_in_parts(self._entered, x), at))

    def _entered(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.enter(x), 0.1)

    def _gated(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.leave(mixed)
        gate, value = self.widen(x).chunk(2, dim=1)
        return x + self.narrow(gate.clamp(0, _LOUDEST) * value.clamp(-_LOUDEST, _LOUDEST))


class RegionAttention(nn.Module):
    """RAA: m = sigmoid(conv3x3(conv3x3(mask))), f' = f * m. Doubled, so that the gate begins open, at one."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 16, 3)
        self.second = nn.Conv2d(16, channels, 3)
        for parameter in self.second.parameters():
            nn.init.zeros_(parameter)
        self._known: dict[float, Tensor] | None = None

    def freeze(self) -> None:
        """Keep the last gates of weights that stay as they are."""
        self._known = {}

    def forward(self, importance: Tensor, at: Positions) -> Tensor:
        """`importance` (B,rows,cols,1) in 0..1 at latent resolution, or (1,1,1,1) for all -> gates (N,channels), or
        (1,channels) for all."""
        if importance.numel() > 1:
            return self._gates(importance, at)
        at = Positions(torch.ones_like(importance[..., 0], dtype=torch.bool))
        if self._known is None or not on_host(importance):
            return self._gates(importance, at)
        level = float(importance)
        gates = self._known.get(level)
        if gates is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            with torch.autocast(importance.device.type, enabled=False):
                gates = self._known[level] = self._gates(importance, at)
        return gates

    def _gates(self, importance: Tensor, at: Positions) -> Tensor:
        # The edge repeats, so that a window cut out of a map sees no border where there is none.
        padded = F.pad(importance.permute(0, 3, 1, 2), (2, 2, 2, 2), mode="replicate")
        if at.sparse:  # the same sums on squares around the positions
            squares = padded[:, 0].unfold(1, 5, 1).unfold(2, 5, 1)[at.picture, at.row, at.col]
            inner = F.leaky_relu(self.first(squares[:, None]), 0.1)
            return 2 * torch.sigmoid(F.linear(inner.flatten(1), self.second.weight.flatten(1), self.second.bias))
        inner = F.leaky_relu(self.first(padded), 0.1)
        return 2 * torch.sigmoid(at.pick(self.second(inner).permute(0, 2, 3, 1)))


def _is_even(importance: Tensor) -> bool:
    """Whether it is one picture's and the same everywhere. Not asked in training, and not of a GPU, which would have to
    be waited for."""
    return len(importance) == 1 and on_host(importance) and bool((importance == importance[:, :1, :1]).all())


class FrequencySpatialAttention(nn.Module):
    """FSCA: a frequency branch (DCT of 4x4 windows of positions, a gate a frequency and channel) and a spatial branch
    (depthwise gate) that weigh each other. Analysis only, so that the decoders' tiling stays free."""

    WINDOW = 4

    def __init__(self, channels: int) -> None:
        super().__init__()
        n = self.WINDOW
        k = torch.arange(n).float()
        basis = torch.cos(math.pi * (k[None, :] + 0.5) * k[:, None] / n) * math.sqrt(2 / n)
        basis[0] /= math.sqrt(2)
        self.dct: Tensor
        self.register_buffer("dct", torch.kron(basis, basis), persistent=False)
        self.frequency_gate = nn.Parameter(torch.zeros(n * n, channels))
        self.spatial_gate = SpatialMix(channels)
        self.fuse_frequency = nn.Linear(channels, channels)
        self.fuse_spatial = nn.Linear(channels, channels)
        self.out = _zero(nn.Linear(channels, channels))

    def forward(self, x: Tensor, at: Positions) -> Tensor:
        count, window, place = at.windows(self.WINDOW)
        windows = x.new_zeros(count, self.WINDOW**2, x.shape[1]).index_put((window, place), x)
        dct = self.dct.to(x.dtype)
        spectrum = (dct @ windows) * (2 * torch.sigmoid(self.frequency_gate)).to(x.dtype)
        frequency = (dct.T @ spectrum)[window, place]
        return _in_parts(self._fused, x, frequency, self.spatial_gate(x, at))

    def _fused(self, x: Tensor, frequency: Tensor, gate: Tensor) -> Tensor:
        spatial = x * torch.sigmoid(gate)
        fused = frequency * torch.sigmoid(self.fuse_spatial(spatial)) + spatial * torch.sigmoid(
            self.fuse_frequency(frequency)
        )
        return x + self.out(fused)


class Analysis(nn.Module):
    """Residual and prediction of the coded positions -> latent in units of the quantiser step."""

    def __init__(self, channels: int, depth: int, *, enhancement: Enhancement = "mgfe") -> None:
        super().__init__()
        self.basis: Tensor
        self.register_buffer("basis", torch.eye(LATENT))  # rows: principal components of weighted blocks
        self.enter = nn.Linear(2 * SAMPLES, channels)
        self.quality = Curve(channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(depth))
        raa, fsca = enhancement in ("mgfe", "raa"), enhancement in ("mgfe", "fsca")
        self.regions = nn.ModuleList(RegionAttention(channels) for _ in range(depth if raa else 0))
        self.attention = nn.ModuleList(FrequencySpatialAttention(channels) for _ in range(depth if fsca else 0))
        self.linear_region = RegionAttention(LATENT) if raa else None
        self.leave = _zero(nn.Linear(channels, LATENT))
        self.gain = Curve(LATENT)

    def forward(self, residual: Tensor, prediction: Tensor, importance: Tensor, q: Tensor, at: Positions) -> Tensor:
        """`residual`, `prediction` (N,96) grey levels; `importance` (B,rows,cols,1) 0..1; `q` (N,), or (1,)
        for all -> (N,96)."""
        if _is_even(importance):  # then one gate serves all
            importance = importance[:, :1, :1]
        x = _in_parts(self._entered, residual, prediction, q)
        for i, block in enumerate(self.blocks):
            if self.regions:
                x = x * self.regions[i](importance, at).to(x.dtype)
            if self.attention:
                x = self.attention[i](x, at)
            x = block(x, at)
        gates = residual.new_ones(1, 1) if self.linear_region is None else self.linear_region(importance, at)
        return _in_parts(self._left, x, residual, gates, q)

    def _entered(self, residual: Tensor, prediction: Tensor, q: Tensor) -> Tensor:
        x = self.enter(torch.cat((weighted(residual) / 16, (prediction - 128) / 64), dim=1))
        return x * torch.exp(self.quality(q)).to(x.dtype)

    def _left(self, x: Tensor, residual: Tensor, gates: Tensor, q: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):  # large coefficients do not survive bf16
            linear = weighted(residual).float() @ self.basis.T
        latent = linear * gates + 16 * self.leave(x).float()
        return latent * torch.exp(self.gain(q)) / step_size(q).unsqueeze(1)


class Synthesis(nn.Module):
    """Quantised latent and prediction of a layer's positions -> picture blocks, in grey levels, not yet rounded."""

    def __init__(self, channels: int, depth: int) -> None:
        super().__init__()
        self.basis: Tensor
        self.register_buffer("basis", torch.eye(LATENT))
        self.enter = nn.Linear(LATENT + SAMPLES, channels)
        self.quality = Curve(channels)
        self.blocks = nn.ModuleList(Block(channels) for _ in range(depth))
        self.leave = _zero(nn.Linear(channels, SAMPLES))
        self.gain = Curve(LATENT)

    def forward(self, latent: Tensor, prediction: Tensor, q: Tensor, at: Positions) -> Tensor:
        """`latent` (N,96) in quantiser steps, `prediction` (N,96) grey levels, `q` (N,), or (1,) for all -> (N,96)."""
        x = _in_parts(self._entered, latent, prediction, q)
        for block in self.blocks:
            x = block(x, at)
        return _in_parts(self._left, x, latent, prediction, q)

    def _values(self, latent: Tensor, q: Tensor) -> Tensor:
        """In grey levels."""
        return latent * torch.exp(self.gain(q)) * step_size(q).unsqueeze(1)

    def _entered(self, latent: Tensor, prediction: Tensor, q: Tensor) -> Tensor:
        x = self.enter(torch.cat((self._values(latent, q) / 16, (prediction - 128) / 64), dim=1))
        return x * torch.exp(self.quality(q)).to(x.dtype)

    def _left(self, x: Tensor, latent: Tensor, prediction: Tensor, q: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            linear = self._values(latent, q).float() @ self.basis
        return prediction + unweighted(linear) + 16 * self.leave(x).float()

    def project(self, error: Tensor, q: Tensor) -> Tensor:
        """What to add to a latent so that the linear path adds `error`, weighted blocks (N,96), to the picture."""
        return (error @ self.basis.T) * torch.exp(-self.gain(q)) / step_size(q).unsqueeze(1)
