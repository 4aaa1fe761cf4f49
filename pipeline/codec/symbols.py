"""What is said of a layer's coded positions: latents, symbols, and the picture that comes of them.

`latents` and `code_latents` are the encoder's, `read_symbols` and `synthesise` the decoder's halves of the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec.blocks import SAMPLES, Positions, weighted
from pipeline.codec.brain import Brain
from pipeline.codec.effort import BEST, Effort
from pipeline.codec.entropy import TABLES, Step, steps, table_scale
from pipeline.codec.exact import quick_bf16
from pipeline.codec.model import LAMBDA, PROJECTED, Kind, Modes, given_back, loss_weight, quantise, side_features
from pipeline.codec.native import compiled
from pipeline.codec.nets import step_size
from pipeline.codec.rans import SymbolReader
from pipeline.codec.tables import CodingTables
from pipeline.errors import StreamError

SYMBOL_LIMIT = 2047
LITTLE = 0.002  # of its bits: for less a layer is not coded again
_MANY = 512  # positions; of fewer float32 is as quick, for weights and features have to be converted
FLAG_BITS = 2.0  # about what it takes to say that a position has symbols

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]

_SCALES = table_scale(torch.arange(TABLES)).numpy()


@dataclass(frozen=True, slots=True)
class Attempt:
    """N positions coded but not yet written. `symbols` and `pictures` (N,96); of each symbol that is coded, in coding
    order, (n,): the position (0..N-1), the row in the tables, and the symbol itself."""

    symbols: Tensor
    pictures: Tensor
    places: Ints
    rows: Ints
    coded: Ints

    def paid(self, tables: CodingTables, source: Tensor, prediction: Tensor, importance: Tensor, q: int) -> Tensor:
        """(N,) bool: whether the error that the symbols of a position removed is worth their bits; all of them, when
        little would be won without those that are not. `source` and `prediction` (N,96) grey levels; `importance`
        (N,)."""
        spent = FLAG_BITS + np.bincount(self.places, tables.costs(self.rows, self.coded), minlength=len(self.symbols))
        bits = torch.from_numpy(spent).to(source.device)
        without, left = (
            weighted(source - shown).square().sum(1) for shown in (prediction, self.pictures.round().clamp(0, 255))
        )
        worth = LAMBDA / float(step_size(torch.tensor(q))) ** 2 * loss_weight(importance)
        loss = bits - worth * (without - left)
        return (loss < 0) | (loss.clamp(min=0).sum() <= LITTLE * bits.sum())


def latents(
    brain: Brain,
    kind: Kind,
    at: Positions,
    source: Tensor,
    prediction: Tensor,
    importance: Tensor,
    q: int,
    *,
    effort: Effort = BEST,
) -> Tensor:
    """What N positions have to say, in quantiser steps and not yet rounded, (N,96). `source` and `prediction` (N,96)
    grey levels; `importance` (1,rows,cols,1)."""
    if not len(at):
        return torch.zeros_like(prediction)
    nets = brain.nets
    quality = torch.full((1,), float(q), device=brain.device)
    synthesis = nets.synthesis_of(kind)
    bf16 = brain.bf16 or (effort.half and len(at) >= _MANY and quick_bf16(brain.device))
    with torch.autocast(brain.device.type, torch.bfloat16, enabled=bf16):
        latent = nets.analysis_of(kind)(source - prediction, prediction, importance, quality, at)
    if PROJECTED[kind]:
        latent = given_back(PROJECTED[kind], synthesis, latent, source, prediction, quality, at)
    return latent


def code_latents(
    brain: Brain,
    kind: Kind,
    at: Positions,
    latent: Tensor,
    prediction: Tensor,
    before: Tensor,
    modes: Modes,
    q: int,
    thrift: float,
) -> Attempt:
    """Quantisation and synthesis of N positions; `latent`, `prediction`, `before` (N,96); quality `q` 0..63. `thrift`
    scales how eagerly the quantiser trades error for bits."""
    if not len(at):
        none = np.zeros(0, np.int64)
        return Attempt(torch.zeros_like(latent), torch.zeros_like(latent), none, none, none)
    nets = brain.nets
    quality = torch.full((1,), float(q), device=brain.device)
    entropy = nets.entropy_of(kind)
    shared = entropy.index.begin(before, side_features(kind, quality, modes, at))
    scale = step_size(quality).unsqueeze(1) / 16
    quantised = _Quantised(at, latent, thrift)
    for step in steps(at):
        index = entropy.index(shared, quantised.symbols, step)
        quantised.add(step, index, entropy.mean(quantised.values, scale, step))
    pictures = nets.synthesis_of(kind)(quantised.values, prediction, quality, at)
    return Attempt(quantised.symbols, pictures, *quantised.written())


class _Quantised:
    """The symbols of N positions, step by step. `symbols` and `values` (N,96): integers, and what they stand for in
    steps; zero where they are yet to come."""

    def __init__(self, at: Positions, latent: Tensor, thrift: float) -> None:
        self.symbols, self.values = torch.zeros_like(latent), torch.zeros_like(latent)
        self._latent, self._thrift = latent, thrift
        self._place = torch.arange(len(at), device=latent.device)
        self._parts: list[Tensor] = []

    def add(self, step: Step, index: Tensor, mean: Tensor) -> None:
        """The symbols of a step, by their tables and means (n,c)."""
        if self._latent.device.type == "cpu":
            coded = torch.empty_like(index)
            _quantise(
                self._latent.numpy(), step.which, step.start, index.numpy(), mean.numpy(), _SCALES, self._thrift,
                self.symbols.numpy(), self.values.numpy(), coded.numpy(),
            )  # fmt: skip
        else:
            rows, channels = step.selection, slice(step.start, step.end)
            coded = quantise(self._latent[rows, channels] - mean, table_scale(index), self._thrift)
            coded = torch.where(index < 1, 0.0, coded.clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT))
            self.symbols[rows, channels], self.values[rows, channels] = coded, coded + mean
        place = self._place[step.selection, None].expand_as(index).float()
        self._parts.append(torch.stack((place, index, coded)).flatten(1))

    def written(self) -> tuple[Ints, Ints, Ints]:
        """Of each symbol that is coded, in coding order, its position, its table, and the symbol."""
        places, numbers, found = torch.cat(self._parts, 1).cpu().numpy()
        kept = numbers >= 1
        return places[kept].astype(np.int64), numbers[kept].astype(np.int64), found[kept].astype(np.int64)


@compiled
def _quantise(
    latent: Floats, which: Ints, start: int, index: Floats, mean: Floats, scales: Floats, thrift: float,
    symbols: Floats, values: Floats, coded: Floats,
) -> None:  # fmt: skip
    """`model.quantise` of a step's latents around their `mean`; table 0 has no symbols."""
    rate = np.float32(thrift / LAMBDA)
    for n in range(len(index)):
        row = which[n] if len(which) else n
        for c in range(index.shape[1]):
            value, found = latent[row, start + c] - mean[n, c], np.float32(0)
            if index[n, c] >= 1:
                found, lower = np.rint(value), np.trunc(value)
                if found != lower:  # else there is nothing to choose
                    scale = scales[np.int64(index[n, c])]
                    cost = (value - found) * (value - found) + rate * _bits(found, scale)
                    if (value - lower) * (value - lower) + rate * _bits(lower, scale) < cost:
                        found = lower
                found = min(max(found, np.float32(-SYMBOL_LIMIT)), np.float32(SYMBOL_LIMIT))
            coded[n, c] = symbols[row, start + c] = found
            values[row, start + c] = found + mean[n, c]


@compiled
def _bits(symbol: np.float32, scale: np.float32) -> np.float32:
    """`entropy.logistic_bits` of one."""
    size, one, half = abs(symbol), np.float32(1), np.float32(0.5)
    upper, lower = one / (one + np.exp((size - half) / scale)), one / (one + np.exp((size + half) / scale))
    return -np.log2(max(upper - lower, np.float32(2.0**-16)))


def read_symbols(
    brain: Brain, kind: Kind, at: Positions, before: Tensor, modes: Modes, q: int, reader: SymbolReader
) -> Tensor:
    """The parse: integers only. (N,96) float32 holding integers."""
    symbols = torch.zeros(len(at), SAMPLES, device=brain.device)
    if not len(at):
        return symbols
    entropy = brain.nets.entropy_of(kind)
    quality = torch.full((1,), float(q), device=brain.device)
    shared = entropy.index.begin(before, side_features(kind, quality, modes, at))
    for step in steps(at):
        index, rows = entropy.index(shared, symbols, step), step.selection
        numbers = index.cpu().numpy().astype(np.int64)
        found, coded = np.zeros(numbers.shape, np.float32), numbers >= 1
        read = reader.read(numbers[coded])
        if read.size and np.abs(read).max() > SYMBOL_LIMIT:
            raise StreamError("a latent symbol is out of range")
        found[coded] = read
        symbols[rows, step.start : step.end] = torch.from_numpy(found).to(brain.device)
    return symbols


def synthesise(brain: Brain, kind: Kind, at: Positions, symbols: Tensor, prediction: Tensor, q: int) -> Tensor:
    """Symbols to picture blocks (N,96): means, then the layer's decoder. Float32 throughout, for it writes a plane."""
    if not len(at):
        return prediction
    entropy = brain.nets.entropy_of(kind)
    quality = torch.full((1,), float(q), device=brain.device)
    scale = step_size(quality).unsqueeze(1) / 16
    values = torch.zeros_like(symbols)
    for step in steps(at):
        mean = entropy.mean(values, scale, step)
        rows = step.selection
        values[rows, step.start : step.end] = symbols[rows, step.start : step.end] + mean
    return brain.nets.synthesis_of(kind)(values, prediction, quality, at)
