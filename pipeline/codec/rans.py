"""Symbols to bytes and back: CompressAI's range coder (rANS, 64-bit state, 32-bit words), one stream a plate or a
layer's mini-GOP.

The coder's state opens a stream with eight bytes, of which the highest are often zero; they are left out and their
number is returned beside the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.codec import ans
from pipeline.codec.tables import Bytes, CodingTables, Counts
from pipeline.errors import StreamError

STATE_BYTES = 8
MAX_ZEROS = 7
_STATE_LOW, _STATE_HIGH = 1 << 31, 1 << 63
# CompressAI's encoder writes into a buffer of one word a symbol, which fewer than four symbols can overrun.
_FEW = 4
_MOST_BYTES = 5  # a symbol with its escape: 16 + 4 + 16 bits
# CompressAI's decoder has no end check: it reads on into what lies behind its buffer. So symbols are read in chunks,
# and about once a chunk it is counted from the tables how many bits they took: more than there are is an error. What
# can be read too much by then is padding: 16 bits a symbol of two chunks, and more only for escapes, of which a chain
# of fifteens asks for up to 15 bytes for each of its own. A chain lives on real data; past the end only what is left
# in the state can make one, of at most 97 bytes.
_CHUNK = 8192
_SLACK = 1 << 16
# Counting bits is exact but for the rounding in the coder's state, 2^-15 of a bit a symbol at the very worst.
_TOLERANCE_BITS = 16.0

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Section:
    """Symbols and the tables that code them, as these are now. `places`: of each symbol its table's among `rows`,
    `sizes` and `offsets`."""

    symbols: list[int]
    places: list[int]
    rows: list[list[int]]
    sizes: list[int]
    offsets: list[int]


def joined(sections: Sequence[Section]) -> tuple[bytes, int]:
    """One stream of sections: (bytes, how many zero bytes of the state were left out)."""
    if sum(len(section.symbols) for section in sections) < _FEW:
        return _without_zeros(_encode_few(sections))
    encoder = ans.BufferedRansEncoder()
    for each in sections:
        encoder.encode_with_indexes(each.symbols, each.places, each.rows, each.sizes, each.offsets)
    return _without_zeros(encoder.flush())


class SymbolWriter:
    """Collects symbols with the tables that code them, for a section or a stream of its own."""

    def __init__(self, tables: CodingTables, counts: Counts | None = None) -> None:
        """`counts`: takes note of what scores decide."""
        self.tables, self._counts = tables, counts
        self._coded: list[tuple[Ints, Ints]] = []

    def add(self, rows: Ints, symbols: Ints) -> None:
        """Arrays of one shape."""
        self._coded.append((rows.ravel(), symbols.ravel()))

    def note(self, name: str, layer: int, inputs: Callable[[], Bytes], decided: Ints) -> None:
        """What a score saw, (n,F), where it decided so (n,K): 0 or 1, -1 where not asked."""
        if self._counts is not None:
            labels = np.concatenate((np.full((len(decided), 1), layer), decided), axis=1).astype(np.int8)
            self._counts.examples.setdefault(name, []).append((inputs(), labels))

    def collected(self) -> tuple[Ints, Ints]:
        """(rows, symbols) so far."""
        return _together(self._coded)

    def section(self) -> Section:
        """All so far."""
        rows, symbols = self.collected()
        places, used = _of_those_used(rows)
        t = self.tables
        return Section(
            symbols.tolist(), places, [t.rows[r] for r in used], [t.sizes[r] for r in used],
            [t.offsets[r] for r in used],
        )  # fmt: skip

    def finish(self) -> tuple[bytes, int]:
        """(bytes, how many zero bytes of the state were left out)."""
        return joined([self.section()])


def _of_those_used(rows: Ints) -> tuple[list[int], list[int]]:
    """The place of each table among those used, and which these are."""
    seen = np.bincount(rows) > 0
    return (np.cumsum(seen) - 1)[rows].tolist(), np.flatnonzero(seen).tolist()


def _without_zeros(stream: bytes) -> tuple[bytes, int]:
    state = stream[:STATE_BYTES].rstrip(b"\0")
    return state + stream[STATE_BYTES:], STATE_BYTES - len(state)


def _encode_few(sections: Sequence[Section]) -> bytes:
    """What CompressAI's encoder would return, for any number of symbols but slowly."""
    parts: list[tuple[int, int]] = []  # (start, frequency) of 65536; frequency 0: four bits as they are
    for section in sections:
        for place, symbol in zip(section.places, section.symbols, strict=True):
            cumulative, escape = section.rows[place], section.sizes[place] - 2
            value = symbol - section.offsets[place]
            coded = value if 0 <= value < escape else escape
            parts.append((cumulative[coded], cumulative[coded + 1] - cumulative[coded]))
            if coded == escape:
                raw = -2 * value - 1 if value < 0 else 2 * (value - escape)
                count = -(-raw.bit_length() // 4)  # at most 8: one group of four bits says how many follow
                parts += [(count, 0), *((raw >> 4 * k & 15, 0) for k in range(count))]
    state, words = _STATE_LOW, b""
    for start, frequency in reversed(parts):
        if state >= (frequency or 1 << 12) << 47:
            words = (state & 0xFFFFFFFF).to_bytes(4, "little") + words
            state >>= 32
        state = (state // frequency << 16) + state % frequency + start if frequency else state << 4 | start
    return state.to_bytes(STATE_BYTES, "little") + words


class SymbolReader:
    """Reads symbols back, in the order and with the tables of the writers."""

    def __init__(self, tables: CodingTables, data: bytes, zeros: int, *, most: int) -> None:
        """`most`: upper bound of symbols that will be asked for. Raises StreamError for what no writer makes."""
        head = STATE_BYTES - zeros
        if zeros > MAX_ZEROS or len(data) < head or (len(data) - head) % 4:
            raise StreamError(f"entropy-coded data of {len(data)} bytes with {zeros} left out has no right length")
        if len(data) > STATE_BYTES + _MOST_BYTES * most:
            raise StreamError(f"entropy-coded data of {len(data)} bytes is longer than {most} symbols can be")
        whole = data[:head] + bytes(zeros) + data[head:]
        if not _STATE_LOW <= int.from_bytes(whole[:STATE_BYTES], "little") < _STATE_HIGH:
            raise StreamError("entropy-coded data opens with an impossible state")
        self.tables = tables
        self._left_bits = 8.0 * len(whole) - 64 + math.log2(int.from_bytes(whole[:STATE_BYTES], "little") / _STATE_LOW)
        self._decoder = ans.RansDecoder()
        self._decoder.set_stream(whole + bytes(4 * _CHUNK + 16 * len(data) + _SLACK))
        self._read: list[tuple[Ints, Ints]] = []
        self._settled = self._count = 0

    def begin(self, tables: CodingTables) -> None:
        """A section follows."""
        self.tables = tables

    def end(self) -> tuple[Ints, Ints]:
        """(rows, symbols) of the section that ends here. Raises StreamError when there was not that much."""
        self._settle()
        found, self._read, self._settled = _together(self._read), [], 0
        return found

    def read(self, rows: Ints) -> Ints:
        """One symbol a row, same shape. Raises StreamError when there is not that much."""
        flat = rows.ravel()
        if 0 < len(flat) <= _CHUNK:
            return self._chunk(flat).reshape(rows.shape)
        found = [self._chunk(flat[k : k + _CHUNK]) for k in range(0, len(flat), _CHUNK)]
        return np.concatenate(found).reshape(rows.shape) if found else np.zeros(rows.shape, np.int64)

    def finish(self) -> None:
        """Raises StreamError when there is less or more than what was read."""
        self._settle()
        if self._left_bits > _TOLERANCE_BITS:
            raise StreamError(f"{self._left_bits / 8:.0f} bytes follow the entropy-coded symbols")

    def _chunk(self, rows: Ints) -> Ints:
        t = self.tables
        place, used = _of_those_used(rows)
        found = self._decoder.decode_stream(
            place, [t.rows[r] for r in used], [t.sizes[r] for r in used], [t.offsets[r] for r in used]
        )
        symbols = np.fromiter(found, np.int64, len(rows))
        self._read.append((rows, symbols))
        self._count += len(rows)
        if self._count >= _CHUNK:
            self._settle()
        return symbols

    def _settle(self) -> None:
        """Count the bits of what was read since the last time."""
        self._left_bits -= self.tables.bits(*_together(self._read[self._settled :]))
        self._settled, self._count = len(self._read), 0
        if self._left_bits < -_TOLERANCE_BITS:
            raise StreamError("the entropy-coded data ends before its symbols")


def _together(parts: list[tuple[Ints, Ints]]) -> tuple[Ints, Ints]:
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    rows, symbols = zip(*parts, strict=True)
    return np.concatenate(rows), np.concatenate(symbols)
