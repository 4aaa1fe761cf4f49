"""Runs a target over many inputs, each within its time, all within a bound of memory.

An input depends on the target, the seed and its number alone, so that any can be made again.
"""

from __future__ import annotations

import hashlib
import importlib
import random
import resource
import signal
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Protocol, cast

from pipeline.errors import StreamError
from tests.fuzz import TARGETS

LIMIT_S = 1.0  # of CPU time, for one input
LIMIT_BYTES = 64 << 20  # more than at the start
_SAMPLE = 1000  # the peak is a high-water mark: asking seldom misses nothing


class Target(Protocol):
    def make(self, rng: random.Random) -> bytes: ...

    def run(self, data: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Report:
    """`refused`: inputs that raised StreamError. `worst_s` is CPU time, `peak_bytes` resident beyond the start."""

    runs: int
    refused: int
    seconds: float
    worst_s: float
    peak_bytes: int


class Crash(Exception):
    """An input that broke the rules; `data` is the input."""

    def __init__(self, message: str, data: bytes) -> None:
        super().__init__(message)
        self.data = data


def load(name: str) -> Target:
    """The target of a name in TARGETS. Raises ValueError for another."""
    if name not in TARGETS:
        raise ValueError(f"no target {name!r}: one of {', '.join(TARGETS)}")
    return cast(Target, importlib.import_module(f"tests.fuzz.{name}"))


def make(target: Target, seed: int, number: int) -> bytes:
    return target.make(random.Random(seed << 40 | number))


def fuzz(target: Target, *, runs: int, seed: int, first: int = 0) -> Report:
    """Run the inputs `first` to `first + runs - 1` of a seed. Raises Crash on the first that is a bug."""
    with _alarm():
        run_one(target, make(target, seed, first))  # what is loaded and compiled for the first is no leak
        refused, worst, start, floor = 0, 0.0, time.perf_counter(), _peak()
        for number in range(first, first + runs):
            data = make(target, seed, number)
            accepted, seconds = run_one(target, data)
            refused += not accepted
            worst = max(worst, seconds)
            if number % _SAMPLE == 0 and _peak() - floor > LIMIT_BYTES:
                raise Crash(f"{_peak() - floor} bytes more than at the start after input {number}", data)
    return Report(runs, refused, time.perf_counter() - start, worst, _peak() - floor)


def replay(target: Target, data: bytes) -> bool:
    """One input, kept from an earlier run; whether it was accepted. Raises Crash if it is a bug."""
    with _alarm():
        return run_one(target, data)[0]


def run_one(target: Target, data: bytes) -> tuple[bool, float]:
    """Whether the target takes an input, and the CPU time it needs. Raises Crash."""
    accepted = True
    start = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
    try:
        target.run(data)
    except StreamError:
        accepted = False
    except Exception as error:
        raise Crash("".join(traceback.format_exception(error)), data) from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    return accepted, time.process_time() - start


def keep(corpus: Path, name: str, data: bytes) -> Path:
    """Save an input under a name that shows its target."""
    corpus.mkdir(parents=True, exist_ok=True)
    path = corpus / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}.bin"
    path.write_bytes(data)
    return path


@contextmanager
def _alarm() -> Iterator[None]:
    def ring(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"more than {LIMIT_S} s")

    before = signal.signal(signal.SIGPROF, ring)
    try:
        yield
    finally:
        signal.signal(signal.SIGPROF, before)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
