"""Whether the chunks of one kind follow each other, by their heads alone. See FORMAT.md, "Reading over damage"."""

from __future__ import annotations

from enum import Enum, auto
from typing import BinaryIO

from pipeline.bitstream.chunks import ChunkHead, walk


class Turn(Enum):
    NEXT = auto()
    AFTER_GAP = auto()  # chunks of this kind are missing before this one
    OUT_OF_PLACE = auto()  # a copy, or moved here from elsewhere


class Order:
    """Follows the chunks of one kind through a file: from its beginning; from anywhere, `from_start=False`; or there
    from the chunk that begins with frame `begin`."""

    def __init__(self, file: BinaryIO, *, from_start: bool = True, begin: int = -1) -> None:
        self._file = file
        self._sequence = -1 if from_start else None
        self._begin = begin
        self._first = begin - 1 if begin >= 0 else -1

    def turn(self, head: ChunkHead) -> Turn:
        """How the next chunk of the kind stands to those before it."""
        if head.first <= self._first:
            return Turn.OUT_OF_PLACE
        if self._sequence is None:
            jumps = self._begin not in (-1, head.first)
        else:
            jumps = head.sequence != (self._sequence + 1) & 0xFFFF
        if jumps and self._goes_back_after(head):
            return Turn.OUT_OF_PLACE
        self._sequence, self._first = head.sequence, head.first
        return Turn.AFTER_GAP if jumps else Turn.NEXT

    def _goes_back_after(self, head: ChunkHead) -> bool:
        """Whether the next chunk of the kind belongs before this one."""
        following = walk(self._file, head.end, lambda fault: None, open_ended=True)
        after = next((other.first for other in following if other.kind is head.kind), -1)
        return self._first < after < head.first
