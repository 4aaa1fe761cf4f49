"""Training apart from measuring, and several variants at a time, each in a process and with a thread of its own.

For a machine that is lent for minutes: all variants get as many steps as fit, by the pace of the slowest, since the
learning rate falls over the steps and only equals can be compared. What the time cuts off goes on from its file.
"""

from __future__ import annotations

import math
import multiprocessing
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipeline.bench.allocation.photos import cut_crops
from pipeline.bench.allocation.training import CPU, Plan, seconds_a_step, train
from pipeline.bench.allocation.variants import VARIANTS

PACE_S = 12.0  # of trying out; the first of it is not yet with all processes at work
SHARE = 0.88  # of the time that the steps may take by the pace found
_ROUND = 50  # steps
Report = Callable[[str], None]


def training_of(name: str, out: Path) -> Path:
    """Where a variant's training is kept."""
    return out / f"{name}.pt"


@dataclass(frozen=True, slots=True)
class Fleet:
    """What was trained: the steps that each variant was to have, and those that it has."""

    plan: Plan
    steps: dict[str, int]


def train_apart(
    images: Path,
    out: Path,
    *,
    plan: Plan,
    names: Sequence[str],
    jobs: int,
    minutes: float | None,
    fit: bool,
    device: torch.device = CPU,
    report: Report,
) -> Fleet:
    """Train the variants `names` in `out`, `jobs` at a time, for at most `minutes`, on `device`. With
    `fit`, the steps are chosen so that all end within the minutes, in place of the plan's. Raises UsageError,
    SourceError, CodecError."""
    until = math.inf if minutes is None else time.time() + 60 * minutes
    out.mkdir(parents=True, exist_ok=True)
    crops = cut_crops(images, plan.crops, seed=plan.seed)
    context = multiprocessing.get_context("spawn")  # a fork of a process whose threads have run may hang
    pool = ProcessPoolExecutor(jobs, context)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "crops.npy"
        np.save(path, crops.numpy())
        try:
            if fit:
                pace = max(pool.map(partial(_pace, crops=path, plan=plan, seconds=PACE_S, device=device), names))
                plan = replace(plan, steps=fitting(pace, until - time.time(), waves=-(-len(names) // jobs)))
                report(f"{plan.steps} steps of each: the slowest takes {pace:.3f} s for one")
            one = partial(_train, crops=path, plan=plan, out=out, until=until, device=device, report=report)
            return Fleet(plan, dict(zip(names, pool.map(one, names), strict=True)))
        finally:
            pool.shutdown(cancel_futures=True)


def fitting(pace_s: float, left_s: float, *, waves: int) -> int:
    """How many steps of `pace_s` go into the time left, when each process trains `waves` variants."""
    steps = int(SHARE * left_s / pace_s / waves)
    return max(1, steps if steps < _ROUND else steps // _ROUND * _ROUND)


def _pace(name: str, *, crops: Path, plan: Plan, seconds: float, device: torch.device) -> float:
    return seconds_a_step(VARIANTS[name], _loaded(crops), plan, seconds=seconds, device=device)


def _train(name: str, *, crops: Path, plan: Plan, out: Path, until: float, device: torch.device, report: Report) -> int:
    path, variant = training_of(name, out), VARIANTS[name]
    return train(variant, _loaded(crops), plan, path, until=until, device=device, report=report).step


def _loaded(crops: Path) -> Tensor:
    torch.set_num_threads(1)
    return torch.from_numpy(np.load(crops))
