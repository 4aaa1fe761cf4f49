"""What a machine's live cameras may take of it, and what they go without where that is too little: the background
first, then frames, from all of them alike. What their encoders can do about it by themselves (`pipeline.pace`) comes
before that.

A *lane* is a process (or a thread) that works on the frames of some cameras one after the other: a detector, a codec.
Its load is the share of its time that it would need for every frame that its cameras give, as measured by the clock:
where the machine's cores are short, frames take longer, and the load says so. A node is as loaded as its busiest lane.
What no lane shows (a slow disk, files that share a codec) still shows in frames that had no room in a queue.

Knows no Ray, no threads of others and no frames: it is told of work that was done, and asked.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from pipeline.footage import Relief, SourceCounts

log = logging.getLogger(__name__)

SHARE = 0.85  # of a lane's time: what is left absorbs what comes in bursts
BURST = 1.18  # times the share: up to that, while nothing waits, a burst takes what is left and costs no frame
DRAIN = 0.7  # of that, while frames have waited for longer than LATE_S
LATE_S = 1.0
WINDOW_S = 5.0  # rates and costs are of so long
DELAY_S, SETTLE_S = 1.0, 2.0  # a change shows after the one and is judged by at least the other
MAX_EVERY = 8  # beyond that the background costs next to nothing
MIN_KEEP = 0.02
CHANGE = 0.03  # smaller corrections of the accepted share are left alone
RISE = 1.25  # the accepted share grows by at most so much at a time
OVERRUN = 0.02  # a share of frames without room in a queue that is no accident
CALM = 0.9  # of the share: below it the background comes back
PATIENCE_S, MAX_PATIENCE_S = 10.0, 300.0  # before it does; grows while that turns out to be too much


@dataclass(frozen=True, slots=True)
class NodeLoad:
    """One node. `load`: of its busiest lane, as measured at `relief.background_every`; 1 is all of its time. None until
    it is known."""

    node: str
    cameras: tuple[str, ...]
    load: float | None
    relief: Relief


@dataclass(frozen=True, slots=True)
class _Mark:
    """Sums by a moment."""

    at_s: float
    frames_in: int
    overrun: int  # dropped for want of room
    waited_s: float
    worked: int
    spent_s: Mapping[str, float]


@dataclass(slots=True)
class _Camera:
    node: str
    worked: int = 0
    easing: bool = False
    spent_s: dict[str, float] = field(default_factory=dict)
    marks: deque[_Mark] = field(default_factory=lambda: deque(maxlen=1000))


@dataclass(frozen=True, slots=True)
class _Seen:
    """A node lately: its load, the worst share of frames that found no room, whether frames waited for long, whether an
    encoder can still try less hard."""

    load: float
    overrun: float
    late: bool
    easing: bool


@dataclass(slots=True)
class _Node:
    relief: Relief = field(default_factory=Relief)
    load: float | None = None
    changed_s: float = 0.0
    weighed_s: float = 0.0
    risked_s: float | None = None  # when the background was last given more
    patience_s: float = PATIENCE_S


class Budget:
    """Of all nodes of a site. Safe to share between the cameras' threads."""

    def __init__(self, share: float = SHARE, *, now: Callable[[], float] = time.monotonic) -> None:
        self._share, self._now = share, now
        self._cameras: dict[str, _Camera] = {}
        self._nodes: dict[str, _Node] = {}
        self._mutex = threading.Lock()

    def join(self, camera: str, node: str) -> None:
        """A live camera is at work on a node."""
        with self._mutex:
            self._cameras[camera] = _Camera(node)
            self._nodes.setdefault(node, _Node()).changed_s = self._now()

    def leave(self, camera: str) -> None:
        """It is no longer; of no meaning for one that never was."""
        with self._mutex:
            gone = self._cameras.pop(camera, None)
            if gone is None:
                return
            if any(other.node == gone.node for other in self._cameras.values()):
                self._nodes[gone.node].changed_s = self._now()
            else:
                del self._nodes[gone.node]

    def worked(
        self, camera: str, counts: SourceCounts, frames: int, spent_s: Mapping[str, float], *, easing: bool = False
    ) -> None:
        """So many frames of a camera were done, for so many seconds of each lane; `counts` are its source's. `easing`:
        its encoder can still try less hard, and will where that is needed."""
        with self._mutex:
            seen = self._cameras.get(camera)
            if seen is None:
                return
            seen.worked += frames
            seen.easing = easing
            for lane, seconds in spent_s.items():
                seen.spent_s[lane] = seen.spent_s.get(lane, 0.0) + seconds
            overrun = counts.dropped - counts.thinned
            seen.marks.append(
                _Mark(self._now(), counts.frames_in, overrun, counts.queue_age_s, seen.worked, dict(seen.spent_s))
            )
            self._weigh(seen.node)

    def relief(self, camera: str) -> Relief:
        """What it goes without now."""
        with self._mutex:
            seen = self._cameras.get(camera)
            return self._nodes[seen.node].relief if seen is not None else Relief()

    def nodes(self) -> tuple[NodeLoad, ...]:
        """How all nodes with live cameras stand."""
        with self._mutex:
            return tuple(
                NodeLoad(name, tuple(self._of(name)), node.load, node.relief) for name, node in self._nodes.items()
            )

    def _of(self, node: str) -> dict[str, _Camera]:
        return {name: camera for name, camera in self._cameras.items() if camera.node == node}

    def _weigh(self, name: str) -> None:
        """Judge a node, once a settling time, and change its relief where that is due."""
        node, now_s = self._nodes[name], self._now()
        if now_s - node.changed_s < DELAY_S + SETTLE_S or now_s - node.weighed_s < SETTLE_S / 2:
            return
        seen = _measure(self._of(name).values(), since_s=max(node.changed_s + DELAY_S, now_s - WINDOW_S))
        if seen is None:
            return
        node.weighed_s, node.load = now_s, seen.load
        relief = self._wanted(node, seen, now_s)
        if relief == node.relief:
            return
        if relief.background_every > node.relief.background_every:
            too_soon = node.risked_s is not None and now_s - node.risked_s < 2 * node.patience_s
            node.patience_s = min(MAX_PATIENCE_S, 2 * node.patience_s) if too_soon else PATIENCE_S
        elif relief.background_every < node.relief.background_every:
            node.risked_s = now_s
        told = relief.keep == node.relief.keep or 1.0 in (relief.keep, node.relief.keep)
        log.log(logging.WARNING if told else logging.INFO, "%s", _news(name, seen.load, relief))
        node.relief, node.changed_s = relief, now_s

    def _wanted(self, node: _Node, seen: _Seen, now_s: float) -> Relief:
        every, keep = node.relief.background_every, node.relief.keep
        share = self._share * (DRAIN if seen.late else 1.0)
        room = min(1.0, share / seen.load) if seen.load > 0 else 1.0
        if seen.overrun > OVERRUN:
            room = min(room, keep * (1 - seen.overrun))
        if room < 1 and seen.easing:
            return node.relief
        if room < 1 and every < MAX_EVERY:
            return Relief(MAX_EVERY if room < 0.5 else 2 * every, keep)
        bursting = keep == 1 and seen.load <= BURST * self._share and not seen.late and seen.overrun <= OVERRUN
        if abs(room - keep) > CHANGE * keep and not bursting:
            return Relief(every, min(max(MIN_KEEP, room), RISE * keep, 1.0))
        calm = room == keep == 1 and seen.load < CALM * self._share
        if every > 1 and calm and now_s - node.changed_s > node.patience_s:
            return Relief(every // 2, keep)
        return node.relief


def _measure(cameras: Iterable[_Camera], *, since_s: float) -> _Seen | None:
    """None where not enough was seen of any camera."""
    lanes: dict[str, float] = {}
    overrun, late, easing, found = 0.0, False, False, False
    for camera in cameras:
        marks = [mark for mark in camera.marks if mark.at_s >= since_s]
        if len(marks) < 2 or marks[-1].at_s - marks[0].at_s < SETTLE_S / 2:
            continue
        first, last = marks[0], marks[-1]
        came, worked = last.frames_in - first.frames_in, last.worked - first.worked
        if came <= 0 or worked <= 0:
            continue
        found = True
        rate = came / (last.at_s - first.at_s)
        for lane, spent_s in last.spent_s.items():
            cost_s = (spent_s - first.spent_s.get(lane, 0.0)) / worked
            lanes[lane] = lanes.get(lane, 0.0) + rate * cost_s
        overrun = max(overrun, (last.overrun - first.overrun) / came)
        late, easing = late or last.waited_s > LATE_S, easing or camera.easing
    return _Seen(max(lanes.values(), default=0.0), overrun, late, easing) if found else None


def _news(node: str, load: float, relief: Relief) -> str:
    where = f"node {node[:8]}" if node else "this machine"
    return f"{where}: live cameras need {load:.0%} of its time; {str(relief) or 'all frames, all background'}"
