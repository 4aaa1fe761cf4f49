"""Keeps an actor from working on what follows a batch that failed, and on what comes from an earlier life of a chain.

Several batches are under way at once. When one fails, here or upstream, Ray still delivers the next: coding or storing
it would leave a hole that nothing shows. A batch that comes twice is refused in the same way, so what a camera's life
stores is determined by (camera, life, turn) alone.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import JobError


class Turn:
    """Counts the batches of one life that went well."""

    def __init__(self, life: int) -> None:
        self._life = life
        self._next = 0

    @contextmanager
    def of(self, life: int, turn: int) -> Iterator[None]:
        """Work on batch `turn`. Raises JobError unless every batch before it went well, and none of them twice."""
        if (life, turn) != (self._life, self._next):
            raise JobError(f"batch {turn} of life {life} came after batch {self._next - 1} of life {self._life}")
        yield
        self._next += 1
