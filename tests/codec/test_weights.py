"""Weights files: there and back, found by fingerprint, refused when they are not what they say."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.codec import weights
from pipeline.codec.model import CodecNets
from pipeline.codec.tables import initial_tables
from pipeline.errors import CodecError

SHAPE: dict[str, object] = {"inter_channels": 8, "intra_channels": 8, "depth": [1, 1]}


def make(path, seed: int = 0) -> bytes:
    torch.manual_seed(seed)
    return weights.save(path, CodecNets(inter_channels=8, intra_channels=8, depth=(1, 1)), initial_tables(), SHAPE)


def test_save_and_load(tmp_path):
    mark = make(tmp_path / "a.safetensors")
    brain = weights.load(mark, "cpu", tmp_path)
    torch.manual_seed(0)
    for name, value in CodecNets(inter_channels=8, intra_channels=8, depth=(1, 1)).state_dict().items():
        assert torch.equal(value, brain.nets.state_dict()[name])
    assert brain.tables.rows == initial_tables().rows
    assert not any(p.requires_grad for p in brain.nets.parameters())


def test_the_newest_by_name_encodes_and_any_is_found(tmp_path):
    first, second = make(tmp_path / "fovea-1.safetensors", 1), make(tmp_path / "fovea-2.safetensors", 2)
    assert first != second
    assert weights.newest(tmp_path) == second
    assert set(weights.available(tmp_path)) == {first, second}


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(CodecError, match="no codec weights"):
        weights.newest(tmp_path)
    with pytest.raises(CodecError, match="ffffffffffffffff"):
        weights.load(b"\xff" * 8, "cpu", tmp_path)


def test_altered_weights_are_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    mark = make(path)
    tensors = load_file(path)
    name = "entropy.inter.index.shared.weight"
    tensors[name][0, 0] += 1
    save_file(tensors, path, metadata={"fingerprint": mark.hex(), "nets": '{"inter_channels": 8}'})
    with pytest.raises(CodecError, match="fingerprint"):
        weights.load(mark, "cpu", tmp_path)


def test_other_files_are_refused_and_hide_nothing(tmp_path):
    (tmp_path / "z.safetensors").write_bytes(b"not weights")
    with pytest.raises(CodecError, match=r"z\.safetensors"):
        weights.read(tmp_path / "z.safetensors")
    assert weights.available(tmp_path) == {}
    mark = make(tmp_path / "a.safetensors")
    assert weights.newest(tmp_path) == mark


def test_fingerprint_sees_names_shapes_types_and_values():
    base = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    others = [
        {"a": torch.zeros(3, 2), "b": torch.ones(2)},
        {"a": torch.zeros(2, 3), "c": torch.ones(2)},
        {"a": torch.zeros(2, 3), "b": torch.ones(2, dtype=torch.float64)},
        {"a": torch.zeros(2, 3), "b": torch.tensor([1.0, 2.0])},
        {"a": torch.zeros(2, 3)},
    ]
    marks = {weights.fingerprint(tensors) for tensors in [base, *others]}
    assert len(marks) == 6
    assert weights.fingerprint(dict(reversed(base.items()))) == weights.fingerprint(base)


def test_shipped_weights_load_and_their_names_are_their_fingerprints():
    for mark in weights.available():
        brain = weights.load(mark, "cpu")
        assert len(mark) == 8
        assert next(brain.nets.parameters()).dtype == torch.float32


def test_nets_are_read_beside_tables_of_another_format(tmp_path):
    path = tmp_path / "a.safetensors"
    make(path)
    tensors = load_file(path)
    del tensors["tables.map.hidden"]
    save_file(
        tensors,
        path,
        metadata={"fingerprint": "00" * 8, "nets": '{"inter_channels": 8, "intra_channels": 8, "depth": [1, 1]}'},
    )
    with pytest.raises(CodecError, match="fingerprint"):
        weights.read(path)
    nets, shape = weights.read_nets(path)
    assert shape == SHAPE
    assert torch.equal(nets.state_dict()["analysis.inter.enter.weight"], tensors["analysis.inter.enter.weight"])
    (tmp_path / "b.safetensors").write_bytes(b"none")
    with pytest.raises(CodecError, match=r"b\.safetensors"):
        weights.read_nets(tmp_path / "b.safetensors")
