"""`fovea train`: samples, training of both families, export. Every part can be stopped and gone on with."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from pipeline.codec.weights import available
from pipeline.training.config import load_train
from pipeline.training.data import SampleSets, read_clip
from pipeline.training.export import export
from pipeline.training.loop import FAMILIES, Trainer

_FIT_FRAMES = 24  # of each clip, for the entropy coder's tables


def train(
    config_path: Path,
    folder: Path,
    *,
    changes: dict[str, object],
    families: Sequence[str] = FAMILIES,
    threads: int | None = None,
    weights: Path | None = None,
    report: Callable[[str], None],
) -> str | None:
    """Train the families in `folder` (where an earlier run goes on). With `weights`, then export to that file and
    return its fingerprint in hex. Raises ConfigError, UsageError, SourceError."""
    if threads is not None:
        import torch

        torch.set_num_threads(threads)
    config = load_train(config_path, changes)
    samples = SampleSets.prepare(config, folder, report)
    for family in families:
        Trainer(config, family, samples, folder, report).run()
    if weights is None:
        return None
    clips = [p for p in sorted(config.clips.glob("*")) if p.is_file()]
    used = [p for p in clips if not any(p.match(pattern) for pattern in config.held_back_clips)]
    report("fitting the entropy coder's tables")
    mark = export(folder, config, [read_clip(p, most=_FIT_FRAMES) for p in used], weights)
    if mark not in available(weights.parent):
        raise RuntimeError(f"{weights} was written but is not found again")
    return mark.hex()
