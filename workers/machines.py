"""How busy the machines of a cluster are, for the monitor: each but this one is asked by a small actor on it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipeline.machine import MachineUse, machine_use

PERIOD_S = 5.0


class Machine:
    def __init__(self, address: str) -> None:
        self._address = address

    def use(self) -> MachineUse:
        return machine_use(self._address)


MachineActor = ray.remote(max_restarts=0, num_cpus=0)(Machine)


class Machines:
    """Asks them all every PERIOD_S, for the length of a `with`. A machine that does not answer has no entry."""

    def __init__(self, *, period_s: float = PERIOD_S) -> None:
        self._period_s = period_s
        self._actors: dict[str, Any] = {}
        self._uses: dict[str, MachineUse] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="machines", daemon=True)

    def __enter__(self) -> Machines:
        self._here = ray.get_runtime_context().get_node_id()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        for actor in self._actors.values():
            with contextlib.suppress(RayError):
                ray.kill(actor)

    def uses(self) -> Mapping[str, MachineUse]:
        """By Ray's id of the node, as last known."""
        return self._uses

    def _run(self) -> None:
        while True:
            with contextlib.suppress(RayError):  # the cluster's own trouble is told of by the cameras' threads
                self._uses = dict(self._ask())
            if self._stop.wait(self._period_s):
                return

    def _ask(self) -> Iterator[tuple[str, MachineUse]]:
        alive = {str(node["NodeID"]): str(node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"]}
        self._actors = {node: actor for node, actor in self._actors.items() if node in alive}
        if self._here in alive:
            yield self._here, machine_use(alive.pop(self._here))
        asked = {self._actor(node, address).use.remote(): node for node, address in alive.items()}
        ready = ray.wait(list(asked), num_returns=len(asked), timeout=self._period_s)[0] if asked else []
        for answer in ready:
            try:
                yield asked[answer], ray.get(answer)
            except RayError:
                del self._actors[asked[answer]]

    def _actor(self, node: str, address: str) -> Any:
        if node not in self._actors:
            there = NodeAffinitySchedulingStrategy(node, soft=False)
            self._actors[node] = MachineActor.options(scheduling_strategy=there).remote(address)
        return self._actors[node]
