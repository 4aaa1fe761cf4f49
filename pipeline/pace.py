"""How hard the encoder of a live camera tries: less where its frames come late or its codec has no time left, more
again where it has.

One level at a time, and up only when that has looked possible for a while: longer, each time that it turns out to be
too much. What the codec has to spare is asked of the clock, so another program on its cores counts too. Reacts within a
second; what `pipeline.budget` does for a whole node takes longer and goes further, and comes after this. Knows no
encoder and no frames.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from statistics import median
from typing import get_args

from pipeline.config import EffortName

LEVELS: tuple[EffortName, ...] = get_args(EffortName)  # from the hardest down
LATE_S, EARLY_S = 0.8, 0.5  # the age of a frame that is begun: too old, and young enough to try harder
SHARE = 0.85  # of a lane's time
GROWTH = 1.6  # how much longer a frame takes at the next harder level, at most
FRAMES = 20  # that typical times are taken from
ENOUGH = 6  # of them
PATIENCE_S, MAX_PATIENCE_S = 2.0, 120.0  # before trying harder


class Lane:
    """What works on the frames of some cameras in turn: how much of its time each of them needs."""

    def __init__(self) -> None:
        self.shares: dict[Pace, float] = {}

    @property
    def load(self) -> float:
        """The share of its time that all need; 1 is all of it."""
        return sum(self.shares.values())


class Pace:
    """One camera's. Ask for the `effort` before each frame and tell what it `took`."""

    def __init__(
        self,
        hardest: EffortName,
        lane: Lane,
        *,
        now: Callable[[], float] = time.monotonic,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> None:
        self._hardest = self._level = LEVELS.index(hardest)
        self._lane, self._now, self._wall_us = lane, now, wall_us
        self._times: deque[tuple[int, float]] = deque(maxlen=FRAMES)  # arrival and seconds of work
        self._since = 0  # frames at this level
        self._changed_s = self._now()
        self._risked_s: float | None = None
        self._patience_s = PATIENCE_S

    @property
    def easing(self) -> bool:
        """Whether it can still go down."""
        return self._level < len(LEVELS) - 1

    def effort(self, arrived_us: int, *, relieved: bool) -> EffortName:
        """For the frame that arrived then (wall clock). `relieved`: the node leaves out more than effort already, and
        that comes back first."""
        age_s, load = (self._wall_us() - arrived_us) / 1e6, self._lane.load
        known = len(self._times) >= ENOUGH
        if self.easing and self._since > 1 and (age_s > LATE_S or (known and load > SHARE)):
            self._eases()
        elif (
            self._level > self._hardest
            and known
            and not relieved
            and age_s < EARLY_S
            and load * GROWTH < SHARE
            and self._now() - self._changed_s > self._patience_s
        ):
            self._risked_s = self._now()
            self._change(-1)
        return LEVELS[self._level]

    def took(self, arrived_us: int, spent_s: float) -> None:
        """The frame that arrived then was coded in so many seconds."""
        self._since += 1
        self._times.append((arrived_us, spent_s))
        if len(self._times) >= ENOUGH:
            period_s = (self._times[-1][0] - self._times[0][0]) / 1e6 / (len(self._times) - 1)
            # The middle value, for a plate is dear but rare.
            self._lane.shares[self] = median(spent for _, spent in self._times) / max(period_s, 1e-3)

    def leave(self) -> None:
        """No more frames come."""
        self._lane.shares.pop(self, None)

    def _eases(self) -> None:
        now_s = self._now()
        too_soon = self._risked_s is not None and now_s - self._risked_s < 2 * self._patience_s
        self._patience_s = min(MAX_PATIENCE_S, 2 * self._patience_s) if too_soon else PATIENCE_S
        self._risked_s = None
        self._change(1)

    def _change(self, by: int) -> None:
        self._level += by
        self._changed_s, self._since = self._now(), 0
        self._times.clear()
