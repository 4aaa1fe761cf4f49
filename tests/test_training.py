"""Training from files to weights: cut, train, stop, go on, export; and what it refuses."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.codec import weights
from pipeline.errors import ConfigError, UsageError
from pipeline.training.batches import degrade, random_cells
from pipeline.training.config import load_train
from pipeline.training.data import SampleSets
from pipeline.training.loop import Trainer
from pipeline.training.run import train
from tests.videos import write_video

CONFIG = """
images: {0}/images
clips: {0}/clips
held_back_clips: ["held*"]
still_samples: 64
moving_samples: 8
validation_samples: 32
held_back: 32
batch: 2
steps: 2
validate_every: 2
"""


@pytest.fixture
def material(tmp_path: Path) -> Path:
    """A photo and clips of noise, and a configuration that uses them."""
    rng = np.random.default_rng(0)
    (tmp_path / "images").mkdir()
    (tmp_path / "clips").mkdir()
    texture = cv2.resize(rng.integers(0, 255, (40, 40, 3), np.uint8), (240, 240))
    cv2.imwrite(str(tmp_path / "images" / "one.png"), texture)
    for name in ("a.mkv", "held.mkv"):
        write_video(tmp_path / "clips" / name, width=224, height=192, times=tuple(range(0, 900, 100)))
    path = tmp_path / "train.yaml"
    path.write_text(CONFIG.format(tmp_path))
    return path


def test_train_stops_goes_on_and_exports(material: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    out, file = tmp_path / "run", tmp_path / "weights" / "w.safetensors"
    assert train(material, out, changes={"steps": 1}, threads=1, report=lines.append) is None
    mark = train(material, out, changes={}, threads=1, weights=file, report=lines.append)
    assert any("resumed at step 1" in line for line in lines)
    assert mark is not None
    brain = weights.load(bytes.fromhex(mark), "cpu", file.parent)
    assert torch.isfinite(torch.cat([p.flatten() for p in brain.nets.parameters()])).all()
    curve = (out / "inter.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in curve] == ["2"]


def test_training_goes_on_from_weights(material: Path, tmp_path: Path) -> None:
    own = weights.available()[weights.newest()]
    config = load_train(material, {"from_weights": own, "device": "cpu"})
    samples = SampleSets.prepare(config, tmp_path / "run", lambda _: None)
    trainer = Trainer(config, "inter", samples, tmp_path / "run", lambda _: None)
    assert torch.equal(trainer.average[0], next(iter(weights.read(own).nets.analysis["inter"].parameters())))
    assert all(p.requires_grad for p in trainer.parameters)


def test_an_unknown_key_is_named(material: Path) -> None:
    material.write_text(material.read_text() + "stepz: 3\n")
    with pytest.raises(ConfigError, match="stepz: unknown key"):
        load_train(material, {})


def test_no_clips_is_wrong_usage(material: Path, tmp_path: Path) -> None:
    (tmp_path / "clips" / "a.mkv").unlink()
    with pytest.raises(UsageError, match="no training clips"):
        train(material, tmp_path / "run", changes={}, report=lambda _: None)


def test_random_cells_are_never_none() -> None:
    rng = np.random.default_rng(1)
    for _ in range(200):
        assert random_cells(rng, np.zeros((8, 8), np.bool_)).any()


def test_degraded_references_get_closer_with_quality() -> None:
    rng = np.random.default_rng(2)
    smooth = cv2.GaussianBlur(rng.integers(0, 255, (64, 64), np.uint8), (0, 0), 3)
    planes = tuple(
        torch.from_numpy(np.ascontiguousarray(p))[None] for p in (smooth, smooth[::2, ::2], smooth[::2, ::2])
    )
    errors = [
        (degrade(planes, torch.tensor([q]), torch.eye(96))[0].float() - planes[0]).square().mean()
        for q in (20.0, 40.0, 60.0)
    ]
    assert errors[0] > errors[1] > errors[2]
