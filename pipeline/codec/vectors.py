"""Motion vectors: taken from a neighbour as they are, or coded as what they differ from them.

The first vectors of all cells that move come first, in the five phases of the grid, then those of the blocks of split
cells. Each is guessed from a few vectors known by then, the *candidates*: those that agree come first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.codec.entropy import AXIAL, DIAGONAL
from pipeline.codec.modes import MOVED, SPLIT, Vectors, is_moving
from pipeline.codec.motion import MAX_VECTOR
from pipeline.codec.native import compiled
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.scores import PHASES, phase_grid
from pipeline.codec.tables import FIRST_ACROSS, FIRST_DOWN, FIRST_TAKEN, LENGTHS, SPREADS, TAKEN, symbol_cost
from pipeline.errors import StreamError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

# Kinds of vectors: 0 foreground, 1 background, 2 within a cell. A plain number would be compiled in.
WITHIN = np.int64(2)
_SPREAD_EDGES, _LENGTH_EDGES = np.array((1, 3, 6, 12, 24, 64)), np.array((1, 3, 9, 25))
_ALONE = SPREADS - 1  # nothing to guess from
FACTS = 6  # that `guess` finds
_FAR_AXIAL = tuple((2 * dy, 2 * dx) for dy, dx in AXIAL)
# The neighbours of a cell that are known in each phase.
_AROUND = np.array((_FAR_AXIAL, tuple((2 * dy, 2 * dx) for dy, dx in DIAGONAL), _FAR_AXIAL, DIAGONAL, AXIAL), np.int64)
# Of blocks 1, 2, 3: how many and which are the earlier blocks of the cell, and the cells beside, (dr, dc).
_OWN = np.array(((1, 0, 0, 0), (2, 0, 1, 0), (3, 1, 2, 0)))
_BESIDE = np.array((((0, 1), (-1, 0)), ((0, -1), (1, 0)), ((0, 1), (1, 0))))

# (tables, what a writer codes with them) -> what is coded. A reader's ignores the second.
Code = Callable[[Ints, Ints], Ints]


@dataclass(frozen=True, slots=True)
class Guesses:
    """What n vectors may be. `vectors` (n,TAKEN,2): candidates, each once, those that most agree on first; `count`
    (n,) of them; `middle` (n,2): what differences are taken from. `taken` and `down` (n,): tables; `across` (n,): the
    table of the second component when the first is as expected."""

    vectors: Ints
    count: Ints
    middle: Ints
    taken: Ints
    down: Ints
    across: Ints

    @classmethod
    def found(cls, vectors: Ints, facts: Ints) -> Guesses:
        """`vectors` (n,TAKEN,2) and `facts` (n,FACTS) as `guess` fills them in."""
        return cls(vectors, facts[:, 0], facts[:, 1:3], facts[:, 3], facts[:, 4], facts[:, 5])

    def code(self, code: Code, wanted: Ints) -> Ints:
        """Code n vectors; `wanted` (n,2) where they are written. Raises StreamError."""
        found = self.middle.copy()
        some = np.flatnonzero(self.count)
        symbol = code(self.taken[some], self.place(wanted)[some])
        if symbol.size and (
            symbol.min() < 0 or symbol.max() > TAKEN or ((symbol >= self.count[some]) & (symbol < TAKEN)).any()
        ):
            raise StreamError("a vector is taken from where there is none")
        old = symbol < TAKEN
        found[some[old]] = self.vectors[some[old], symbol[old]]
        new = np.ones(len(found), np.bool_)
        new[some[old]] = False
        difference = (wanted - self.middle)[new]
        down = code(self.down[new], difference[:, 0])
        across = code(self.across[new] + _length(down), difference[:, 1])
        found[new] += np.stack((down, across), axis=1)
        if found.size and np.abs(found).max() > MAX_VECTOR:
            raise StreamError("a motion vector is out of range")
        return found

    def place(self, vectors: Ints) -> Ints:
        """Where each of n vectors stands among its candidates; TAKEN where it does not."""
        same = (self.vectors == vectors[:, None]).all(-1) & (np.arange(TAKEN) < self.count[:, None])
        return np.where(same.any(1), same.argmax(1), TAKEN)


def _room(n: int) -> tuple[Ints, Ints]:
    """For what `guess` finds of n vectors."""
    return np.empty((n, TAKEN, 2), np.int64), np.empty((n, FACTS), np.int64)


def _length(component: Ints) -> Ints:
    return np.searchsorted(_LENGTH_EDGES, np.abs(component), side="right")


@compiled
def guess(candidates: Ints, there: Mask, kind: int | np.int64, vectors: Ints, facts: Ints) -> None:
    """What one vector may be: of `candidates` (TAKEN,2) those that are `there` (TAKEN,), each once, to `vectors`
    (TAKEN,2); and to `facts` (FACTS,) as `Guesses` has them: count, middle, taken, down, across. The last candidate
    counts for what can be taken, not for the middle."""
    count = 0
    votes = np.zeros(TAKEN, np.int64)  # of those in `vectors`
    for k in range(TAKEN):
        if there[k]:
            place = 0
            while place < count and (vectors[place, 0] != candidates[k, 0] or vectors[place, 1] != candidates[k, 1]):
                place += 1
            if place == count:
                vectors[count, 0], vectors[count, 1] = candidates[k, 0], candidates[k, 1]
                count += 1
            votes[place] += 1
    for k in range(1, count):  # those with most votes first, else as they come
        y, x, vote, place = vectors[k, 0], vectors[k, 1], votes[k], k
        while place > 0 and votes[place - 1] < vote:
            vectors[place, 0], vectors[place, 1], votes[place] = (
                vectors[place - 1, 0], vectors[place - 1, 1], votes[place - 1],
            )  # fmt: skip
            place -= 1
        vectors[place, 0], vectors[place, 1], votes[place] = y, x, vote
    most = max(votes[0], 1)
    ordered, wide, real = np.empty(TAKEN, np.int64), 0, 0
    for axis in range(2):
        real = 0
        for k in range(TAKEN - 1):
            if there[k]:
                place = real
                while place > 0 and ordered[place - 1] > candidates[k, axis]:
                    ordered[place] = ordered[place - 1]
                    place -= 1
                ordered[place] = candidates[k, axis]
                real += 1
        facts[1 + axis] = 0
        if real:
            # The median; of an even number half the sum of the middle two, towards zero.
            total = ordered[(real - 1) // 2] + ordered[real // 2]
            facts[1 + axis] = total // 2 if total > 0 else -(-total // 2)
            wide = max(wide, ordered[real - 1] - ordered[0])
    spread = _reached(_SPREAD_EDGES, wide) if real else _ALONE
    facts[0] = count
    facts[3] = FIRST_TAKEN + (kind * TAKEN + max(count - 1, 0)) * TAKEN + most - 1
    facts[4] = FIRST_DOWN + kind * SPREADS + spread
    facts[5] = FIRST_ACROSS + (kind * SPREADS + spread) * LENGTHS


@compiled
def _reached(edges: Ints, value: int) -> int:
    """How many of some ascending edges a value reaches."""
    count = 0
    while count < len(edges) and value >= edges[count]:
        count += 1
    return count


@compiled
def vector_bits(edges: Ints, costs: Floats, vectors: Ints, facts: Ints, y: int, x: int) -> float:
    """What coding (y, x) takes by what `guess` found. `edges` and `costs`: the tables' `prices`."""
    count, bits = facts[0], 0.0
    place = 0
    while place < count and (vectors[place, 0] != y or vectors[place, 1] != x):
        place += 1
    if count:
        bits = symbol_cost(edges, costs, facts[3], place if place < count else TAKEN)
    if place == count:
        down = y - facts[1]
        bits += symbol_cost(edges, costs, facts[4], down)
        bits += symbol_cost(edges, costs, facts[5] + _reached(_LENGTH_EDGES, abs(down)), x - facts[2])
    return bits


class VectorField:
    """The first vectors of a layer's cells that move, phase by phase: `guesses` at places, then what it `holds`.

    `vector` (R+4,C+4,2) and `known` (R+4,C+4), with two cells more on each side; `moved` (R,C) in the last frame.
    """

    def __init__(self, moment: Moment, past: Past) -> None:
        rows, cols = past.mode.shape
        self._kind, self._past = int(moment.layer), past
        self.moved = is_moving(past.mode)
        self.vector = np.zeros((rows + 4, cols + 4, 2), np.int64)
        self.known = np.zeros((rows + 4, cols + 4), np.bool_)

    def guesses(self, phase: int, row: Ints, col: Ints) -> Guesses:
        """Of places of one phase, (n,) each."""
        vectors, facts = _room(len(row))
        _first_guesses(
            phase, row, col, self._kind, self.vector, self.known, self._past.vector, self.moved, vectors, facts
        )
        return Guesses.found(vectors, facts)

    def holds(self, row: Ints, col: Ints, vector: Ints) -> None:
        """Vectors (n,2) of cells that move."""
        self.vector[row + 2, col + 2], self.known[row + 2, col + 2] = vector, True

    def inner(self, block: int, row: Ints, col: Ints, own: Ints) -> Guesses:
        """Of block 1, 2 or 3 of split cells; `own` (n,4,2) holds the blocks before it."""
        vectors, facts = _room(len(row))
        _inner_guesses(block, row, col, own, self.vector, self.known, vectors, facts)
        return Guesses.found(vectors, facts)


@compiled
def _first_guesses(
    phase: int, row: Ints, col: Ints, kind: int, vector: Ints, known: Mask, last: Ints, moved: Mask, vectors: Ints,
    facts: Ints,
) -> None:  # fmt: skip
    candidates, there = np.empty((TAKEN, 2), np.int64), np.empty(TAKEN, np.bool_)
    for n in range(len(row)):
        first_guess(phase, row[n], col[n], kind, vector, known, last, moved, candidates, there, vectors[n], facts[n])


@compiled
def first_guess(
    phase: int, row: int, col: int, kind: int, vector: Ints, known: Mask, last: Ints, moved: Mask, candidates: Ints,
    there: Mask, vectors: Ints, facts: Ints,
) -> None:  # fmt: skip
    """`VectorField.guesses` of one place, as `guess`; `candidates` (TAKEN,2) and `there` (TAKEN,) are scratch."""
    for k in range(4):
        y, x = row + 2 + _AROUND[phase, k, 0], col + 2 + _AROUND[phase, k, 1]
        candidates[k, 0], candidates[k, 1], there[k] = vector[y, x, 0], vector[y, x, 1], known[y, x]
    candidates[4, 0], candidates[4, 1], there[4] = last[row, col, 0], last[row, col, 1], moved[row, col]
    there[5] = False
    guess(candidates, there, kind, vectors, facts)


@compiled
def _inner_guesses(
    block: int, row: Ints, col: Ints, own: Ints, vector: Ints, known: Mask, vectors: Ints, facts: Ints
) -> None:
    candidates, there = np.empty((TAKEN, 2), np.int64), np.empty(TAKEN, np.bool_)
    for n in range(len(row)):
        inner_guess(block, row[n], col[n], own[n], vector, known, candidates, there, vectors[n], facts[n])


@compiled
def inner_guess(
    block: int, row: int, col: int, own: Ints, vector: Ints, known: Mask, candidates: Ints, there: Mask, vectors: Ints,
    facts: Ints,
) -> None:  # fmt: skip
    """`VectorField.inner` of one cell, as `first_guess`; `own` (4,2)."""
    for k in range(3):
        there[k] = k < _OWN[block - 1, 0]
        candidates[k, 0], candidates[k, 1] = own[_OWN[block - 1, 1 + k], 0], own[_OWN[block - 1, 1 + k], 1]
    for k in range(2):
        y, x = row + 2 + _BESIDE[block - 1, k, 0], col + 2 + _BESIDE[block - 1, k, 1]
        candidates[3 + k, 0], candidates[3 + k, 1], there[3 + k] = vector[y, x, 0], vector[y, x, 1], known[y, x]
    candidates[5, 0], candidates[5, 1], there[5] = 0, 0, True
    guess(candidates, there, WITHIN, vectors, facts)


def write_vectors(writer: SymbolWriter, moment: Moment, vectors: Vectors, past: Past) -> None:
    """Code the vectors of cells whose modes are known."""

    def code(rows: Ints, symbols: Ints) -> Ints:
        writer.add(rows, symbols)
        return symbols

    _code(code, moment, vectors, past)


def read_vectors(
    reader: SymbolReader, moment: Moment, places: Ints, mode: Ints, past: Past, side: Ints | None = None
) -> Vectors:
    """The inverse of `write_vectors`: of cells at `places` (n,2) with `mode` and `side` (n,). Raises StreamError."""
    vectors = Vectors(places, mode, np.zeros((len(places), 4, 2), np.int64), side)
    _code(lambda rows, _: reader.read(rows), moment, vectors, past)
    return vectors


def _code(code: Code, moment: Moment, vectors: Vectors, past: Past) -> None:
    """Code what `vectors` holds, or fill it."""
    field, (row, col) = VectorField(moment, past), vectors.places.T
    moving, phases = is_moving(vectors.mode), phase_grid(past.mode.shape)[row, col]
    for phase in range(PHASES):
        here = np.flatnonzero(moving & (phases == phase))
        if len(here):
            found = field.guesses(phase, row[here], col[here]).code(code, vectors.vector[here, 0])
            vectors.vector[here, 0] = found
            field.holds(row[here], col[here], found)
    whole, split = (np.flatnonzero(vectors.mode == mode) for mode in (MOVED, SPLIT))
    vectors.vector[whole] = vectors.vector[whole, :1]
    if len(split):
        for block in (1, 2, 3):
            guesses = field.inner(block, row[split], col[split], vectors.vector[split])
            vectors.vector[split, block] = guesses.code(code, vectors.vector[split, block])
