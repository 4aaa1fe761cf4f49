"""A run of training on each device: it goes on, its numbers are numbers, its state comes back."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from pipeline.bench.allocation.training import Plan, Training, _batch
from pipeline.bench.allocation.variants import VARIANTS
from pipeline.training import curve, loop, losses
from pipeline.training.config import VALIDATION_BATCH, TrainConfig
from pipeline.training.data import CORE, CROP, TIMES, Samples
from pipeline.training.loop import Trainer


def samples(count: int, times: int, seed: int) -> Samples:
    """Textures that slide two pixels a frame, with the vectors that say so."""
    rng = np.random.default_rng(seed)
    wide = np.stack([cv2.resize(rng.random((24, 26), np.float32), (CROP + 2 * TIMES, CROP)) for _ in range(count)])
    luma = np.stack([wide[:, :, 2 * t : 2 * t + CROP] for t in range(times)], 1)
    y = (luma * 220 + 16).astype(np.uint8)
    u, v = (np.ascontiguousarray(plane[..., ::2, ::2]) for plane in (y, 255 - y))
    vectors = np.zeros((count, times - 1, CORE // 8, CORE // 8, 2), np.int8)
    vectors[..., 1] = 8
    return Samples(y, u, v, vectors)


@pytest.fixture(scope="module")
def sets() -> SimpleNamespace:
    still, moving, validation = samples(64, 1, 1), samples(8, TIMES, 2), samples(VALIDATION_BATCH, TIMES, 3)
    parts = still.part(slice(32)), still.part(slice(32, None))
    return SimpleNamespace(still=still, still_parts=parts, moving=moving, validation=validation)


CUDA = [pytest.param("cuda", compiled, marks=pytest.mark.cuda) for compiled in (False, True)]


@pytest.mark.parametrize(("device", "compiled"), [("cpu", False), *CUDA])
@pytest.mark.parametrize("family", ["intra", "inter"])
def test_a_run(
    family: str, device: str, compiled: bool, sets: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "BASIS_SAMPLES", 8)
    for module in (loop, curve):
        monkeypatch.setattr(module, "QUALITIES", (24, 48))
    config = TrainConfig(
        images=tmp_path, clips=tmp_path, device=device, compile=compiled, batch=4, steps=3, validate_every=2, report_s=0
    )
    said: list[str] = []
    made = Trainer(config, family, sets, folder=tmp_path, report=said.append)
    made.run()
    assert made.step == 3
    assert all("skipped 0" in line for line in said if "gradient" in line)
    assert torch.isfinite(torch.cat([p.detach().flatten().cpu() for p in made.average])).all()
    again = Trainer(config, family, sets, folder=tmp_path, report=said.append)
    assert said[-1] == f"{family}: resumed at step 3"
    for a, b in zip(again.parameters, made.parameters, strict=True):
        assert torch.equal(a, b)
    again._one_step()
    assert bool(torch.isfinite(again._norm))


@pytest.mark.cuda
@pytest.mark.parametrize("family", ["intra", "inter"])
def test_a_recorded_step_is_a_plain_one(
    family: str, sets: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(losses, "BASIS_SAMPLES", 8)
    config = TrainConfig(images=tmp_path, clips=tmp_path, device="cuda", batch=4, record=("intra", "inter"))
    made = Trainer(config, family, sets, folder=tmp_path, report=lambda _: None)
    batch = made.batches.next(family)
    with torch.no_grad():
        plain = made._losses(batch, most=int(loop.MOST_SHARE * 4 * (CORE // 8) ** 2))
    for _ in range(2):
        recorded = made._with_gradients(batch)
    assert torch.allclose(plain[1:], recorded[1:], rtol=1e-3)
    assert any(bool(p.grad.any()) for p in made.parameters if p.grad is not None)


@pytest.mark.cuda
def test_a_recorded_step_of_the_allocation_is_a_plain_one() -> None:
    crops, plan = torch.randint(0, 255, (8, 12, 12, 96), dtype=torch.uint8), Plan(batch=4, width=8, depth=1)
    made = [
        Training(VARIANTS["mgfe-mirror"], plan, basis=torch.eye(96), data=0, device=torch.device(device))
        for device in ("cpu", "cuda")
    ]
    found = [run._with_gradients(_batch(crops, plan, 0, run.device)).cpu() for run in made]
    torch.testing.assert_close(*found, rtol=0.05, atol=0)  # noise differs
    made[1].advance(crops)
    assert made[1].guard.recent[0].isfinite().all()
