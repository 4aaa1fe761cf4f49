"""How many threads share an operation.

Torch splits every large operation over its threads. Whoever waits should not spin (`OMP_WAIT_POLICY=PASSIVE`), or many
processes on a machine take each other's time; but then waking a thread takes tens of microseconds, and a layer of few
positions is hundreds of operations of that size: with two threads it took twice the time of one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

_MANY = 2048  # positions; of 2,000 two threads need the time of one, of 4,000 two thirds


@contextmanager
def shared(positions: int, threads: int) -> Iterator[None]:
    """Work on so many positions: by `threads` where that is quicker, else by one."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads if positions >= _MANY else 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
