"""A second decoder of layer payloads, from FORMAT.md alone: numpy, plain and slow, shares nothing with the codec."""

from __future__ import annotations

import hashlib
import json
import math
from bisect import bisect_right
from collections import Counter
from copy import copy
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np

from tests.reference_side import Before, Side

DIAGONAL = ((-1, -1), (-1, 1), (1, -1), (1, 1))
AXIAL = ((-1, 0), (1, 0), (0, -1), (0, 1))
FAR = {"D2": tuple((2 * a, 2 * b) for a, b in DIAGONAL), "A2": tuple((2 * a, 2 * b) for a, b in AXIAL)}
STEPS = (
    (0, 8, lambda r, c: (r % 4 == 0) & (c % 4 == 0), FAR["A2"]),
    (0, 8, lambda r, c: (r % 4 == 2) & (c % 4 == 2), FAR["D2"]),
    (0, 8, lambda r, c: (r % 2 == 0) & (c % 2 == 0) & ((r + c) % 4 == 2), FAR["A2"]),
    (0, 8, lambda r, c: (r % 2 == 1) & (c % 2 == 1), DIAGONAL),
    (0, 8, lambda r, c: (r + c) % 2 == 1, AXIAL),
    (8, 24, lambda r, c: r >= 0, DIAGONAL + AXIAL),
    (24, 48, lambda r, c: r >= 0, DIAGONAL + AXIAL),
    (48, 96, lambda r, c: r >= 0, DIAGONAL + AXIAL),
)
MAGNITUDE = np.array((0, 64, 104, 136, 160, 180, 196, 208, 220, 228, 236, 242, 246, 250, 253, 255))
LUMA = np.array(
    ((0, 0, 0, 64, 0, 0, 0, 0), (-1, 4, -10, 58, 17, -5, 1, 0), (-1, 4, -11, 40, 40, -11, 4, -1),
     (0, 1, -5, 17, 58, -10, 4, -1))
)  # fmt: skip
CHROMA = np.array(
    ((0, 64, 0, 0), (-2, 58, 10, -2), (-4, 54, 16, -2), (-6, 46, 28, -4), (-4, 36, 36, -4), (-4, 28, 46, -6),
     (-2, 16, 54, -4), (-2, 10, 58, -2))
)  # fmt: skip


def crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Weights:
    """A safetensors file: header length (u64), JSON, data."""

    def __init__(self, path: Path) -> None:
        data = path.read_bytes()
        start = 8 + int.from_bytes(data[:8], "little")
        self.arrays: dict[str, np.ndarray] = {}
        digest = hashlib.sha256(b"fovea codec 2")
        entries = {k: v for k, v in json.loads(data[8:start]).items() if k != "__metadata__"}
        for name in sorted(entries):
            entry = entries[name]
            dtype, text = {"F32": ("<f4", "torch.float32"), "I32": ("<i4", "torch.int32")}[entry["dtype"]]
            first, last = entry["data_offsets"]
            raw = data[start + first : start + last]
            self.arrays[name] = np.frombuffer(raw, dtype).reshape(entry["shape"])
            digest.update(f"{name} {text} {tuple(entry['shape'])}".encode() + raw)
        self.fingerprint = digest.digest()[:8]
        values = self.arrays["tables.values"].tolist()
        self.tables, start = [], 0
        for size, offset in zip(self.arrays["tables.sizes"], self.arrays["tables.offsets"].tolist(), strict=True):
            self.tables.append((values[start : start + size], offset))
            start += size
        bit, quality = [0, 32768, 65535, 65536], [768] * 6 + [2048, 4096, 40000, 4096, 2048] + [768] * 6 + [4032]
        self.tables += [([0, 32768, 49152, 65535, 65536], 0), (bit, 0), (bit, 0), ([0, *accumulate(quality)], -8)]
        for share in (60000, 45000, 36000, 26000, 14000, 56000, 22000, 12000, 7000, 3500):
            self.tables.append(([0, 65535 - share, 65535, 65536], 0))

    def integers(self, name: str, x: np.ndarray, shift: int, ceiling: int) -> np.ndarray:
        """A linear layer of the index net."""
        w = np.rint(self.arrays[f"{name}.weight"] * np.float32(127)).clip(-127, 127).astype(np.int64)
        b = np.rint(self.arrays[f"{name}.bias"] * np.float32(64 * 2**shift)).clip(-(2**20), 2**20).astype(np.int64)
        return ((x @ w.T + b) >> shift).clip(0, ceiling)

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.arrays[f"{name}.weight"].astype(float).T + self.arrays[f"{name}.bias"]

    def curve(self, name: str, q: int) -> np.ndarray:
        p = 8 * q / 63
        i = min(math.floor(p), 7)
        k = self.arrays[f"{name}.knots"].astype(float)
        return k[i] * (1 - (p - i)) + k[i + 1] * (p - i)


class Rans:
    """The entropy-coded stream."""

    def __init__(self, tables: list[tuple[list[int], int]], data: bytes, zeros: int) -> None:
        data = data[: 8 - zeros] + bytes(zeros) + data[8 - zeros :]
        self.tables = tables
        self.seen: dict[int, Counter[int]] = {}  # of each table: how often each of its symbols
        self.x = int.from_bytes(data[:8], "little")
        assert 1 << 31 <= self.x < 1 << 63
        assert len(data) % 4 == 0
        self.words = np.frombuffer(data[8:], "<u4").tolist()[::-1]

    def _fill(self) -> None:
        if self.x < 1 << 31:
            self.x = self.x << 32 | self.words.pop()

    def _nibble(self) -> int:
        value = self.x & 15
        self.x >>= 4
        self._fill()
        return value

    def section(self, tables: list[tuple[list[int], int]]) -> None:
        """Others code what follows."""
        self.tables, self.seen = tables, {}

    def bit(self, row: int) -> int:
        value = self.symbol(row)
        assert value in (0, 1)
        return value

    def symbol(self, row: int) -> int:
        counts, offset = self.tables[row]
        low = self.x & 65535
        s = bisect_right(counts, low) - 1
        self.x = (counts[s + 1] - counts[s]) * (self.x >> 16) + low - counts[s]
        self._fill()
        self.seen.setdefault(row, Counter())[s] += 1
        escape = len(counts) - 2
        if s != escape:
            return s + offset
        k = nibble = self._nibble()
        while nibble == 15:
            nibble = self._nibble()
            k += nibble
        raw = sum(self._nibble() << 4 * j for j in range(k))
        return offset - (raw + 1) // 2 if raw % 2 else offset + escape + raw // 2

    def finish(self) -> None:
        assert self.x == 1 << 31
        assert not self.words


def neighbours(grid: np.ndarray, offsets: tuple[tuple[int, int], ...]) -> np.ndarray:
    """(rows,cols,n) -> (rows,cols,len(offsets),n), zero beyond the border."""
    rows, cols, _ = grid.shape
    wide = np.pad(grid, ((2, 2), (2, 2), (0, 0)))
    return np.stack([wide[2 + a : 2 + a + rows, 2 + b : 2 + b + cols] for a, b in offsets], 2)


def order(size: int) -> list[tuple[int, int, int | None, int]]:
    """In which order a mini-GOP's frames are coded: which one, those before and after it, from 0, and how deep."""

    def between(a: int, b: int, depth: int) -> list[tuple[int, int, int | None, int]]:
        m = (a + b) // 2
        return [(m, a, b, depth), *between(a, m, depth + 1), *between(m, b, depth + 1)] if b - a > 1 else []

    return [(size - 1, -1, None, 0), *between(-1, size - 1, 1)]


def told_apart(mode: np.ndarray, side: np.ndarray, vector: np.ndarray) -> np.ndarray:
    """What tells how positions are predicted, (2R,2C,4); mode -1 outside of the map."""
    coarse = np.stack((np.where(mode == 3, 1, mode), side), -1).repeat(2, 0).repeat(2, 1)
    return np.concatenate((coarse, spread_vectors(vector)), -1)


def smooth(planes: list[np.ndarray], how: np.ndarray, coded: np.ndarray, q: int) -> None:
    """Edges of a frame."""
    t = math.floor(1 + 18 * 2 ** (-q / 12))
    b = 8 * max(54 - q, 36 - q // 2) // 5
    for turned in (False, True):
        y, u, v = (plane.T if turned else plane for plane in planes)
        a, c = (how.transpose(1, 0, 2), coded.T) if turned else (how, coded)
        for row, col in np.ndindex(c.shape):
            if not col or a[row, col, 0] < 0 or a[row, col - 1, 0] < 0:
                continue
            if c[row, col] or c[row, col - 1] or (a[row, col] != a[row, col - 1]).any():
                for part in (0, 4):
                    here = slice(8 * row + part, 8 * row + part + 4)
                    luma_edge(y[here, 8 * col - 4 : 8 * col + 4], t, b)
                for plane in (u, v):
                    chroma_edge(plane[4 * row : 4 * row + 4, 4 * col - 2 : 4 * col + 2], t // 2)


def luma_edge(x: np.ndarray, t: int, b: int) -> None:
    """(4,8) samples around an edge."""
    p, q = x[:, 3::-1].copy(), x[:, 4:].copy()
    bend = [np.abs(side[:, 2] - 2 * side[:, 1] + side[:, 0])[[0, 3]] for side in (p, q)]
    if sum(each.sum() for each in bend) >= b:
        return
    ends = np.abs(p[:, 3] - p[:, 0]) + np.abs(q[:, 3] - q[:, 0])
    flat = all(
        2 * (bend[0][k] + bend[1][k]) < b // 4 and ends[n] < b // 8 and abs(p[n, 0] - q[n, 0]) < (5 * t + 1) // 2
        for k, n in enumerate((0, 3))
    )
    for one, other, sign, own, put in ((p, q, 1, bend[0], x[:, 3::-1]), (q, p, -1, bend[1], x[:, 4:])):
        a0, a1, a2, a3 = one.T
        b0, b1 = other[:, 0], other[:, 1]
        if flat:
            put[:, 0] += ((a2 + 2 * a1 + 2 * a0 + 2 * b0 + b1 + 4) // 8 - a0).clip(-2 * t, 2 * t)
            put[:, 1] += ((a2 + a1 + a0 + b0 + 2) // 4 - a1).clip(-2 * t, 2 * t)
            put[:, 2] += ((2 * a3 + 3 * a2 + a1 + a0 + b0 + 4) // 8 - a2).clip(-2 * t, 2 * t)
            continue
        s = (9 * (q[:, 0] - p[:, 0]) - 3 * (q[:, 1] - p[:, 1]) + 8) // 16
        small, s = np.abs(s) < 10 * t, s.clip(-t, t)
        put[:, 0] += np.where(small, sign * s, 0)
        if own.sum() < (b + b // 2) // 8:
            more = (((a2 + a0 + 1) // 2 - a1 + sign * s) // 2).clip(-(t // 2), t // 2)
            put[:, 1] += np.where(small, more, 0)
    x[:] = x.clip(0, 255)


def chroma_edge(x: np.ndarray, h: int) -> None:
    """(4,4) samples around an edge."""
    p1, p0, q0, q1 = x.T.copy()
    s = ((4 * (q0 - p0) + p1 - q1 + 4) // 8).clip(-h, h)
    x[:, 1] = (p0 + s).clip(0, 255)
    x[:, 2] = (q0 - s).clip(0, 255)


@dataclass
class Done:
    """What a frame leaves. `reach`: how many frames its vectors go back."""

    plane: list[np.ndarray]
    before: Before
    reach: int
    motion: np.ndarray

    def past(self, reach: int) -> Before:
        """What is kept, with vectors that go as far back as that."""
        past = copy(self.before)
        past.vector = stretched(past.vector, reach, self.reach)
        return past


def stretched(vector: np.ndarray, distance: int, span: int) -> np.ndarray:
    return (2 * distance * vector + span) // (2 * span)


class Layer:
    """State and decoding of a foreground (0), a background (1), or once of a plate (kind `plate`)."""

    def __init__(self, weights: Weights, kind: str, shape: tuple[int, int]) -> None:
        self.w, self.kind, self.number = weights, kind, int(kind == "background")
        self.family = "entropy.intra" if kind == "plate" else "entropy.inter"
        self.shape = shape
        self.reset([np.full((shape[0] * n, shape[1] * n), 128) for n in (16, 8, 8)])

    def reset(self, plate: list[np.ndarray]) -> None:
        self.plate, self.plane = plate, [p.copy() for p in plate]
        self.tables = list(self.w.tables)
        self.counts: dict[int, list[int]] = {}
        self.own = list(self.w.tables), dict[int, list[int]]()  # tables and counts of frames between two others
        self.sides: tuple[Done, Done, int, int] | None = None  # before and after it, and how far away they are
        self.age = 0
        self.before = Before(self.shape)
        self.reach = 1
        self.began = np.zeros((*self.shape, 2), int)  # the motion with which a frame between two others begins
        self.size, self.place = 0, -1  # of the mini-GOP under way, and in it
        self.depth, self.qualities = 0, dict[int, int]()  # of all mini-GOPs' frames so deep the last one's
        self.shown = self.done()

    def done(self) -> Done:
        motion, mode = self.before.vector, self.before.mode
        if self.sides:
            motion = np.where(np.isin(mode, (-1, 0))[..., None], self.began, motion)
        return Done([p.copy() for p in self.plane], copy(self.before), self.reach, motion)

    def packet(self, payload: bytes) -> int:
        """One packet's payload; what it opens is decoded at once, `shown` is the packet's own frame. Returns the sum of
        the checksums."""
        self.place += 1
        if self.place < self.size:
            assert not payload
            self.shown = self.found[self.place]
            return 0
        self.place, self.size, total = 0, 1, 0
        turns, has = order(1), [0]
        if payload:
            assert payload[0] < 128
            self.size = 1 + payload[0] % 16
            turns, has = order(self.size), [1]
            rans = Rans(self.w.tables, payload[1:], payload[0] >> 4)
            if self.size > 1:
                has = [rans.bit(960 + 5 * self.number + depth) for *_, depth in turns]
                assert any(has)
        self.found = {-1: self.done()}
        for (turn, before, after, depth), there in zip(turns, has, strict=True):
            layer = self
            if after is None:
                self.before, self.reach = self.done().past(self.size), self.size
            else:
                layer = self.between(self.found[before], self.found[after], turn - before, after - turn)
            layer.depth = depth
            total += layer.frame(rans if there else None)
            self.found[turn] = layer.done()
        if payload:
            rans.finish()
        self.shown = self.found[self.place]
        return total % 65536

    def between(self, before: Done, after: Done, near: int, far: int) -> Layer:
        """What decodes a frame between two others."""
        layer = copy(self)
        layer.plane = [(a + b + 1) // 2 for a, b in zip(before.plane, after.plane, strict=True)]
        layer.before, layer.reach, layer.sides = after.past(near), near, (before, after, near, far)
        layer.tables, layer.counts = self.own
        layer.began = np.zeros_like(self.began)
        if self.kind == "foreground":
            layer.follow(stretched(after.motion, near, after.reach))
        return layer

    def follow(self, motion: np.ndarray) -> None:
        """Cells begin with what moves as it does on both sides."""
        for r, c in np.ndindex(self.shape):
            beside = [(r + i, c + j) for i, j in ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1), *DIAGONAL)]
            near = [p for p in beside if 0 <= p[0] < self.shape[0] and 0 <= p[1] < self.shape[1]]
            tried = [motion[p] for p in near if motion[p].any()]
            if tried:
                inner = [(2 * r + i, 2 * c + j) for i in (0, 1) for j in (0, 1)]
                errors = [self._apart(inner, v) for v in (np.zeros(2, int), *tried)]
                best = errors[1:].index(min(errors[1:]))
                if errors[1 + best] < 7 * errors[0] // 10 - 12800:
                    self.began[r, c] = tried[best]
                    whole = np.zeros((2 * self.shape[0], 2 * self.shape[1]), bool)
                    whole[2 * r : 2 * r + 2, 2 * c : 2 * c + 2] = True
                    put_blocks(self.plane, [self._of_sides(*p, tried[best], 0) for p in inner], whole)

    def _apart(self, inner: list[tuple[int, int]], v: np.ndarray) -> int:
        """How far what moves by a vector is from where it goes on to, in these positions."""
        pairs = [(self._of_sides(*p, v, 1), self._of_sides(*p, v, 2)) for p in inner]
        return sum(int(np.square(a[:64] - b[:64]).sum()) for a, b in pairs)

    def frame(self, rans: Rans | None) -> int:
        """One frame, which has a body to be read, or none; returns the checksum of what it holds."""
        total = 0
        if rans:
            total = self.decode(rans)
        else:
            self.skip()
        if self.kind == "foreground":
            for k, size in enumerate((16, 8, 8)):
                inside = self.before.cells.repeat(size, 0).repeat(size, 1)
                self.plane[k] = np.where(inside, self.plane[k], self.plate[k])
        return total

    def learn(self, seen: dict[int, Counter[int]]) -> None:
        """Tables follow what was coded with them since the key frame."""
        for row, found in seen.items():
            begun, offset = self.w.tables[row]
            n = len(begun) - 1
            k = [old + found[s] for s, old in enumerate(self.counts.get(row, [0] * n))]
            while sum(k) > 4096:
                k = [count // 2 for count in k]
            whole = 65536 * (64 + sum(k))
            share = [1 + (64 * (begun[s + 1] - begun[s]) + 65536 * k[s]) * (65536 - n) // whole for s in range(n)]
            share[share.index(max(share))] += 65536 - sum(share)
            self.counts[row], self.tables[row] = k, ([0, *accumulate(share)], offset)

    def skip(self) -> None:
        """A frame without cells."""
        nothing = Before(self.shape)
        self.before.then(nothing.cells, nothing.mode, nothing.vector, nothing.flags, nothing.symbols)
        self.age += 1

    def plate_from(self, payload: bytes) -> int:
        """Decode a plate; returns its checksum."""
        assert not payload[0] & ~14
        rans, q = Rans(self.w.tables, payload[4:], payload[0] >> 1), payload[1]
        marked = Side(self.w.arrays, rans, 0, q, 0, self.before).map()
        cells, mode = np.ones(self.shape, bool), np.zeros(self.shape, int)
        found = self._finish(
            rans, payload[:2] + np.packbits(marked).tobytes(), cells, mode, np.zeros((*self.shape, 4, 2), int),
            np.zeros(self.shape, int), cells.repeat(2, 0).repeat(2, 1), q,
        )  # fmt: skip
        rans.finish()
        return found

    def _expected(self) -> int:
        coarser = (0, 6, 10, 13, 15)
        for depth in range(self.depth, -1, -1):
            if depth in self.qualities:
                return max(0, self.qualities[depth] - coarser[self.depth] + coarser[depth])
        return max(0, 32 - coarser[self.depth])

    def decode(self, rans: Rans) -> int:
        """A body; returns the checksum of what it holds."""
        rans.section(self.tables)
        q = self._expected() + rans.symbol(959)
        assert 0 <= q < 64
        self.qualities[self.depth] = q
        side = Side(self.w.arrays, rans, self.number, q, self.age, self.before)
        same = rans.bit(958)
        cells = self.before.cells if same else side.map()
        mode, vector = np.where(cells, 0, -1), np.zeros((*self.shape, 4, 2), int)
        told = np.zeros(self.shape, int)
        still = rans.bit(957)
        if not still:
            mode = side.modes(cells)
            if self.sides:
                told = side.sides(mode)
            vector = side.vectors(mode)
        flags_now = side.flags(cells, mode, vector)
        check = bytes((still + 2 * same, q)) + np.packbits(cells).tobytes()
        check += mode[cells].astype("<i2").tobytes() + vector[cells].astype("<i2").tobytes()
        if self.sides:
            check += told[cells].astype("<i2").tobytes()
        check += np.packbits(flags_now[cells.repeat(2, 0).repeat(2, 1)]).tobytes()
        return self._finish(rans, check, cells, mode, vector, told, flags_now, q)

    def _finish(
        self, rans: Rans, check: bytes, cells: np.ndarray, mode: np.ndarray, vector: np.ndarray, told: np.ndarray,
        flags_now: np.ndarray, q: int,
    ) -> int:  # fmt: skip
        symbols = self._symbols(rans, flags_now, mode, vector, q)
        self.learn(rans.seen)
        whole = cells.repeat(2, 0).repeat(2, 1)
        p = self._prediction(whole, mode, vector, told)
        self._paint(whole, flags_now, p, symbols, q)
        if self.kind != "plate":
            moved = vector.copy()
            if self.sides:
                moved[mode == 0] = self.began[mode == 0][:, None]
            smooth(self.plane, told_apart(mode, told, moved), flags_now, q)
        self.before.then(cells, mode, vector[:, :, 0], flags_now, symbols)
        self.age += 1
        return crc32c(check + symbols[flags_now].astype("<i2").tobytes()) & 0xFFFF

    def _side(self, coded: np.ndarray, mode: np.ndarray, vector: np.ndarray, q: int) -> np.ndarray:
        rows, cols = self.shape[0] * 2, self.shape[1] * 2
        r, c = np.mgrid[:rows, :cols]
        fine = [mode.repeat(2, 0).repeat(2, 1), self.before.flags]
        around = neighbours(coded[..., None].astype(int), DIAGONAL + AXIAL).sum((2, 3))
        short = 4 * np.abs(spread_vectors(vector)).clip(0, 63)
        return np.stack(
            [
                np.full((rows, cols), 0 if self.kind == "background" else 255),
                np.full((rows, cols), 4 * q),
                np.isin(fine[0], (1, 3)) * 255,
                (fine[0] == 2) * 255,
                (fine[0] == 0) * 255,
                short[..., 0],
                short[..., 1],
                (fine[0] == 3) * 255,
                fine[1] * 255,
                around * 31,
                r % 2 * 255,
                c % 2 * 255,
                np.full((rows, cols), 255 * (self.age == 0)),
                np.full((rows, cols), 17 * min(self.age, 15)),
            ],
            -1,
        )

    def _symbols(self, rans: Rans, coded: np.ndarray, mode: np.ndarray, vector: np.ndarray, q: int) -> np.ndarray:
        r, c = np.mgrid[: coded.shape[0], : coded.shape[1]]
        name = f"{self.family}.index"
        before = MAGNITUDE[np.abs(self.before.symbols).clip(0, 15)]
        shared = self.w.integers(
            f"{name}.shared", np.concatenate((before, self._side(coded, mode, vector, q)), -1), 7, 255
        )
        symbols = np.zeros((*coded.shape, 96), int)
        for k, (first, last, belongs, offsets) in enumerate(STEPS):
            known = MAGNITUDE[np.abs(symbols[..., : first or 8]).clip(0, 15)]
            mean = neighbours(known, offsets).sum(2) // len(offsets)
            context = np.concatenate((shared, known, mean), -1) if first else np.concatenate((shared, mean), -1)
            here = coded & belongs(r, c)
            hidden = self.w.integers(f"{name}.hidden.{k}", context[here], 7, 255)
            index = self.w.integers(f"{name}.out.{k}", hidden, 10, 63)
            found = [[rans.symbol(t) if t else 0 for t in row] for row in index.tolist()]
            symbols[here, first:last] = np.array(found, int).reshape(-1, last - first)
        assert np.abs(symbols).max() <= 2047
        return symbols

    def _paint(self, whole: np.ndarray, coded: np.ndarray, p: np.ndarray, symbols: np.ndarray, q: int) -> None:
        d = 128 * 2 ** (-q / 12)
        r, c = np.mgrid[: coded.shape[0], : coded.shape[1]]
        v = np.zeros(symbols.shape)
        for k, (first, last, belongs, offsets) in enumerate(STEPS):
            u = neighbours(v[..., :8], offsets).reshape(*coded.shape, -1)
            u = np.concatenate((u, v[..., :first]), -1) * (d / 16)
            here = coded & belongs(r, c)
            inner = gelu(self.w.linear(f"{self.family}.mean.first.{k}", u[here]))
            v[here, first:last] = symbols[here, first:last] + self.w.linear(f"{self.family}.mean.last.{k}", inner) / (
                d / 16
            )
        p[coded] = self._synthesis(coded, v, p, d, q)
        put_blocks(self.plane, np.rint(p[whole]).clip(0, 255).astype(int), whole)

    def _prediction(self, coded: np.ndarray, mode: np.ndarray, vector: np.ndarray, told: np.ndarray) -> np.ndarray:
        p = np.zeros((*coded.shape, 96))
        fine = spread_vectors(vector)
        for r, c in np.argwhere(coded).tolist():
            kind, v = 9 if self.kind == "plate" else mode[r // 2, c // 2], fine[r, c]
            if kind == 9:
                p[r, c] = 128
            elif kind in (1, 3) and self.sides:
                p[r, c] = self._of_sides(r, c, v, told[r // 2, c // 2])
            else:
                p[r, c] = fetched(self.plate if kind == 2 else self.plane, r, c, v if kind in (1, 3) else v * 0)
        return p

    def _of_sides(self, r: int, c: int, v: np.ndarray, side: int) -> np.ndarray:
        """What moves in a frame between two others."""
        before, after, near, far = self.sides
        first = fetched(before.plane, r, c, v)
        second = fetched(after.plane, r, c, -((2 * far * v + near) // (2 * near)))
        return ((first + second + 1) // 2, first, second)[side]

    def _synthesis(self, coded: np.ndarray, v: np.ndarray, p: np.ndarray, d: float, q: int) -> np.ndarray:
        w, name = self.w, f"synthesis.{self.kind}"
        values = v[coded] * np.exp(w.curve(f"{name}.gain", q)) * d
        h = w.linear(f"{name}.enter", np.concatenate((values / 16, (p[coded] - 128) / 64), -1))
        h = h * np.exp(w.curve(f"{name}.quality", q))
        k = 0
        while f"{name}.blocks.{k}.enter.weight" in w.arrays:
            part = f"{name}.blocks.{k}"
            inner = w.linear(f"{part}.enter", h)
            grid = np.zeros((*coded.shape, inner.shape[1]))
            grid[coded] = np.where(inner < 0, 0.1 * inner, inner)
            kernel = w.arrays[f"{part}.mix.conv.weight"].astype(float).reshape(-1, 9)
            square = tuple((a, b) for a in (-1, 0, 1) for b in (-1, 0, 1))
            mixed = (neighbours(grid, square) * kernel.T).sum(2) + w.arrays[f"{part}.mix.conv.bias"]
            h = h + w.linear(f"{part}.leave", mixed[coded])
            gate, value = np.split(w.linear(f"{part}.widen", h), 2, axis=1)
            h = h + w.linear(f"{part}.narrow", gate.clip(0, 16) * value.clip(-16, 16))
            k += 1
        line = values @ w.arrays[f"{name}.basis"].astype(float)
        line[:, 64:] /= math.sqrt(2 / 3)
        return p[coded] + line + 16 * w.linear(f"{name}.leave", h)


def spread_vectors(vector: np.ndarray) -> np.ndarray:
    """(R,C,4,2) -> (2R,2C,2)."""
    r, c = vector.shape[:2]
    return vector.reshape(r, c, 2, 2, 2).transpose(0, 2, 1, 3, 4).reshape(2 * r, 2 * c, 2)


def gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * (1 + np.vectorize(math.erf, otypes=[float])(x / math.sqrt(2)))


def fetched(planes: list[np.ndarray], r: int, c: int, v: np.ndarray) -> np.ndarray:
    """The samples (96,) that a position shows of planes moved by a vector."""
    top, left = 32 * r + v[0], 32 * c + v[1]
    return np.concatenate(
        [block(planes[0], top, left, 8, LUMA)] + [block(plane, top, left, 4, CHROMA) for plane in planes[1:]]
    )


def block(plane: np.ndarray, top: int, left: int, size: int, taps: np.ndarray) -> np.ndarray:
    """An interpolated block at (top, left), in units of 1 / len(taps)."""
    parts, length = taps.shape
    span = np.arange(size + length - 1) - (length // 2 - 1)
    rows = (top // parts + span).clip(0, plane.shape[0] - 1)
    cols = (left // parts + span).clip(0, plane.shape[1] - 1)
    patch = plane[np.ix_(rows, cols)].astype(np.int64)
    across = sum(int(taps[left % parts, k]) * patch[:, k : k + size] for k in range(length))
    down = sum(int(taps[top % parts, k]) * across[k : k + size] for k in range(length))
    return ((down + 2048) >> 12).clip(0, 255).ravel()


def put_blocks(planes: list[np.ndarray], blocks: np.ndarray, coded: np.ndarray) -> None:
    for (r, c), samples in zip(np.argwhere(coded).tolist(), blocks, strict=True):
        for plane, first, size in zip(planes, (0, 64, 80), (8, 4, 4), strict=True):
            part = samples[first : first + size * size].reshape(size, size)
            plane[r * size : r * size + size, c * size : c * size + size] = part


class ReferenceDecoder:
    """Packets in, cropped planes out; raises AssertionError on anything that is not valid."""

    def __init__(self, weights: Weights, width: int, height: int) -> None:
        self.weights, self.width, self.height = weights, width, height
        self.shape = -(-height // 16), -(-width // 16)
        self.layers = [Layer(weights, kind, self.shape) for kind in ("foreground", "background")]
        self.plate: list[np.ndarray] = []

    def decode(self, key: bool, plate: bytes, payloads: tuple[bytes, bytes], sums: tuple[int, int]) -> list[np.ndarray]:
        if plate:
            own = Layer(self.weights, "plate", self.shape)
            assert own.plate_from(plate) == int.from_bytes(plate[2:4], "little")
            self.plate = own.plane
        for layer, payload, expected in zip(self.layers, payloads, sums, strict=True):
            if key:
                layer.reset(self.plate)
            found = layer.packet(payload)
            assert found == expected or not payload
        foreground, background = (layer.shown for layer in self.layers)
        shown = []
        for k, size in enumerate((16, 8, 8)):
            inside = foreground.before.cells.repeat(size, 0).repeat(size, 1)
            whole = np.where(inside, foreground.plane[k], background.plane[k])
            h, w = (self.height, self.width) if k == 0 else (-(-self.height // 2), -(-self.width // 2))
            shown.append(whole[:h, :w])
        return shown
