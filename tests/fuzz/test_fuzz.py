"""The fuzzers for a few seconds, and the fuzzer itself. `make fuzz` runs them long."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.errors import StreamError
from tests.fuzz import TARGETS, engine
from tests.fuzz.mutate import Stream
from tests.fuzz.reader import SEEDS

RUNS = {"layer": 20}  # of nets; the others are quick


@pytest.mark.parametrize("name", TARGETS)
def test_fuzz(name: str) -> None:
    report = engine.fuzz(engine.load(name), runs=RUNS.get(name, 3000), seed=20)
    assert report.refused


@pytest.mark.parametrize("name", TARGETS)
def test_an_input_can_be_made_again(name: str) -> None:
    target = engine.load(name)
    assert [engine.make(target, 3, n) for n in range(20)] == [engine.make(target, 3, n) for n in range(20)]
    assert engine.make(target, 3, 7) != engine.make(target, 4, 7)


def test_a_stream_in_pieces_comes_together() -> None:
    for data in (data for pair in SEEDS for data in pair if data):
        assert Stream.split(data).pack() == data


def refuse(data: bytes) -> None:
    raise StreamError("no")


def stumble(data: bytes) -> None:
    raise KeyError(data[0])


def hang(data: bytes) -> None:
    while True:
        pass


def fake(run: object) -> engine.Target:
    return SimpleNamespace(make=lambda rng: bytes([rng.randrange(256)]), run=run)  # type: ignore[return-value]


def test_what_is_refused_is_counted() -> None:
    assert engine.fuzz(fake(refuse), runs=10, seed=1).refused == 10
    assert not engine.replay(fake(refuse), b"x")


@pytest.mark.parametrize(("run", "reason"), [(stumble, "KeyError"), (hang, "TimeoutError")])
def test_a_bug_is_kept(run: object, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LIMIT_S", 0.05)
    with pytest.raises(engine.Crash, match=reason) as caught:
        engine.fuzz(fake(run), runs=10, seed=1)
    path = engine.keep(tmp_path / "found", "reader", caught.value.data)
    assert path.read_bytes() == engine.make(fake(run), 1, 0)
    with pytest.raises(engine.Crash, match=reason):
        engine.replay(fake(run), path.read_bytes())


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "LIMIT_BYTES", -1)
    with pytest.raises(engine.Crash, match="more than at the start"):
        engine.fuzz(fake(len), runs=1, seed=random.randrange(9))


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(ValueError, match="one of reader"):
        engine.load("nothing")
