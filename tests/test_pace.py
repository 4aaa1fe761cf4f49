"""The pace on a clock of its own: a camera whose frames cost what the test says at each effort."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import get_args

import pytest

from pipeline.codec.effort import EFFORTS
from pipeline.config import CodecConfig, EffortName
from pipeline.pace import LATE_S, LEVELS, MAX_PATIENCE_S, Lane, Pace

BASE_US = 1_700_000_000_000_000


@dataclass
class Camera:
    """Frames every 0.1 s, coded one after the other for so many seconds each at best, balanced and fast effort."""

    cost_s: dict[str, float]
    hardest: EffortName = "best"
    lane: Lane = field(default_factory=Lane)
    now_s: float = 0.0
    relieved: bool = False

    def __post_init__(self) -> None:
        self.pace = Pace(
            self.hardest, self.lane, now=lambda: self.now_s, wall_us=lambda: BASE_US + round(self.now_s * 1e6)
        )
        self.count = 0
        self.efforts: list[str] = []
        self.worst_s = 0.0

    def run(self, frames: int, *, plate_s: float = 0.0) -> list[str]:
        """The efforts of the next frames, of which the first takes `plate_s` more."""
        begin = len(self.efforts)
        for number in range(frames):
            arrival_s = self.count * 0.1
            self.count += 1
            self.now_s = max(self.now_s, arrival_s)
            self.worst_s = max(self.worst_s, self.now_s - arrival_s)
            arrived_us = BASE_US + round(arrival_s * 1e6)
            effort = self.pace.effort(arrived_us, relieved=self.relieved)
            spent_s = self.cost_s[effort] + (plate_s if number == 0 else 0.0)
            self.now_s += spent_s
            self.pace.took(arrived_us, spent_s)
            self.efforts.append(effort)
        return self.efforts[begin:]


def test_the_levels_are_the_encoders() -> None:
    assert LEVELS == tuple(EFFORTS) == get_args(EffortName)
    assert CodecConfig().effort == LEVELS[0]


def test_with_time_to_spare_nothing_is_lowered_and_a_plate_passes() -> None:
    camera = Camera({"best": 0.05})
    assert set(camera.run(100)) == {"best"}
    assert set(camera.run(100, plate_s=0.7)) == {"best"}


def test_what_is_too_much_falls_one_level_at_a_time_and_stays_there() -> None:
    camera = Camera({"best": 0.25, "balanced": 0.12, "fast": 0.07})
    efforts = camera.run(600)
    steps = [a for a, b in pairwise(efforts) if a != b]
    assert steps == ["best", "balanced"]
    assert efforts.index("fast") < 20
    assert camera.worst_s < 2.0
    assert camera.worst_s > LATE_S
    assert camera.lane.load == pytest.approx(0.7)


def test_a_middle_level_is_kept_where_it_fits() -> None:
    camera = Camera({"best": 0.11, "balanced": 0.07, "fast": 0.02})
    assert set(camera.run(600)[100:]) <= {"balanced"}


def test_what_was_lowered_for_a_plate_comes_back() -> None:
    camera = Camera({"best": 0.06, "balanced": 0.04, "fast": 0.03})
    camera.run(20)
    assert "balanced" in camera.run(20, plate_s=1.2)
    camera.cost_s = {"best": 0.045, "balanced": 0.03, "fast": 0.02}
    assert camera.run(200)[-1] == "best"


def test_it_tries_harder_ever_more_rarely() -> None:
    camera = Camera({"best": 0.2, "balanced": 0.05, "fast": 0.03})  # balanced looks as if best were possible
    efforts = camera.run(20_000)
    tries = [i for i in range(1, len(efforts)) if (efforts[i - 1], efforts[i]) == ("balanced", "best")]
    assert len([i for i in tries if i >= 10_000]) <= 1000 / MAX_PATIENCE_S + 1 < len(tries)


def test_what_was_asked_for_is_the_most() -> None:
    camera = Camera({"balanced": 0.01, "fast": 0.01}, hardest="balanced")
    assert set(camera.run(200)) == {"balanced"}


def test_frames_and_background_come_back_first() -> None:
    camera = Camera({"best": 0.3, "balanced": 0.2, "fast": 0.12})
    camera.run(50)
    assert not camera.pace.easing
    camera.cost_s = {"best": 0.02, "balanced": 0.02, "fast": 0.02}
    camera.relieved = True
    assert set(camera.run(300)[50:]) == {"fast"}
    camera.relieved = False
    assert camera.run(300)[-1] == "best"


def test_cameras_that_work_in_turn_see_each_others_load() -> None:
    lane = Lane()
    cost = {"best": 0.05, "balanced": 0.03, "fast": 0.02}
    first, second = Camera(cost, lane=lane), Camera(cost, lane=lane)
    for _ in range(10):
        first.run(1)
        second.run(1)
    assert lane.load == pytest.approx(1.0)
    for _ in range(50):
        first.run(1)
        second.run(1)
    assert lane.load < 0.85
    second.pace.leave()
    assert lane.load < 0.5
