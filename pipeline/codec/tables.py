"""The entropy coder's tables: integers that ship with the weights, and how they are made.

Row by row: 64 tables for latent symbols (one a scale), 10 for modes (layer x mode of the cell in the last frame), 4 for
vector differences, 2 x 1280 for cell maps, 2 x 480 for coded block flags. A table is a 16-bit cumulative distribution
as CompressAI's coder takes it; its last symbol is the escape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import torch

from pipeline.codec.entropy import TABLES, table_scale

PRECISION = 16
MODES = 4  # still, moved, plate, moved and split
MODE_ROWS = 2 * (MODES + 1)
VECTOR_ROWS = 4
MAP_CONTEXTS = 256 + 1024
FIRST_MODE = TABLES
FIRST_VECTOR = FIRST_MODE + MODE_ROWS
FIRST_MAP = FIRST_VECTOR + VECTOR_ROWS
FLAG_CONTEXTS = 3 * 2 * 4 * MODES * 5
FIRST_FLAG = FIRST_MAP + 2 * MAP_CONTEXTS
ROWS = FIRST_FLAG + 2 * FLAG_CONTEXTS
VECTOR_SPAN = 48

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float64]


def cumulative(weights: Floats) -> list[int]:
    """Weights of each symbol, the escape last -> cumulative counts from 0 to 65536, each symbol at least one."""
    total = 1 << PRECISION
    share = np.maximum(weights / weights.sum(), 0)
    counts = np.floor(share * (total - len(weights))).astype(np.int64) + 1
    counts[int(np.argmax(counts))] += total - int(counts.sum())
    return [0, *np.cumsum(counts).tolist()]


@dataclass(frozen=True, slots=True)
class Tables:
    """`rows` cumulative counts; symbol s of row r is coded as s - offsets[r]."""

    rows: list[list[int]]
    sizes: list[int] = field(init=False)
    offsets: list[int]
    _edges: npt.NDArray[np.int64] = field(init=False)  # (3,rows): where its costs begin, its offset, its escape
    _costs: Floats = field(init=False)  # bits, table after table

    def __post_init__(self) -> None:
        if len(self.rows) != ROWS or len(self.offsets) != ROWS:
            raise ValueError(f"{len(self.rows)} tables, expected {ROWS}")
        object.__setattr__(self, "sizes", [len(row) for row in self.rows])
        counts = np.concatenate([np.diff(row) for row in self.rows])
        starts = np.cumsum([0, *(size - 1 for size in self.sizes[:-1])])
        edges = np.stack((starts, np.asarray(self.offsets), np.asarray(self.sizes) - 2))
        object.__setattr__(self, "_edges", edges.astype(np.int64))
        object.__setattr__(self, "_costs", PRECISION - np.log2(counts))

    def bits(self, rows: npt.NDArray[np.int64], symbols: npt.NDArray[np.int64]) -> float:
        """How many bits these symbols take with these tables, both (n,)."""
        return float(self.costs(rows, symbols).sum())

    def costs(self, rows: npt.NDArray[np.int64], symbols: npt.NDArray[np.int64]) -> Floats:
        """The same of each symbol, (n,)."""
        start, offset, escape = self._edges.take(rows, axis=1)
        place = symbols - offset
        escaped = (place < 0) | (place >= escape)
        found: Floats = self._costs[start + np.where(escaped, escape, place)]
        if escaped.any():
            place, escape = place[escaped], escape[escaped]
            raw = np.where(place < 0, -2 * place - 1, 2 * (place - escape))
            nibbles = np.ceil(np.log2(raw + 1) / 4)
            found[escaped] += 4 * (nibbles + nibbles // 15 + 1)
        return found

    def pack(self) -> dict[str, torch.Tensor]:
        """As tensors for the weights file."""
        flat = [value for row in self.rows for value in row]
        return {
            "tables.values": torch.tensor(flat, dtype=torch.int32),
            "tables.sizes": torch.tensor(self.sizes, dtype=torch.int32),
            "tables.offsets": torch.tensor(self.offsets, dtype=torch.int32),
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
        return cls(rows, tensors["tables.offsets"].tolist())


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
    for context in range(MODE_ROWS):
        weights = np.full(MODES + 1, 1.0)
        weights[context % (MODES + 1) % MODES] += 4
        weights[MODES] = 1e-4  # modes never escape
        rows.append(cumulative(weights))
        offsets.append(0)
    for spread in (2.0, 3.0, 8.0, 2.0):
        reach = np.abs(np.arange(-VECTOR_SPAN, VECTOR_SPAN + 1))
        weights = np.append(0.5 * np.exp(-reach / spread) / spread + 1e-4, 1e-3)
        weights[VECTOR_SPAN] += 0.3
        rows.append(cumulative(weights))
        offsets.append(-VECTOR_SPAN)
    for _ in range(2):
        for context in range(MAP_CONTEXTS):
            rows.append(cumulative(np.append(_bit_weights(context), 1e-5)))
            offsets.append(0)
    for context in range(2 * FLAG_CONTEXTS):
        before, around = context // (20 * MODES) % 2, context % 5
        one = 1 / (1 + np.exp(3.0 - before - around))
        rows.append(cumulative(np.array([1 - one, one, 1e-5])))
        offsets.append(0)
    return Tables(rows, offsets)


def _bit_weights(context: int) -> Floats:
    """A guess for a map bit from how many neighbours are set; the cell itself in the last frame counts most."""
    bits = [(context >> k) & 1 for k in range(8)]
    score = 4.0 * bits[3] + sum(bits) - bits[3]
    if context >= 256:
        score += 2.0 * (((context - 256) >> 8 & 1) + ((context - 256) >> 9 & 1))
    one = 1 / (1 + np.exp(-(score - 6.0)))
    return np.array([1 - one, one])


Counts = dict[int, dict[int, int]]


def fit(tables: Tables, counts: Counts) -> Tables:
    """New tables from counted symbols: the old shape is a prior worth some observations, so that rare contexts stay
    sane.

    `counts`: row -> symbol -> how often.
    """
    rows = list(tables.rows)
    for row, seen in counts.items():
        prior = np.diff(np.array(tables.rows[row], np.float64)) / (1 << PRECISION)
        weights = prior * (40.0 if row < FIRST_MAP else 2.0)
        size = len(prior)
        for symbol, count in seen.items():
            place = symbol - tables.offsets[row]
            weights[place if 0 <= place < size - 1 else size - 1] += count
        rows[row] = cumulative(weights)
    return Tables(rows, tables.offsets)


def count_symbols(rows: Sequence[int], symbols: Sequence[int], counts: Counts) -> None:
    """Add what an encoder coded to the counts."""
    pairs, how_often = np.unique(np.stack((np.asarray(rows), np.asarray(symbols))), axis=1, return_counts=True)
    for row, symbol, count in zip(pairs[0].tolist(), pairs[1].tolist(), how_often.tolist(), strict=True):
        of_row = counts.setdefault(row, {})
        of_row[symbol] = of_row.get(symbol, 0) + count
