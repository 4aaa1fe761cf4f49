"""What both ends keep: mixing of planes; the rest is tested with the layers that change it."""

from __future__ import annotations

import pytest
import torch

from pipeline.codec.state import mix


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_mix_takes_whole_cells(share):
    torch.manual_seed(0)
    cells = torch.rand(1, 3, 5) < share
    sizes = (16, 8, 8)
    chosen, other = (
        tuple(torch.randint(0, 256, (1, 3 * n, 5 * n), dtype=torch.uint8) for n in sizes) for _ in range(2)
    )
    for size, mixed, a, b in zip(sizes, mix(cells, chosen, other), chosen, other, strict=True):
        for row in range(3):
            for col in range(5):
                place = (0, slice(row * size, row * size + size), slice(col * size, col * size + size))
                assert torch.equal(mixed[place], (a if cells[0, row, col] else b)[place])
