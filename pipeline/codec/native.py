"""Loops that are compiled (by Numba), for what would take NumPy or torch many small steps. Knows no codec."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar, cast

import numba
import torch

log = logging.getLogger(__name__)

_F = TypeVar("_F", bound=Callable[..., object])

# Products are added without rounding in between.
_FUSED = {"contract"}


def compiled(function: _F) -> _F:
    """The function compiled at its first call, without Python's lock while it runs. What was compiled is kept on disk
    for the next process, beside the source or in the user's cache; where neither can be written, in memory alone.

    Sums may be taken in any order: of integers that float32 holds, or in an encoder's estimates.
    """
    return _compiled(function, {"reassoc", "nsz"} | _FUSED)


def compiled_in_order(function: _F) -> _F:
    """The same where sums are taken in the order in which they are written."""
    return _compiled(function, _FUSED)


def _compiled(function: _F, fast_math: set[str]) -> _F:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fast_math}
    try:
        kept = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # no place for a cache
        return cast(_F, numba.njit(**options)(function))
    # Numba lets a full disk, or a file that a power cut left half written, end the call.
    kept._cache._guard_against_spurious_io_errors = lambda: _guarded(kept._cache)
    return cast(_F, kept)


def on_host(values: torch.Tensor) -> bool:
    """Whether compiled loops, and questions that a GPU would have to be waited for, may look at values: not in
    training, which is the same on every device."""
    return values.device.type == "cpu" and not torch.is_grad_enabled()


@contextmanager
def _guarded(cache: Any) -> Iterator[None]:
    """What cannot be read is compiled again, what cannot be written is kept in memory."""
    try:
        yield
    except Exception as error:
        log.warning("compiled loops in %s: %r", cache.cache_path, error)
        with suppress(OSError):
            cache.flush()
