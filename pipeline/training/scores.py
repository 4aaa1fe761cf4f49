"""Fits the scores that choose the tables of maps, modes and coded block flags to what an encoder decided."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from pipeline.codec.entropy import IntegerLinear
from pipeline.codec.scores import HIDDEN, HIDDEN_SHIFT, LEVEL_LOGIT, LEVELS, MIDDLE, OUT_SHIFT, Score
from pipeline.codec.tables import DECISIONS, FIRST_FLAG, FIRST_MAP, FIRST_MODE, FIRST_TAKEN, SCORES, Counts, Tables, fit

_BATCH, _RATE = 2048, 3e-3
_TIMES, _LEAST, _MOST = 8, 50, 3000  # through the examples; steps
_FIRST = {"map": FIRST_MAP, "mode": FIRST_MODE, "flag": FIRST_FLAG}

Inputs = npt.NDArray[np.uint8]
Labels = npt.NDArray[np.int8]


class ScoreNet(nn.Module):
    """A score in training: the same integers, gradients straight through their rounding."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.hidden = IntegerLinear(inputs, HIDDEN, shift=HIDDEN_SHIFT, bias=32.0)
        self.out = IntegerLinear(HIDDEN, outputs, shift=OUT_SHIFT, ceiling=LEVELS - 1, bias=float(LEVELS // 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(n,F) 0..255 -> the odds' logarithm of each decision, (n,K)."""
        return (self.out(self.hidden(x)) - MIDDLE) / LEVEL_LOGIT

    def score(self) -> Score:
        layers = self.hidden, self.out
        parts = [part.numpy() for each in layers for part in (each.integer_weight(), each.integer_bias())]
        return Score(*parts)


def fit_score(inputs: Inputs, decided: Labels) -> Score:
    """`inputs` (n,F); `decided` (n,K): 0 or 1, -1 where not asked."""
    steps = min(_MOST, max(_LEAST, _TIMES * len(inputs) // _BATCH))
    with torch.enable_grad(), torch.random.fork_rng():
        torch.manual_seed(1)
        net = ScoreNet(inputs.shape[1], decided.shape[1])
        optimiser = torch.optim.Adam(net.parameters(), _RATE)
        slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        x, target = torch.from_numpy(inputs), torch.from_numpy(decided)
        for _ in range(steps):
            some = torch.randint(len(x), (_BATCH,))
            wanted = target[some].float()
            bits = nn.functional.binary_cross_entropy_with_logits(
                net(x[some].float()), wanted.clamp(min=0), reduction="none"
            )
            optimiser.zero_grad()
            torch.autograd.backward((bits * (wanted >= 0)).sum() / _BATCH)
            optimiser.step()
            slower.step()
    return net.requires_grad_(False).score()


def fit_all(tables: Tables, counts: Counts) -> Tables:
    """New scores, and tables for what was counted: of decisions as the new scores sort them."""
    scores = dict(tables.scores)
    decisions = Counts({row: seen for row, seen in counts.rows.items() if not FIRST_MAP <= row < FIRST_TAKEN})
    for name in SCORES:
        if counts.examples.get(name):
            inputs, labels = (np.concatenate(parts) for parts in zip(*counts.examples[name], strict=True))
            scores[name] = fit_score(inputs, labels[:, 1:])
            _count(scores[name], name, inputs, labels, decisions)
    return fit(Tables(tables.rows, tables.offsets, scores), decisions)


def _count(score: Score, name: str, inputs: Inputs, labels: Labels, counts: Counts) -> None:
    """What each level of a score came to decide."""
    outputs = len(score.out)
    first = _FIRST[name] + labels[:, :1].astype(np.int64) * (DECISIONS if name == "mode" else 1) * LEVELS
    for start in range(0, len(inputs), 1 << 16):
        part = slice(start, start + (1 << 16))
        rows = first[part] + np.arange(outputs) * LEVELS + score.levels(inputs[part])
        asked = labels[part, 1:] >= 0
        counts.add(rows[asked].tolist(), labels[part, 1:][asked].tolist())
