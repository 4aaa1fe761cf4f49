"""The smallest pieces of the format: checksums, varints, runs of zeros, and a cursor that cannot leave its bytes.

Knows nothing of chunks or packets. Every read is bounded; what does not fit raises StreamError.
"""

from __future__ import annotations

from collections.abc import Iterable

import google_crc32c

from pipeline.errors import StreamError

MAX_VARINT_BYTES = 9  # 63 bits: every number of the format fits in a signed 64-bit integer


def crc32c(data: bytes) -> int:
    """CRC32C (Castagnoli), as in iSCSI."""
    return int(google_crc32c.value(data))


def put_varint(out: bytearray, value: int) -> None:
    """Append `value` (0 <= value < 2^63) as LEB128."""
    if not 0 <= value < 1 << 63:
        raise ValueError(f"{value} does not fit a varint of 63 bits")
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)


def zigzag(value: int) -> int:
    """0, -1, 1, -2, ... as 0, 1, 2, 3, ..."""
    return value << 1 if value >= 0 else (-value << 1) - 1


def unzigzag(value: int) -> int:
    return value >> 1 if not value & 1 else -((value + 1) >> 1)


def put_runs(out: bytearray, values: Iterable[int]) -> None:
    """Each value as a varint; a zero is followed by the number of further zeros."""
    zeros = 0
    for value in values:
        if value == 0:
            zeros += 1
            continue
        _put_zeros(out, zeros)
        zeros = 0
        put_varint(out, value)
    _put_zeros(out, zeros)


def _put_zeros(out: bytearray, zeros: int) -> None:
    if zeros:
        out.append(0)
        put_varint(out, zeros - 1)


class Cursor:
    """Reads a byte string from its start. `offset` is where the bytes stand in the file, for messages."""

    def __init__(self, data: bytes, offset: int) -> None:
        self._data = data
        self._offset = offset
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def fail(self, reason: str) -> StreamError:
        where = self._offset + self._at
        return StreamError(f"{reason} at byte {where}", offset=where)

    def take(self, count: int) -> bytes:
        if count > self.left:
            raise self.fail(f"{count} bytes wanted where {self.left} are left")
        self._at += count
        return self._data[self._at - count : self._at]

    def varint(self, limit: int) -> int:
        """The next varint, at most `limit`. Longer forms than needed are refused."""
        value = 0
        for place in range(MAX_VARINT_BYTES):
            if self._at >= len(self._data):
                raise self.fail("a number is cut off")
            byte = self._data[self._at]
            self._at += 1
            value |= (byte & 0x7F) << (7 * place)
            if byte < 0x80:
                if (byte == 0 and place) or value > limit:
                    raise self.fail(f"number {value} is out of range or not in its shortest form")
                return value
        raise self.fail("a number is too long")

    def runs(self, count: int, limit: int) -> list[int]:
        """`count` values as `put_runs` wrote them, each at most `limit`."""
        values: list[int] = []
        while len(values) < count:
            value = self.varint(limit)
            values.append(value)
            if value == 0:
                values.extend([0] * self.varint(count - len(values)))
        return values
