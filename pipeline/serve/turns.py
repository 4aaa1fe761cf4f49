"""Turns at the one decoder of a process: whoever has had the least goes first. Knows threads, not what is decoded."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

from pipeline.errors import JobCancelled


class Turns:
    """One holder at a time. Turns are counted in the seconds they took, by viewer: who asks for sixteen pictures at
    once, or for large ones, waits longer between them than who asks for one. Someone new begins level with those who
    wait, so nobody saves up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._spent: dict[str, float] = {}
        self._present: dict[str, int] = {}
        self._waiting: dict[int, str] = {}  # in the order in which they came
        self._numbers = count()
        self._held = False

    @contextmanager
    def joined(self, viewer: str) -> Iterator[None]:
        """For as long as a viewer has something under way."""
        with self._changed:
            if viewer not in self._present:
                self._spent[viewer] = min((self._spent[name] for name in self._present), default=0.0)
            self._present[viewer] = self._present.get(viewer, 0) + 1
        try:
            yield
        finally:
            with self._changed:
                self._present[viewer] -= 1
                if not self._present[viewer]:
                    del self._present[viewer], self._spent[viewer]
                self._changed.notify_all()

    @contextmanager
    def turn(self, viewer: str, stop: threading.Event) -> Iterator[None]:
        """Wait for a turn and hold it, for one picture or so; the viewer has joined. Raises JobCancelled where `stop`
        is set: call `wake` after setting it."""
        number = next(self._numbers)
        with self._changed:
            self._waiting[number] = viewer
            try:
                while not stop.is_set() and (self._held or self._next() != number):
                    self._changed.wait()
            finally:
                del self._waiting[number]
            if stop.is_set():
                self._changed.notify_all()
                raise JobCancelled("nobody waits for this any more")
            self._held = True
        began = self._clock()
        try:
            yield
        finally:
            with self._changed:
                self._held = False
                self._spent[viewer] += self._clock() - began
                self._changed.notify_all()

    def wake(self) -> None:
        """Let those who wait look at their `stop`."""
        with self._changed:
            self._changed.notify_all()

    def _next(self) -> int:
        return min(self._waiting, key=lambda number: (self._spent[self._waiting[number]], number))
