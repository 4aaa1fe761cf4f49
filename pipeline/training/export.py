"""From training states to a weights file: averaged weights of both families, and tables fitted to what the encoder
codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.codec import weights
from pipeline.codec.brain import Brain
from pipeline.codec.model import CodecNets
from pipeline.codec.tables import Counts, Tables, fit, initial_scores, initial_tables
from pipeline.errors import UsageError
from pipeline.training.coded import encode
from pipeline.training.config import TrainConfig
from pipeline.training.footage import Yuv
from pipeline.training.losses import FAMILIES, family_parameters, family_state
from pipeline.training.scores import fit_all
from pipeline.training.state import State, begin_with, new_nets

# Quality and seconds between key frames of what is coded to fit tables.
SETTINGS = ((30.0, 2.0), (45.0, 10.0), (60.0, 10.0), (75.0, 2.0))
_ROUNDS = 2  # what the encoder chooses hangs on the tables that it has


def merge(folder: Path, config: TrainConfig) -> CodecNets:
    """The averaged weights of `folder`/intra.pt and inter.pt in one module. A family that was not trained is that of
    `from_weights`. Raises UsageError where there is neither."""
    start = config.from_weights
    nets = new_nets(config) if start is None else begin_with(start, config)
    for family in FAMILIES:
        path = folder / f"{family}.pt"
        if not path.exists():
            if start is None:
                raise UsageError(f"no {path}: train the {family} family first, or give weights to take it from")
            continue
        state, own = State.load(path, torch.device("cpu")), new_nets(config)
        state.fill(own, family)
        with torch.no_grad():
            for parameter, value in zip(family_parameters(own, family), state.average, strict=True):
                parameter.copy_(value)
        nets.load_state_dict(family_state(own.state_dict(), family), strict=False)
    return nets.eval().requires_grad_(False)


def fit_tables(nets: CodecNets, clips: Iterable[list[Yuv]], *, start: Tables) -> Tables:
    """Encode clips at several qualities, count, and fit tables to it, and scores where there are only initial ones."""
    kept, learn = list(clips), _untaught(start)
    tables = start
    for _ in range(_ROUNDS):
        counts = Counts()
        brain = replace(Brain(nets, tables, torch.device("cpu")), counts=counts)
        for frames in kept:
            for quality, gop_s in SETTINGS:
                encode(brain, frames, quality=quality, gop_s=gop_s)
        tables = fit_all(tables, counts) if learn else fit(tables, counts)
    return tables


def _untaught(tables: Tables) -> bool:
    return all((tables.scores[name].out == score.out).all() for name, score in initial_scores().items())


def export(folder: Path, config: TrainConfig, clips: Iterable[list[Yuv]], out: Path) -> bytes:
    """Write the weights file; returns its fingerprint. After fine-tuning the tables are those that it began with,
    fitted further: one's own footage is little to fit rare contexts to."""
    nets = merge(folder, config)
    start = initial_tables() if config.from_weights is None else weights.read(config.from_weights).tables
    return weights.save(out, nets, fit_tables(nets, clips, start=start), config.shape)
