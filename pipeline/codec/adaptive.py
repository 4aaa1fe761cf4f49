"""Tables that follow what a layer codes, from those of the weights at a key frame. Normative, and made of integers.

A table's shares are what the weights say, worth `TRUST` symbols, and every symbol that was coded with it since the key
frame. Tables change between frames, never within one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.codec.native import compiled
from pipeline.codec.tables import PRECISION, CodingTables, Floats, Tables

TRUST = 64
MOST = 1 << 12  # symbols of a table that count: beyond it the older ones count half

Ints = npt.NDArray[np.int64]

_WHOLE = np.int64(1 << PRECISION)
_TRUST, _MOST = np.int64(TRUST), np.int64(MOST)


class AdaptiveTables(CodingTables):
    """One layer's tables."""

    def __init__(self, tables: Tables) -> None:
        self.rows, self.sizes, self.offsets = list(tables.rows), tables.sizes, tables.offsets
        self.scores, (edges, costs) = tables.scores, tables.prices
        self._edges, self._costs, self._begun = edges, costs.copy(), tables.shares
        self._counts, self._totals = np.zeros_like(self._begun), np.zeros(len(self.rows), np.int64)

    def learn(self, rows: Ints, symbols: Ints) -> None:
        """Follow a frame that was coded with these tables: its symbols and their tables, (n,), in any order."""
        _count(self._edges, rows, symbols, self._counts, self._totals)
        seen = np.flatnonzero(np.bincount(rows))
        cumulative = np.empty((len(seen), max(self.sizes)), np.int64)
        _follow(seen, self._edges, self._begun, self._counts, self._totals, self._costs, cumulative)
        for n, row in enumerate(seen.tolist()):
            self.rows[row] = cumulative[n, : self.sizes[row]].tolist()


@compiled
def _count(edges: Ints, rows: Ints, symbols: Ints, counts: Ints, totals: Ints) -> None:
    for n in range(len(rows)):
        row = rows[n]
        place, escape = symbols[n] - edges[1, row], edges[2, row]
        counts[edges[0, row] + (place if 0 <= place < escape else escape)] += 1
        totals[row] += 1


@compiled
def _follow(seen: Ints, edges: Ints, begun: Ints, counts: Ints, totals: Ints, costs: Floats, cumulative: Ints) -> None:
    """The tables `seen` (n,) anew, to `cumulative` (n,most), and their `costs`."""
    for n in range(len(seen)):
        row, found = seen[n], cumulative[n]
        first, size = edges[0, row], edges[2, row] + 1
        while totals[row] > _MOST:
            totals[row] = 0
            for k in range(first, first + size):
                counts[k] >>= 1
                totals[row] += counts[k]
        left, largest, most, whole = _WHOLE, 0, np.int64(0), _WHOLE * (_TRUST + totals[row])
        for k in range(size):
            wanted = _TRUST * begun[first + k] + _WHOLE * counts[first + k]
            share = wanted * (_WHOLE - size) // whole + 1
            found[k + 1] = share
            left -= share
            if share > most:
                largest, most = k, share
        found[largest + 1] += left
        found[0] = 0
        for k in range(size):
            costs[first + k] = PRECISION - np.log2(found[k + 1])
            found[k + 1] += found[k]
