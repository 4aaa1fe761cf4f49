"""The entropy model: which integer table codes each symbol, and the mean that symbols are taken around.

Latent channels are coded in eight steps: the first eight channels over a quincunx pyramid of positions (five phases,
each seeing the ones before), then three groups of channels, each seeing all groups before it. For every step

- the *index net* turns decoded integers (symbols of this frame and of the last one at the place, modes, quality) into
  table indices. It is made of integers throughout: weights of at most 8 bits, activations of 8 bits, and every sum
  below 2^24, so that float32 arithmetic is exact in any order, on any device;
- the *mean net* predicts the latent from what is decoded. It is float and may differ in the last bit between devices:
  the parse never looks at it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.codec.blocks import Offsets, PaddedPositions, Positions, around, sum_around
from pipeline.codec.native import compiled, on_host
from pipeline.codec.nets import LATENT

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

GROUPS = (8, 24, 48, 96)  # where each channel group ends
_FIRST = GROUPS[0]
TABLES = 64
SIDE = 14  # integer side inputs a position, see `side_features`

DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
AXIAL = ((-1, 0), (1, 0), (0, -1), (0, 1))
RING = DIAGONAL + AXIAL


def _far(offsets: Offsets) -> Offsets:
    return tuple((2 * dy, 2 * dx) for dy, dx in offsets)


Belongs = Callable[[Tensor, Tensor], Tensor]

# (condition on row and column, neighbours that are decoded by then). Each position belongs to exactly one phase.
PHASES: tuple[tuple[Belongs, Offsets], ...] = (
    (lambda r, c: (r % 4 == 0) & (c % 4 == 0), _far(AXIAL)),  # of these none is decoded yet: zeros
    (lambda r, c: (r % 4 == 2) & (c % 4 == 2), _far(DIAGONAL)),
    (lambda r, c: (r % 2 == 0) & (c % 2 == 0) & ((r + c) % 4 == 2), _far(AXIAL)),
    (lambda r, c: (r % 2 == 1) & (c % 2 == 1), DIAGONAL),
    (lambda r, c: (r + c) % 2 == 1, AXIAL),
)

# How a symbol's magnitude enters the index net: near-logarithmic, 8 bits.
_MAGNITUDE = (0, 64, 104, 136, 160, 180, 196, 208, 220, 228, 236, 242, 246, 250, 253, 255)


def table_scale(index: Tensor) -> Tensor:
    """Scale of the logistic distribution behind a table: 0.04 to 37 symbols, 6.4 tables to the octave."""
    return 0.04 * torch.exp2(index / 6.4)


@dataclass(frozen=True, slots=True)
class Step:
    """One coding step: channels `start:end` at the positions `rows` (indices into the N positions; None = all) of n, of
    which with padded positions those count that `mask` (N,) marks. `neighbours` (n,4 or 8): places of what is decoded
    around them by then, see `Positions.neighbours`."""

    number: int
    start: int
    end: int
    rows: Tensor | None
    neighbours: Tensor
    mask: Tensor | None = None

    @property
    def phase(self) -> bool:
        """Whether it is one of the pyramid's, which see the first channel group as far as it is decoded."""
        return self.start == 0

    @property
    def which(self) -> Ints:
        """`rows` for compiled loops; all of them where there are none."""
        return np.zeros(0, np.int64) if self.rows is None else self.rows.numpy()

    @property
    def selection(self) -> Tensor | slice:
        """`rows` as an index."""
        return slice(None) if self.rows is None else self.rows


def steps(at: Positions) -> tuple[Step, ...]:
    """The order in which a layer's symbols are coded, without steps of no position. Normative."""
    if at.steps is None:
        at.steps = tuple(_steps(at))
    return at.steps


def _steps(at: Positions) -> Iterator[Step]:
    there = at.there if isinstance(at, PaddedPositions) else None
    for number, (belongs, offsets) in enumerate(PHASES):
        belong = belongs(at.row, at.col)
        if there is None:
            rows = belong.nonzero().squeeze(1)
            if len(rows):
                yield Step(number, 0, GROUPS[0], rows, at.neighbours(offsets)[rows])
        else:
            yield Step(number, 0, GROUPS[0], None, at.neighbours(offsets), belong & there)
    for i in range(1, len(GROUPS)):
        yield Step(len(PHASES) + i - 1, GROUPS[i - 1], GROUPS[i], None, at.neighbours(RING), there)


def _straight_through(exact: Tensor, smooth: Tensor) -> Tensor:
    return smooth + (exact - smooth).detach()


class IntegerLinear(nn.Module):
    """floor((W x + b) / 2^shift) clamped to 0..`ceiling`, with integer W (|W| <= 127), b and x (0..255).

    At most 512 inputs: 512 * 127 * 255 < 2^24. Weights are kept as floats for training and rounded on use; gradients go
    straight through the rounding.
    """

    def __init__(self, inputs: int, outputs: int, *, shift: int, ceiling: int = 255, bias: float = 0.0) -> None:
        super().__init__()
        if inputs > 512:
            raise ValueError(f"{inputs} inputs: sums could pass 2^24")
        self.unit = 2.0**shift
        self.ceiling = float(ceiling)
        # Parameters are scaled to about one (weights to their limit, biases to 64), so that one learning rate fits all.
        spread = 0.5 * min(1.0, ceiling / 255) / inputs**0.5 * self.unit / 127
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * spread)
        self.bias = nn.Parameter(torch.full((outputs,), bias / 64))
        self._rounded: tuple[Tensor, Tensor] | None = None

    def freeze(self) -> None:
        """Round weights that stay as they are once for all, where they are now."""
        self._rounded = self._in_units()

    def integer_weight(self) -> Tensor:
        return torch.round(self.weight * 127).clamp(-127, 127)

    def integer_bias(self) -> Tensor:
        return torch.round(self.bias * 64 * self.unit).clamp(-(2.0**20), 2.0**20)

    def _in_units(self) -> tuple[Tensor, Tensor]:
        # Everything is a multiple of 2^-shift, as exact as the integers themselves.
        return self.integer_weight() / self.unit, self.integer_bias() / self.unit

    def forward(self, x: Tensor) -> Tensor:
        weight, bias = self._rounded or self._in_units()
        if not torch.is_grad_enabled():
            return F.linear(x, weight, bias).floor_().clamp_(0, self.ceiling)
        weight = _straight_through(weight, self.weight.clamp(-1, 1) * (127 / self.unit))
        bias = _straight_through(bias, self.bias * 64)
        total = F.linear(x, weight, bias)
        inside = total.clamp(0, self.ceiling)
        leaky = inside + 0.05 * (total - inside)  # a unit that saturates in training can still find its way back
        return _straight_through(total.detach().floor().clamp(0, self.ceiling), leaky)


class IndexNet(nn.Module):
    """Decoded integers -> table indices 0..63. Exact in float32; never under autocast."""

    def __init__(self) -> None:
        super().__init__()
        self.magnitude: Tensor
        self.register_buffer("magnitude", torch.tensor(_MAGNITUDE, dtype=torch.float32), persistent=False)
        self.shared = IntegerLinear(LATENT + SIDE, 48, shift=7, bias=32.0)
        self.hidden, self.out = nn.ModuleList(), nn.ModuleList()
        for number in range(len(PHASES) + len(GROUPS) - 1):
            group = max(0, number - len(PHASES) + 1)
            context = GROUPS[0] if group == 0 else 2 * GROUPS[group - 1]
            size = GROUPS[group] - (GROUPS[group - 1] if group else 0)
            self.hidden.append(IntegerLinear(48 + context, 64, shift=7, bias=32.0))
            self.out.append(IntegerLinear(64, size, shift=10, ceiling=TABLES - 1, bias=16.0))

    def magnitudes(self, symbols: Tensor) -> Tensor:
        """Integers of any size -> 0..255, as float32."""
        return self.magnitude.index_select(0, symbols.abs().clamp(max=15).int().flatten()).view_as(symbols)

    def begin(self, before: Tensor, side: Tensor) -> Tensor:
        """`before` (N,96) symbols of the last frame at the place, `side` (N,SIDE) 0..255 -> (N,48)."""
        return self.shared(torch.cat((self.magnitudes(before), side), dim=1))

    def context(self, symbols: Tensor, step: Step) -> Tensor:
        """What is decoded around each position of a step. `symbols` (N,96), zero where not yet decoded."""
        known = self.magnitudes(symbols[:, : step.end if step.phase else step.start])
        mean = torch.floor(sum_around(known, step.neighbours) / step.neighbours.shape[1])  # of 4 or 8: exact
        return mean if step.phase else torch.cat((known, mean), dim=1)

    def forward(self, shared: Tensor, symbols: Tensor, step: Step) -> Tensor:
        """-> (rows of the step, channels of the step) float32 holding integers."""
        if on_host(symbols):
            inputs = symbols.new_empty(
                len(step.neighbours), shared.shape[1] + (step.end if step.phase else 2 * step.start)
            )
            _index_inputs(
                shared.numpy(), symbols.numpy(), step.neighbours.numpy(), step.which, self.magnitude.numpy(),
                step.start, step.end, inputs.numpy(),
            )  # fmt: skip
        else:
            inputs = torch.cat((shared[step.selection], self.context(symbols, step)), dim=1)
        return self.out[step.number](self.hidden[step.number](inputs))


class MeanNet(nn.Module):
    """Decoded latents -> the mean of the next ones, both in grey levels / 16 so that one net serves every quality."""

    def __init__(self, hidden: int = 64) -> None:
        super().__init__()
        self.first, self.last = nn.ModuleList(), nn.ModuleList()
        for number in range(len(PHASES) + len(GROUPS) - 1):
            group = max(0, number - len(PHASES) + 1)
            inputs = len(AXIAL) * GROUPS[0] if group == 0 else len(RING) * GROUPS[0] + GROUPS[group - 1]
            size = GROUPS[group] - (GROUPS[group - 1] if group else 0)
            self.first.append(nn.Linear(inputs, hidden))
            last = nn.Linear(hidden, size)
            nn.init.zeros_(last.weight)
            nn.init.zeros_(last.bias)
            self.last.append(last)

    def forward(self, latent: Tensor, scale: Tensor, step: Step) -> Tensor:
        """`latent` (N,96) decoded so far, in steps; `scale` (N,1), or (1,1) for all: the step in grey levels / 16 ->
        mean in steps."""
        if on_host(latent) and len(scale) == 1:
            context = latent.new_empty(len(step.neighbours), _FIRST * step.neighbours.shape[1] + step.start)
            _mean_inputs(
                latent.numpy(), step.neighbours.numpy(), step.which, scale.numpy(), step.start, context.numpy()
            )
            return self._of(context, step) / scale
        values = latent[:, : step.end if step.phase else step.start] * scale
        context = around(values[:, : GROUPS[0]], step.neighbours).flatten(1)
        if not step.phase:
            context = torch.cat((context, values), dim=1)
        scale = scale if len(scale) == 1 else scale[step.selection]
        return self._of(context, step) / scale

    def _of(self, context: Tensor, step: Step) -> Tensor:
        mean: Tensor = self.last[step.number](F.gelu(self.first[step.number](context)))
        return mean


@compiled
def _index_inputs(
    shared: Floats, symbols: Floats, neighbours: Ints, which: Ints, magnitude: Floats, start: int, end: int,
    inputs: Floats,
) -> None:  # fmt: skip
    """What `IndexNet.forward` puts side by side: `shared`, and of `context` what is known at the place and around."""
    count, around, first = len(symbols), neighbours.shape[1], shared.shape[1]
    channels = start if start else end
    share = np.float32(1) / np.float32(around)
    for n in range(len(inputs)):
        row = which[n] if len(which) else n
        for c in range(first):
            inputs[n, c] = shared[row, c]
        mean = first + start
        for c in range(start):
            inputs[n, first + c] = magnitude[min(int(abs(symbols[row, c])), 15)]
        for c in range(channels):
            inputs[n, mean + c] = 0
        for k in range(around):
            place = neighbours[n, k]
            if place < count:
                for c in range(channels):
                    inputs[n, mean + c] += magnitude[min(int(abs(symbols[place, c])), 15)]
        for c in range(channels):
            inputs[n, mean + c] = np.floor(inputs[n, mean + c] * share)


@compiled
def _mean_inputs(latent: Floats, neighbours: Ints, which: Ints, scale: Floats, start: int, context: Floats) -> None:
    """The first channels around each position, then what is decoded at the place; in grey levels / 16."""
    count, around, unit = len(latent), neighbours.shape[1], scale[0, 0]
    for n in range(len(context)):
        for k in range(around):
            place = neighbours[n, k]
            for c in range(_FIRST):
                context[n, _FIRST * k + c] = latent[place, c] * unit if place < count else np.float32(0)
        row = which[n] if len(which) else n
        for c in range(start):
            context[n, _FIRST * around + c] = latent[row, c] * unit


def logistic_bits(symbols: Tensor, scale: Tensor) -> Tensor:
    """Bits of real-valued symbols under the zero-mean logistic distribution integrated over unit bins."""
    upper = torch.sigmoid((0.5 - symbols.abs()) / scale)
    lower = torch.sigmoid((-0.5 - symbols.abs()) / scale)
    return -torch.log2((upper - lower).clamp(min=2.0**-16))
