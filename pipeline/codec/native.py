"""Loops that are compiled (by Numba), for what would take NumPy or torch many small steps. Knows no codec."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

_F = TypeVar("_F", bound=Callable[..., object])

# Sums may be taken in any order: those made here are of integers that float32 holds, or are an encoder's estimates.
_FAST_MATH = {"reassoc", "contract", "nsz"}


def compiled(function: _F) -> _F:
    """The function compiled at its first call, without Python's lock while it runs. What was compiled is kept on disk
    for the next process, beside the source or in the user's cache; where neither can be written, in memory alone."""
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": _FAST_MATH}
    try:
        return cast(_F, numba.njit(cache=True, **options)(function))
    except RuntimeError:  # no place for a cache
        return cast(_F, numba.njit(**options)(function))
