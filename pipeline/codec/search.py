"""The encoder's choice of mode and vector for each coded cell. The decoder never sees how it was made.

Each candidate costs, in bits, what its residual would take or do (`residual_cost`) and what mode and vector take in the
layer's tables. Cells are decided in the order in which they are coded, so that vectors are priced against the very
prediction that codes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec.blocks import Positions, blocks_at
from pipeline.codec.maps import (
    MOVED,
    PLATE,
    SPLIT,
    STILL,
    Known,
    Vectors,
    mode_rows,
    places_of,
    predict_vector,
    vector_rows,
)
from pipeline.codec.match import match
from pipeline.codec.model import LAMBDA, loss_weight, residual_cost
from pipeline.codec.motion import MAX_VECTOR, fetch
from pipeline.codec.nets import step_size
from pipeline.codec.state import LayerState, Planes
from pipeline.codec.tables import FIRST_VECTOR, VECTOR_ROWS, Tables

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_FARTHEST = 2 * MAX_VECTOR  # that a vector can lie from its prediction
_NEIGHBOURS = ((0, -1), (-1, 0), (0, 1), (1, 0))


@dataclass(frozen=True, slots=True)
class _Candidates:
    """K ways to predict each of n cells: `mode` (K,), `vector` (n,K,4,2), `bits` (n,K) without mode and vector."""

    mode: Ints
    vector: Ints
    bits: Floats


@dataclass(frozen=True, slots=True)
class MotionSearch:
    """`basis` (96,96): the principal components in which a residual is priced. `vector_bits`: of each table for vectors
    what the differences from -_FARTHEST to _FARTHEST take."""

    tables: Tables
    basis: Tensor
    vector_bits: list[list[float]] = field(init=False)

    def __post_init__(self) -> None:
        differences = np.arange(-_FARTHEST, _FARTHEST + 1)
        rows = (np.full_like(differences, FIRST_VECTOR + k) for k in range(VECTOR_ROWS - 1))
        object.__setattr__(self, "vector_bits", [self.tables.costs(row, differences).tolist() for row in rows])

    def choose(
        self,
        picture: Planes,
        state: LayerState,
        plate: Planes,
        cells: npt.NDArray[np.bool_],
        *,
        lively: npt.NDArray[np.bool_],
        importance: npt.NDArray[np.float32],
        q: int,
        move: bool,
    ) -> Vectors:
        """Modes and vectors of a layer's cells. Those that are not `lively` are predicted in place. `importance`
        (rows,cols) 0..1.

        `move`: look for motion at all (where not, only the plane in place and the plate compete).
        """
        vectors = Vectors.still(places_of(cells))
        if not lively.any():
            return vectors
        search = _Search(self, picture, state, plate, lively, importance, q)
        mode, vector = search.decide(search.candidates(move=move))
        vectors.mode[lively[cells]], vectors.vector[lively[cells]] = mode, vector
        return vectors


class _Search:
    """One layer of one frame."""

    def __init__(
        self,
        rules: MotionSearch,
        picture: Planes,
        state: LayerState,
        plate: Planes,
        lively: npt.NDArray[np.bool_],
        importance: npt.NDArray[np.float32],
        q: int,
    ) -> None:
        device = picture[0].device
        self.rules, self.picture, self.state, self.plate = rules, picture, state, plate
        self.places = places_of(lively)
        inner = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
        position = torch.from_numpy((self.places[:, None] * 2 + inner).reshape(-1, 2)).to(device)
        self._row, self._col = position[:, 0].contiguous(), position[:, 1].contiguous()
        at = Positions.of_cells(torch.from_numpy(lively)[None].to(device))
        number = torch.empty(at.chosen.shape[1:], dtype=torch.int64, device=device)
        number[at.row, at.col] = torch.arange(len(at), device=device)
        self._blocks = blocks_at(picture, at)[number[self._row, self._col]]
        self._step = step_size(torch.full((len(position),), float(q), device=device))
        self._weight = loss_weight(torch.from_numpy(importance[lively]).to(device).repeat_interleave(4))

    def candidates(self, *, move: bool) -> _Candidates:
        still = np.zeros((len(self.places), 4, 2), np.int64)
        if not move:
            return self._priced([(STILL, still), (PLATE, still)])
        device, last = self._row.device, self.state.vector[self.places[:, 0], self.places[:, 1]]
        matches = match(
            self.picture[0],
            self.state.plane[0],
            torch.from_numpy(self.places).to(device),
            torch.from_numpy(last).to(device),
            price=float(self._step[0]) ** 2 / LAMBDA,
        )
        whole = matches.whole.cpu().numpy()
        moved = [np.repeat(vector[:, None], 4, axis=1) for vector in (whole, last, *self._around(whole))]
        return self._priced(
            [(STILL, still), (PLATE, still), (SPLIT, matches.own.cpu().numpy()), *((MOVED, v) for v in moved)]
        )

    def _around(self, vector: Ints) -> list[Ints]:
        """The vectors of the neighbours of each cell: one that they share is cheap."""
        field = np.zeros((*self.state.cells.shape, 2), np.int64)
        field[self.places[:, 0], self.places[:, 1]] = vector
        padded = np.pad(field, ((1, 1), (1, 1), (0, 0)))
        return [padded[self.places[:, 0] + 1 + dy, self.places[:, 1] + 1 + dx] for dy, dx in _NEIGHBOURS]

    def _priced(self, ways: list[tuple[int, Ints]]) -> _Candidates:
        mode = np.array([mode for mode, _ in ways])
        vector = np.stack([vector for _, vector in ways], axis=1)
        positions = np.broadcast_to(np.arange(len(self._row)).reshape(-1, 1, 4), vector.shape[:3])
        plates = np.broadcast_to(mode[:, None] == PLATE, positions.shape)
        keys = np.stack((positions, plates, vector[..., 0], vector[..., 1]), -1).reshape(-1, 4)
        once, where = _unique(keys)
        bits = np.zeros(len(once))
        for plate, planes in ((0, self.state.plane), (1, self.plate)):
            here = once[:, 1] == plate
            at = torch.from_numpy(once[here]).to(self._row.device)
            row, col = self._row[at[:, 0]], self._col[at[:, 0]]
            residual = self._blocks[at[:, 0]] - fetch(planes, torch.zeros_like(row), row, col, at[:, 2:])
            cost = residual_cost(residual, self.rules.basis, self._step[at[:, 0]], self._weight[at[:, 0]])
            bits[here] = cost.cpu().numpy()
        return _Candidates(mode, vector, bits[where].reshape(positions.shape).sum(2))

    def decide(self, candidates: _Candidates) -> tuple[Ints, Ints]:
        """The cheapest candidate of each cell: (mode (n,), vector (n,4,2))."""
        mode, vectors = candidates.mode, candidates.vector
        cost = candidates.bits + self._mode_bits(candidates)
        moving = np.flatnonzero(np.isin(mode, (MOVED, SPLIT)))
        best = self._walk(cost, moving, vectors[:, moving, 0]) if len(moving) else cost.argmin(1)
        chosen, vector = mode[best], vectors[np.arange(len(best)), best]
        chosen[(chosen == SPLIT) & (vector == vector[:, :1]).all((1, 2))] = MOVED
        chosen[(chosen == MOVED) & ~vector.any((1, 2))] = STILL
        return chosen, vector

    def _walk(self, cost: Floats, moving: Ints, vector: Ints) -> Ints:
        """The cheapest of each cell's candidates, (n,). `cost` (n,K) without the vectors; `moving` (m,) which of the K
        have one, `vector` (n,m,2)."""
        ways, known, best = moving.tolist(), Known(), []
        tables = vector_rows(self.state.vector[self.places[:, 0], self.places[:, 1]])[:, 0] - FIRST_VECTOR
        each = zip(self.places.tolist(), tables.tolist(), cost.tolist(), vector.tolist(), strict=True)
        for (row, col), table, bits, vectors in each:
            y, x = predict_vector(known, row, col)
            y, x, of = y - _FARTHEST, x - _FARTHEST, self.rules.vector_bits[table]
            for way, (dy, dx) in zip(ways, vectors, strict=True):
                bits[way] += of[dy - y] + of[dx - x]
            cheapest = bits.index(min(bits))
            if cheapest in ways:
                dy, dx = vectors[ways.index(cheapest)]
                known[row, col] = dy, dx
            best.append(cheapest)
        return np.array(best, np.int64)

    def _mode_bits(self, candidates: _Candidates) -> Floats:
        """Bits of the modes, and of how the vectors of split cells differ within them, (n,K)."""
        costs, mode, vector = self.rules.tables.costs, candidates.mode, candidates.vector
        before = mode_rows(self.state.layer, self.state.mode[self.places[:, 0], self.places[:, 1]])
        bits = costs(np.repeat(before, len(mode)), np.tile(mode, len(before))).reshape(len(before), -1)
        split = mode == SPLIT
        inner = (vector[:, split, 1:] - vector[:, split, :1]).reshape(-1)
        if inner.size:
            bits[:, split] += costs(np.full(len(inner), FIRST_VECTOR + 3), inner).reshape(len(bits), -1, 6).sum(2)
        return bits


def _unique(keys: Ints) -> tuple[Ints, Ints]:
    """Rows (m,4) of integers, each once, and where in that list each is found."""
    low = keys.min(0)
    span = keys.max(0) - low + 1
    flat = np.ravel_multi_index(tuple((keys - low).T), tuple(span))
    _, first, where = np.unique(flat, return_index=True, return_inverse=True)
    return keys[first], where
