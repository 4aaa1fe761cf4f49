"""The encoder's choice of mode and vector for each coded cell. The decoder never sees how it was made.

Each candidate costs, in bits, what its residual would take or do and what mode and vector take in the layer's tables.
Cells are decided in the order in which they are coded, so that vectors are priced against the very prediction that
codes them. All of it runs on the host, wherever the nets are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec.blocks import weighted
from pipeline.codec.effort import BEST, Effort
from pipeline.codec.match import Matches, match
from pipeline.codec.model import LAMBDA, loss_weight
from pipeline.codec.modes import BOTH, MOVED, PLATE, SIDES, SPLIT, STILL, ModeField, Vectors, places_of
from pipeline.codec.motion import MAX_VECTOR, host_planes, scaled
from pipeline.codec.native import compiled
from pipeline.codec.nets import step_size
from pipeline.codec.past import Moment
from pipeline.codec.prices import AS_IT_IS, FROM_PLATE, Scene, Scratch, block_cost, load, priced, scratch_space
from pipeline.codec.state import LayerState, Planes, Sides
from pipeline.codec.tables import SIDE
from pipeline.codec.vectors import VectorField, first_guess, inner_guess, vector_bits

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Cells = npt.NDArray[np.bool_]
HostPlanes = tuple[Bytes, Bytes, Bytes]

_NEW = 3  # see `_candidate`
_NEAR = np.array(((-1, 0), (1, 0), (0, -1), (0, 1)))


class _Rules(NamedTuple):
    """What side information is priced by: the tables' `prices`, and what a vector is guessed from."""

    edges: Ints
    costs: npt.NDArray[np.float64]
    kind: int
    phase: int
    vector: Ints  # of `VectorField`
    known: Cells
    last: Ints  # (rows,cols,2) of the layer's last frame
    moved: Cells


@dataclass(frozen=True, slots=True)
class MotionSearch:
    """`basis` (96,96): the principal components in which a residual is priced."""

    basis: Tensor

    def choose(
        self,
        picture: Planes,
        state: LayerState,
        plate: Planes,
        cells: Cells,
        *,
        lively: Cells,
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
        step, places = float(step_size(torch.tensor(float(q)))), places_of(lively)
        # As columns, with the weights of the measure in them: `weighted(residual) @ basis.T`.
        basis = weighted(self.basis).T.contiguous().cpu().numpy()
        sides = state.sides or Sides(state.plane, state.plane, 1, 1)
        scene = Scene(
            host_planes(picture), host_planes(sides.before), host_planes(plate), basis, step, host_planes(state.plane),
            state.sides is not None, host_planes(sides.after), sides.near, sides.far,
        )  # fmt: skip
        past, weight = state.past, loss_weight(torch.from_numpy(importance[lively])).numpy() * np.float32(LAMBDA)
        matches = [Matches.none(len(places))]
        if move:
            matches = self._matches(scene, places, past.vector[lively], state.span, step**2 / LAMBDA, effort)
        moment = Moment(state.layer, q, state.age)
        modes, field = ModeField(state.tables, moment, cells, past), VectorField(moment, past)
        of_cells, number, scratch = lively[cells], np.cumsum(lively[cells]) - 1, scratch_space()
        whole, own = np.stack([each.whole for each in matches]), np.stack([each.own for each in matches])
        side_bits = np.zeros(SIDES)
        if scene.sides:
            side_bits = state.tables.costs(np.full(SIDES, SIDE), np.arange(SIDES))
        for phase, everyone in enumerate(modes.places.here):
            here = everyone[of_cells[everyone]]
            if len(here):
                which, (edges, costs) = number[here], state.tables.prices
                rules = _Rules(
                    edges, costs, int(state.layer), phase, field.vector, field.known, past.vector, field.moved
                )
                mode, side, vector = (np.zeros((len(here), *each), np.int64) for each in ((), (), (4, 2)))
                _decide(
                    scene, rules, scratch, places[which], weight[which], modes.bits(phase)[of_cells[everyone]],
                    side_bits, whole[:, which], own[:, which], move, effort.refine, effort.split, effort.taken, mode,
                    side, vector,
                )  # fmt: skip
                vectors.mode[here], vectors.side[here], vectors.vector[here] = mode, side, vector
            if len(everyone):
                modes.holds(phase, vectors.mode[everyone])
        return vectors

    def _matches(
        self, scene: Scene, places: Ints, last: Ints, span: int, price: float, effort: Effort
    ) -> list[Matches]:
        """Where the cells at `places` (n,2) lie, `span` frames back; between two frames in both, in the one before and
        in the one after, as they have moved since the one before."""
        now, before, after = scene.picture[0], scene.before[0], scene.after[0]
        look = partial(match, now, places=places, price=price, effort=effort)
        if not scene.sides:
            return [look(before, last=last, distance=span)]
        both = look(before, last=last, distance=scene.near, mirror=(after, scene.near, scene.far))
        if not effort.refine:  # what moves with one side alone moves as with both
            return [both] * SIDES
        onward = look(after, last=-scaled(last, scene.far, scene.near), distance=scene.far)
        back = [-scaled(each, scene.near, scene.far) for each in (onward.whole, onward.own)]
        return [both, look(before, last=last, distance=scene.near), Matches(*back)]


@compiled
def _decide(
    scene: Scene, rules: _Rules, scratch: Scratch, places: Ints, weight: Floats, mode_bits: npt.NDArray[np.float64],
    side_bits: npt.NDArray[np.float64], whole: Ints, own: Ints, move: bool, refine: bool, split: bool, taken: int,
    mode: Ints, side: Ints, vector: Ints,
) -> None:  # fmt: skip
    """The cheapest candidate of each cell of a phase: `mode` and `side` (n,), `vector` (n,4,2). `mode_bits` (n,4),
    `side_bits` (3,); `whole` (S,n,2) and `own` (S,n,4,2): the matches of S sides, of one where the frame has none."""
    same = np.empty((4, 2), np.int64)
    for n in range(len(places)):
        row, col = places[n, 0], places[n, 1]
        load(scene.picture, row, col, scratch)
        _set(same, 0, 0)
        best, least = STILL, np.inf
        for plate in range(2):
            candidate = PLATE if plate else STILL
            source = FROM_PLATE if plate else AS_IT_IS if scene.sides else BOTH
            cost = priced(scene, scratch, row, col, same, source, weight[n], mode_bits[n, candidate], least)
            if cost < least:
                best, least = candidate, cost
        if move:
            vectors, facts = scratch.vectors, scratch.facts
            first_guess(
                rules.phase, row, col, rules.kind, rules.vector, rules.known, rules.last, rules.moved,
                scratch.candidates, scratch.there, vectors, facts,
            )  # fmt: skip
            for which in range(len(whole)):
                bits = mode_bits[n, MOVED] + side_bits[which]
                for k in range(_NEW + min(taken, facts[0])):
                    if 0 < k < _NEW and not refine:
                        continue
                    y, x = _candidate(k, whole[which, n], vectors, facts)
                    cost = _moved(scene, rules, scratch, row, col, y, x, which, weight[n], bits, least, same)
                    if cost < least:
                        best, least, side[n] = MOVED, cost, which
                        _set(vector[n], y, x)
            if refine and best == MOVED:
                middle_y, middle_x, which = vector[n, 0, 0], vector[n, 0, 1], side[n]
                bits = mode_bits[n, MOVED] + side_bits[which]
                for k in range(len(_NEAR)):
                    y, x = middle_y + _NEAR[k, 0], middle_x + _NEAR[k, 1]
                    cost = _moved(scene, rules, scratch, row, col, y, x, which, weight[n], bits, least, same)
                    if cost < least:
                        least = cost
                        _set(vector[n], y, x)
            if split:
                for which in range(len(own)):
                    bits = mode_bits[n, SPLIT] + side_bits[which]
                    cost = _split(scene, rules, scratch, row, col, own[which, n], which, weight[n], bits, least, same)
                    if cost < least:
                        best, least, side[n] = SPLIT, cost, which
                        for block in range(4):
                            vector[n, block, 0], vector[n, block, 1] = same[block, 0], same[block, 1]
        if best == SPLIT and _alike(vector[n]):
            best = MOVED
        if best == MOVED and not scene.sides and vector[n, 0, 0] == 0 and vector[n, 0, 1] == 0:
            best = STILL
        mode[n] = best
        if best != MOVED and best != SPLIT:
            side[n] = BOTH
        if best in (MOVED, SPLIT):
            rules.vector[row + 2, col + 2, 0], rules.vector[row + 2, col + 2, 1] = vector[n, 0, 0], vector[n, 0, 1]
            rules.known[row + 2, col + 2] = True


@compiled
def _candidate(k: int, found: Ints, vectors: Ints, facts: Ints) -> tuple[int, int]:
    """The k-th way to code a vector: as `found` (2,) by matching; the same with the first, or the second, component as
    expected, which takes next to nothing; from _NEW on as those that can be taken."""
    y, x = found[0], found[1]
    if k == 1:
        y = facts[1]
    elif k == 2:
        x = facts[2]
    elif k >= _NEW:
        y, x = vectors[k - _NEW, 0], vectors[k - _NEW, 1]
    return y, x


@compiled
def _moved(
    scene: Scene, rules: _Rules, scratch: Scratch, row: int, col: int, y: int, x: int, source: int | np.int64,
    weight: float, bits: float, most: float, same: Ints,
) -> float:  # fmt: skip
    """What a cell costs that moves as one, `bits` for its mode and side included; beyond `most` it may be anything
    beyond it. `same` (4,2) is scratch."""
    if abs(y) > MAX_VECTOR or abs(x) > MAX_VECTOR:
        return np.inf
    bits += vector_bits(rules.edges, rules.costs, scratch.vectors, scratch.facts, y, x)
    if bits < most:
        _set(same, y, x)
        bits = priced(scene, scratch, row, col, same, source, weight, bits, most)
    return bits


@compiled
def _split(
    scene: Scene, rules: _Rules, scratch: Scratch, row: int, col: int, own: Ints, source: int | np.int64, weight: float,
    bits: float, most: float, vector: Ints,
) -> float:  # fmt: skip
    """What a split cell costs, `bits` for mode and side included, and to `vector` (4,2) how its blocks move: each as
    `own` (4,2) has it, or as what can be taken. Beyond `most` it may be anything beyond it."""
    vectors, facts = scratch.vectors, scratch.facts
    for block in range(4):
        if block:
            vectors, facts = scratch.inner_vectors, scratch.inner_facts
            inner_guess(
                block, row, col, vector, rules.vector, rules.known, scratch.candidates, scratch.there, vectors, facts
            )
        least = np.inf
        for k in range(_NEW + facts[0]):
            y, x = _candidate(k, own[block], vectors, facts)
            if abs(y) > MAX_VECTOR or abs(x) > MAX_VECTOR:  # what was stretched may be
                continue
            cost = vector_bits(rules.edges, rules.costs, vectors, facts, y, x)
            if bits + cost < most and cost < least:
                cost += block_cost(scene, scratch, block, row, col, y, x, source, weight)
                if cost < least:
                    least = cost
                    vector[block, 0], vector[block, 1] = y, x
        bits += least
        if bits >= most:
            break
    return bits


@compiled
def _set(vector: Ints, y: int, x: int) -> None:
    for block in range(4):
        vector[block, 0], vector[block, 1] = y, x


@compiled
def _alike(vector: Ints) -> bool:
    """Whether all blocks move as the first."""
    alike = True
    for block in range(1, 4):
        alike = alike and vector[block, 0] == vector[0, 0] and vector[block, 1] == vector[0, 1]
    return alike
