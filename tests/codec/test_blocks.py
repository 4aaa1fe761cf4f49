"""Blocks and back; positions of cells; neighbours."""

from __future__ import annotations

import torch

from pipeline.codec.blocks import SAMPLES, Positions, shifted, to_blocks, to_planes


def test_blocks_round_trip_and_layout():
    torch.manual_seed(0)
    y = torch.randint(0, 256, (2, 32, 48), dtype=torch.uint8)
    u, v = (torch.randint(0, 256, (2, 16, 24), dtype=torch.uint8) for _ in range(2))
    blocks = to_blocks(y, u, v)
    assert blocks.shape == (2, 4, 6, SAMPLES)
    assert torch.equal(blocks[1, 2, 3, :64].view(8, 8), y[1, 16:24, 24:32].float())
    assert torch.equal(blocks[1, 2, 3, 64:80].view(4, 4), u[1, 8:12, 12:16].float())
    assert torch.equal(blocks[1, 2, 3, 80:].view(4, 4), v[1, 8:12, 12:16].float())
    for plane, back in zip((y, u, v), to_planes(blocks), strict=True):
        assert torch.equal(plane.float(), back)


def test_positions_are_in_raster_order():
    cells = torch.zeros(1, 2, 3, dtype=torch.bool)
    cells[0, 0, 2] = cells[0, 1, 0] = True
    at = Positions.of_cells(cells)
    assert len(at) == 8
    assert list(zip(at.row.tolist(), at.col.tolist(), strict=True)) == [
        (0, 4), (0, 5), (1, 4), (1, 5), (2, 0), (2, 1), (3, 0), (3, 1)
    ]  # fmt: skip
    features = torch.arange(8.0).unsqueeze(1)
    grid = at.spread(features)
    assert grid.sum() == features.sum()
    assert torch.equal(at.pick(grid), features)
    assert not grid[0, 0, 0].any()


def test_some_positions_of_others():
    at = Positions.of_cells(torch.ones(2, 2, 2, dtype=torch.bool))
    kept = torch.zeros(len(at), dtype=torch.bool)
    kept[[3, 17, 30]] = True
    some = at.select(kept)
    assert some.index.tolist() == [3, 17, 30]
    assert (some.batch, some.rows, some.cols) == (2, 4, 4)
    assert torch.equal(some.chosen, at.spread(kept[:, None].float())[..., 0] > 0)


def test_shifted_sees_neighbours_and_zero_beyond_the_border():
    grid = torch.arange(1.0, 7.0).view(1, 2, 3, 1)
    around = shifted(grid, ((-1, 0), (0, 1), (2, -2)))
    assert around.shape == (1, 2, 3, 3, 1)
    assert around[0, 1, 1, :, 0].tolist() == [2.0, 6.0, 0.0]
    assert around[0, 0, 2, :, 0].tolist() == [0.0, 0.0, 0.0]
