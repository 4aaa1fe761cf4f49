"""The entropy coder's tables: integers that ship with the weights, and how they are made.

Row by row: 64 tables for latent symbols (one a scale); 64 levels of a score for each decision of maps (a layer), modes
(a layer and decision) and coded block flags (a layer); then of vectors 108 for what they are taken from, 24 for the
first component of what is left, 120 for the second. A few more, of what is rarely said, are the same for all weights
and not in their files. A table is a 16-bit cumulative distribution as CompressAI's coder takes it; its last symbol is
the escape. With the tables go the scores that choose them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np
import numpy.typing as npt
import torch

from pipeline.codec.entropy import TABLES, table_scale
from pipeline.codec.native import compiled
from pipeline.codec.scores import LEVEL_LOGIT, LEVELS, MIDDLE, Score

PRECISION = 16
DECISIONS = 3  # of a mode: still? moved? split?
TAKEN = 6  # vectors that one can be taken from, at most
VECTOR_KINDS = 3  # foreground, background, within a cell
SPREADS = 8
LENGTHS = 5
FIRST_MAP = TABLES
FIRST_MODE = FIRST_MAP + 2 * LEVELS
FIRST_FLAG = FIRST_MODE + 2 * DECISIONS * LEVELS
FIRST_TAKEN = FIRST_FLAG + 2 * LEVELS
FIRST_DOWN = FIRST_TAKEN + VECTOR_KINDS * TAKEN * TAKEN
FIRST_ACROSS = FIRST_DOWN + VECTOR_KINDS * SPREADS
ROWS = FIRST_ACROSS + VECTOR_KINDS * SPREADS * LENGTHS
SIDE = ROWS  # with which a cell moves in a frame between two others: both, before, after
ALL_STILL = SIDE + 1  # whether all modes are 0
SAME_MAP = SIDE + 2
QUALITY = SIDE + 3  # against what is expected
CODED = SIDE + 4  # whether a frame's layer has anything; a table a layer and depth in the mini-GOP
DEPTHS = 5
_CODED = (60000, 45000, 36000, 26000, 14000), (56000, 22000, 12000, 7000, 3500)  # of 65536, that it has
_QUALITY_SPAN = 8
VECTOR_SPAN = 96
# Inputs of the scores, and for each of their decisions what is assumed before anything was learned: the input that
# tells most, and the levels without and with it.
MAP_INPUTS, MODE_INPUTS, FLAG_INPUTS = 96, 110, 86
SCORES: dict[str, tuple[int, tuple[tuple[int, int, int], ...]]] = {
    "map": (MAP_INPUTS, ((42, 14, 44),)),
    "mode": (MODE_INPUTS, ((67, 30, 44), (0, 40, 40), (0, 20, 20))),
    "flag": (FLAG_INPUTS, ((34, 20, 30),)),
}

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]
Bytes = npt.NDArray[np.uint8]
Signs = npt.NDArray[np.int8]


def cumulative(weights: Floats) -> list[int]:
    """Weights of each symbol, the escape last -> cumulative counts from 0 to 65536, each symbol at least one."""
    total = 1 << PRECISION
    share = np.maximum(weights / weights.sum(), 0)
    counts = np.floor(share * (total - len(weights))).astype(np.int64) + 1
    counts[int(np.argmax(counts))] += total - int(counts.sum())
    return [0, *np.cumsum(counts).tolist()]


def _fixed() -> list[list[int]]:
    """The tables from SIDE on."""
    bit = [0, 32768, 65535, 65536]
    near = [768] * (_QUALITY_SPAN - 2) + [2048, 4096]
    quality = [*near, 40000, *near[::-1], 4032]
    coded = [[0, 65535 - share, 65535, 65536] for layer in _CODED for share in layer]
    return [[0, 32768, 49152, 65535, 65536], bit, bit, [0, *accumulate(quality)], *coded]


_FIXED = _fixed()
_FIXED_OFFSETS = [-_QUALITY_SPAN if row == QUALITY else 0 for row in range(SIDE, SIDE + len(_FIXED))]


def initial_scores() -> dict[str, Score]:
    """Scores before anything was learned."""
    return {name: Score.initial(inputs, first) for name, (inputs, first) in SCORES.items()}


class CodingTables:
    """What symbols are coded with. `rows` cumulative counts; symbol s of row r is coded as s - offsets[r]. `scores`: of
    maps, modes and flags."""

    __slots__ = ()
    rows: list[list[int]]
    sizes: list[int]
    offsets: list[int]
    scores: dict[str, Score]
    _edges: npt.NDArray[np.int64]
    _costs: Floats

    def bits(self, rows: npt.NDArray[np.int64], symbols: npt.NDArray[np.int64]) -> float:
        """How many bits these symbols take with these tables, both (n,)."""
        return float(self.costs(rows, symbols).sum())

    def costs(self, rows: npt.NDArray[np.int64], symbols: npt.NDArray[np.int64]) -> Floats:
        """The same of each symbol, (n,)."""
        found = np.empty(len(rows))
        _find_costs(*self.prices, rows, symbols, found)
        return found

    @property
    def prices(self) -> tuple[npt.NDArray[np.int64], Floats]:
        """What `symbol_cost` takes."""
        return self._edges, self._costs


@dataclass(frozen=True, slots=True)
class Tables(CodingTables):
    """Tables as they ship with the weights."""

    rows: list[list[int]]
    sizes: list[int] = field(init=False)
    offsets: list[int]
    scores: dict[str, Score] = field(default_factory=initial_scores)
    _edges: npt.NDArray[np.int64] = field(init=False)  # (3,rows): where its costs begin, its offset, its escape
    shares: npt.NDArray[np.int64] = field(init=False)  # of 65536, table after table
    _costs: Floats = field(init=False)  # bits, likewise

    def __post_init__(self) -> None:
        count = ROWS + len(_FIXED)
        if len(self.rows) != count or len(self.offsets) != count:
            raise ValueError(f"{len(self.rows)} tables, expected {count}")
        for name, (inputs, first) in SCORES.items():
            if (self.scores[name].hidden.shape[1], len(self.scores[name].out)) != (inputs, len(first)):
                raise ValueError(f"the score of a {name} does not have {inputs} inputs and {len(first)} outputs")
        object.__setattr__(self, "sizes", [len(row) for row in self.rows])
        counts = np.concatenate([np.diff(row) for row in self.rows])
        starts = np.cumsum([0, *(size - 1 for size in self.sizes[:-1])])
        edges = np.stack((starts, np.asarray(self.offsets), np.asarray(self.sizes) - 2))
        object.__setattr__(self, "_edges", edges.astype(np.int64))
        object.__setattr__(self, "shares", counts)
        object.__setattr__(self, "_costs", PRECISION - np.log2(counts))

    def pack(self) -> dict[str, torch.Tensor]:
        """As tensors for the weights file."""
        flat = [value for row in self.rows[:ROWS] for value in row]
        scores = [score.pack(f"tables.{name}") for name, score in self.scores.items()]
        return {name: value for packed in scores for name, value in packed.items()} | {
            "tables.values": torch.tensor(flat, dtype=torch.int32),
            "tables.sizes": torch.tensor(self.sizes[:ROWS], dtype=torch.int32),
            "tables.offsets": torch.tensor(self.offsets[:ROWS], dtype=torch.int32),
        }

    @classmethod
    def unpack(cls, tensors: dict[str, torch.Tensor]) -> Tables:
        """The inverse of `pack`. Raises ValueError on tables that no coder could use."""
        values = tensors["tables.values"].tolist()
        rows: list[list[int]] = []
        start = 0
        for size in tensors["tables.sizes"].tolist():
            row = values[start : start + size]
            start += size
            if size < 3 or row[0] != 0 or row[-1] != 1 << PRECISION or any(a >= b for a, b in pairwise(row)):
                raise ValueError(f"table {len(rows)} is not a cumulative distribution")
            rows.append(row)
        scores = {name: Score.unpack(f"tables.{name}", tensors) for name in SCORES}
        return cls([*rows, *_FIXED], [*tensors["tables.offsets"].tolist(), *_FIXED_OFFSETS], scores)


@compiled
def symbol_cost(edges: npt.NDArray[np.int64], costs: Floats, row: int, symbol: int | np.int64) -> float:
    """How many bits a symbol takes, by the `prices` of some tables."""
    place, escape = symbol - edges[1, row], edges[2, row]
    if 0 <= place < escape:
        return costs[edges[0, row] + place]
    raw = -2 * place - 1 if place < 0 else 2 * (place - escape)
    nibbles = np.ceil(np.log2(raw + 1) / 4)
    return costs[edges[0, row] + escape] + 4 * (nibbles + nibbles // 15 + 1)


@compiled
def _find_costs(
    edges: npt.NDArray[np.int64], costs: Floats, rows: npt.NDArray[np.int64], symbols: npt.NDArray[np.int64],
    found: Floats,
) -> None:  # fmt: skip
    for n in range(len(rows)):
        found[n] = symbol_cost(edges, costs, rows[n], symbols[n])


def logistic_weights(index: int) -> tuple[Floats, int]:
    """(weights with the escape last, offset) of a latent table."""
    scale = float(table_scale(torch.tensor(float(index))))
    span = max(1, min(400, int(np.ceil(scale * 9))))
    edges = np.arange(-span, span + 2) - 0.5
    inside = np.diff(1 / (1 + np.exp(-np.clip(edges / scale, -60, 60))))
    return np.append(inside, max(1 - inside.sum(), 1e-5)), -span


def initial_tables() -> Tables:
    """Tables before anything was counted."""
    rows: list[list[int]] = []
    offsets: list[int] = []
    for index in range(TABLES):
        weights, offset = logistic_weights(index)
        rows.append(cumulative(weights))
        offsets.append(offset)
    for row in range(FIRST_MAP, FIRST_TAKEN):
        one = 1 / (1 + np.exp((MIDDLE - row % LEVELS) / LEVEL_LOGIT))
        rows.append(cumulative(np.array([1 - one, one, 1e-5])))
        offsets.append(0)
    for context in range(FIRST_DOWN - FIRST_TAKEN):
        there = context // TAKEN % TAKEN + 1
        rows.append(cumulative(np.array([*np.where(np.arange(TAKEN) < there, 0.5 / there, 1e-4), 0.5, 1e-4])))
        offsets.append(0)
    for row in range(FIRST_DOWN, ROWS):
        spread = (row - FIRST_DOWN if row < FIRST_ACROSS else (row - FIRST_ACROSS) // LENGTHS) % SPREADS
        scale = 2.0 ** (1 + spread % (SPREADS - 1) / 2)
        reach = np.abs(np.arange(-VECTOR_SPAN, VECTOR_SPAN + 1))
        rows.append(cumulative(np.append(0.5 * np.exp(-reach / scale) / scale + 1e-4, 1e-3)))
        offsets.append(-VECTOR_SPAN)
    return Tables([*rows, *_FIXED], [*offsets, *_FIXED_OFFSETS])


@dataclass(frozen=True, slots=True)
class Counts:
    """What an encoder coded. `rows`: row -> symbol -> how often. `examples`: of each score the inputs (n,F) of its
    decisions, layer and what was decided (n,1+K), 0 or 1, -1 where not asked."""

    rows: dict[int, dict[int, int]] = field(default_factory=dict)
    examples: dict[str, list[tuple[Bytes, Signs]]] = field(default_factory=dict)

    def add(self, rows: Sequence[int], symbols: Sequence[int]) -> None:
        """What was coded with which tables."""
        pairs, how_often = np.unique(np.stack((np.asarray(rows), np.asarray(symbols))), axis=1, return_counts=True)
        for row, symbol, count in zip(pairs[0].tolist(), pairs[1].tolist(), how_often.tolist(), strict=True):
            of_row = self.rows.setdefault(row, {})
            of_row[symbol] = of_row.get(symbol, 0) + count


def fit(tables: Tables, counts: Counts) -> Tables:
    """New tables from counted symbols: the old shape is a prior worth some observations, so that rare contexts stay
    sane, and so is what all contexts of vectors together showed. Scores stay."""
    rows = list(tables.rows)
    together = {first: _together(tables, counts, first, end) for first, end in _VECTOR_PARTS}
    for row in range(ROWS):
        prior = np.diff(np.array(tables.rows[row], np.float64)) / (1 << PRECISION)
        if row < FIRST_MAP:
            weights = prior * 40
        elif row < FIRST_TAKEN:
            weights = prior * 2
        else:
            weights = prior + together[max(first for first, _ in _VECTOR_PARTS if first <= row)] * 12
        weights = weights + _counted(tables, counts, row)
        rows[row] = cumulative(_smooth(weights) if row >= FIRST_DOWN else weights)
    return Tables(rows, tables.offsets, tables.scores)


_VECTOR_PARTS = ((FIRST_TAKEN, FIRST_DOWN), (FIRST_DOWN, FIRST_ACROSS), (FIRST_ACROSS, ROWS))


def _counted(tables: Tables, counts: Counts, row: int) -> Floats:
    found = np.zeros(tables.sizes[row] - 1)
    for symbol, count in counts.rows.get(row, {}).items():
        place = symbol - tables.offsets[row]
        found[place if 0 <= place < len(found) - 1 else -1] += count
    return found


def _together(tables: Tables, counts: Counts, first: int, end: int) -> Floats:
    """The shares of symbols over some tables of one size; before any was counted: none."""
    total = np.sum([_counted(tables, counts, row) for row in range(first, end)], axis=0)
    return total / max(1.0, total.sum())


def _smooth(weights: Floats) -> Floats:
    """Of components: what lies further from 0 is seen more rarely, and is told from its neighbours less finely."""
    reach = np.abs(np.arange(-VECTOR_SPAN, VECTOR_SPAN + 1))
    octave = np.floor(np.log2(np.maximum(reach, 4)) * 2).astype(np.int64)
    group = np.where(reach <= 6, reach, 7 + octave) * 2 + (np.arange(len(reach)) > VECTOR_SPAN)
    total = np.bincount(group, weights[:-1]) / np.maximum(1, np.bincount(group))
    return np.append(total[group], weights[-1])
