"""The side information of a layer payload as FORMAT.md has it: plain loops, shares nothing with the codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

MAGNITUDE = (0, 64, 104, 136, 160, 180, 196, 208, 220, 228, 236, 242, 246, 250, 253, 255)
SPREADS, LENGTHS = (1, 3, 6, 12, 24, 64), (1, 3, 9, 25)
D, A = ((-1, -1), (-1, 1), (1, -1), (1, 1)), ((-1, 0), (1, 0), (0, -1), (0, 1))
D2, A2 = tuple((2 * a, 2 * b) for a, b in D), tuple((2 * a, 2 * b) for a, b in A)
OWN = {1: (0,), 2: (0, 1), 3: (1, 2, 0)}
BESIDE = {1: ((0, 1), (-1, 0)), 2: ((0, -1), (1, 0)), 3: ((0, 1), (1, 0))}
Fixed = Callable[[int, int], list[int]]


class Symbols(Protocol):
    def symbol(self, row: int) -> int: ...


def phase(r: int, c: int) -> int:
    if (r + c) % 2:
        return 4
    if r % 2:
        return 3
    if (r + c) % 4:
        return 2
    return 0 if r % 4 == 0 else 1


def square(reach: int, centre: bool = True) -> list[tuple[int, int]]:
    span = range(-reach, reach + 1)
    return [(i, j) for i in span for j in span if centre or (i, j) != (0, 0)]


def at(grid: np.ndarray, r: int, c: int) -> int:
    return int(grid[r, c]) if 0 <= r < grid.shape[0] and 0 <= c < grid.shape[1] else 0


def around(grid: np.ndarray, r: int, c: int, reach: int, centre: bool = True) -> list[int]:
    return [at(grid, r + i, c + j) for i, j in square(reach, centre)]


class Before:
    """What is kept of a layer's earlier frames."""

    def __init__(self, shape: tuple[int, int]) -> None:
        fine = shape[0] * 2, shape[1] * 2
        self.cells = np.zeros(shape, bool)
        self.mode = np.full(shape, -1)
        self.vector = np.zeros((*shape, 2), int)
        self.since = np.full(shape, 15)
        self.habit = np.zeros(shape, int)
        self.flags = np.zeros(fine, bool)
        self.flag_habit = np.zeros(fine, int)
        self.symbols = np.zeros((*fine, 96), int)

    def then(
        self, cells: np.ndarray, mode: np.ndarray, vector: np.ndarray, flags: np.ndarray, symbols: np.ndarray
    ) -> None:
        self.cells, self.mode, self.vector, self.flags, self.symbols = cells, mode, vector, flags, symbols
        self.since = np.where(cells, 0, np.minimum(self.since + 1, 15))
        self.habit = self.habit - self.habit // 8 + 31 * cells
        self.flag_habit = self.flag_habit - self.flag_habit // 8 + 31 * flags

    def moved(self) -> np.ndarray:
        return 255 * np.isin(self.mode, (1, 3))

    def set_flags(self) -> np.ndarray:
        """60 a flag of the cell."""
        r, c = self.cells.shape
        return 60 * self.flags.reshape(r, 2, c, 2).sum((1, 3))


class Side:
    """Reads maps, modes, vectors and flags of one payload. `arrays`: the weights file's tensors."""

    def __init__(
        self, arrays: dict[str, np.ndarray], rans: Symbols, layer: int, q: int, age: int, before: Before
    ) -> None:
        self.arrays, self.rans, self.layer, self.before = arrays, rans, layer, before
        self.setting = [255 * (layer == 0), 4 * q, 255 * (age == 0), 17 * min(age, 15)]

    def levels(self, name: str, inputs: list[int]) -> list[int]:
        w = {
            k: self.arrays[f"tables.{name}.{k}"].astype(np.int64) for k in ("hidden", "hidden_bias", "out", "out_bias")
        }
        x = np.array(inputs)
        assert len(x) == w["hidden"].shape[1]
        assert 0 <= x.min() <= x.max() <= 255
        inner = ((w["hidden"] @ x + w["hidden_bias"]) >> 7).clip(0, 255)
        return ((w["out"] @ inner + w["out_bias"]) >> 10).clip(0, 63).tolist()

    def bit(self, row: int) -> int:
        return (0, 1)[self.rans.symbol(row)]

    def phases(self, inside: np.ndarray) -> list[list[tuple[int, int]]]:
        places = [tuple(p) for p in np.argwhere(inside).tolist()]
        return [[p for p in places if phase(*p) == k] for k in range(5)]

    def bits(self, name: str, first: int, inside: np.ndarray, fixed: Fixed) -> np.ndarray:
        now, known = np.zeros(inside.shape, bool), 0
        for k, places in enumerate(self.phases(inside)):
            found = {}
            shares = [255 * (k == j) for j in range(5)] + [255 * int(now.sum()) // max(1, known)]
            for r, c in places:
                inputs = around(255 * now, r, c, 2, centre=False) + shares + fixed(r, c)
                found[r, c] = self.bit(first + 64 * self.layer + self.levels(name, inputs)[0])
            for p, value in found.items():
                now[p] = value
            known += len(places)
        return now

    def map(self) -> np.ndarray:
        b = self.before
        share = 255 * int(b.cells.sum()) // b.cells.size

        def fixed(r: int, c: int) -> list[int]:
            parts = around(255 * b.cells, r, c, 2)
            for grid in (b.set_flags(), 17 * b.since, b.moved(), b.habit):
                parts += around(grid, r, c, 1)
            return [*parts, *self.setting, share]

        return self.bits("map", 64, np.ones(b.cells.shape, bool), fixed)

    def modes(self, cells: np.ndarray) -> np.ndarray:
        """(R,C), -1 where not in the map."""
        b, count = self.before, int(cells.sum())
        total = np.abs(b.symbols).sum(2).clip(0, 15).reshape(cells.shape[0], 2, cells.shape[1], 2).max((1, 3))
        mode, known = np.full(cells.shape, -1), 0
        first = 192 + 192 * self.layer
        for k, places in enumerate(self.phases(cells)):
            still, moved, split = 255 * (mode == 0), 255 * np.isin(mode, (1, 3)), 255 * (mode == 3)
            shares = [255 * (k == j) for j in range(5)]
            shares += [int(grid.sum()) // max(1, known) for grid in (still, moved)]
            found = {}
            for r, c in places:
                inputs = around(still, r, c, 2, centre=False) + around(moved, r, c, 2, centre=False)
                inputs += around(split, r, c, 1, centre=False) + shares
                for grid in (255 * (b.mode == 0), b.moved(), b.set_flags()):
                    inputs += around(grid, r, c, 1)
                inputs += around(255 * cells, r, c, 1, centre=False)
                inputs += [255 * (b.mode[r, c] == 3), 255 * (b.mode[r, c] == 2)]
                inputs += [4 * min(63, int(np.abs(b.vector[r, c]).max())), MAGNITUDE[total[r, c]]]
                inputs += [17 * int(b.since[r, c]), int(b.habit[r, c]), *self.setting]
                inputs += [int(b.moved()[cells].sum()) // count, min(255, count)]
                found[r, c] = self._mode([first + 64 * j + x for j, x in enumerate(self.levels("mode", inputs))])
            # In the stream: the first decision of all places of the phase, then the second, then the third.
            for j in range(3):
                for decide in found.values():
                    decide.ask(j, self)
            for p, decide in found.items():
                mode[p] = decide.mode()
            known += len(places)
        return mode

    class _mode:
        def __init__(self, rows: list[int]) -> None:
            self.rows, self.found = rows, [-1, -1, -1]

        def ask(self, j: int, side: Side) -> None:
            if j == 0 or (j == 1 and self.found[0] == 0) or (j == 2 and self.found[1] == 1):
                self.found[j] = side.bit(self.rows[j])

        def mode(self) -> int:
            still, moves, split = self.found
            return 0 if still == 1 else 2 if moves == 0 else 3 if split == 1 else 1

    def sides(self, mode: np.ndarray) -> np.ndarray:
        """(R,C), 0 where nothing moves; of a frame between two others."""
        side = np.zeros(mode.shape, int)
        for r, c in np.argwhere(np.isin(mode, (1, 3))).tolist():
            side[r, c] = (0, 1, 2)[self.rans.symbol(956)]
        return side

    def vectors(self, mode: np.ndarray) -> np.ndarray:
        """(R,C,4,2)."""
        vector = np.zeros((*mode.shape, 4, 2), int)
        known: dict[tuple[int, int], np.ndarray] = {}
        b = self.before
        for places, offsets in zip(self.phases(np.isin(mode, (1, 3))), (A2, D2, A2, D, A), strict=True):
            guesses = []
            for r, c in places:
                near = [known[r + i, c + j] for i, j in offsets if (r + i, c + j) in known]
                guesses.append(near + ([b.vector[r, c]] if b.mode[r, c] in (1, 3) else []))
            for p, v in zip(places, self.read(guesses, guesses, self.layer), strict=True):
                known[p] = v
                vector[p] = v
        split = [tuple(p) for p in np.argwhere(mode == 3).tolist()]
        for k in (1, 2, 3):
            near, everything = [], []
            for r, c in split:
                beside = [known[r + i, c + j] for i, j in BESIDE[k] if (r + i, c + j) in known]
                near.append([vector[r, c, o].copy() for o in OWN[k]] + beside)
                everything.append([*near[-1], np.zeros(2, int)])
            for p, v in zip(split, self.read(everything, near, 2), strict=True):
                vector[p][k] = v
        return vector

    def read(self, candidates: list[list[np.ndarray]], near: list[list[np.ndarray]], kind: int) -> list[np.ndarray]:
        """Vectors of some places: in the stream one part of all of them after the other."""
        found: list[np.ndarray | None] = []
        for mine in candidates:
            each = [tuple(v) for v in mine]
            distinct = sorted(set(each), key=lambda v: (-each.count(v), each.index(v)))
            taken = 6
            if distinct:
                taken = self.rans.symbol(704 + 36 * kind + 6 * (len(distinct) - 1) + each.count(distinct[0]) - 1)
                assert 0 <= taken < len(distinct) or taken == 6
            found.append(np.array(distinct[taken]) if taken < 6 else None)
        new = [k for k, v in enumerate(found) if v is None]
        spreads, middles = {}, {}
        for k in new:
            v = np.array(near[k]).reshape(-1, 2)
            wide = int((v.max(0) - v.min(0)).max()) if len(v) else 0
            spreads[k] = sum(wide >= edge for edge in SPREADS) if len(v) else 7
            v = np.sort(v, axis=0)
            total = v[(len(v) - 1) // 2] + v[len(v) // 2] if len(v) else np.zeros(2, int)
            middles[k] = np.sign(total) * (np.abs(total) // 2)
        down = {k: self.rans.symbol(812 + 8 * kind + spreads[k]) for k in new}
        for k in new:
            length = sum(abs(down[k]) >= edge for edge in LENGTHS)
            across = self.rans.symbol(836 + 5 * (8 * kind + spreads[k]) + length)
            found[k] = middles[k] + np.array((down[k], across))
        assert all(np.abs(v).max() <= 511 for v in found)
        return found

    def flags(self, cells: np.ndarray, mode: np.ndarray, vector: np.ndarray) -> np.ndarray:
        """(2R,2C)."""
        b, inside, count = self.before, cells.repeat(2, 0).repeat(2, 1), int(cells.sum())
        size, filled = np.abs(b.symbols).sum(2).clip(0, 15), (b.symbols != 0).sum(2).clip(0, 15)
        moved = 255 * np.isin(mode, (1, 3))
        last_share = 255 * int(b.flags[inside].sum()) // (4 * count)

        def fixed(r: int, c: int) -> list[int]:
            cell = r // 2, c // 2
            m, v = mode[cell], vector[cell][r % 2 * 2 + c % 2]
            there = tuple(np.clip((r + (v[0] + 16) // 32, c + (v[1] + 16) // 32), 0, np.array(inside.shape) - 1))
            parts = around(255 * b.flags, r, c, 1)
            parts += [MAGNITUDE[size[r, c]], 17 * int(filled[r, c]), MAGNITUDE[size[there]], 255 * int(b.flags[there])]
            parts += [255 * (m == 0), 255 * (m in (1, 3)), 255 * (m == 2), 255 * (m == 3)]
            parts += [4 * min(63, int(np.abs(v).max())), 255 * int((v % 4 != 0).any()), r % 2 * 255, c % 2 * 255]
            parts += around(b.flag_habit, r, c, 1)
            parts += around(255 * cells, *cell, 1, centre=False) + around(moved, *cell, 1, centre=False)
            parts += [int(b.moved()[cell]), 255 * int(b.cells[cell]), 17 * int(b.since[cell])]
            return [*parts, *self.setting, last_share, int(moved.sum()) // count, min(255, count)]

        return self.bits("flag", 576, inside, fixed)
