"""Layers as the encoder has them: what is kept of them, how batches are made, and training on them."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.codec import weights
from pipeline.codec.blocks import to_planes
from pipeline.codec.model import LayerInput, train_layer
from pipeline.config import DetectorConfig
from pipeline.errors import ConfigError, UsageError
from pipeline.training.coded import CodedBatches, CodedLayer, CodedLayers, code_clips, encode, together
from pipeline.training.config import load_train
from pipeline.training.data import SampleSets
from pipeline.training.footage import Clip, read_clip
from pipeline.training.run import train
from tests.training_material import write_clip, write_material

CPU = torch.device("cpu")
OWN = weights.available()[weights.newest()]
MOTION = DetectorConfig(kind="motion")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material")).parent


@pytest.fixture(scope="module")
def watched(material: Path) -> list[LayerInput]:
    """What the nets of each layer of a clip were given."""
    found: list[LayerInput] = []
    brain = replace(weights.read(OWN), watch=found.append)
    brain.nets.freeze()
    encode(brain, read_clip(material / "clips" / "a.mkv"), quality=40, gop_s=10)
    return found


def same(one: CodedLayer, other: CodedLayer) -> bool:
    return all(np.array_equal(getattr(one, f.name), getattr(other, f.name)) for f in fields(CodedLayer))


def test_watching_sees_both_layers_and_changes_no_stream(material: Path, watched: list[LayerInput]) -> None:
    assert {x.kind for x in watched} == {"foreground", "background"}
    assert sum(len(x.at) for x in watched) > 50
    frames = read_clip(material / "clips" / "a.mkv")
    with_watch, without = (
        encode(replace(weights.read(OWN), watch=watch), frames, quality=40, gop_s=10) for watch in ([].append, None)
    )
    assert with_watch == without
    assert (torch.cat([x.blocks for x in watched]) != torch.cat([x.prediction for x in watched])).any(1).all()


def test_a_layer_is_kept_as_it_was(watched: list[LayerInput]) -> None:
    x = max(watched, key=lambda x: len(x.at))
    back = together([CodedLayer.of(x)], CPU)
    assert torch.equal(back.at.chosen, x.at.chosen)
    assert torch.equal(back.blocks, x.blocks)
    assert torch.equal(back.prediction, x.prediction)  # 8 bits hold it
    assert torch.equal(back.before, x.before.clamp(-15, 15))
    assert torch.equal(back.q, x.q)
    assert all(torch.equal(getattr(back.modes, f.name), getattr(x.modes, f.name)) for f in fields(x.modes))
    chosen = x.importance[0][x.at.chosen[0]]
    assert torch.allclose(back.importance[0][x.at.chosen[0]], chosen, atol=1e-3)


@pytest.mark.parametrize("axis", [0, 1])
def test_a_layer_in_the_mirror(watched: list[LayerInput], axis: int) -> None:
    x = max(watched, key=lambda x: len(x.at))
    layer = CodedLayer.of(x)
    back = layer.mirrored(axis)
    assert same(back.mirrored(axis), layer)
    assert np.array_equal(back.modes[:, 2 - axis].sum(), layer.modes[:, 2 - axis].sum())
    assert back.modes[:, 1 + axis].sum() == -layer.modes[:, 1 + axis].sum()
    one, other = together([layer], CPU), together([back], CPU)
    for picture in ("blocks", "prediction"):
        shown = to_planes(one.at.spread(getattr(one, picture))), to_planes(other.at.spread(getattr(other, picture)))
        for plane, turned in zip(*shown, strict=True):
            assert torch.equal(plane.flip(1 + axis), turned)


def test_layers_side_by_side_are_those_alone(watched: list[LayerInput]) -> None:
    layers = [CodedLayer.of(x) for x in watched if x.kind == "foreground"][:3]
    nets = weights.read(OWN).nets
    with torch.no_grad():
        found = train_layer(nets, together(layers, CPU)).pictures
        alone = [train_layer(nets, together([layer], CPU)).pictures for layer in layers]
    assert torch.allclose(found, torch.cat(alone), atol=1e-2)


def test_layers_survive_a_file(watched: list[LayerInput], tmp_path: Path) -> None:
    made = CodedLayers(tuple(CodedLayer.of(x) for x in watched))
    made.save(tmp_path / "coded.npz")
    back = CodedLayers.load(tmp_path / "coded.npz")
    assert len(back) == len(made)
    assert all(same(one, other) for one, other in zip(made.layers, back.layers, strict=True))


def test_batches_hold_one_kind_and_follow_the_seed(watched: list[LayerInput]) -> None:
    made = CodedLayers(tuple(CodedLayer.of(x) for x in watched))
    one, other = (CodedBatches(made, device=CPU, seed=3) for _ in range(2))
    drawn = [one.next("inter") for _ in range(12)]
    assert {x.kind for x in drawn} == {"foreground", "background"}
    for x in drawn:
        again = other.next("inter")
        assert torch.equal(x.blocks, again.blocks)
        assert len(x.at) == len(x.blocks) == len(x.q) == len(x.modes.mode)


def test_what_is_held_back_is_of_about_that_quality(watched: list[LayerInput]) -> None:
    layers = [CodedLayer.of(x) for x in watched]
    check = CodedBatches(CodedLayers(tuple(layers)), device=CPU, seed=0)
    best = max(layer.q for layer in layers if layer.kind == "foreground")
    found = torch.cat([x.q for x in check.held("inter", best + 3) if x.kind == "foreground"])
    assert found.min() >= best - 3
    assert found.max() == best
    assert {x.kind for x in check.held("inter", 63)} == {"foreground", "background"}  # none is near: all are


def test_passes_differ_and_come_out_the_same_again(tmp_path: Path) -> None:
    write_clip(tmp_path / "large.mkv", frames=20, width=352, height=336)
    found = [
        code_clips(
            [Clip(tmp_path / "large.mkv")], OWN, 4, most=20, seed=2, detector=MOTION, report=lambda _: None
        ).layers
        for _ in range(2)
    ]
    assert all(same(one, other) for one, other in zip(*found, strict=True))
    assert len({layer.q for layer in found[0]}) > 4
    assert min(layer.chosen.shape[0] for layer in found[0]) < max(layer.chosen.shape[0] for layer in found[0])


def test_training_on_coded_layers(material: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.training.loop.QUALITIES", (24, 48))
    monkeypatch.setattr("pipeline.training.curve.QUALITIES", (24, 48))
    config = load_train(material / "train.yaml", {"from_weights": OWN, "passes": 2, "report_s": 0})
    lines: list[str] = []
    train(config, tmp_path, families=["inter"], report=lines.append)
    assert (tmp_path / "coded.npz").exists()
    assert not (tmp_path / "moving.npz").exists()
    assert any(line.startswith("inter step 2/2") for line in lines)
    gain = json.loads((tmp_path / "inter-gain.json").read_text())
    assert gain["bits_at_equal_psnr_percent"] is None  # each quality has layers of its own
    assert lines[-1] == f"in all: loss {gain['loss_percent']:+.1f} %"
    other = load_train(material / "train.yaml", {"from_weights": OWN, "passes": 3})
    with pytest.raises(UsageError, match="other data"):
        _ = SampleSets(other, tmp_path, lambda _: None).coded


def test_passes_need_weights(material: Path) -> None:
    with pytest.raises(ConfigError, match="passes code the clips with from_weights"):
        load_train(material / "train.yaml", {"passes": 2})


def test_a_clip_in_which_nothing_happens_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "still.mkv"
    write_clip(path, frames=8, step=0)
    with pytest.raises(UsageError, match="nothing in them was worth coding"):
        code_clips([Clip(path)], OWN, 1, most=8, seed=1, detector=MOTION, report=lambda _: None)
