"""Training from files to weights: train, stop, go on, fine-tune, export; and what it refuses."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from pipeline.cli import call
from pipeline.codec import weights
from pipeline.codec.entropy import IntegerLinear
from pipeline.codec.model import PROJECTED
from pipeline.codec.motion import fetch_by_tensors
from pipeline.codec.nets import Block
from pipeline.errors import CodecError, ConfigError, UsageError
from pipeline.training import batches, curve, loop, losses, run
from pipeline.training.config import load_train
from pipeline.training.data import SampleSets
from pipeline.training.loop import Trainer
from pipeline.training.run import export_weights, train
from pipeline.training.state import State, begin_with
from tests.training_material import CONFIG, write_clip, write_material

OWN = weights.available()[weights.newest()]


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def cut(material: Path, tmp_path_factory: pytest.TempPathFactory) -> SampleSets:
    """Samples of the material."""
    samples = SampleSets(load_train(material, {}), tmp_path_factory.mktemp("cut"), lambda _: None)
    assert len(samples.still) == 64
    return samples


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less of what only takes time."""
    monkeypatch.setattr(losses, "BASIS_SAMPLES", 32)
    monkeypatch.setattr(run, "_FIT_FRAMES", 4)
    for module in (loop, curve):
        monkeypatch.setattr(module, "QUALITIES", (24, 48))


def trainer(material: Path, cut: SampleSets, folder: Path, **changes: object) -> Trainer:
    config = load_train(material, {"from_weights": OWN, **changes})
    return Trainer(config, "inter", cut, folder=folder, report=lambda _: None)


def values(made: Trainer) -> Tensor:
    """All that a step moves."""
    moments = [v for state in made.optimiser.state.values() for v in (state["exp_avg"], state["exp_avg_sq"])]
    return torch.cat([t.detach().flatten() for t in (*made.parameters, *made.average, *moments)])


def test_train_stops_goes_on_and_exports(material: Path, tmp_path: Path) -> None:
    lines: list[str] = []
    out, file = tmp_path / "run", tmp_path / "weights" / "w.safetensors"
    train(load_train(material, {"steps": 1}), out, families=["inter"], report=lines.append)
    config = load_train(material, {"report_s": 0})
    train(config, out, report=lines.append)
    assert "inter: resumed at step 1" in lines
    assert any(line.startswith("inter step 2/2") and " left: loss " in line for line in lines)
    mark = export_weights(config, out, file, report=lines.append)
    brain = weights.load(bytes.fromhex(mark), "cpu", file.parent)
    assert torch.isfinite(torch.cat([p.flatten() for p in brain.nets.parameters()])).all()
    averages = State.load(out / "intra.pt", torch.device("cpu")).average
    assert torch.equal(averages[0], next(iter(brain.nets.analysis["intra"].parameters())))
    assert [row["step"] for row in loop.Curve(out / "inter.csv").rows] == [1, 2]
    assert (out / "inter.png").stat().st_size > 1000
    assert not (out / "inter-gain.json").exists()


def test_a_run_that_was_stopped_ends_as_one_that_was_not(material: Path, cut: SampleSets, tmp_path: Path) -> None:
    whole = trainer(material, cut, tmp_path, steps=4)
    first = trainer(material, cut, tmp_path, steps=4)
    for _ in range(3):
        whole._one_step()
    first._one_step()
    first._save()
    second = trainer(material, cut, tmp_path, steps=4)
    for _ in range(2):
        second._one_step()
    assert torch.equal(values(second), values(whole))
    assert not torch.equal(values(first), values(whole))


def test_an_interrupt_waits_for_the_end_of_the_step(
    material: Path, cut: SampleSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGINT)  # a job in the background ignores it
    whole, made = (trainer(material, cut, tmp_path, steps=4) for _ in range(2))
    for _ in range(2):
        whole._one_step()
    real = loop.family_losses

    def interrupted(*arguments: Any, **options: Any) -> Tensor:
        if made.step == 1:
            signal.raise_signal(signal.SIGINT)
        return real(*arguments, **options)

    monkeypatch.setattr(loop, "family_losses", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run()
    again = trainer(material, cut, tmp_path)
    assert again.step == 2
    assert torch.equal(values(again), values(whole))
    assert signal.getsignal(signal.SIGINT) is before


def test_states_of_before_are_gone_on_with(material: Path, cut: SampleSets, tmp_path: Path) -> None:
    """They held all nets, no times, and an optimiser whose steps were not fused."""
    made = trainer(material, cut, tmp_path)
    made._one_step()
    optimiser = made.optimiser.state_dict()
    for group in optimiser["param_groups"]:
        group["fused"] = None
    old = {
        "step": 1,
        "nets": made.nets.state_dict(),
        "average": made.average,
        "optimiser": optimiser,
        "numpy": made.batches.rng.bit_generator.state,
    }
    torch.save(old, tmp_path / "inter.pt")
    again = trainer(material, cut, tmp_path)
    assert torch.equal(values(again), values(made))
    again._one_step()
    assert again.step == 2


@pytest.mark.parametrize(("factor", "told"), [(torch.inf, "(worst loss inf)"), (torch.nan, "inf)"), (1e9, "e+10)")])
def test_an_odd_step_changes_nothing_and_is_counted(
    material: Path, cut: SampleSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, factor: float, told: str
) -> None:
    made = trainer(material, cut, tmp_path)
    while len(made.optimiser.state) < len(made.parameters):  # until both layers had their turn
        made._one_step()
    before, sums, real = values(made).clone(), made._sums.clone(), loop.family_losses
    monkeypatch.setattr(loop, "family_losses", lambda *all_, **most: real(*all_, **most) * torch.tensor([factor, 1, 1]))
    made._one_step()
    assert torch.equal(made._sums, sums)
    assert "skipped 1 (worst loss " in made._progress(2, 1.0)
    assert made._progress(2, 1.0).endswith(told)
    parameters = sum(p.numel() for p in made.parameters)
    moved = (values(made) != before).nonzero().squeeze(1)
    assert ((moved >= parameters) & (moved < 2 * parameters)).all()  # the average nears the parameters, as ever
    made._save()
    again = trainer(material, cut, tmp_path).guard
    assert again.told() == made.guard.told()
    assert torch.equal(again.recent.nan_to_num(), made.guard.recent.nan_to_num())


def test_a_step_reads_nothing_back(
    material: Path, cut: SampleSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU each of these waits until all that is under way is done."""
    made = trainer(material, cut, tmp_path)

    def read(tensor: Tensor, *_: object) -> None:
        raise AssertionError(f"{tuple(tensor.shape)} is read")

    for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__"):
        monkeypatch.setattr(Tensor, name, read)
    monkeypatch.setattr(batches, "fetch", fetch_by_tensors)  # as on a GPU
    made._one_step()
    with pytest.raises(AssertionError, match="is read"):
        made._progress(1, 1.0)


@pytest.fixture
def tf32() -> Iterator[Any]:
    """A process that has reduced precision switched on."""
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    yield matmul
    matmul.fp32_precision = before


def test_a_step_runs_in_full_precision_and_gives_settings_back(
    material: Path, cut: SampleSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tf32: Any
) -> None:
    seen, real = [], loop.family_losses

    def spied(*arguments: Any, **options: Any) -> Tensor:
        seen.append((tf32.fp32_precision, torch.is_autocast_enabled("cpu")))
        return real(*arguments, **options)

    monkeypatch.setattr(loop, "family_losses", spied)
    trainer(material, cut, tmp_path)._one_step()
    assert seen == [("ieee", True)]
    assert (tf32.fp32_precision, torch.is_autocast_enabled("cpu")) == ("tf32", False)


def test_compiling_leaves_the_index_net_alone(material: Path, cut: SampleSets, tmp_path: Path) -> None:
    nets = trainer(material, cut, tmp_path, compile=True).nets
    compiled = {type(m) for m in nets.modules() if m._compiled_call_impl is not None}
    assert compiled == {Block}
    assert any(isinstance(m, IntegerLinear) for m in nets.modules())


def test_a_latent_beyond_the_stream_is_cut(material: Path, cut: SampleSets, tmp_path: Path) -> None:
    made = trainer(material, cut, tmp_path)
    with torch.no_grad():
        made.nets.analysis["inter"].leave.bias.fill_(1e38)  # type: ignore[union-attr]
    made._one_step()
    assert int(made.guard.skipped) == 1


def test_plates_are_trained_as_they_are_coded(
    material: Path, cut: SampleSets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, real = set(), losses.train_layer

    def spied(*arguments: Any, **options: Any) -> Any:
        shares.add(options.get("projected", 0.0))
        return real(*arguments, **options)

    monkeypatch.setattr(losses, "train_layer", spied)
    config = load_train(material, {"from_weights": OWN})
    made = Trainer(config, "intra", cut, folder=tmp_path, report=lambda _: None)
    made._one_step()
    assert (shares, int(made.guard.skipped)) == ({PROJECTED["plate"]}, 0)


def test_fine_tuning_on_clips_alone(material: Path, tmp_path: Path) -> None:
    """No photos, no clip that is named to be held back: plates stay, and the gain is told."""
    clips, lines = tmp_path / "my", list[str]()
    clips.mkdir()
    write_clip(clips / "door.mkv", seed=3)
    changes = {"from_weights": OWN, "images": tmp_path / "none", "clips": clips, "rate": 1e-4}
    config, out, file = load_train(material, changes), tmp_path / "run", tmp_path / "w" / "mine.safetensors"
    train(config, out, report=lines.append)
    assert not (out / "intra.pt").exists()
    gain = json.loads((out / "inter-gain.json").read_text())
    assert [point["q"] for point in gain["before"]] == list(loop.QUALITIES)
    assert gain["before"] != gain["after"]
    assert gain["loss_percent"] == pytest.approx(0, abs=20)
    assert lines[-1] == f"in all: bits at equal PSNR {gain['bits_at_equal_psnr_percent']:+.1f} %, " + (
        f"loss {gain['loss_percent']:+.1f} %"
    )
    export_weights(config, out, file, report=lines.append)
    old, new = load_file(OWN), load_file(file)
    changed = {name.split(".")[1] for name in old if name in new and not torch.equal(old[name], new[name])}
    assert changed - {"foreground", "background"} == {"inter", "values"}  # the last are the tables'


def test_other_data_needs_another_folder(material: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    assert len(SampleSets(load_train(material, {}), out, lambda _: None).moving) == 8
    assert len(SampleSets(load_train(material, {"batch": 4}), out, lambda _: None).moving) == 8
    with pytest.raises(UsageError, match="9 samples, seed 1"):
        _ = SampleSets(load_train(material, {"moving_samples": 9}), out, lambda _: None).moving


def test_further_blocks_begin_without_effect(material: Path, cut: SampleSets, tmp_path: Path) -> None:
    plain, grown = (trainer(material, cut, tmp_path, depth=depth) for depth in ((3, 4), (5, 5)))
    batch = plain.check.batch_of("inter", plain.check.draw(np.arange(2)), torch.full((2,), 30.0))
    with torch.no_grad():
        same = [made._losses(batch)[1:] for made in (plain, grown)]
    assert torch.equal(*same)
    assert len(grown.nets.analysis["inter"].blocks) == 5  # type: ignore[arg-type, union-attr]
    grown._one_step()
    with pytest.raises(UsageError, match="shape"):
        begin_with(OWN, load_train(material, {"depth": (2, 4)}))


def test_the_rate_falls_along_minutes(material: Path, cut: SampleSets, tmp_path: Path) -> None:
    made = trainer(material, cut, tmp_path, anneal="minutes", minutes=2.0, steps=10**6)
    made.step = 1000
    rates = []
    for made.seconds in (0.0, 60.0, 119.9, 200.0):
        rates.append(made._learning_rate() / made.config.rate)
    assert rates == pytest.approx([1.0, 0.51, 0.02, 0.02], abs=1e-3)


def test_weights_of_another_shape_are_refused(material: Path) -> None:
    with pytest.raises(UsageError, match="'enhancement': 'none'"):
        begin_with(OWN, load_train(material, {"enhancement": "none"}))


def test_a_file_that_is_no_state_is_refused(material: Path, cut: SampleSets, tmp_path: Path) -> None:
    for content in (b"", b"nothing of the kind"):
        (tmp_path / "inter.pt").write_bytes(content)
        with pytest.raises(CodecError, match=r"inter\.pt"):
            trainer(material, cut, tmp_path)


def test_settings_are_checked(material: Path, tmp_path: Path) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(CONFIG.format(tmp_path) + "stepz: 3\n")
    with pytest.raises(ConfigError, match="stepz: unknown key"):
        load_train(path, {})
    with pytest.raises(ConfigError, match="still_samples 64 must be more than held_back 64"):
        load_train(material, {"held_back": 64})
    assert call(["train", str(material), "--export-only"]) == 2


def test_no_clips_is_wrong_usage(material: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no training clips"):
        train(load_train(material, {"clips": tmp_path}), tmp_path / "run", report=lambda _: None)
