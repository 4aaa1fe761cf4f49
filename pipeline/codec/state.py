"""What both ends keep between frames. A layer's state is changed by decoding alone, so encoder and decoder never
drift."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from pipeline.codec.adaptive import AdaptiveTables
from pipeline.codec.between import follow, mean_of
from pipeline.codec.blocks import SAMPLES, Positions, put_blocks
from pipeline.codec.deblock import how_predicted, smooth
from pipeline.codec.modes import STILL
from pipeline.codec.motion import Planes as Planes
from pipeline.codec.motion import fetch, scaled
from pipeline.codec.past import Past
from pipeline.codec.tables import Tables
from pipeline.types import CELL, Frame, Layer, cell_grid

Cells = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]

_QUALITY = 32  # expected of a first frame
_COARSER = (0, 6, 10, 13, 15)  # quality steps, of frames between others by their depth


@dataclass(frozen=True, slots=True)
class Geometry:
    """Sizes of a stream's pictures: as shown, and padded to whole cells."""

    height: int
    width: int

    @property
    def cells(self) -> tuple[int, int]:
        return cell_grid(self.height, self.width)

    @property
    def padded(self) -> tuple[int, int]:
        rows, cols = self.cells
        return rows * CELL, cols * CELL

    def pad(self, frame: Frame, device: torch.device) -> Planes:
        """A frame's planes as (1,H,W) uint8 tensors of whole cells; the edge sample repeats."""
        height, width = self.padded
        planes = []
        for plane, h, w in (
            (frame.y, height, width),
            (frame.u, height // 2, width // 2),
            (frame.v, height // 2, width // 2),
        ):
            whole, (rows, cols) = np.empty((h, w), np.uint8), plane.shape
            whole[:rows, :cols] = plane
            whole[:rows, cols:] = plane[:, -1:]
            whole[rows:] = whole[rows - 1]
            planes.append(torch.from_numpy(whole)[None].to(device))
        return planes[0], planes[1], planes[2]

    def crop(self, planes: Planes) -> tuple[npt.NDArray[np.uint8], ...]:
        """The inverse of `pad`: contiguous numpy planes."""
        h, w = self.height, self.width
        sizes = ((h, w), (-(-h // 2), -(-w // 2)), (-(-h // 2), -(-w // 2)))
        return tuple(
            np.ascontiguousarray(p[0, :rows, :cols].cpu().numpy())
            for p, (rows, cols) in zip(planes, sizes, strict=True)
        )


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of cells that holds all coded ones: work follows activity. Its corner lies on even rows and columns,
    so that places modulo four positions, which coding order and frequency windows rest on, stay what they were."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def around(cls, cells: Cells) -> Window:
        """The smallest window around the set cells, of which there is at least one."""
        rows, cols = np.flatnonzero(cells.any(1)), np.flatnonzero(cells.any(0))
        return cls(int(rows[0]) & ~1, int(cols[0]) & ~1, int(rows[-1]) + 1, int(cols[-1]) + 1)

    @property
    def cells(self) -> tuple[slice, slice]:
        """For arrays over cells."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def positions(self) -> tuple[slice, slice]:
        """For arrays over latent positions."""
        return slice(self.top * 2, self.bottom * 2), slice(self.left * 2, self.right * 2)

    def of(self, planes: Planes) -> Planes:
        """Views of planes (1,H,W)."""
        views = []
        for plane, size in zip(planes, (CELL, CELL // 2, CELL // 2), strict=True):
            rows, cols = (slice(s.start * size, s.stop * size) for s in self.cells)
            views.append(plane[:, rows, cols])
        return views[0], views[1], views[2]


def grey(geometry: Geometry, device: torch.device) -> Planes:
    """Planes of mid grey: what there is before a plate."""
    h, w = geometry.padded
    shapes = ((1, h, w), (1, h // 2, w // 2), (1, h // 2, w // 2))
    y, u, v = (torch.full(shape, 128, dtype=torch.uint8, device=device) for shape in shapes)
    return y, u, v


def cell_tensor(cells: Cells, device: torch.device) -> Tensor:
    """(rows, cols) bool -> (1, rows, cols) tensor."""
    return torch.from_numpy(cells)[None].to(device)


def mix(cells: Tensor, chosen: Planes, other: Planes) -> Planes:
    """`chosen` where `cells` (1,rows,cols) are set, `other` elsewhere. uint8, eight samples of a line at a time."""
    mixed = []
    for size, a, b in zip((CELL, CELL // 2, CELL // 2), chosen, other, strict=True):
        mask = cells.repeat_interleave(size // 8, 2)[:, :, None]
        ours, theirs = (p.contiguous().view(torch.int64).view(1, -1, size, mask.shape[3]) for p in (a, b))
        mixed.append(torch.where(mask, ours, theirs).flatten(1, 2).view(torch.uint8))
    return mixed[0], mixed[1], mixed[2]


@dataclass(frozen=True, slots=True)
class Shown:
    """What a coded frame of a layer leaves to be shown, and to those between it and another. `apart` (rows,cols): where
    the plane may not be the plate; `motion` (rows,cols,2): how its cells have moved in the last `span` frames."""

    plane: Planes
    past: Past
    symbols: Tensor
    apart: Cells
    motion: Ints
    span: int

    @property
    def cells(self) -> Cells:
        """The frame's map."""
        return self.past.cells


@dataclass(frozen=True, slots=True)
class Sides:
    """What a frame lies between: the planes before and after it, and how many frames away they are."""

    before: Planes
    after: Planes
    near: int
    far: int

    def mirrored(self, vector: Tensor) -> Tensor:
        """Where what moved by `vector`, quarter pixels, since the plane before will be in the plane after."""
        return -scaled(vector, self.far, self.near)

    def mean(self, row: Tensor, col: Tensor, vector: Tensor) -> Tensor:
        """(N,96): positions that move by `vector` (N,2) and on, as the mean of both planes, halves up."""
        picture = torch.zeros_like(row)
        found = fetch(self.before, picture, row, col, vector)
        found += fetch(self.after, picture, row, col, self.mirrored(vector))
        return torch.floor_((found + 1) / 2)


def _copied(planes: Planes) -> Planes:
    y, u, v = (plane.clone() for plane in planes)
    return y, u, v


def _stretched(past: Past, distance: int, span: int) -> Past:
    """The past with vectors that reach `distance` frames back, and not `span`."""
    if distance == span:
        return past
    return replace(past, vector=scaled(past.vector, distance, span))


class LayerState:
    """One layer: its plane, what the last frame coded where, and the tables that code it, of which `tables` are the
    beginning. A frame between two others has a state of its own, with `sides`; see `between`."""

    def __init__(self, layer: Layer, geometry: Geometry, device: torch.device, tables: Tables) -> None:
        self.layer, self.geometry, self.device, self._begin = layer, geometry, device, tables
        self.reset(grey(geometry, device))

    def reset(self, plate: Planes) -> None:
        """A key frame: the plane is the plate, and nothing was coded before."""
        rows, cols = self.geometry.cells
        self.plane: Planes = plate
        self.sides: Sides | None = None
        self.span = 1  # frames that vectors reach back
        self._motion = np.zeros((rows, cols, 2), np.int64)  # of a frame between others, where it does not say otherwise
        self._apart: Cells = np.zeros((rows, cols), np.bool_)  # where the plane may not be the plate
        self.tables = AdaptiveTables(self._begin)
        self._between = AdaptiveTables(self._begin)  # for frames between others
        self.past = Past.none((rows, cols))
        self.symbols = torch.zeros(0, SAMPLES, device=self.device)  # where the last frame's flags are set, in order
        self.age = self.depth = 0
        self._qualities: dict[int, int] = {}  # depth -> of the last frame so deep, of all mini-GOPs

    @property
    def cells(self) -> Cells:
        """The last frame's map."""
        return self.past.cells

    @property
    def shown(self) -> Shown:
        """The last frame."""
        motion, mode = self.past.vector, self.past.mode
        if self.sides is not None:
            as_expected = ~self.past.cells | (mode == STILL)
            motion = np.where(as_expected[..., None], self._motion, motion)
        return Shown(self.plane, self.past, self.symbols, self._apart, motion, self.span)

    @property
    def expected_quality(self) -> int:
        """Of the next frame: as the last one so deep had it or, where there was none, somewhat less than others."""
        known = [depth for depth in range(self.depth, -1, -1) if depth in self._qualities]
        quality, depth = (self._qualities[known[0]], known[0]) if known else (_QUALITY, 0)
        return max(0, quality - _COARSER[self.depth] + _COARSER[depth])

    def note_quality(self, q: int) -> None:
        self._qualities[self.depth] = q

    def reach(self, distance: int) -> None:
        """The next frame is so many frames after the last one: what moved on as before moved so much further."""
        if distance != self.span:
            self.past, self.span = _stretched(self.past, distance, self.span), distance

    def between(
        self, before: Shown, after: Shown, distances: tuple[int, int], apart: Cells, *, depth: int = 1
    ) -> LayerState:
        """The state that codes a frame between two others, so deep in its mini-GOP, at these `distances` from them,
        which are alike but in the cells `apart`. It knows what `after` knows."""
        state = copy(self)
        state.depth = depth
        near, far = distances
        state.sides = Sides(before.plane, after.plane, near, far)
        state.past, state.symbols = _stretched(after.past, near, after.span), after.symbols
        state.span, state._apart, state.tables = near, before.apart | after.apart, self._between
        state.plane, state._motion = mean_of(before.plane, after.plane, apart), np.zeros_like(after.motion)
        if self.layer is Layer.FOREGROUND:
            motion = scaled(after.motion, near, after.span)
            state.plane, state._motion = follow(before.plane, after.plane, distances, apart, motion, state.plane)
        return state

    def symbols_at(self, window: Window, at: Positions) -> Tensor:
        """The last frame's symbols at the positions `at` of a window, (N,96); zero where it had none."""
        if not len(self.symbols):
            return torch.zeros(len(at), SAMPLES, device=self.device)
        number = np.cumsum(self.past.coded).reshape(self.past.coded.shape)  # of each flag that is set, from 1
        number[~self.past.coded] = 0
        place = torch.from_numpy(number[window.positions]).to(self.device).reshape(-1)[at.index]
        return F.pad(self.symbols, (0, 0, 1, 0)).index_select(0, place)

    def commit(
        self, cells: Cells, window: Window, *, at: Positions, blocks: Tensor, coded: Positions, symbols: Tensor,
        mode: Ints, vector: Ints, side: Ints, q: int,
    ) -> None:  # fmt: skip
        """A frame of quality `q`, all of it inside `window`: `blocks` (N,96) grey levels at the positions `at` of all
        its cells, `symbols` (M,96) at those that are `coded`; `mode` and `side` (n,), `vector` (n,4,2) of the cells."""
        self.plane = _copied(self.plane)
        put_blocks(window.of(self.plane), at, blocks.round().clamp(0, 255).to(torch.uint8))
        flags = np.zeros_like(self.past.coded)
        flags[window.positions] = coded.chosen[0].cpu().numpy()
        self._smooth(cells, flags, mode, vector, side, q)
        self._remember(cells, flags, symbols, mode, vector)

    def commit_still(self, cells: Cells, q: int) -> None:
        """A frame of quality `q` all of whose `cells` stay as they are."""
        count = np.count_nonzero(cells)
        nothing, none, still = (
            np.zeros(count, np.int64),
            np.zeros_like(self.past.coded),
            np.zeros((count, 4, 2), np.int64),
        )
        if self.sides is not None:  # else there is no edge
            self.plane = _copied(self.plane)
            self._smooth(cells, none, nothing, still, nothing, q)
        self._remember(cells, none, self.symbols[:0], nothing, still)

    def _smooth(self, cells: Cells, flags: Cells, mode: Ints, vector: Ints, side: Ints, q: int) -> None:
        """The edges of the frame, between cells of its map. Cells that stay moved before the frame was coded."""
        if self.sides is not None:
            vector = np.where((mode == STILL)[:, None, None], self._motion[cells][:, None], vector)
        smooth(self.plane, how_predicted(cells, mode, vector, side), flags, q)

    def _remember(self, cells: Cells, flags: Cells, symbols: Tensor, mode: Ints, vector: Ints) -> None:
        self._apart = self._apart | cells
        self.symbols = symbols
        total, filled = np.zeros(flags.shape, np.uint8), np.zeros(flags.shape, np.uint8)
        if len(symbols):
            sums = torch.stack((symbols.abs().sum(1).clamp(max=255), (symbols != 0).sum(1)))
            total[flags], filled[flags] = sums.byte().cpu().numpy()
        modes, vectors = np.full(cells.shape, -1, np.int64), np.zeros((*cells.shape, 2), np.int64)
        modes[cells], vectors[cells] = mode, vector[:, 0]
        self.past = self.past.then(cells, modes, vectors, flags, total, filled)
        self.age += 1

    def commit_empty(self) -> None:
        """A frame in which this layer coded nothing."""
        self.symbols = self.symbols[:0]
        self.past = self.past.then_nothing()
        self.age += 1

    def restore(self, cells: Cells, plate: Planes) -> None:
        """Outside `cells` the plane becomes the plate again: what leaves the foreground leaves no ghost."""
        if (self._apart & ~cells).any():
            self.plane = mix(cell_tensor(cells, self.device), self.plane, plate) if cells.any() else plate
        self._apart = self._apart & cells
