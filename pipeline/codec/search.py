"""The encoder's choice of mode and vector for each coded cell. The decoder never sees how it was made.

Each candidate costs, in bits, what its residual would take or do (`residual_cost`) and what mode and vector take in the
layer's tables. Cells are decided in the order in which they are coded, so that vectors are priced against the very
prediction that codes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec.blocks import Positions, blocks_at
from pipeline.codec.effort import BEST, Effort
from pipeline.codec.match import match
from pipeline.codec.model import LAMBDA, loss_weight, residual_cost
from pipeline.codec.modes import MOVED, PLATE, SPLIT, STILL, ModeField, Vectors, is_moving, places_of
from pipeline.codec.motion import fetch
from pipeline.codec.nets import step_size
from pipeline.codec.past import Moment
from pipeline.codec.state import LayerState, Planes
from pipeline.codec.tables import Tables
from pipeline.codec.vectors import Guesses, VectorField

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Candidates:
    """K ways to predict each of n cells: `mode` (K,), `vector` (n,K,4,2), `bits` (n,K) without mode and vector."""

    mode: Ints
    vector: Ints
    bits: Floats

    def select(self, which: Ints) -> _Candidates:
        return _Candidates(self.mode, self.vector[which], self.bits[which])

    def joined(self, other: _Candidates) -> _Candidates:
        """These and others of the same cells."""
        return _Candidates(
            np.concatenate((self.mode, other.mode)),
            np.concatenate((self.vector, other.vector), axis=1),
            np.concatenate((self.bits, other.bits), axis=1),
        )


@dataclass(frozen=True, slots=True)
class MotionSearch:
    """`basis` (96,96): the principal components in which a residual is priced."""

    tables: Tables
    basis: Tensor

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
        effort: Effort = BEST,
    ) -> Vectors:
        """Modes and vectors of a layer's cells. Those that are not `lively` are predicted in place. `importance`
        (rows,cols) 0..1.

        `move`: look for motion at all (where not, only the plane in place and the plate compete).
        """
        vectors = Vectors.still(places_of(cells))
        if not lively.any():
            return vectors
        search = _Search(self, picture, state, plate, lively, importance, q, effort)
        search.decide(vectors, cells, move=move)
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
        effort: Effort,
    ) -> None:
        device = picture[0].device
        self.rules, self.picture, self.state, self.plate = rules, picture, state, plate
        self.lively, self.moment, self.effort = lively, Moment(state.layer, q, state.age), effort
        self.places = places_of(lively)
        inner = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
        position = torch.from_numpy((self.places[:, None] * 2 + inner).reshape(-1, 2)).to(device)
        self._row, self._col = position[:, 0].contiguous(), position[:, 1].contiguous()
        at = Positions.of_cells(torch.from_numpy(lively)[None].to(device))
        number = torch.empty(at.chosen.shape[1:], dtype=torch.int64, device=device)
        number[at.row, at.col] = torch.arange(len(at), device=device)
        place = number[self._row, self._col]
        self._blocks, self._still, self._plated = (blocks_at(p, at)[place] for p in (picture, state.plane, plate))
        self._step = step_size(torch.full((len(position),), float(q), device=device))
        self._weight = loss_weight(torch.from_numpy(importance[lively]).to(device).repeat_interleave(4))

    def _candidates(self, *, move: bool) -> _Candidates:
        """Those that do not hang on what is chosen for other cells."""
        still = np.zeros((len(self.places), 4, 2), np.int64)
        ways, everything = [(STILL, still), (PLATE, still)], np.arange(len(self.places))
        if move:
            device, last = self._row.device, self.state.past.vector[self.places[:, 0], self.places[:, 1]]
            matches = match(
                self.picture[0],
                self.state.plane[0],
                torch.from_numpy(self.places).to(device),
                torch.from_numpy(last).to(device),
                price=float(self._step[0]) ** 2 / LAMBDA,
                effort=self.effort,
            )
            whole = np.repeat(matches.whole.cpu().numpy()[:, None], 4, axis=1)
            ways += [(MOVED, whole)] + ([(SPLIT, matches.own.cpu().numpy())] if self.effort.split else [])
        return self._priced(ways, everything)

    def _priced(self, ways: list[tuple[int, Ints]], which: Ints) -> _Candidates:
        """Ways (mode, vectors (n,4,2)) to predict `which` (n,) of the places."""
        mode = np.array([mode for mode, _ in ways])
        vector = np.stack([vector for _, vector in ways], axis=1)
        positions = np.broadcast_to((which[:, None] * 4 + np.arange(4))[:, None], vector.shape[:3])
        plates = np.broadcast_to(mode[:, None] == PLATE, positions.shape)
        keys = np.stack((positions, plates, vector[..., 0], vector[..., 1]), -1).reshape(-1, 4)
        once, where = _unique(keys)
        bits = np.zeros(len(once))
        for plate in (False, True):
            here = once[:, 1] == plate
            if here.any():
                at = torch.from_numpy(once[here]).to(self._row.device)
                place = at[:, 0]
                residual = self._blocks[place] - self._predicted(place, at[:, 2:], plate=plate)
                cost = residual_cost(residual, self.rules.basis, self._step[place], self._weight[place])
                bits[here] = cost.cpu().numpy()
        return _Candidates(mode, vector, bits[where].reshape(positions.shape).sum(2))

    def _predicted(self, place: Tensor, vector: Tensor, *, plate: bool) -> Tensor:
        """(n,96): the blocks of some positions, in place or moved by `vector` (n,2)."""
        found = (self._plated if plate else self._still)[place]
        moved = vector.any(1).nonzero().squeeze(1)
        if moved.numel():
            at, planes = place[moved], self.plate if plate else self.state.plane
            found[moved] = fetch(planes, torch.zeros_like(at), self._row[at], self._col[at], vector[moved])
        return found

    def decide(self, vectors: Vectors, cells: npt.NDArray[np.bool_], *, move: bool) -> None:
        """Fill in modes and vectors of the lively ones of `cells`, phase by phase as they are coded: the cheapest
        candidate of each, by what the layer's tables take for it."""
        modes = ModeField(self.rules.tables, self.moment, cells, self.state.past)
        field, found = VectorField(self.moment, self.state.past), self._candidates(move=move)
        lively = self.lively[cells]
        number = np.cumsum(lively) - 1
        for phase, everyone in enumerate(modes.places.here):
            here = everyone[lively[everyone]]
            if len(here):
                which, (row, col) = number[here], vectors.places[here].T
                bits = modes.bits(phase)[lively[everyone]]
                guesses = field.guesses(phase, row, col)
                ways = found.select(which)
                if move:
                    ways = ways.joined(self._taken(guesses, which))
                mode, vector = self._cheapest(ways, bits, guesses, field, row, col)
                vectors.mode[here], vectors.vector[here] = mode, vector
                moving = is_moving(mode)
                field.holds(row[moving], col[moving], vector[moving, 0])
            if len(everyone):
                modes.holds(phase, vectors.mode[everyone])

    def _taken(self, guesses: Guesses, which: Ints) -> _Candidates:
        """The vectors that cells can take from others. Where there are fewer than `TAKEN - 1` the last is tried
        again."""
        last = (guesses.count - 1).clip(0)
        each = np.arange(len(which))
        ways = []
        for k in range(self.effort.taken):
            vector = guesses.vectors[each, np.minimum(k, last)]
            ways.append((MOVED, np.repeat(np.where(guesses.count[:, None] > 0, vector, 0)[:, None], 4, axis=1)))
        return self._priced(ways, which)

    def _cheapest(
        self, ways: _Candidates, bits: Floats, guesses: Guesses, field: VectorField, row: Ints, col: Ints
    ) -> tuple[Ints, Ints]:
        """(mode (n,), vector (n,4,2)); `bits` (n,4) of the modes."""
        tables, mode, each = self.rules.tables, ways.mode, np.arange(len(row))
        cost = ways.bits + bits[:, mode]
        moving, split = np.flatnonzero(is_moving(mode)), np.flatnonzero(mode == SPLIT)
        if len(moving):
            many = guesses.select(np.repeat(each, len(moving)))
            first = ways.vector[:, moving, 0].reshape(-1, 2)
            cost[:, moving] += many.bits(tables, first).reshape(-1, len(moving))
        if len(split):
            own = ways.vector[:, split].reshape(-1, 4, 2)
            inner = field.inner((1, 2, 3), np.repeat(row, len(split)), np.repeat(col, len(split)), own)
            of_blocks = inner.bits(tables, np.concatenate((own[:, 1], own[:, 2], own[:, 3])))
            cost[:, split] += of_blocks.reshape(3, -1, len(split)).sum(0)
        best = cost.argmin(1)
        chosen, vector = mode[best], ways.vector[each, best]
        chosen[(chosen == SPLIT) & (vector == vector[:, :1]).all((1, 2))] = MOVED
        chosen[(chosen == MOVED) & ~vector.any((1, 2))] = STILL
        return chosen, vector


def _unique(keys: Ints) -> tuple[Ints, Ints]:
    """Rows (m,4) of integers, each once, and where in that list each is found."""
    low = keys.min(0)
    span = keys.max(0) - low + 1
    flat = np.ravel_multi_index(tuple((keys - low).T), tuple(span))
    _, first, where = np.unique(flat, return_index=True, return_inverse=True)
    return keys[first], where
