"""Groups of cameras: each has one detector and one codec on one node, and a sink where the archive is.

A group is one placement group, so frames never leave its node; only packets travel to the sink. There are as many
groups as the cluster has room for, at most one a camera, and a camera goes to the one with the fewest. What dies is
discarded whole: its cameras take places in other groups, or in one that is made anew where there is room.
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.util.placement_group import (
    get_placement_group,
    placement_group,
    placement_group_table,
    remove_placement_group,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy, PlacementGroupSchedulingStrategy

from pipeline.config import RayConfig
from pipeline.errors import WorkerError
from workers.camera import CameraActor
from workers.codec import CodecActor
from workers.detector import DetectorActor
from workers.sink import SinkActor

PLACEMENT_S = 20.0
ALIVE_S = 5.0
POLL_S = 0.5
MOVE_S = 5.0  # between two cameras that move for balance
REFUSED_S = 30.0  # after the cluster had no room for a group, others are shared for so long


@dataclass(frozen=True, slots=True)
class Room:
    """What the living nodes offer. `cpus` and `gpus`: one entry a node."""

    cpus: tuple[float, ...]
    gpus: tuple[float, ...]

    def groups(self, config: RayConfig) -> int:
        """How many groups have a place, at least one. Where there are GPUs, only nodes with them are used."""
        if sum(self.gpus) >= config.group_gpus > 0:
            return sum(
                int(min(gpus / config.group_gpus, cpus / config.group_cpus if config.group_cpus else 1e9))
                for cpus, gpus in zip(self.cpus, self.gpus, strict=True)
            )  # fmt: skip
        return max(1, sum(int(cpus / config.group_cpus) if config.group_cpus else 1 for cpus in self.cpus))

    def bundle(self, config: RayConfig) -> dict[str, float]:
        """What one group takes; less of a CPU where no node has as much."""
        bundle = {"CPU": min(config.group_cpus, *self.cpus) if self.cpus else config.group_cpus}
        if sum(self.gpus) >= config.group_gpus > 0:
            bundle["GPU"] = config.group_gpus
        return {name: value for name, value in bundle.items() if value}


def room() -> Room:
    """Of the Ray that is running."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    return Room(tuple(n.get("CPU", 0.0) for n in nodes), tuple(n.get("GPU", 0.0) for n in nodes))


class Group:
    """Detector, codec and sink that some cameras share. Made without waiting; `ready` waits."""

    def __init__(self, number: int, bundle: dict[str, float], *, site: str = "") -> None:
        self.number = number
        self.cameras = self.leaving = 0
        name = f"{site} {uuid.uuid4().hex}" if site else ""
        self._placement = placement_group([bundle or {"CPU": 0.001}], strategy="STRICT_PACK", name=name)
        self._inside = PlacementGroupSchedulingStrategy(self._placement, 0)
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        cpus, gpus = bundle.get("CPU", 0.0), bundle.get("GPU", 0.0)
        shared = {"scheduling_strategy": self._inside, "num_gpus": gpus / 2}
        self.detector: Any = DetectorActor.options(num_cpus=0, **shared).remote()
        self.codec: Any = CodecActor.options(num_cpus=cpus, **shared).remote()
        self.sink: Any = SinkActor.options(num_cpus=0, scheduling_strategy=here).remote()
        self._made_s = time.monotonic()
        self._warm: Any = None

    def ready(self, stop: threading.Event) -> bool:
        """Wait for its place, unless stopped; whether it has one."""
        until_s = time.monotonic() + PLACEMENT_S
        while not self._placement.wait(POLL_S):
            if stop.is_set() or time.monotonic() > until_s:
                return False
        return True

    def warm(self) -> bool | None:
        """Whether a camera would be coded there at once; None where it has found no place in time."""
        self._warm = self._warm or self.codec.warm.remote()
        if not ray.wait([self._warm], timeout=0)[0]:
            return False if self._placement.wait(0) or time.monotonic() - self._made_s < PLACEMENT_S else None
        return self.alive()

    def node(self) -> str:
        """The id of its node, once it is ready."""
        return str(placement_group_table(self._placement)["bundles_to_node_id"][0])

    def address(self) -> str:
        """That node's."""
        here = self.node()
        return next((str(n["NodeManagerAddress"]) for n in ray.nodes() if n["NodeID"] == here), "")

    def start_camera(self, *args: object) -> Any:
        """An actor that reads a camera, beside the detector and the codec."""
        return CameraActor.options(num_cpus=0, scheduling_strategy=self._inside).remote(*args)

    def alive(self) -> bool:
        """Whether none of what its cameras share is known to be dead. What does not answer is busy."""
        try:
            ray.get([actor.__ray_ready__.remote() for actor in (self.detector, self.codec, self.sink)], timeout=ALIVE_S)
        except GetTimeoutError:
            return True
        except RayError:
            return False
        return True

    def discard(self) -> None:
        """End what is left of it."""
        for actor in (self.detector, self.codec, self.sink):
            with contextlib.suppress(RayError):
                ray.kill(actor)
        with contextlib.suppress(RayError, GetTimeoutError):
            remove_placement_group(self._placement)


def free_places(site: str) -> None:
    """Give back what an earlier supervisor of this site, which died, had places for."""
    for found in placement_group_table().values():
        if found["name"].startswith(f"{site} ") and found["state"] != "REMOVED":
            with contextlib.suppress(ValueError):  # gone meanwhile
                remove_placement_group(get_placement_group(found["name"]))


class Pool:
    """The groups of a site. Safe to share between the cameras' threads."""

    def __init__(self, config: RayConfig, *, site: str = "") -> None:
        """`site` names the groups' places, so that `free_places` finds them."""
        self._config, self._site = config, site
        self._groups: list[Group] = []
        self._made = 0
        self._refused_s = self._moved_s = -REFUSED_S
        self._mutex = threading.Lock()

    @contextlib.contextmanager
    def place(self, stop: threading.Event) -> Iterator[Group | None]:
        """A place for one camera, for the length of a `with`; None where it was stopped first. Raises WorkerError."""
        with self._mutex:
            group = self._choose()
            group.cameras += 1
        try:
            if not group.ready(stop):
                if stop.is_set():
                    yield None
                    return
                self._refused_s = time.monotonic()
                self.discard(group)
                raise WorkerError("no node has room for another group of cameras")
            yield group
        finally:
            with self._mutex:
                group.cameras -= 1
                group.leaving = max(0, group.leaving - 1)
                if group.cameras == 0:
                    self._drop(group)

    def discard(self, group: Group) -> None:
        """A worker that the whole group needs has died."""
        with self._mutex:
            self._drop(group)

    def better(self, group: Group) -> bool:
        """Whether one camera of this group should begin anew elsewhere, now: where another has two fewer. Where nodes
        have come that have room for one more group, it is made first."""
        with self._mutex:
            now_s = time.monotonic()
            if group not in self._groups or group.cameras < 2 or now_s - self._moved_s < MOVE_S:
                return False
            least = min(self._groups, key=lambda other: other.cameras)
            under_way = sum(other.leaving for other in self._groups)
            if least.cameras + under_way > group.cameras - group.leaving - 2:
                offered = room()
                if self._more(offered):
                    self._make(offered)
                return False
            warm = least.warm()
            if warm is None:
                self._refused_s = now_s
                self._drop(least)
            elif warm:
                self._moved_s = now_s
                group.leaving += 1
            return bool(warm)

    def _choose(self) -> Group:
        offered = room()
        least = min(self._groups, key=lambda group: group.cameras, default=None)
        if least is None or (least.cameras and self._more(offered)):
            return self._make(offered)
        return least

    def _more(self, offered: Room) -> bool:
        """Whether there is room for one more group."""
        return len(self._groups) < offered.groups(self._config) and time.monotonic() - self._refused_s > REFUSED_S

    def _make(self, offered: Room) -> Group:
        self._made += 1
        group = Group(self._made, offered.bundle(self._config), site=self._site)
        self._groups.append(group)
        return group

    def _drop(self, group: Group) -> None:
        if group in self._groups:
            self._groups.remove(group)
            group.discard()
