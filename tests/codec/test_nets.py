"""The nets' parts: what may not matter to them."""

from __future__ import annotations

import pytest
import torch

from pipeline.codec.blocks import Positions, weighted
from pipeline.codec.model import given_back
from pipeline.codec.nets import (
    QUALITIES,
    Analysis,
    Block,
    Curve,
    FrequencySpatialAttention,
    RegionAttention,
    SpatialMix,
    Synthesis,
)
from pipeline.codec.threads import shared


@torch.inference_mode()
@pytest.mark.parametrize("channels", [16, 96])
def test_few_positions_are_mixed_like_many(channels):
    """Squares around positions and the grid as a whole give the same, to the bit."""
    torch.manual_seed(0)
    mix = SpatialMix(channels)
    chosen = torch.zeros(2, 24, 36, dtype=torch.bool)
    chosen[0, 2:9, 3:12] = torch.rand(7, 9) < 0.7
    chosen[:, 0, 0] = chosen[:, -1, -1] = chosen[1, 10, 20] = True
    few = Positions(chosen)
    features = torch.randn(len(few), channels)
    grid = few.spread(features)
    many = Positions(torch.ones_like(chosen))
    assert torch.equal(mix(features, few), few.pick(many.spread(mix(many.pick(grid), many))))


@torch.inference_mode()
@pytest.mark.parametrize("area", [(2, 5), (24, 36)])
def test_one_thread_mixes_like_two(area):
    """Compiled and by convolution, to the bit: whoever decodes may have other cores than who encoded."""
    torch.manual_seed(0)
    mix, chosen = SpatialMix(96), torch.zeros(2, 24, 36, dtype=torch.bool)
    chosen[0, : area[0], : area[1]] = torch.rand(*area) < 0.8
    at = Positions(chosen)
    features = torch.randn(len(at), 96) * 4
    found = []
    for threads in (1, 2):
        with shared(10_000, threads):
            found.append(mix(features, at))
    assert torch.equal(*found)


@torch.inference_mode()
def test_parts_of_many_positions_are_the_whole():
    torch.manual_seed(0)
    block, at = Block(32), Positions(torch.rand(1, 64, 80) < 0.9)
    x = torch.randn(len(at), 32)
    with shared(len(at), 1):
        whole = block._gated(x, block.mix(block._entered(x), at))
        assert torch.equal(block(x, at), whole)


def scattered() -> Positions:
    """Few positions of two pictures whose sides are no multiples of four."""
    chosen = torch.zeros(2, 22, 34, dtype=torch.bool)
    chosen[0, 2:9, 3:12] = torch.rand(7, 9) < 0.7
    chosen[:, 0, 0] = chosen[:, -1, -1] = chosen[1, 10, 20] = True
    few = Positions(chosen)
    assert few.sparse
    return few


@torch.inference_mode()
def test_windows_of_few_positions_are_those_of_the_grid():
    torch.manual_seed(0)
    attention, few = FrequencySpatialAttention(16), scattered()
    for parameter in attention.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    features, many = torch.randn(len(few), 16), Positions(torch.ones_like(few.chosen))
    whole = many.spread(attention(many.pick(few.spread(features)), many))
    assert torch.allclose(attention(features, few), few.pick(whole), atol=1e-5)


@torch.inference_mode()
def test_few_positions_see_the_importance_like_many():
    torch.manual_seed(0)
    attention, few = RegionAttention(16), scattered()
    for parameter in attention.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    importance, many = torch.rand(*few.chosen.shape, 1), Positions(torch.ones_like(few.chosen))
    whole = many.spread(attention(importance, many))
    assert torch.allclose(attention(importance, few), few.pick(whole), atol=1e-5)


@torch.inference_mode()
def test_one_quality_for_all_positions_is_that_of_each():
    torch.manual_seed(0)
    net = Synthesis(16, 2)
    for parameter in net.parameters():
        parameter.data += torch.randn_like(parameter) * 0.05
    at = Positions(torch.rand(1, 12, 10) < 0.6)
    latent, prediction = torch.randn(len(at), 96), torch.randint(0, 256, (len(at), 96)).float()
    for q in (0.0, 17.0, 63.0):
        one, each = (net(latent, prediction, torch.full((n,), q), at) for n in (1, len(at)))
        assert torch.equal(one, each)


@torch.inference_mode()
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_what_the_synthesis_would_miss_is_given_back(share):
    torch.manual_seed(0)
    net = Synthesis(16, 2)  # untrained: its linear path alone
    net.gain.knots += 0.3 * torch.randn_like(net.gain.knots)
    at, q = Positions(torch.rand(1, 6, 5) < 0.6), torch.full((1,), 30.0)
    source, prediction = torch.randint(0, 256, (2, len(at), 96)).float()
    latent = torch.randn(len(at), 96)
    before, after = (
        weighted(source - net(each, prediction, q, at))
        for each in (latent, given_back(share, net, latent, source, prediction, q, at))
    )
    assert torch.allclose(after, (1 - share) * before, atol=1e-2)


@torch.inference_mode()
def test_pictures_unlike_all_before_do_not_grow_from_block_to_block():
    torch.manual_seed(0)
    blocks, at = [Block(16) for _ in range(8)], Positions(torch.ones(1, 4, 4, dtype=torch.bool))
    for block in blocks:
        for parameter in block.parameters():
            parameter *= 3
    x = torch.randn(16, 16) * 1e4
    for block in blocks:
        x = block(x, at)
    assert torch.isfinite(x).all()


@torch.inference_mode()
def test_frozen_weights_give_what_they_gave():
    torch.manual_seed(0)
    analysis, at = Analysis(16, 2), scattered()
    for parameter in analysis.parameters():
        parameter.data = torch.randn_like(parameter) * 0.3
    residual, prediction = torch.randn(2, len(at), 96) * 20
    level, at = torch.full((1, 22, 34, 1), 0.3), Positions(at.chosen[:1])
    inputs = residual[: len(at)], prediction[: len(at)], level, torch.tensor([31.0]), at
    before = analysis(*inputs)
    for module in analysis.modules():
        if isinstance(module, Curve | RegionAttention):
            module.freeze()
    assert torch.equal(analysis(*inputs), before)
    assert torch.equal(analysis(*inputs), before)  # with what is kept of the first time


@torch.inference_mode()
def test_a_frozen_curve_is_the_same_at_every_quality():
    curve, q = Curve(24), torch.arange(QUALITIES)
    curve.knots.data = torch.randn_like(curve.knots)
    before = [curve(step[None].float()) for step in q]
    curve.freeze()
    assert torch.equal(torch.cat(before), curve(q.float()))
