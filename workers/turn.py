"""Keeps an actor from working on what follows a batch that failed.

Several batches are under way at once. When one fails, here or upstream, Ray still delivers the next: coding or storing
it would leave a hole that nothing shows.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import JobError


class Turn:
    """Counts the batches that went well."""

    def __init__(self) -> None:
        self._next = 0

    @contextmanager
    def of(self, turn: int) -> Iterator[None]:
        """Work on batch `turn`. Raises JobError unless every batch before it went well."""
        if turn != self._next:
            raise JobError(f"batch {turn} came after batch {self._next - 1}: one between them failed")
        yield
        self._next += 1
