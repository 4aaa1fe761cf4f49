"""What is compiled, and where it is kept."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any, cast

import numba
import pytest

from pipeline.codec.native import compiled
from pipeline.codec.warm import warm


def twice(x: int) -> int:
    return 2 * x


def test_without_a_place_for_a_cache_it_is_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def nowhere(*functions: Any, **options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'twice': no locator available")
        return real(*functions, **options)

    monkeypatch.setattr(numba, "njit", nowhere)
    assert compiled(twice)(21) == 42


def test_a_damaged_cache_is_made_anew() -> None:
    first = cast(Any, compiled(twice))
    assert first(21) == 42
    index = Path(first._cache._cache_file._index_path)
    index.write_bytes(index.read_bytes()[:20])
    second, third = cast(Any, compiled(twice)), cast(Any, compiled(twice))
    assert second(21) == 42
    assert not second.stats.cache_hits
    assert third(21) == 42
    assert third.stats.cache_hits


def test_a_full_disk_costs_the_cache_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    function = cast(Any, compiled(twice))
    function._cache.flush()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(function._cache._cache_file, "save", full)
    assert function(21) == 42


def test_warm_leaves_nothing_to_compile_in_an_encoder() -> None:
    warm()
    from pipeline.codec import match, motion, search, vectors

    for function in (match._match, search._decide, motion._fetch_blocks, vectors._first_guesses):
        assert function.signatures  # type: ignore[attr-defined]
