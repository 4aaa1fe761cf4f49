"""One variant's training. Batches, noise and learning rate follow the seed and the step alone: all variants see the
same."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.bench.allocation.photos import CROP
from pipeline.bench.allocation.variants import Variant, build, layer_input
from pipeline.codec.blocks import weighted
from pipeline.codec.model import LAMBDA, CodecNets, LayerInput, LayerLoss, loss_weight, train_layer
from pipeline.codec.nets import step_size
from pipeline.training.guard import Guard
from pipeline.training.losses import family_parameters, keep_within_stream
from pipeline.training.regions import random_regions

LOWEST_Q, HIGHEST_Q = 12, 60
_REPORT_S = 30.0
_GRADIENT_CLIP = 200.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The budget of every variant. One step of the default took 0.11 s of one CPU core."""

    steps: int = 1800
    batch: int = 8
    crops: int = 4000
    width: int = 64  # channels; plates have 128
    depth: int = 2  # blocks; plates have 3 and 4
    rate: float = 1.5e-3
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Trained:
    """A variant's nets, the median loss of their last steps, and the CPU time that they took."""

    nets: CodecNets
    loss: float
    cpu_s: float


def train(variant: Variant, crops: Tensor, plan: Plan, basis: Tensor, report: Callable[[str], None]) -> Trained:
    """A variant after `plan.steps`. `crops` as `cut_crops` makes them."""
    nets = build(variant, width=plan.width, depth=plan.depth, basis=basis, seed=plan.seed)
    keep_within_stream(nets, "intra")
    parameters = family_parameters(nets, "intra")
    optimiser = torch.optim.AdamW(parameters, lr=plan.rate, weight_decay=1e-4, betas=(0.9, 0.99))
    guard, rng = Guard(torch.device("cpu")), np.random.default_rng(plan.seed)
    begin, cpu_begin = time.monotonic(), time.process_time()
    shown = begin
    for step in range(plan.steps):
        torch.manual_seed(plan.seed + step)
        for group in optimiser.param_groups:
            group["lr"] = _rate(plan, step)
        x, q = _batch(variant, crops, plan, rng)
        loss = cost(x, train_layer(nets, x), q)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(parameters, _GRADIENT_CLIP)
        if guard.sound(step, loss.detach(), norm):
            optimiser.step()
        now = time.monotonic()
        if now - shown > _REPORT_S or step + 1 == plan.steps:
            left = (now - begin) / (step + 1) * (plan.steps - step - 1) / 60
            done = f"{variant.name} step {step + 1}/{plan.steps}, {left:.1f} min left"
            report(f"{done}: loss {_usual(guard):.1f}, {guard.told()}")
            shown = now
    return Trained(nets.eval().requires_grad_(False), _usual(guard), time.process_time() - cpu_begin)


def _usual(guard: Guard) -> float:
    """The median of the last losses."""
    return float(guard.recent[:, 0].nanmedian())


def _rate(plan: Plan, step: int) -> float:
    """Of learning: a short rise, then along a cosine to 2 %."""
    warm = min(1.0, (step + 1) / 50)
    return plan.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / plan.steps)))


def _batch(variant: Variant, crops: Tensor, plan: Plan, rng: np.random.Generator) -> tuple[LayerInput, Tensor]:
    """Random crops, regions, importances of the rest and qualities (B,)."""
    chosen = torch.from_numpy(rng.integers(0, len(crops), plan.batch))
    cells = random_regions(rng, plan.batch, CROP // 16) > rng.random((plan.batch, 1, 1))
    outside = torch.from_numpy(rng.random(plan.batch, dtype=np.float32))
    q = torch.from_numpy(rng.integers(LOWEST_Q, HIGHEST_Q + 1, plan.batch)).float()
    return layer_input(variant, crops[chosen].float(), torch.from_numpy(cells), outside, q), q


def cost(x: LayerInput, out: LayerLoss, q: Tensor) -> Tensor:
    """Rate and weighted distortion in bits at the pictures' quality `q` (B,), evened over qualities: what
    `training.losses.layer_cost` minimises, whatever step a variant takes outside."""
    step = step_size(q.repeat_interleave(x.at.rows * x.at.cols))
    squared = weighted(x.blocks - out.pictures).square().sum(1)
    distortion = loss_weight(x.at.pick(x.importance)[:, 0]) * squared * (LAMBDA / step.square())
    return ((out.smooth_bits + distortion + out.bits) * (step / 16)).mean()
