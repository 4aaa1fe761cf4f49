"""One variant's training. Batches, noise and learning rate follow the seed and the step alone: all variants see the
same. On CUDA a step is recorded once and played back."""

from __future__ import annotations

import math
import pickle
import time
import zlib
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.bench.allocation.photos import CROP, samples_of
from pipeline.bench.allocation.variants import RegionPositions, Variant, build, layer_input
from pipeline.codec.blocks import weighted
from pipeline.codec.exact import full_precision
from pipeline.codec.model import LAMBDA, CodecNets, LayerInput, LayerLoss, loss_weight, train_layer
from pipeline.codec.nets import LATENT, step_size
from pipeline.errors import CodecError, UsageError
from pipeline.replacing import replacing
from pipeline.training.guard import Guard
from pipeline.training.losses import components, family_parameters, keep_within_stream
from pipeline.training.recorded import Recording
from pipeline.training.regions import random_regions
from pipeline.training.state import interrupts_held

LOWEST_Q, HIGHEST_Q = 12, 60
_REPORT_S, _SAVE_S = 30.0, 60.0
_BASIS_CROPS = 512
_GRADIENT_CLIP = 200.0
CPU = torch.device("cpu")


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
class Drawn:
    """A step's crops `blocks` (B,rows,cols,96) uint8, the samples of their `region` of the same shape, bool, the
    importance `outside` (B,) of the rest, and qualities `q` (B,)."""

    blocks: Tensor
    region: Tensor
    outside: Tensor
    q: Tensor

    def tensors(self) -> list[Tensor]:
        """All of them, in one order."""
        return [self.blocks, self.region, self.outside, self.q]


@dataclass(frozen=True, slots=True)
class Trained:
    """A variant's nets, the median loss of their last steps, the CPU time that they took, and `data_mark` of what they
    saw."""

    nets: CodecNets
    loss: float
    cpu_s: float
    data: int


def data_mark(crops: Tensor) -> int:
    """Tells apart what variants are trained on."""
    return zlib.crc32(crops.numpy().tobytes())


class Training:
    """A variant under way, kept in a file now and then. One that was stopped and resumed ends in the same weights, bit
    for bit, as one that was not."""

    def __init__(self, variant: Variant, plan: Plan, *, basis: Tensor, data: int, device: torch.device = CPU) -> None:
        self.variant, self.plan, self.data, self.device = variant, plan, data, device
        self.nets = build(variant, width=plan.width, depth=plan.depth, basis=basis, seed=plan.seed).to(device)
        keep_within_stream(self.nets, "intra")
        self.parameters = family_parameters(self.nets, "intra")
        self.optimiser = torch.optim.AdamW(
            self.parameters, lr=plan.rate, weight_decay=1e-4, betas=(0.9, 0.99), fused=device.type == "cuda"
        )
        self.guard = Guard(device)
        self.step, self.cpu_s = 0, 0.0
        self._recording: Recording[Drawn] | None = None

    @classmethod
    def resumed(cls, variant: Variant, plan: Plan, path: Path, *, device: torch.device = CPU) -> Training:
        """As `path` keeps it. Raises UsageError when that is of another plan, CodecError when it is no such file."""
        try:
            kept = torch.load(path, weights_only=True, map_location=device)
            if kept["plan"] == asdict(plan):
                return cls._of(variant, plan, kept, device)
            other = kept["plan"]
        except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, TypeError) as error:
            raise CodecError(f"{path}: not the training of {variant.name}") from error
        raise UsageError(f"{path} is of another plan, {other}: choose another folder")

    @classmethod
    def _of(cls, variant: Variant, plan: Plan, kept: dict[str, Any], device: torch.device) -> Training:
        made = cls(variant, plan, basis=torch.eye(LATENT), data=kept["data"], device=device)
        made.nets.load_state_dict(kept["nets"])
        if kept["optimiser"] is not None:
            made.optimiser.load_state_dict(kept["optimiser"])
        made.guard.recent, made.guard.skipped, made.guard.worst = kept["guard"]
        made.step, made.cpu_s = kept["step"], kept["cpu_s"]
        return made

    def save(self, path: Path) -> None:
        """Whole or not at all. What only training needs is left out at the end."""
        guard = self.guard
        kept = {
            "plan": asdict(self.plan),
            "data": self.data,
            "step": self.step,
            "cpu_s": self.cpu_s,
            "nets": self.nets.state_dict(),
            "optimiser": None if self.done else self.optimiser.state_dict(),
            "guard": [guard.recent, guard.skipped, guard.worst],
        }
        with replacing(path) as part:
            torch.save(kept, part)

    @property
    def done(self) -> bool:
        return self.step >= self.plan.steps

    def advance(self, crops: Tensor) -> None:
        """One step."""
        begin = time.process_time()
        torch.manual_seed(self.plan.seed + self.step)
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(self.plan, self.step)
        loss = self._with_gradients(_batch(crops, self.plan, self.step, self.device))
        norm = nn.utils.clip_grad_norm_(self.parameters, _GRADIENT_CLIP)
        if self.guard.sound(self.step, loss, norm):
            self.optimiser.step()
        self.step += 1
        self.cpu_s += time.process_time() - begin

    def _with_gradients(self, drawn: Drawn) -> Tensor:
        """The loss (), whose gradients the parameters then have."""
        if self.device.type == "cuda":
            if self._recording is None:
                self._recording = Recording(self._losses, self.parameters, drawn)
            return self._recording.play(drawn)[0]
        self.optimiser.zero_grad(set_to_none=True)
        loss = self._losses(drawn)[0]
        loss.backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def _losses(self, drawn: Drawn) -> Tensor:
        """(1,), as a recording has several."""
        x = layer_input(self.variant, drawn.blocks.float(), drawn.region, drawn.outside, drawn.q)
        return cost(x, train_layer(self.nets, x), drawn.q)[None]

    @property
    def usual_loss(self) -> float:
        """The median of the last ones."""
        return float(self.guard.recent[:, 0].nanmedian())

    def trained(self) -> Trained:
        """What it came to."""
        return Trained(self.nets.cpu().eval().requires_grad_(False), self.usual_loss, self.cpu_s, self.data)


def train(
    variant: Variant,
    crops: Tensor,
    plan: Plan,
    path: Path,
    *,
    until: float = math.inf,
    device: torch.device = CPU,
    report: Callable[[str], None],
) -> Training:
    """Begin a variant or go on with it, and keep it in `path`: until `plan.steps`, or the time `until` (of
    `time.time`), or Ctrl-C. `crops` as `cut_crops` makes them. Raises UsageError when `path` is of another plan or of
    other crops, CodecError when it is something else."""
    data = data_mark(crops)
    run = (
        Training.resumed(variant, plan, path, device=device)
        if path.exists()
        else Training(variant, plan, basis=basis_of(crops), data=data, device=device)
    )
    if run.data != data:
        raise UsageError(f"{path} was trained on other photos: choose another folder")
    begin, first = time.time(), run.step
    shown = saved = begin
    with interrupts_held() as interrupted, full_precision(device):
        while not run.done and not interrupted() and (now := time.time()) < until:
            run.advance(crops)
            if now - shown > _REPORT_S:
                left = (now - begin) / (run.step - first) * (plan.steps - run.step) / 60
                report(f"{variant.name} step {run.step}/{plan.steps}, {left:.1f} min left: loss {run.usual_loss:.1f}")
                shown = now
            if now - saved > _SAVE_S:
                run.save(path)
                saved = now
        run.save(path)
        if not run.done and interrupted():
            raise KeyboardInterrupt
    report(f"{variant.name} step {run.step}/{plan.steps}: loss {run.usual_loss:.1f}, {run.guard.told()}")
    return run


def seconds_a_step(variant: Variant, crops: Tensor, plan: Plan, *, seconds: float, device: torch.device = CPU) -> float:
    """The pace of a variant's training beside whatever else runs, tried out for so long: the median, since the first
    steps are slower than others."""
    run = Training(variant, plan, basis=basis_of(crops), data=0, device=device)
    begin = time.time()
    taken: list[float] = []
    with full_precision(device):
        while not taken or time.time() - begin < seconds:
            started = time.time()
            run.advance(crops)
            taken.append(time.time() - started)
    return float(np.median(taken))


def basis_of(crops: Tensor) -> Tensor:
    """The linear path's, (96,96)."""
    return components((crops[:_BASIS_CROPS].float() - 128).flatten(0, 2))


def _rate(plan: Plan, step: int) -> float:
    """Of learning: a short rise, then along a cosine to 2 %."""
    warm = min(1.0, (step + 1) / 50)
    return plan.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * step / plan.steps)))


def _batch(crops: Tensor, plan: Plan, step: int, device: torch.device) -> Drawn:
    """Random crops, regions, importances of the rest and qualities."""
    rng = np.random.default_rng((plan.seed, step))  # of the step alone, so that nothing need be kept to go on
    chosen = torch.from_numpy(rng.integers(0, len(crops), plan.batch))
    region = samples_of(random_regions(rng, plan.batch, CROP) > rng.random((plan.batch, 1, 1)))
    outside = torch.from_numpy(rng.random(plan.batch, dtype=np.float32))
    q = torch.from_numpy(rng.integers(LOWEST_Q, HIGHEST_Q + 1, plan.batch)).float()
    return Drawn(*(part.to(device) for part in (crops[chosen], region, outside, q)))


def cost(x: LayerInput, out: LayerLoss, q: Tensor) -> Tensor:
    """Rate and weighted distortion in bits at the pictures' quality `q` (B,), evened over qualities: what
    `training.losses.layer_cost` minimises, whatever step a variant takes outside, and by the importance of each
    sample."""
    assert isinstance(x.at, RegionPositions)
    step = step_size(q.repeat_interleave(x.at.rows * x.at.cols))
    squared = (weighted(x.blocks - out.pictures).square() * loss_weight(x.at.counts)).sum(1)
    distortion = squared * (LAMBDA / step.square())
    return ((out.smooth_bits + distortion + out.bits) * (step / 16)).mean()
