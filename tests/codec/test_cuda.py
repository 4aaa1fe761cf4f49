"""A stream made on a CPU decodes on CUDA and the other way round: the same symbols, nearly the same pixels."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pipeline.codec import weights
from pipeline.codec.blocks import Positions
from pipeline.codec.entropy import IndexNet
from pipeline.codec.exact import full_precision
from pipeline.codec.model import Modes, side_features
from pipeline.codec.motion import fetch
from tests.codec.clips import texture
from tests.codec.cross_settings import Way, across, compare, drawn
from tests.codec.test_entropy import grid, inputs, steps

cuda = pytest.mark.cuda
DEVICES = ["cpu", pytest.param("cuda", marks=cuda)]  # on a CPU these show only that the tests themselves work


@pytest.fixture
def reduced_precision() -> Iterator[None]:
    """What other code in the process may have asked for."""
    matmul, conv = torch.backends.cuda.matmul, torch.backends.cudnn.conv
    before = matmul.fp32_precision, conv.fp32_precision
    matmul.fp32_precision, conv.fp32_precision = "tf32", "tf32"
    yield
    matmul.fp32_precision, conv.fp32_precision = before


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(67, 85), (240, 320)], ids=str)
def test_streams_cross_devices(device: str, size: tuple[int, int], reduced_precision: None) -> None:
    for line in compare(drawn(8, *size), across(device)):
        assert line["frames_with_other_symbols"] == 0, line
        assert line["pooled_db"] >= 50, line
        assert line["worst_db"] >= 45, line


@pytest.mark.parametrize("device", DEVICES)
def test_a_stream_of_a_bf16_encoder_crosses_too(device: str) -> None:
    ways = Way(), Way(device, encoder={"bf16": True, "whole": True}, decoder={"whole": True})
    for line in compare(drawn(6, 96, 128), ways):
        assert line["frames_with_other_symbols"] == 0, line
        assert line["worst_db"] >= 45, line


@torch.inference_mode()
def indices(net: IndexNet, at: Positions, device: torch.device) -> torch.Tensor:
    """(N,96): every step's indices, in the order of decoding."""
    symbols, before, side = (x.to(device) for x in inputs(at))
    net, known = net.to(device), torch.zeros_like(symbols)
    shared = net.begin(before, side)
    found = torch.full_like(symbols, -1)
    for step in steps(at):
        rows = step.selection
        found[rows, step.start : step.end] = net(shared, known, step)
        known[rows, step.start : step.end] = symbols[rows, step.start : step.end]
    return found.cpu()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", ["foreground", "plate"])
@pytest.mark.parametrize("size", [(3, 5), (40, 61)], ids=str)
def test_table_indices(device: str, kind: str, size: tuple[int, int], reduced_precision: None) -> None:
    chosen = grid(*size).chosen
    found = []
    for name in ("cpu", device):
        net = weights.read(weights.available()[weights.newest()]).nets.entropy_of(kind).index
        with full_precision(torch.device(name)):
            found.append(indices(net, Positions(chosen.to(name)), torch.device(name)))
    assert torch.equal(*found)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("size", [(3, 5), (34, 60), (68, 121)], ids=str)
def test_side_features(device: str, size: tuple[int, int]) -> None:
    chosen = grid(*size).chosen
    found = []
    for name in ("cpu", device):
        at = Positions(chosen.to(name))
        vector = torch.arange(2 * len(at), device=name).view(-1, 2) % 120 - 60
        number = torch.arange(len(at), device=name)
        modes = Modes(number % 3, vector, number % 2, number // 2 % 2, number % 20)
        with full_precision(torch.device(name)):
            found.append(side_features("foreground", (number % 64).float(), modes, at).cpu())
    assert torch.equal(*found)


@pytest.mark.parametrize("device", DEVICES)
def test_prediction(device: str) -> None:
    planes = [torch.from_numpy(texture(h, w, 3 + h))[None] for h, w in ((96, 160), (48, 80), (48, 80))]
    rng = np.random.default_rng(0)
    row, col = (torch.from_numpy(rng.integers(0, most, 500)) for most in (12, 20))
    vector = torch.from_numpy(rng.integers(-511, 512, (500, 2)))
    places = (torch.zeros_like(row), row, col, vector)
    there = fetch(tuple(plane.to(device) for plane in planes), *(each.to(device) for each in places))
    assert torch.equal(there.cpu(), fetch(tuple(planes), *places))
