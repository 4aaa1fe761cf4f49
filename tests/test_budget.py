"""Budgets on a clock of their own: cameras whose frames cost what the test says."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from pipeline.budget import MAX_EVERY, Budget
from pipeline.footage import Relief, SourceCounts

STEP_S = 0.25


@dataclass
class Site:
    """Cameras at `fps`, each frame `still_s` of a codec and a background that costs as often as it is brought up to
    date. What the codec has no time for is dropped: `room` frames of each camera wait at most."""

    cameras: dict[str, str]  # and their nodes
    still_s: float
    background_s: float
    fps: float = 10.0
    room: float = 16.0
    overhead: float = 1.0  # of real time over what is told
    easing: bool = False
    now_s: float = 0.0
    waiting: dict[str, float] = field(default_factory=dict)
    came: dict[str, float] = field(default_factory=dict)
    thinned: dict[str, float] = field(default_factory=dict)
    dropped: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.budget = Budget(0.8, now=lambda: self.now_s)
        self.history: list[Relief] = []
        for camera, node in self.cameras.items():
            self.budget.join(camera, node)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / STEP_S)):
            self.now_s += STEP_S
            for camera, node in self.cameras.items():
                self._step(camera, sum(other == node for other in self.cameras.values()))
            self.history.append(self.budget.relief(next(iter(self.cameras))))

    def _step(self, camera: str, sharing: int) -> None:
        relief = self.budget.relief(camera)
        new = self.fps * STEP_S
        self._add(self.came, camera, new)
        self._add(self.thinned, camera, new * (1 - relief.keep))
        self._add(self.waiting, camera, new * relief.keep)
        cost_s = self.still_s + self.background_s / relief.background_every
        done = min(self.waiting[camera], STEP_S / sharing / (cost_s * self.overhead))
        self.waiting[camera] -= done
        over = max(0.0, self.waiting[camera] - self.room)
        self.waiting[camera] -= over
        self._add(self.dropped, camera, over)
        counts = SourceCounts(
            frames_in=round(1000 * self.came[camera]),
            dropped=round(1000 * (self.dropped[camera] + self.thinned[camera])),
            thinned=round(1000 * self.thinned[camera]),
            queue_age_s=self.waiting[camera] / self.fps,
        )  # thousandths of frames, so that nothing hangs on rounding
        self.budget.worked(
            camera, counts, round(1000 * done), {f"codec of {self.cameras[camera]}": done * cost_s}, easing=self.easing
        )

    def _add(self, sums: dict[str, float], camera: str, value: float) -> None:
        sums[camera] = sums.get(camera, 0.0) + value


def test_what_there_is_room_for_is_left_alone() -> None:
    site = Site({"a": "n", "b": "n"}, still_s=0.02, background_s=0.01)
    site.run(60)
    assert set(site.history) == {Relief()}
    (node,) = site.budget.nodes()
    assert node.load == pytest.approx(0.6)
    assert (node.node, node.cameras) == ("n", ("a", "b"))
    assert str(node.relief) == ""


def test_the_background_goes_first_and_may_be_enough() -> None:
    site = Site({"a": "n", "b": "n"}, still_s=0.03, background_s=0.03)
    site.run(60)
    assert {relief.keep for relief in site.history} == {1.0}
    assert site.budget.relief("a").background_every > 1
    assert site.budget.relief("a") == site.budget.relief("b")


def test_a_burst_that_nothing_waits_for_costs_no_frame() -> None:
    """Just above the share, with and without frames that wait."""
    site = Site({"a": "n", "b": "n"}, still_s=0.045, background_s=0.0)
    site.run(60)
    assert {relief.keep for relief in site.history} == {1.0}
    assert site.budget.nodes()[0].load == pytest.approx(0.9)
    site.waiting = {"a": 15.0, "b": 15.0}
    site.run(10)
    assert min(relief.keep for relief in site.history) < 0.8


def test_frames_go_last_and_evenly_and_no_queue_stays_full() -> None:
    site = Site({"a": "n", "b": "n", "c": "n", "d": "n"}, still_s=0.04, background_s=0.02)
    site.run(120)
    first = next(relief for relief in site.history if relief.keep < 1)
    assert first.background_every == MAX_EVERY
    load = 4 * 10 * (0.04 + 0.02 / MAX_EVERY)
    assert site.budget.relief("a").background_every == MAX_EVERY
    assert site.budget.relief("a").keep == pytest.approx(0.8 / load, rel=0.1)
    assert len({site.budget.relief(camera) for camera in site.cameras}) == 1
    dropped = dict(site.dropped)
    site.run(60)
    assert site.dropped == dropped
    assert max(site.waiting.values()) < site.fps


def test_everything_comes_back_frames_before_the_background() -> None:
    site = Site({"a": "n", "b": "n", "c": "n"}, still_s=0.05, background_s=0.02)
    site.run(60)
    assert site.budget.relief("a").keep < 1
    site.still_s, site.history = 0.005, []
    site.run(120)
    assert site.history[-1] == Relief()
    whole = next(i for i, relief in enumerate(site.history) if relief.keep == 1)
    assert all(relief.background_every == MAX_EVERY for relief in site.history[:whole])


def test_it_tries_the_whole_background_ever_more_rarely() -> None:
    site = Site({"a": "n", "b": "n"}, still_s=0.02, background_s=0.06)
    site.run(1200)
    changes = [i for i in range(1, len(site.history)) if site.history[i] != site.history[i - 1]]
    early, late = (sum(low <= i * STEP_S < low + 300 for i in changes) for low in (0, 900))
    assert late < early
    assert late <= 6


def test_a_shortage_that_no_lane_shows_is_seen_in_the_queues() -> None:
    site = Site({"a": "n", "b": "n"}, still_s=0.02, background_s=0.0, overhead=4.0)
    site.run(120)
    dropped = sum(site.dropped.values())
    site.run(60)
    assert site.budget.relief("a").keep == pytest.approx(0.6, abs=0.2)
    assert sum(site.dropped.values()) - dropped < 0.1 * 60 * 20


def test_nothing_is_left_out_while_encoders_can_try_less_hard() -> None:
    site = Site({"a": "n", "b": "n"}, still_s=0.05, background_s=0.05, easing=True)
    site.run(60)
    assert set(site.history) == {Relief()}
    site.easing = False
    site.run(60)
    assert site.budget.relief("a").background_every > 1


def test_nodes_do_not_pay_for_each_other() -> None:
    site = Site({"a": "busy", "b": "busy", "c": "busy", "d": "free"}, still_s=0.05, background_s=0.0)
    site.run(60)
    assert site.budget.relief("a").keep < 1
    assert site.budget.relief("d") == Relief()
    for camera in ("a", "b", "c"):
        site.budget.leave(camera)
    assert [node.node for node in site.budget.nodes()] == ["free"]
    assert site.budget.relief("a") == Relief()


def test_relief_is_checked_and_said() -> None:
    assert str(Relief(4, 0.62)) == "background 1 in 4, 62% of frames"
    with pytest.raises(ValueError, match="0 of the frames"):
        Relief(1, 0.0)
