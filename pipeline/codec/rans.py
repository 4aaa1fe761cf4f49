"""Symbols to bytes and back: CompressAI's range coder (rANS, 64-bit state, 32-bit words), one stream a layer.

The coder's state opens a stream with eight bytes, of which the highest are often zero; they are left out and their
number is returned beside the bytes.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from compressai import ans

from pipeline.codec.tables import Tables
from pipeline.errors import StreamError

STATE_BYTES = 8
MAX_ZEROS = 7
# The decoder has no end check and reads on past its buffer. A symbol takes at most one word, so this much padding
# covers every stream without chained escapes; the container's CRC keeps damaged ones away from here.
_WORDS_A_SYMBOL = 1

Ints = npt.NDArray[np.int64]


class SymbolWriter:
    """Collects symbols with the tables that code them; `finish` makes the bytes."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._rows: list[Ints] = []
        self._symbols: list[Ints] = []

    def add(self, rows: Ints, symbols: Ints) -> None:
        """Arrays of one shape."""
        self._rows.append(rows.ravel())
        self._symbols.append(symbols.ravel())

    def collected(self) -> tuple[Ints, Ints]:
        """(rows, symbols) so far."""
        if not self._rows:
            return np.zeros(0, np.int64), np.zeros(0, np.int64)
        return np.concatenate(self._rows), np.concatenate(self._symbols)

    def finish(self) -> tuple[bytes, int]:
        """(bytes, how many zero bytes of the state were left out)."""
        rows, symbols = self.collected()
        used, index = np.unique(rows, return_inverse=True)
        t = self._tables
        stream = ans.RansEncoder().encode_with_indexes(
            symbols.tolist(),
            index.tolist(),
            [t.rows[r] for r in used],
            [t.sizes[r] for r in used],
            [t.offsets[r] for r in used],
        )
        state = stream[:STATE_BYTES].rstrip(b"\0")
        return state + stream[STATE_BYTES:], STATE_BYTES - len(state)


class SymbolReader:
    """Reads symbols back, in the order and with the tables of the writer."""

    def __init__(self, tables: Tables, data: bytes, zeros: int, *, most: int) -> None:
        """`most`: upper bound of symbols that will be asked for. Raises StreamError if there are no bytes at all."""
        if zeros > MAX_ZEROS or len(data) < STATE_BYTES - zeros:
            raise StreamError(f"entropy-coded data of {len(data)} bytes with {zeros} left out is too short")
        head = STATE_BYTES - zeros
        whole = data[:head] + bytes(zeros) + data[head:]
        padding = bytes(4 * _WORDS_A_SYMBOL * most + 4096)
        self._tables = tables
        self._decoder = ans.RansDecoder()
        self._decoder.set_stream(whole + padding)

    def read(self, rows: Ints) -> Ints:
        """One symbol a row, same shape."""
        if rows.size == 0:
            return np.zeros(rows.shape, np.int64)
        used, index = np.unique(rows, return_inverse=True)
        t = self._tables
        symbols = self._decoder.decode_stream(
            index.ravel().tolist(),
            [t.rows[r] for r in used],
            [t.sizes[r] for r in used],
            [t.offsets[r] for r in used],
        )
        return np.asarray(symbols, np.int64).reshape(rows.shape)
