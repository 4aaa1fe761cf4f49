"""Many videos into stream files on a Ray cluster: a task a file, as many at once as there are CPUs, or GPUs, for them.

All nodes must see the same files under the same paths. A task whose worker dies is done again elsewhere: its file is
not there yet.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError

from pipeline.config import CameraConfig, RayConfig
from pipeline.offline import Outcome, Task, encode_file

AHEAD = 2  # tasks that wait for every one that runs, so that no worker is idle and the queue stays short


def encode_files(tasks: Sequence[Task], settings: CameraConfig, config: RayConfig) -> Iterator[Outcome]:
    """The outcomes as they come, in no order. Raises nothing for a file that fails."""
    offered = ray.cluster_resources()
    on_gpus = offered.get("GPU", 0.0) >= config.group_gpus > 0
    needs = {
        "num_cpus": min(config.group_cpus, offered.get("CPU", 1.0)),
        "num_gpus": config.group_gpus if on_gpus else 0,
    }
    work: Any = ray.remote(max_retries=2, **needs)(encode_file)
    room = (
        offered.get("GPU", 0.0) / config.group_gpus
        if on_gpus
        else offered.get("CPU", 1.0) / max(0.1, needs["num_cpus"])
    )
    waiting, running = deque(tasks), dict[Any, Task]()
    try:
        while waiting or running:
            while waiting and len(running) < max(1, AHEAD * int(room)):
                task = waiting.popleft()
                running[work.remote(task, settings)] = task
            for ready in ray.wait(list(running))[0]:
                yield _outcome(ready, running.pop(ready))
    finally:
        for reference in running:
            ray.cancel(reference)


def _outcome(reference: Any, task: Task) -> Outcome:
    try:
        found: Outcome = ray.get(reference)
    except RayError as error:
        line = (str(error).splitlines() or [type(error).__name__])[0]
        return Outcome(str(task.source), str(task.out), "failed", error=line)
    return found
