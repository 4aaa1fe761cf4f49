"""The encoder's choice of mode and vector for each coded cell. The decoder never sees how it was made."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec.blocks import LUMA
from pipeline.codec.maps import MOVED, PLATE, SPLIT, STILL, Vectors, places_of
from pipeline.codec.model import LAMBDA
from pipeline.codec.motion import MAX_VECTOR, FlowSearch, fetch_luma
from pipeline.codec.state import LayerState, Planes
from pipeline.types import CELL

Ints = npt.NDArray[np.int64]

_REACH = 64  # pixels around the coded cells in which motion is looked for
_MODE_BITS = {STILL: 1.0, PLATE: 3.0, MOVED: 8.0, SPLIT: 26.0}
_NEIGHBOURS = ((0, -1), (0, 1), (-1, 0), (1, 0))


class MotionSearch:
    """One per encoder and layer."""

    def __init__(self) -> None:
        self._flow = FlowSearch()

    def choose(
        self,
        picture: Planes,
        state: LayerState,
        plate: Planes,
        cells: npt.NDArray[np.bool_],
        *,
        lively: npt.NDArray[np.bool_],
        step: float,
        move: bool,
    ) -> Vectors:
        """Modes and vectors of a layer's cells. Those that are not `lively` are predicted in place.

        `move`: look for motion at all (where not, only the plane in place and the plate compete).
        """
        everywhere = places_of(cells)
        chosen = lively[cells]
        vectors = Vectors.still(everywhere)
        if chosen.any():
            mode, vector = self._choose(picture, state, plate, everywhere[chosen], step=step, move=move)
            vectors.mode[chosen], vectors.vector[chosen] = mode, vector
        return vectors

    def _choose(
        self, picture: Planes, state: LayerState, plate: Planes, places: Ints, *, step: float, move: bool
    ) -> tuple[Ints, Ints]:
        """(mode, vector) of cells that cost least: luma error + bits * step^2 / LAMBDA."""
        luma = _cell_luma(picture[0], places)
        price = step * step / LAMBDA
        costs = {
            STILL: _error(luma, _cell_luma(state.plane[0], places)).sum(1) + price * _MODE_BITS[STILL],
            PLATE: _error(luma, _cell_luma(plate[0], places)).sum(1) + price * _MODE_BITS[PLATE],
        }
        vectors = {STILL: np.zeros((len(places), 4, 2), np.int64)}
        vectors[PLATE] = vectors[STILL]
        if move:
            own = self._flow_vectors(picture[0], state.plane[0], places)
            shared, error = self._shared(luma, state, places, own)
            vectors[MOVED], costs[MOVED] = shared, error + price * _MODE_BITS[MOVED]
            vectors[SPLIT] = own
            costs[SPLIT] = _moved_error(luma, state, places, own).sum(1) + price * _MODE_BITS[SPLIT]
        kinds = sorted(costs)
        mode = np.array(kinds)[np.argmin(np.stack([costs[k] for k in kinds]), axis=0)]
        vector = np.zeros((len(places), 4, 2), np.int64)
        for kind in (MOVED, SPLIT):
            if kind in vectors:
                vector[mode == kind] = vectors[kind][mode == kind]
        mode[(mode == SPLIT) & (vector == vector[:, :1]).all((1, 2))] = MOVED
        mode[(mode == MOVED) & ~vector.any((1, 2))] = STILL
        return mode, vector

    def _flow_vectors(self, current: Tensor, reference: Tensor, places: Ints) -> Ints:
        """Median flow of each of the cells' four blocks, (n,4,2)."""
        height, width = current.shape[1:]
        top, left = np.maximum(places.min(0) * CELL - _REACH, 0)
        bottom, right = np.minimum((places.max(0) + 1) * CELL + _REACH, (height, width))
        window = slice(int(top), int(bottom)), slice(int(left), int(right))
        medians = self._flow.block_medians(
            np.ascontiguousarray(current[0].cpu().numpy()[window]),
            np.ascontiguousarray(reference[0].cpu().numpy()[window]),
        )
        row, col = (places[:, 0] * 2 - top // 8), (places[:, 1] * 2 - left // 8)
        return np.stack([medians[row + dy, col + dx] for dy in (0, 1) for dx in (0, 1)], axis=1)

    def _shared(self, luma: Tensor, state: LayerState, places: Ints, own: Ints) -> tuple[Ints, npt.NDArray[np.float32]]:
        """The best vector for the whole of each cell, and its error: middle of the flow or last frame's, then
        refined."""
        middle = np.rint(np.median(own, axis=1)).astype(np.int64)
        last = state.vector[places[:, 0], places[:, 1]]
        best, error = _best(luma, state, places, [middle, last])
        around = [np.clip(best + np.array(n), -MAX_VECTOR, MAX_VECTOR) for n in _NEIGHBOURS]
        best, error = _best(luma, state, places, around, best, error)
        return np.repeat(best[:, None], 4, axis=1), error


def _best(
    luma: Tensor,
    state: LayerState,
    places: Ints,
    candidates: list[Ints],
    best: Ints | None = None,
    error: npt.NDArray[np.float32] | None = None,
) -> tuple[Ints, npt.NDArray[np.float32]]:
    for candidate in candidates:
        found = _moved_error(luma, state, places, np.repeat(candidate[:, None], 4, axis=1)).sum(1)
        if best is None or error is None:
            best, error = candidate, found
        else:
            better = found < error
            best, error = np.where(better[:, None], candidate, best), np.where(better, found, error)
    if best is None or error is None:
        raise ValueError("no candidate vectors")
    return best, error


def _cell_luma(plane: Tensor, places: Ints) -> Tensor:
    """(1,H,W) -> (n,4,64): the cells' blocks."""
    _, height, width = plane.shape
    tiles = plane.view(height // CELL, 2, 8, width // CELL, 2, 8).permute(0, 3, 1, 4, 2, 5)
    index = torch.from_numpy(places).to(plane.device)
    return tiles[index[:, 0], index[:, 1]].reshape(-1, 4, LUMA).float()


def _error(luma: Tensor, prediction: Tensor) -> npt.NDArray[np.float32]:
    """(n,4,64) x2 -> (n,4) squared error."""
    found: npt.NDArray[np.float32] = (luma - prediction).square().sum(2).cpu().numpy()
    return found


def _moved_error(luma: Tensor, state: LayerState, places: Ints, vectors: Ints) -> npt.NDArray[np.float32]:
    """Error of the plane moved by (n,4,2) vectors."""
    corners = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    positions = (places[:, None] * 2 + corners).reshape(-1, 2)
    device = luma.device
    row, col = (torch.from_numpy(np.ascontiguousarray(positions[:, k])).to(device) for k in (0, 1))
    moved = fetch_luma(
        state.plane[0], torch.zeros_like(row), row, col, torch.from_numpy(vectors.reshape(-1, 2)).to(device)
    )
    return _error(luma, moved.view(-1, 4, LUMA))
