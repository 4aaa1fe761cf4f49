"""Pictures as blocks, cells as sparse positions.

A latent *position* is one 8x8 luma block with the two 4x4 chroma blocks under it: 64 + 16 + 16 = 96 samples. A cell is
2x2 positions. The nets see only coded positions: pointwise layers run on a list of them, and every spatial operation
spreads the list over a grid of zeros first. So a layer's result depends on its own positions and on nothing else, in
training too. Grids are (B, rows, cols, channels).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.codec.native import compiled, on_host

if TYPE_CHECKING:
    from pipeline.codec.entropy import Step

Bytes = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

LUMA, CHROMA = 64, 16
SAMPLES = LUMA + 2 * CHROMA

# A chroma sample counts 2/3 of a luma sample in the 6:1:1 measure ((1/16) / (6/64)); its root makes the blocks' plain
# squared error that measure, so that one step size is right for every coefficient.
CHROMA_WEIGHT = (2.0 / 3.0) ** 0.5

_SQUARE = np.ones((3, 3), np.uint8)

Offsets = tuple[tuple[int, int], ...]  # (rows down, columns right), in positions


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


_SPARSE = 4  # positions are few where a grid has so many times as many places


class Positions:
    """Some latent positions of a batch of pictures.

    `index` (N,) int64: their places in the flattened grid, ascending. `row` and `col` (N,) are their coordinates.
    """

    def __init__(self, chosen: Tensor) -> None:
        """`chosen` (B, rows, cols) bool."""
        index = chosen.flatten().nonzero().squeeze(1)
        self._set(chosen, index, dense=len(index) == chosen.numel())

    def _set(self, chosen: Tensor, index: Tensor, *, dense: bool) -> None:
        self.chosen, self.index = chosen, index
        self.batch, self.rows, self.cols = chosen.shape
        inside = index % (self.rows * self.cols)
        self.picture = index // (self.rows * self.cols)
        self.row, self.col = inside // self.cols, inside % self.cols
        self._dense = dense  # then the list is the grid, and neither way copies
        self.sparse = _SPARSE * len(self) < chosen.numel()  # then work goes from position to position
        self._neighbours: dict[Offsets, Tensor] = {}
        self._windows: dict[int, tuple[int, Tensor, Tensor]] = {}
        self.steps: tuple[Step, ...] | None = None  # for `entropy.steps`

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
        """(B,rows,cols,C) -> (N,C); a view where all positions are chosen."""
        flat = grid.reshape(-1, grid.shape[-1])
        return flat if self._dense else flat.index_select(0, self.index)

    def spread(self, features: Tensor) -> Tensor:
        """(N,C) -> (B,rows,cols,C), zero elsewhere; a view where all positions are chosen."""
        if not self._dense:
            flat = features.new_zeros(self.batch * self.rows * self.cols, features.shape[1])
            features = flat.index_copy(0, self.index, features)
        return features.view(self.batch, self.rows, self.cols, features.shape[1])

    def neighbours(self, offsets: Offsets) -> Tensor:
        """(N,len(offsets)) int64: which of the positions lies there; N where none does, or where the grid ends."""
        if offsets not in self._neighbours:
            self._neighbours[offsets] = self._places_at(offsets)
        return self._neighbours[offsets]

    def _places_at(self, offsets: Offsets) -> Tensor:
        if on_host(self.index):
            found = torch.empty(len(self), len(offsets), dtype=torch.int64)
            _find_neighbours(
                self._numbers().numpy(), self.picture.numpy(), self.row.numpy(), self.col.numpy(),
                np.array(offsets, np.int64), found.numpy(),
            )  # fmt: skip
            return found
        reach = max(max(abs(dy), abs(dx)) for dy, dx in offsets)
        padded = F.pad(self._numbers(), (reach,) * 4, value=len(self))
        pitch = self.cols + 2 * reach
        place = (self.picture * (self.rows + 2 * reach) + self.row + reach) * pitch + self.col + reach
        places = torch.stack([place + (dy * pitch + dx) for dy, dx in offsets], dim=1)
        return padded.flatten()[places]

    def _numbers(self) -> Tensor:
        """(B,rows,cols) int64: which of the N positions each place is, N where none is."""
        number = self.index.new_full((self.chosen.numel(),), len(self))
        number[self.index] = torch.arange(len(self), device=number.device)
        return number.view_as(self.chosen)

    def windows(self, size: int) -> tuple[int, Tensor, Tensor]:
        """Squares of `size` places: how many there are, and of each position which it is in and where in it, both (N,).
        Where positions are few, and outside of training, only the squares that hold one: they have to be counted, and
        a step of training reads nothing back."""
        if size not in self._windows:
            count, window, place = self._all_windows(size)
            if self.sparse and not torch.is_grad_enabled():
                held = self.index.new_zeros(count).index_fill_(0, window, 1)
                count, window = int(held.sum()), (held.cumsum(0) - 1)[window]
            self._windows[size] = count, window, place
        return self._windows[size]

    def _all_windows(self, size: int) -> tuple[int, Tensor, Tensor]:
        """The same of all squares of the grid."""
        down, across = -(-self.rows // size), -(-self.cols // size)
        window = (self.picture * down + self.row // size) * across + self.col // size
        return self.batch * down * across, window, self.row % size * size + self.col % size


@compiled
def _find_neighbours(numbers: Ints, picture: Ints, row: Ints, col: Ints, offsets: Ints, found: Ints) -> None:
    rows, cols = numbers.shape[1], numbers.shape[2]
    for n in range(len(found)):
        for k in range(len(offsets)):
            r, c = row[n] + offsets[k, 0], col[n] + offsets[k, 1]
            inside = r >= 0 and c >= 0 and r < rows and c < cols
            found[n, k] = numbers[picture[n], r, c] if inside else len(found)


class PaddedPositions(Positions):
    """Some positions in a list of a length that does not depend on how many they are, so that CUDA can record what is
    done with them. The list ends in places that are not there: what is picked for them means nothing, and what they
    spread goes nowhere.
    """

    def __init__(self, chosen: Tensor, index: Tensor) -> None:
        """`index` (N,) int64: the places of `chosen` (B,rows,cols), ascending, then B*rows*cols."""
        self._set(chosen, index, dense=False)
        # Each picks from a place of its own: gradients that meet in one are added one after the other.
        self._own = torch.arange(len(index), device=index.device)
        self._source = torch.where(self.there, index, self._own)
        self.picture = self.picture.clamp(max=self.batch - 1)

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

    def _numbers(self) -> Tensor:
        size = self.chosen.numel()
        number = self.index.new_full((size + 1,), len(self)).index_copy(0, self.index, self._own)
        return number[:size].view_as(self.chosen)

    def windows(self, size: int) -> tuple[int, Tensor, Tensor]:
        """All of the grid, and more behind it for the places that are not there."""
        (count, window, place), area = self._all_windows(size), size**2
        window = torch.where(self.there, window, count + self._own // area)
        return count + -(-len(self) // area), window, torch.where(self.there, place, self._own % area)


# The planes' parts of a block: samples, lines, and what holds a line of it in one piece.
_PARTS = ((LUMA, 8, torch.int64), (CHROMA, 4, torch.int32), (CHROMA, 4, torch.int32))


def blocks_at(planes: tuple[Tensor, Tensor, Tensor], at: Positions) -> Tensor:
    """uint8 planes -> (N,96) float32: `at.pick(to_blocks(*planes))` without a look at the rest of the planes."""
    parts = []
    for plane, (_, size, line) in zip(planes, _PARTS, strict=True):
        found = plane.view(line).view(-1, at.rows, size, at.cols)[at.picture, at.row, :, at.col]
        parts.append(found.contiguous().view(torch.uint8))
    return torch.cat(parts, dim=1).float()


def window_blocks(planes: tuple[Tensor, Tensor, Tensor], at: Positions, top: int, left: int) -> Tensor:
    """`blocks_at` of a part of one picture's planes, whose first position is (top, left) of theirs."""
    if on_host(planes[0]):
        blocks = torch.empty(len(at), SAMPLES)
        y, u, v = (plane[0].numpy() for plane in planes)
        _copy_blocks(y, u, v, (at.row + top).numpy(), (at.col + left).numpy(), blocks.numpy())
        return blocks
    parts = []
    for plane, (_, size, _) in zip(planes, _PARTS, strict=True):
        parts.append(plane.narrow(1, top * size, at.rows * size).narrow(2, left * size, at.cols * size))
    return blocks_at((parts[0], parts[1], parts[2]), at)


@compiled
def copy_block(y: Bytes, u: Bytes, v: Bytes, row: int, col: int, found: Floats) -> None:
    """One position of planes (H,W) as it is, to `found` (96,)."""
    for i in range(8):
        for j in range(8):
            found[8 * i + j] = y[8 * row + i, 8 * col + j]
    for i in range(4):
        for j in range(4):
            found[64 + 4 * i + j] = u[4 * row + i, 4 * col + j]
            found[80 + 4 * i + j] = v[4 * row + i, 4 * col + j]


@compiled
def _copy_blocks(y: Bytes, u: Bytes, v: Bytes, row: Ints, col: Ints, blocks: Floats) -> None:
    for n in range(len(blocks)):
        copy_block(y, u, v, row[n], col[n], blocks[n])


def put_blocks(planes: tuple[Tensor, Tensor, Tensor], at: Positions, blocks: Tensor) -> None:
    """The inverse, in place, of `blocks` (N,96) uint8; all else stays."""
    start = 0
    for plane, (count, size, line) in zip(planes, _PARTS, strict=True):
        lines = plane.view(line).view(-1, at.rows, size, at.cols)
        lines[at.picture, at.row, :, at.col] = blocks[:, start : start + count].contiguous().view(line)
        start += count


def grown(cells: Cells) -> Cells:
    """Cells (rows, cols), and those beside them."""
    found: Cells = cv2.dilate(cells.view(np.uint8), _SQUARE) > 0
    return found


def square_means(plane: Tensor, size: int) -> Tensor:
    """(B,H,W) uint8 -> (B,H/size,W/size) float32, exactly; `size` a power of two up to 8. Pooling takes three times as
    long."""
    total, side = plane.short(), 1
    while side < size:
        total = total[:, ::2] + total[:, 1::2]
        total = total[:, :, ::2] + total[:, :, 1::2]
        side *= 2
    return total.float() / size**2


def around(features: Tensor, places: Tensor) -> Tensor:
    """(N,C) features of positions -> (n,k,C) at `places` (n,k), of `Positions.neighbours`: zero at place N."""
    padded = F.pad(features, (0, 0, 0, 1))
    return padded.index_select(0, places.flatten()).view(*places.shape, features.shape[1])


def sum_around(features: Tensor, places: Tensor) -> Tensor:
    """(n,C): the sum of `around` over the k places, which is never held in full. For integers: the order of the
    additions is nobody's promise."""
    return F.embedding_bag(places, F.pad(features, (0, 0, 0, 1)), mode="sum")
