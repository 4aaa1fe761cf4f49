"""Pictures as blocks, cells as sparse positions.

A latent *position* is one 8x8 luma block with the two 4x4 chroma blocks under it: 64 + 16 + 16 = 96 samples. A cell is
2x2 positions. The nets see only coded positions: pointwise layers run on a list of them, and every spatial operation
spreads the list over a grid of zeros first. So a layer's result depends on its own positions and on nothing else, in
training too. Grids are (B, rows, cols, channels).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

LUMA, CHROMA = 64, 16
SAMPLES = LUMA + 2 * CHROMA

# A chroma sample counts 2/3 of a luma sample in the 6:1:1 measure ((1/16) / (6/64)); its root makes the blocks' plain
# squared error that measure, so that one step size is right for every coefficient.
CHROMA_WEIGHT = (2.0 / 3.0) ** 0.5


def to_blocks(y: Tensor, u: Tensor, v: Tensor) -> Tensor:
    """Planes (B,H,W), (B,H/2,W/2) x2 in grey levels, any dtype, H and W multiples of 8 -> (B,H/8,W/8,96) float32."""
    parts = []
    for plane, size in ((y, 8), (u, 4), (v, 4)):
        b, h, w = plane.shape
        tiles = plane.reshape(b, h // size, size, w // size, size).permute(0, 1, 3, 2, 4)
        parts.append(tiles.reshape(b, h // size, w // size, size * size))
    return torch.cat(parts, dim=-1).float()


def weighted(blocks: Tensor) -> Tensor:
    """(...,96) samples scaled so that their plain squared error is the 6:1:1 measure."""
    return torch.cat((blocks[..., :LUMA], blocks[..., LUMA:] * CHROMA_WEIGHT), dim=-1)


def unweighted(blocks: Tensor) -> Tensor:
    """The inverse of `weighted`."""
    return torch.cat((blocks[..., :LUMA], blocks[..., LUMA:] / CHROMA_WEIGHT), dim=-1)


def to_planes(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The inverse of `to_blocks`; keeps the dtype."""
    planes = []
    start = 0
    b, rows, cols, _ = blocks.shape
    for count, size in ((LUMA, 8), (CHROMA, 4), (CHROMA, 4)):
        tiles = blocks[..., start : start + count].reshape(b, rows, cols, size, size).permute(0, 1, 3, 2, 4)
        planes.append(tiles.reshape(b, rows * size, cols * size))
        start += count
    return planes[0], planes[1], planes[2]


class Positions:
    """Some latent positions of a batch of pictures.

    `index` (N,) int64: their places in the flattened grid, ascending. `row` and `col` (N,) are their coordinates.
    """

    def __init__(self, chosen: Tensor) -> None:
        """`chosen` (B, rows, cols) bool."""
        self.chosen = chosen
        self.batch, self.rows, self.cols = chosen.shape
        self.index = chosen.flatten().nonzero().squeeze(1)
        inside = self.index % (self.rows * self.cols)
        self.row, self.col = inside // self.cols, inside % self.cols

    @classmethod
    def of_cells(cls, cells: Tensor) -> Positions:
        """All positions of some cells (B, rows, cols)."""
        return cls(cells.repeat_interleave(2, 1).repeat_interleave(2, 2))

    def select(self, kept: Tensor) -> Positions:
        """Those for which `kept` (N,) is true, in the same grid."""
        chosen = torch.zeros_like(self.chosen).flatten().index_fill_(0, self.index[kept], 1)
        return Positions(chosen.view_as(self.chosen))

    def __len__(self) -> int:
        return int(self.index.numel())

    def pick(self, grid: Tensor) -> Tensor:
        """(B,rows,cols,C) -> (N,C)."""
        return grid.reshape(-1, grid.shape[-1]).index_select(0, self.index)

    def spread(self, features: Tensor) -> Tensor:
        """(N,C) -> (B,rows,cols,C), zero elsewhere."""
        flat = features.new_zeros(self.batch * self.rows * self.cols, features.shape[1])
        return flat.index_copy(0, self.index, features).view(self.batch, self.rows, self.cols, -1)


class PaddedPositions(Positions):
    """Some positions in a list of a length that does not depend on how many they are, so that CUDA can record what is
    done with them. The list ends in places that are not there: what is picked for them means nothing, and what they
    spread goes nowhere.
    """

    def __init__(self, chosen: Tensor, index: Tensor) -> None:
        """`index` (N,) int64: the places of `chosen` (B,rows,cols), ascending, then B*rows*cols."""
        self.chosen, self.index = chosen, index
        self.batch, self.rows, self.cols = chosen.shape
        inside = index % (self.rows * self.cols)
        self.row, self.col = inside // self.cols, inside % self.cols
        # Each picks from a place of its own: gradients that meet in one are added one after the other.
        self._source = torch.where(self.there, index, torch.arange(len(index), device=index.device))

    @property
    def there(self) -> Tensor:
        """(N,) bool: which places are there."""
        return self.index < self.chosen.numel()

    def pick(self, grid: Tensor) -> Tensor:
        return grid.reshape(-1, grid.shape[-1]).index_select(0, self._source)

    def spread(self, features: Tensor) -> Tensor:
        size = self.chosen.numel()
        flat = features.new_zeros(size + 1, features.shape[1])
        return flat.index_copy(0, self.index, features)[:size].view(self.batch, self.rows, self.cols, -1)


def shifted(grid: Tensor, offsets: tuple[tuple[int, int], ...]) -> Tensor:
    """Neighbours side by side: (B,rows,cols,C) -> (B,rows,cols,len(offsets),C), zero beyond the border."""
    reach = max(max(abs(dy), abs(dx)) for dy, dx in offsets)
    _, rows, cols, _ = grid.shape
    padded = F.pad(grid, (0, 0, reach, reach, reach, reach))
    views = [padded[:, reach + dy : reach + dy + rows, reach + dx : reach + dx + cols] for dy, dx in offsets]
    return torch.stack(views, dim=3)
