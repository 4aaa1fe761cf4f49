"""The nets' parts: what may not matter to them."""

from __future__ import annotations

import pytest
import torch

from pipeline.codec.blocks import Positions
from pipeline.codec.nets import SpatialMix, Synthesis


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
