"""From training states to a weights file: averaged weights of both families, and tables fitted to what the encoder
codes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch

from pipeline.codec import Encoder, weights
from pipeline.codec.layer import Brain
from pipeline.codec.model import CodecNets
from pipeline.codec.tables import Counts, Tables, fit, initial_tables
from pipeline.config import DetectorConfig, MaskConfig
from pipeline.errors import UsageError
from pipeline.track import RoiStage
from pipeline.training.config import TrainConfig
from pipeline.training.footage import Yuv
from pipeline.training.losses import FAMILIES, family_parameters, family_state
from pipeline.training.state import State, begin_with, new_nets
from pipeline.types import Frame

QUALITIES = (30.0, 50.0, 75.0)


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
    """Encode clips at several qualities with some tables, count, and fit those to it."""
    counts: Counts = {}
    brain = replace(Brain(nets, start, torch.device("cpu")), counts=counts)
    for frames in clips:
        for quality in QUALITIES:
            _encode(brain, frames, quality)
    return fit(start, counts)


def _encode(brain: Brain, frames: list[Yuv], quality: float) -> None:
    height, width = frames[0][0].shape
    encoder = Encoder(width=width, height=height, quality=quality, brain=brain)
    timed = [Frame(*planes, index, index * 100_000, index * 100_000) for index, planes in enumerate(frames)]
    roi = RoiStage(DetectorConfig(kind="motion"), MaskConfig())
    for masked in roi.process(timed):
        encoder.encode(masked.frame, masked.mask)


def export(folder: Path, config: TrainConfig, clips: Iterable[list[Yuv]], out: Path) -> bytes:
    """Write the weights file; returns its fingerprint. After fine-tuning the tables are those that it began with,
    fitted further: one's own footage is little to fit rare contexts to."""
    nets = merge(folder, config)
    start = initial_tables() if config.from_weights is None else weights.read(config.from_weights).tables
    return weights.save(out, nets, fit_tables(nets, clips, start=start), config.shape)
