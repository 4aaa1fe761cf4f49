"""The training loop: two families of nets, intra (plates) and inter (foreground, background), each trained on its own.

Resumable: the state is written every few minutes, atomically, with optimiser, average, random states and step count.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pipeline.codec import weights
from pipeline.codec.blocks import SAMPLES, to_blocks, to_planes, weighted
from pipeline.codec.model import LAMBDA, CodecNets, Kind, LayerInput, LayerLoss, loss_weight, train_layer
from pipeline.codec.nets import step_size
from pipeline.training.batches import (
    Batches,
    Last,
    Moving,
    Picture,
    Planes,
    core,
    degrade,
    moving_input,
    still_input,
    with_core,
)
from pipeline.training.config import VALIDATION_BATCH, TrainConfig
from pipeline.training.data import CORE, Samples, SampleSets

Report = Callable[[str], None]
FAMILIES = ("intra", "inter")


def family_kinds(family: str) -> tuple[Kind, ...]:
    """The kinds of layer that a family reconstructs."""
    return ("plate",) if family == "intra" else ("foreground", "background")


def family_parameters(nets: CodecNets, family: str) -> list[nn.Parameter]:
    """The parameters that a family's training moves."""
    parts: list[nn.Module] = [nets.analysis[family], nets.entropy[family]]
    parts += [nets.synthesis[kind] for kind in family_kinds(family)]
    return [p for part in parts for p in part.parameters()]


def set_bases(nets: CodecNets, still: Samples, moving: Samples) -> None:
    """The linear paths: principal components of weighted blocks, of photos and of motion-compensated residuals."""

    def components(blocks: Tensor) -> Tensor:
        scaled = weighted(blocks).double()
        covariance = scaled.T @ scaled / len(scaled)
        return torch.linalg.eigh(covariance).eigenvectors.flip(1).T.float().contiguous()

    picture = Batches(still, batch=512, device=torch.device("cpu"), seed=0).draw()[0]
    intra = components((to_blocks(*core(picture.planes)) - 128).flatten(0, 2))
    first, second = Batches(moving, batch=512, device=torch.device("cpu"), seed=0).draw()[:2]
    cells = torch.ones(512, CORE // 16, CORE // 16, dtype=torch.bool)
    importance, q = torch.ones(512, CORE // 8, CORE // 8, 1), torch.full((512,), 40.0)
    x = moving_input(
        "foreground", second, first.planes, first.planes, cells=cells, importance=importance, q=q,
        last=Last.none(512, q.device), age=1, basis=torch.eye(SAMPLES), least_bits=10.0,
    ).layer  # fmt: skip
    inter = components(x.blocks - x.prediction)
    for family, basis in (("intra", intra), ("inter", inter)):
        for kind in family_kinds(family):
            nets.analysis_of(kind).basis.copy_(basis)
            nets.synthesis_of(kind).basis.copy_(basis)


def layer_cost(x: LayerInput, out: LayerLoss) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, bits a position, squared error a position). The loss is rate + distortion in bits, evened over
    qualities."""
    squared = weighted(x.blocks - out.pictures).square().sum(1)
    weight = loss_weight(x.at.pick(x.importance)[:, 0])
    step = step_size(x.q)
    # Clipping is left to the pictures' use: a gradient beyond 0 and 255 is wanted. 1/sqrt(lambda) goes with the step.
    cost = (out.smooth_bits + weight * squared * (LAMBDA / step.square())) * (step / 16) + out.bits * (step / 16)
    return cost.mean(), out.bits.detach().mean(), squared.detach().mean()


def _plane_from(out: LayerLoss, x: Moving, reference: Planes) -> Planes:
    """The reference with the layer's cells replaced by what was decoded."""
    grid = x.prediction
    flat = grid.view(-1, grid.shape[-1]).index_copy(0, x.layer.at.index, out.pictures.detach().float())
    planes = to_planes(flat.view_as(grid).round().clamp(0, 255).to(torch.uint8))
    return with_core(reference, planes)


def inter_losses(nets: CodecNets, batches: Batches, times: list[Picture], kind: Kind, q: Tensor) -> list[Tensor]:
    """Coded frames, each predicted from the last as decoded."""
    basis = nets.analysis_of("plate").basis
    reference = degrade(times[0].planes, (q + 4).clamp(max=63), basis)
    plate = degrade(times[0].planes, (q + 10).clamp(max=63), basis)
    cells = batches.cells(times[1], times[0].planes)
    importance = batches.importance(len(q), kind)
    last, losses = Last.none(len(q), q.device), []
    least_bits = float(batches.rng.uniform(4, 16))
    for age, now in enumerate(times[1:]):
        x = moving_input(
            kind, now, reference, plate, cells=cells, importance=importance, q=q, last=last, age=age,
            basis=nets.analysis_of(kind).basis, least_bits=least_bits,
        )  # fmt: skip
        out = train_layer(nets, x.layer)
        losses.append(torch.stack(layer_cost(x.layer, out)))
        reference = _plane_from(out, x, reference)
        last = Last.of(x.layer, out.symbols)
    return losses


def intra_losses(nets: CodecNets, batches: Batches, times: list[Picture], q: Tensor) -> list[Tensor]:
    """One plate, whole in most batches."""
    whole = batches.rng.random() < 0.7
    now = times[0]
    cells = batches.cells(now, tuple(torch.zeros_like(p) for p in now.planes))  # type: ignore[arg-type]
    if whole:
        cells = torch.ones_like(cells)
    importance = batches.importance(len(q), "plate")
    x = still_input(now, cells=cells, importance=importance, q=q)
    return [torch.stack(layer_cost(x, train_layer(nets, x)))]


@dataclass
class Trainer:
    """One family's run. `folder` holds FAMILY.pt (resumable, with the averaged weights) and FAMILY.csv (the curve)."""

    config: TrainConfig
    family: str
    samples: SampleSets
    folder: Path
    report: Report

    def __post_init__(self) -> None:
        self.device = torch.device(self.config.device)
        torch.manual_seed(self.config.seed)
        self.nets = CodecNets(enhancement=self.config.enhancement)
        still, moving = self.samples.still, self.samples.moving
        set_bases(self.nets, still, moving)
        if self.config.from_weights is not None:
            self.nets = weights.read(self.config.from_weights).nets.requires_grad_(True).train()
        self.nets.to(self.device)
        own = still if self.family == "intra" else moving
        keep = np.arange(len(own)) < len(own) - (self.config.held_back if self.family == "intra" else 0)
        self.batches = Batches(_subset(own, keep), batch=self.config.batch, device=self.device, seed=self.config.seed)
        self.check = self.samples.validation if self.family == "inter" else _subset(own, ~keep)
        self.parameters = family_parameters(self.nets, self.family)
        self.average = [p.detach().clone() for p in self.parameters]
        self.optimiser = torch.optim.AdamW(self.parameters, lr=self.config.rate, weight_decay=1e-4, betas=(0.9, 0.99))
        self.step, self.norm = 0, 0.0

    def run(self) -> None:
        """Until the configured steps or minutes are over."""
        state = self.folder / f"{self.family}.pt"
        if state.exists():
            self._restore(state)
        begin = saved = shown = time.monotonic()
        first, total, count = self.step, torch.zeros(3), 0
        while self.step < self.config.steps:
            total += self._one_step()
            self.step, count = self.step + 1, count + 1
            now = time.monotonic()
            if now - shown > self.config.report_s:
                rate = (self.step - first) / (now - begin)
                loss = float(total[0]) / count
                where = f"{self.family} step {self.step}/{self.config.steps} {rate:.2f}/s"
                self.report(f"{where} loss {loss:.1f} gradient {self.norm:.0f}")
                shown = now
            if now - saved > self.config.save_s or self.step == self.config.steps:
                self._save(state)
                saved = now
            if now - begin > self.config.minutes * 60:
                break
            if self.step % self.config.validate_every == 0:
                self._validate(total / count)
                total, count = torch.zeros(3), 0
        self._save(state)

    def _learning_rate(self) -> float:
        done = self.step / self.config.steps
        warm = min(1.0, (self.step + 1) / 200)
        return self.config.rate * warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * done)))

    def _losses(self, batches: Batches, times: list[Picture], q: Tensor) -> Tensor:
        if self.family == "intra":
            return torch.stack(intra_losses(self.nets, batches, times, q)).mean(0)
        kind: Kind = "foreground" if batches.rng.random() < 0.6 else "background"
        return torch.stack(inter_losses(self.nets, batches, times, kind, q)).mean(0)

    def _one_step(self) -> Tensor:
        for group in self.optimiser.param_groups:
            group["lr"] = self._learning_rate()
        times = self.batches.draw()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config.bf16):
            losses = self._losses(self.batches, times, self.batches.qualities(self.config.batch))
        self.optimiser.zero_grad(set_to_none=True)
        losses[0].backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.parameters, self.config.clip)
        self.norm = float(norm)
        if torch.isfinite(norm):
            self.optimiser.step()
        with torch.no_grad():
            decay = min(self.config.average, (self.step + 1) / (self.step + 10))
            torch._foreach_lerp_(self.average, [p.detach() for p in self.parameters], 1 - decay)
        return losses.detach().cpu()

    def _validate(self, train: Tensor) -> None:
        """The averaged weights on held-back samples at four qualities; the same random regions every time."""
        live = [p.detach().clone() for p in self.parameters]
        self._load_parameters(self.average)
        rows = []
        with torch.no_grad():
            for q in (12.0, 24.0, 36.0, 48.0):
                batches = Batches(self.check, batch=1, device=self.device, seed=7)
                torch.manual_seed(7)
                found = []
                for start in range(0, len(self.check) // VALIDATION_BATCH * VALIDATION_BATCH, VALIDATION_BATCH):
                    times = batches.draw(np.arange(start, start + VALIDATION_BATCH))
                    quality = torch.full((VALIDATION_BATCH,), q, device=self.device)
                    found.append(self._losses(batches, times, quality))
                rows.append(torch.stack(found).mean(0).tolist())
        self._load_parameters(live)
        torch.manual_seed(self.config.seed + self.step)
        line = [self.step, *train.tolist(), *(v for row in rows for v in row)]
        with (self.folder / f"{self.family}.csv").open("a", newline="") as file:
            csv.writer(file).writerow([f"{v:.4f}" if isinstance(v, float) else v for v in line])
        shown = " ".join(
            f"[{loss:.0f} {bits:.1f}b {10 * math.log10(255**2 * 64 / 0.75 / se):.2f}dB]" for loss, bits, se in rows
        )
        self.report(f"{self.family} {self.step}: {shown}")

    def _load_parameters(self, values: list[Tensor]) -> None:
        with torch.no_grad():
            for parameter, value in zip(self.parameters, values, strict=True):
                parameter.copy_(value)

    def _save(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(".partial")
        torch.save(
            {
                "step": self.step,
                "nets": self.nets.state_dict(),
                "average": self.average,
                "optimiser": self.optimiser.state_dict(),
                "numpy": self.batches.rng.bit_generator.state,
            },
            temporary,
        )
        temporary.rename(path)

    def _restore(self, path: Path) -> None:
        state = torch.load(path, map_location=self.device, weights_only=True)
        self.step = state["step"]
        self.nets.load_state_dict(state["nets"])
        self.average = [a.to(self.device) for a in state["average"]]
        self.optimiser.load_state_dict(state["optimiser"])
        self.batches.rng.bit_generator.state = state["numpy"]
        self.report(f"{self.family}: resumed at step {self.step}")


def _subset(samples: Samples, keep: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Samples:
    return Samples(samples.y[keep], samples.u[keep], samples.v[keep], samples.vectors[keep])
