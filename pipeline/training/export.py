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
from pipeline.track import RoiStage
from pipeline.training.config import TrainConfig
from pipeline.training.data import Yuv
from pipeline.training.loop import FAMILIES, family_kinds, family_parameters
from pipeline.types import Frame

QUALITIES = (30.0, 50.0, 75.0)


def merge(folder: Path, config: TrainConfig) -> CodecNets:
    """The averaged weights of `folder`/intra.pt and inter.pt in one module."""
    nets = CodecNets(enhancement=config.enhancement)
    for family in FAMILIES:
        state = torch.load(folder / f"{family}.pt", map_location="cpu", weights_only=True)
        own = CodecNets(enhancement=config.enhancement)
        own.load_state_dict(state["nets"])
        with torch.no_grad():
            for parameter, value in zip(family_parameters(own, family), state["average"], strict=True):
                parameter.copy_(value)
        prefixes = [f"analysis.{family}.", f"entropy.{family}."] + [f"synthesis.{k}." for k in family_kinds(family)]
        nets.load_state_dict({k: v for k, v in own.state_dict().items() if k.startswith(tuple(prefixes))}, strict=False)
    return nets.eval().requires_grad_(False)


def fit_tables(nets: CodecNets, clips: Iterable[list[Yuv]], *, rounds: int = 1) -> Tables:
    """Encode clips at several qualities, count, fit, and again: the quantiser's choices depend on the tables' shape."""
    tables = initial_tables()
    clips = list(clips)
    for _ in range(rounds):
        counts: Counts = {}
        brain = replace(Brain(nets, tables, torch.device("cpu")), counts=counts)
        for frames in clips:
            for quality in QUALITIES:
                _encode(brain, frames, quality)
        tables = fit(initial_tables(), counts)
    return tables


def _encode(brain: Brain, frames: list[Yuv], quality: float) -> None:
    height, width = frames[0][0].shape
    encoder = Encoder(width=width, height=height, quality=quality, brain=brain)
    timed = [Frame(*planes, index, index * 100_000, index * 100_000) for index, planes in enumerate(frames)]
    roi = RoiStage(DetectorConfig(kind="motion"), MaskConfig())
    for masked in roi.process(timed):
        encoder.encode(masked.frame, masked.mask)


def export(folder: Path, config: TrainConfig, clips: Iterable[list[Yuv]], out: Path) -> bytes:
    """Write the weights file; returns its fingerprint."""
    nets = merge(folder, config)
    return weights.save(out, nets, fit_tables(nets, clips), {"enhancement": config.enhancement})
