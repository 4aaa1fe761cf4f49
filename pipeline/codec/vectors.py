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
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.scores import PHASES, phase_grid
from pipeline.codec.tables import FIRST_ACROSS, FIRST_DOWN, FIRST_TAKEN, LENGTHS, SPREADS, TAKEN, Tables
from pipeline.errors import StreamError

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

WITHIN = 2  # kinds of vectors: 0 foreground, 1 background, 2 within a cell
_SPREAD_EDGES, _LENGTH_EDGES = np.array((1, 3, 6, 12, 24, 64)), np.array((1, 3, 9, 25))
_ALONE = SPREADS - 1  # nothing to guess from
_FAR = 1 << 20  # beyond every vector
_APART, _ABSENT = 4 * MAX_VECTOR, -_FAR * (2 + np.arange(TAKEN))
_FAR_AXIAL = tuple((2 * dy, 2 * dx) for dy, dx in AXIAL)
# The neighbours of a cell that are known in each phase.
_AROUND = (_FAR_AXIAL, tuple((2 * dy, 2 * dx) for dy, dx in DIAGONAL), _FAR_AXIAL, DIAGONAL, AXIAL)
# Of blocks 1, 2, 3: the earlier blocks of the cell, and the cells beside, (dr, dc).
_OWN = {1: (0,), 2: (0, 1), 3: (1, 2, 0)}
_BESIDE = {1: ((0, 1), (-1, 0)), 2: ((0, -1), (1, 0)), 3: ((0, 1), (1, 0))}

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
    def of(cls, candidates: Ints, there: Mask, kind: int, *, spare: int = 0) -> Guesses:
        """`candidates` (n,TAKEN,2), of which those are `there` (n,TAKEN). The last `spare` count for what can be taken,
        not for the middle."""
        # As one number each; what is not there is like nothing else.
        number = np.where(there, candidates[..., 0] * _APART + candidates[..., 1], _ABSENT)
        same = number[:, :, None] == number[:, None]
        votes = same.sum(2)
        once = there & (same.argmax(2) == np.arange(TAKEN))
        order = np.argsort(np.where(once, -votes, 1), axis=1, kind="stable")
        count = once.sum(1)
        first = np.take_along_axis(votes, order[:, :1], 1)[:, 0]
        real = there if not spare else there & (np.arange(TAKEN) < TAKEN - spare)
        wide = np.where(real[..., None], candidates, -_FAR).max(1) - np.where(real[..., None], candidates, _FAR).min(1)
        spread = np.where(real.any(1), np.searchsorted(_SPREAD_EDGES, wide.max(1), side="right"), _ALONE)
        return cls(
            vectors=np.take_along_axis(candidates, order[..., None], 1),
            count=count,
            middle=_middle(candidates, real),
            taken=FIRST_TAKEN + (kind * TAKEN + (count - 1).clip(0)) * TAKEN + (first - 1).clip(0),
            down=FIRST_DOWN + kind * SPREADS + spread,
            across=FIRST_ACROSS + (kind * SPREADS + spread) * LENGTHS,
        )

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

    def bits(self, tables: Tables, vectors: Ints) -> Floats:
        """What `code` takes for each of n vectors."""
        place, bits = self.place(vectors), np.zeros(len(vectors))
        some = self.count > 0
        bits[some] = tables.costs(self.taken[some], place[some])
        new = place == TAKEN
        down, across = (vectors - self.middle)[new].T
        bits[new] += tables.costs(self.down[new], down) + tables.costs(self.across[new] + _length(down), across)
        return bits

    def select(self, which: Ints) -> Guesses:
        """Those of some of the n, with repetition."""
        return Guesses(
            self.vectors[which], self.count[which], self.middle[which], self.taken[which], self.down[which],
            self.across[which],
        )  # fmt: skip


def _length(component: Ints) -> Ints:
    return np.searchsorted(_LENGTH_EDGES, np.abs(component), side="right")


def _middle(candidates: Ints, there: Mask) -> Ints:
    """The median of each component; of an even number half the sum of the middle two, towards zero; of none 0."""
    count, each = there.sum(1), np.arange(len(there))
    ordered = np.sort(np.where(there[..., None], candidates, _FAR), axis=1)
    total = ordered[each, (count - 1).clip(0) // 2] + ordered[each, (count // 2).clip(max=TAKEN - 1)]
    return np.where(count[:, None] > 0, np.sign(total) * (np.abs(total) // 2), 0)


class VectorField:
    """The first vectors of a layer's cells that move, phase by phase: `guesses` at places, then what it `holds`."""

    def __init__(self, moment: Moment, past: Past) -> None:
        rows, cols = past.mode.shape
        self._kind, self._past = int(moment.layer), past
        self._moved = is_moving(past.mode)
        self.vector = np.zeros((rows + 4, cols + 4, 2), np.int64)
        self.known = np.zeros((rows + 4, cols + 4), np.bool_)

    def guesses(self, phase: int, row: Ints, col: Ints) -> Guesses:
        """Of places of one phase, (n,) each."""
        near = [(row + 2 + dy, col + 2 + dx) for dy, dx in _AROUND[phase]]
        nothing = np.zeros(len(row), np.bool_)
        last = self._past.vector[row, col]
        return Guesses.of(
            np.stack([*(self.vector[at] for at in near), last, last], axis=1),
            np.stack([*(self.known[at] for at in near), self._moved[row, col], nothing], axis=1),
            self._kind,
        )

    def holds(self, row: Ints, col: Ints, vector: Ints) -> None:
        """Vectors (n,2) of cells that move."""
        self.vector[row + 2, col + 2], self.known[row + 2, col + 2] = vector, True

    def inner(self, blocks: tuple[int, ...], row: Ints, col: Ints, own: Ints) -> Guesses:
        """Of some of the blocks 1, 2, 3 of split cells, of all cells the first, then of all the next; `own` (n,4,2)
        holds the blocks before each."""
        vectors, there = zip(*(self._inner(block, row, col, own) for block in blocks), strict=True)
        return Guesses.of(np.concatenate(vectors), np.concatenate(there), WITHIN, spare=1)

    def _inner(self, block: int, row: Ints, col: Ints, own: Ints) -> tuple[Ints, Mask]:
        """The candidates (n,TAKEN,2) of one block, and which are there (n,TAKEN)."""
        vectors, there = [own[:, k] for k in _OWN[block]], [np.ones(len(row), np.bool_)] * len(_OWN[block])
        vectors += [np.zeros_like(own[:, 0])] * (3 - len(vectors))
        there += [np.zeros(len(row), np.bool_)] * (3 - len(there))
        for dy, dx in _BESIDE[block]:
            vectors.append(self.vector[row + 2 + dy, col + 2 + dx])
            there.append(self.known[row + 2 + dy, col + 2 + dx])
        vectors.append(np.zeros_like(own[:, 0]))
        there.append(np.ones(len(row), np.bool_))
        return np.stack(vectors, axis=1), np.stack(there, axis=1)


def write_vectors(writer: SymbolWriter, moment: Moment, vectors: Vectors, past: Past) -> None:
    """Code the vectors of cells whose modes are known."""

    def code(rows: Ints, symbols: Ints) -> Ints:
        writer.add(rows, symbols)
        return symbols

    _code(code, moment, vectors, past)


def read_vectors(reader: SymbolReader, moment: Moment, places: Ints, mode: Ints, past: Past) -> Vectors:
    """The inverse of `write_vectors`: of cells at `places` (n,2). Raises StreamError."""
    vectors = Vectors(places, mode, np.zeros((len(places), 4, 2), np.int64))
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
            guesses = field.inner((block,), row[split], col[split], vectors.vector[split])
            vectors.vector[split, block] = guesses.code(code, vectors.vector[split, block])
