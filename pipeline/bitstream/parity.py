"""Parity of a plate chunk's payload: mends a lost sector. See FORMAT.md, "Parity".

Pure functions over bytes; knows nothing of chunks or files.
"""

from __future__ import annotations

import struct

import numpy as np
import numpy.typing as npt

from pipeline.bitstream.header import HEADER_BYTES
from pipeline.bitstream.table import MAX_LAYER_BYTES
from pipeline.bitstream.wire import crc32c
from pipeline.errors import StreamError

BLOCK_BYTES = 256
_SECTOR_BLOCKS = 4096 // BLOCK_BYTES
_MAX_BYTES = HEADER_BYTES + MAX_LAYER_BYTES
_FIXED = struct.Struct("<II")  # length and crc32c of what is protected

Rows = npt.NDArray[np.uint8]


def protect(payload: bytes) -> bytes:
    """What `repair` needs: length, crc32c, a crc32c of each block, parity blocks. Raises ValueError where the payload
    is empty or too long."""
    if not 0 < len(payload) <= _MAX_BYTES:
        raise ValueError(f"{len(payload)} bytes cannot be protected, 1 to {_MAX_BYTES} can")
    blocks, groups = _shape(len(payload))
    parity: Rows = np.bitwise_xor.reduce(_rows(payload, blocks, groups).reshape(-1, groups, BLOCK_BYTES))
    checks = struct.pack(f"<{blocks}I", *(_check(payload, block) for block in range(blocks)))
    return _FIXED.pack(len(payload), crc32c(payload)) + checks + parity.tobytes()


def protected_bytes(protection: bytes) -> int:
    """How long the payload is that `protect` was given. Raises StreamError where this is not what it made."""
    if len(protection) < _FIXED.size:
        raise StreamError(f"parity cut off after {len(protection)} bytes")
    length: int = _FIXED.unpack_from(protection)[0]
    blocks, groups = _shape(length)
    if not 0 < length <= _MAX_BYTES or len(protection) != _FIXED.size + 4 * blocks + BLOCK_BYTES * groups:
        raise StreamError(f"{len(protection)} bytes are no parity of {length} bytes")
    return length


def repair(damaged: bytes, protection: bytes) -> bytes:
    """The payload that was protected, from what is left of it. Both may be wrong anywhere, and `damaged` of any length:
    what comes out has the right crc32c. Raises StreamError where it cannot."""
    length = protected_bytes(protection)
    _, crc = _FIXED.unpack_from(protection)
    blocks, groups = _shape(length)
    checks = struct.unpack_from(f"<{blocks}I", protection, _FIXED.size)
    parity = np.frombuffer(protection, np.uint8, offset=_FIXED.size + 4 * blocks).reshape(groups, BLOCK_BYTES)
    found = damaged[:length].ljust(length, b"\0")
    bad = [block for block in range(blocks) if _check(found, block) != checks[block]]
    rows = _rows(found, blocks, groups)
    rows[bad] = 0
    for block in bad:  # two in a group come out wrong, and the last check says so
        group = block % groups
        rows[block] = parity[group] ^ np.bitwise_xor.reduce(rows[group::groups])
    mended = rows.tobytes()[:length]
    if crc32c(mended) != crc:
        raise StreamError(f"{len(bad)} of {blocks} blocks are damaged, more than the parity can mend")
    return mended


def _shape(length: int) -> tuple[int, int]:
    """Blocks, and groups of them. A burst of a sector, wherever it begins, touches no group twice."""
    blocks = -(-length // BLOCK_BYTES)
    return blocks, min(blocks, _SECTOR_BLOCKS + 1)


def _rows(payload: bytes, blocks: int, groups: int) -> Rows:
    """Blocks as rows, filled up with zeros to whole groups."""
    rows = np.zeros((-(-blocks // groups) * groups, BLOCK_BYTES), np.uint8)
    rows.reshape(-1)[: len(payload)] = np.frombuffer(payload, np.uint8)
    return rows


def _check(payload: bytes, block: int) -> int:
    return crc32c(payload[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES])
