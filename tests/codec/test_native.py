"""What is compiled, and where it is kept."""

from __future__ import annotations

from typing import Any

import numba
import pytest

from pipeline.codec.native import compiled
from pipeline.codec.warm import warm


def twice(x: int) -> int:
    return 2 * x


def test_without_a_place_for_a_cache_it_is_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    real = numba.njit

    def nowhere(**options: Any) -> Any:
        if options.get("cache"):
            raise RuntimeError("cannot cache function 'twice': no locator available")
        return real(**options)

    monkeypatch.setattr(numba, "njit", nowhere)
    assert compiled(twice)(21) == 42


def test_warm_leaves_nothing_to_compile_in_an_encoder() -> None:
    warm()
    from pipeline.codec import match, motion, search, vectors

    for function in (match._match, search._decide, motion._fetch_blocks, vectors._first_guesses):
        assert function.signatures  # type: ignore[attr-defined]
