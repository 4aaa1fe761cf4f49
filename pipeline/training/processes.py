"""Work on all cores: a process each, of one thread."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


def on_all_cores(work: Callable[[Job], Result], jobs: Sequence[Job]) -> Iterator[Result]:
    """What `work` makes of each job, in their order, as it comes. Raises what it raises."""
    workers = min(len(jobs), len(os.sched_getaffinity(0)))
    if workers < 2:
        yield from map(work, jobs)
        return
    # Spawned: a fork would inherit torch's threads as locks that nobody holds.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        yield from pool.map(work, jobs)
