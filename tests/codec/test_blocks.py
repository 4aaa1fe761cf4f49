"""Blocks and back; positions of cells; neighbours."""

from __future__ import annotations

import pytest
import torch

from pipeline.codec.blocks import (
    SAMPLES,
    Positions,
    around,
    blocks_at,
    put_blocks,
    square_means,
    sum_around,
    to_blocks,
    to_planes,
    window_blocks,
)


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


def some(share: float) -> Positions:
    return Positions(torch.rand(2, 6, 10, generator=torch.Generator().manual_seed(1)) < share)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_blocks_of_some_positions_alone(share):
    torch.manual_seed(0)
    whole = [torch.randint(0, 256, (2, 8 * n, 12 * n), dtype=torch.uint8) for n in (8, 4, 4)]
    y, u, v = _window(whole)
    at, before = some(share), [plane.clone() for plane in whole]
    found = blocks_at((y, u, v), at)
    assert found.dtype == torch.float32
    assert torch.equal(found, at.pick(to_blocks(y, u, v)))
    put_blocks((y, u, v), at, 255 - found.to(torch.uint8))
    expected = torch.where(at.chosen[..., None], 255 - to_blocks(*_window(before)), to_blocks(*_window(before)))
    assert torch.equal(to_blocks(y, u, v), expected)
    for inner, last in zip(_window(whole), _window(before), strict=True):
        inner.copy_(last)
    assert all(torch.equal(a, b) for a, b in zip(whole, before, strict=True)), "nothing beside the window was touched"


def _window(planes: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return tuple(plane[:, n : 7 * n, n : 11 * n] for plane, n in zip(planes, (8, 4, 4), strict=True))


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_neighbours_are_those_of_the_grid_and_nothing_beyond_its_border(share):
    at, offsets = some(share), ((-1, 0), (0, 1), (2, -2), (0, 0))
    features = torch.randint(-9, 9, (len(at), 3)).float()
    grid = at.spread(features)
    found = around(features, at.neighbours(offsets))
    for i in range(len(at)):
        picture = int(at.index[i]) // (at.rows * at.cols)
        for k, (dy, dx) in enumerate(offsets):
            row, col = int(at.row[i]) + dy, int(at.col[i]) + dx
            inside = 0 <= row < at.rows and 0 <= col < at.cols
            assert torch.equal(found[i, k], grid[picture, row, col] if inside else torch.zeros(3))
    assert torch.equal(sum_around(features, at.neighbours(offsets)), found.sum(1))
    none = at.neighbours(offsets)[:0]
    assert around(features, none).shape == (0, 4, 3)
    assert sum_around(features, none).shape == (0, 3)


@pytest.mark.parametrize("share", [0.1, 0.6])
@pytest.mark.parametrize("training", [False, True])
def test_windows_hold_every_position_once(share, training):
    at = Positions(torch.rand(2, 17, 22) < share)
    with torch.set_grad_enabled(training):
        count, window, place = at.windows(4)
    if at.sparse and not training:
        assert window.unique().tolist() == list(range(count))
    else:
        assert count == 2 * 5 * 6
    assert len(torch.stack((window, place)).unique(dim=1).T) == len(at)
    whole = torch.stack((at.picture, at.row // 4, at.col // 4))
    for k in window.unique():
        assert len(whole[:, window == k].unique(dim=1).T) == 1
    assert torch.equal(place, at.row % 4 * 4 + at.col % 4)


@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_means_of_squares_are_exact(size):
    plane = torch.randint(0, 256, (2, 16, 24), dtype=torch.uint8)
    plane[0] = 255
    assert torch.equal(square_means(plane, size), torch.nn.functional.avg_pool2d(plane.float(), size))


def test_blocks_of_a_window_are_those_of_its_planes():
    torch.manual_seed(0)
    planes = tuple(torch.randint(0, 256, (1, 9 * n, 11 * n), dtype=torch.uint8) for n in (8, 4, 4))
    chosen = torch.zeros(1, 9, 11, dtype=torch.bool)
    chosen[:, 2:7, 3:9] = torch.rand(5, 6) < 0.6
    whole, window = Positions(chosen), Positions(chosen[:, 2:7, 3:9])
    expected = blocks_at((planes[0], planes[1], planes[2]), whole)
    assert torch.equal(window_blocks((planes[0], planes[1], planes[2]), window, 2, 3), expected)
    with torch.inference_mode():
        assert torch.equal(window_blocks((planes[0], planes[1], planes[2]), window, 2, 3), expected)


@pytest.mark.parametrize("share", [0.1, 0.7, 1.0])
def test_neighbours_are_found_alike_compiled_and_by_tensors(share):
    torch.manual_seed(0)
    chosen = torch.rand(2, 9, 11) < share
    for offsets in (((-2, 0), (2, 0), (0, -2), (0, 2)), ((-1, -1), (0, 0), (1, 0))):
        expected = Positions(chosen).neighbours(offsets)
        with torch.inference_mode():
            assert torch.equal(Positions(chosen).neighbours(offsets), expected)
