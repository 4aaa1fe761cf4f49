"""Whose turn it is. Time is a number that the holders set."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest

from pipeline.errors import JobCancelled
from pipeline.serve.turns import Turns

LIMIT_S = 30.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition() and time.monotonic() < deadline:
        time.sleep(0)


def test_whoever_had_the_least_goes_first() -> None:
    clock = Clock()
    turns = Turns(clock)
    spent = {"many": 0.0, "one": 0.0, "slow": 0.0}
    enough = threading.Event()

    def work(viewer: str, cost: float) -> None:
        stop = threading.Event()
        with turns.joined(viewer):
            while not enough.is_set():
                with turns.turn(viewer, stop):
                    until(lambda: len(turns._waiting) == 5 or enough.is_set())
                    clock.now += cost
                    spent[viewer] += cost
                    if sum(spent.values()) > 900:
                        enough.set()

    tasks = [("many", 1.0)] * 4 + [("one", 1.0), ("slow", 10.0)]
    threads = [threading.Thread(target=work, args=task) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LIMIT_S)
    assert max(spent.values()) - min(spent.values()) < 0.3 * sum(spent.values()) / 3


def test_a_newcomer_begins_level() -> None:
    clock = Clock()
    turns = Turns(clock)
    stop = threading.Event()
    order: list[str] = []

    def work(viewer: str) -> None:
        other = "new" if viewer == "old" else "old"
        with turns.joined(viewer):
            for _ in range(3):
                with turns.turn(viewer, stop):
                    order.append(viewer)
                    until(lambda: bool(turns._waiting) or order.count(other) == 3)
                    clock.now += 1

    with turns.joined("old"):
        with turns.turn("old", stop):
            clock.now += 100
        with turns.joined("third"), turns.turn("third", stop):
            threads = [threading.Thread(target=work, args=(viewer,)) for viewer in ("old", "new")]
            for thread in threads:
                thread.start()
            until(lambda: len(turns._waiting) == 2)
        for thread in threads:
            thread.join(LIMIT_S)
    assert sorted(order) == ["new"] * 3 + ["old"] * 3
    assert "old" in order[:3], "it does not get all that the other had before it came"


def test_who_is_stopped_does_not_wait() -> None:
    turns = Turns()
    stop, other = threading.Event(), threading.Event()
    failed: list[str] = []
    with turns.joined("a"), turns.joined("b"), turns.turn("a", other):

        def wait() -> None:
            try:
                with turns.turn("b", stop):
                    failed.append("had a turn")
            except JobCancelled:
                failed.append("cancelled")

        thread = threading.Thread(target=wait)
        thread.start()
        stop.set()
        turns.wake()
        thread.join(LIMIT_S)
    assert failed == ["cancelled"]
    with turns.joined("b"), pytest.raises(JobCancelled), turns.turn("b", stop):
        pass
