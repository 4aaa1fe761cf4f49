"""`fovea train`: samples, training of both families, export. Every part can be stopped and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import torch

from pipeline.codec.encoder import choose_device
from pipeline.codec.weights import available
from pipeline.training.config import TrainConfig
from pipeline.training.data import SampleSets
from pipeline.training.footage import Material, read_clip
from pipeline.training.loop import Trainer
from pipeline.training.losses import FAMILIES

_FIT_FRAMES = 24  # of each clip, for the entropy coder's tables
Report = Callable[[str], None]


def train(config: TrainConfig, folder: Path, *, families: Sequence[str] | None = None, report: Report) -> None:
    """Train the families in `folder`, where an earlier run goes on. Without `families`: both, or inter alone where
    weights are fine-tuned and there are no photos. Raises UsageError, SourceError, CodecError."""
    samples = SampleSets(config, folder, report)
    if families is None and config.from_weights is not None and not samples.material.photos:
        report(f"no images in {config.images}: plates keep the nets of {config.from_weights}")
        families = ("inter",)
    # All are made before the first is run: what is missing shows at once, not after hours.
    trainers = [Trainer(config, family, samples, folder=folder, report=report) for family in families or FAMILIES]
    for trainer in trainers:
        trainer.run()


def export_weights(config: TrainConfig, folder: Path, weights: Path, *, report: Report) -> str:
    """Write what was trained in `folder` to a weights file; returns its fingerprint in hex. Raises UsageError,
    SourceError, CodecError."""
    from pipeline.training.export import export  # it encodes, which needs a tracker that training does not

    report("fitting the entropy coder's tables")
    clips = (read_clip(clip.path, most=_FIT_FRAMES) for clip in Material.find(config).clips)
    mark = export(folder, config, clips, weights)
    if mark not in available(weights.parent):
        raise RuntimeError(f"{weights} was written but is not found again")
    return mark.hex()


def training_device(device: str) -> str:
    """`auto` is CUDA where it is there. Raises CodecError for CUDA that is not."""
    if device == "auto" and torch.cuda.is_available():
        return "cuda"
    return choose_device(device)
