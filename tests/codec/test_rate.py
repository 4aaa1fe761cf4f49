"""Rate control: at the target when there is much to code, below it when there is little, and no swings on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from pipeline.codec import Encoder
from pipeline.codec.rate import BackgroundBalance, Loan, RateControl
from pipeline.types import Packet
from tests.codec.clips import FRAME_US, frame_of, full_mask, small_brain, texture, walk

TARGET = 400_000
CEILING = 45
GOP_S, SEGMENT_S = 2.0, 60.0


def packet(index: int, size: int, *, key: bool = False, plate: int = 0) -> Packet:
    return Packet(
        index=index, pts_us=index * FRAME_US, wall_us=0, key=key, foreground=bytes(size), background=b"",
        plate=bytes(plate),
    )  # fmt: skip


def control_of(bitrate_bps: int | None = TARGET, ceiling: int = CEILING, gop_s: float = GOP_S) -> RateControl:
    return RateControl(ceiling, bitrate_bps, gop_s=gop_s, segment_s=SEGMENT_S)


@dataclass
class Coded:
    """Of each frame: its time in seconds, quality, bytes without the plate, bytes of the plate."""

    times: list[float] = field(default_factory=list)
    qualities: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    plates: list[int] = field(default_factory=list)
    keys: list[int] = field(default_factory=list)

    def rate(self, seconds: float) -> float:
        """Bits a second, plates included, of all that was coded in so many seconds."""
        return 8 * (sum(self.sizes) + sum(self.plates)) / seconds

    def between(self, first_s: float, last_s: float) -> list[int]:
        """The qualities of frames in this time."""
        return [q for t, q in zip(self.times, self.qualities, strict=True) if first_s <= t < last_s]

    def most_borrowed_s(self, target_bps: int) -> float:
        """Seconds of the target by which frames ran ahead of it, at worst."""
        held = most = 0.0
        for n, size in enumerate(self.sizes):
            passed = self.times[n] - self.times[n - 1] if n else 0.0
            held = max(0.0, held - passed) + 8 * size / target_bps
            most = max(most, held)
        return most


def simulate(
    times: Iterable[float],
    busy: Callable[[float], float] = lambda t: 1.0,
    *,
    target_bps: int = TARGET,
    ceiling: int = CEILING,
    plate: float = 500.0,
    gop_s: float = GOP_S,
    key: int = 6,
) -> Coded:
    """A scene with `busy(t)` times 150 bytes a frame at quality 0, `key` times that in key frames, `plate` bytes at
    quality 0 once a minute. Bits halve every nine steps, of plates every thirteen: neither is what the control takes
    for granted."""
    control, coded = control_of(target_bps, ceiling, gop_s), Coded()
    key_s = plate_s = -1e9
    for n, t in enumerate(times):
        q = control.quality(round(t * 1e6))
        is_key, opens = t - key_s > gop_s - 1e-6, t - plate_s > SEGMENT_S - 1e-6
        key_s, plate_s = (t if is_key else key_s), (t if opens else plate_s)
        size = int(150 * busy(t) * 2 ** (q / 9)) * (key if is_key else 1)
        bought = 0
        if is_key and opens:
            bought = int(plate * 2 ** ((q + 6) / 13))
            bought = int(plate * 2 ** (control.plate_quality(q + 6, bought) / 13))
        control.spent(packet(n, size, key=is_key, plate=bought))
        coded.times.append(t)
        coded.qualities.append(q)
        coded.sizes.append(size)
        coded.plates.append(bought)
        if is_key:
            coded.keys.append(n)
    return coded


def steady(seconds: float, fps: float = 25.0, first_s: float = 0.0) -> list[float]:
    return [first_s + n / fps for n in range(round(seconds * fps))]


def test_without_a_target_quality_is_constant():
    control = control_of(None, 31)
    for n in range(5):
        assert control.quality(n * FRAME_US) == 31
        assert control.plate_quality(37, 10**9) == 37
        control.spent(packet(n, 10**6, key=n == 0, plate=0 if n else 10**6))


@pytest.mark.parametrize("busy", [0.6, 1.0, 3.0])
@pytest.mark.parametrize("fps", [8.0, 25.0, 60.0])
@pytest.mark.parametrize("minutes", [1, 3])
def test_a_busy_scene_lands_at_the_target(busy, fps, minutes):
    coded = simulate(steady(60 * minutes, fps), lambda t: busy * 25 / fps)
    assert coded.rate(60 * minutes) == pytest.approx(TARGET, rel=0.02)
    assert all(0 <= q <= CEILING for q in coded.qualities)


@pytest.mark.parametrize("round_s", [2.0, 6.0, 12.0, 20.0])
def test_quiet_and_busy_in_turn_land_at_the_target_within_the_buffer(round_s):
    coded = simulate(steady(120), lambda t: 0.4 if t % round_s < round_s / 2 else 1.6)
    assert coded.rate(120) == pytest.approx(TARGET, rel=0.04)
    assert coded.most_borrowed_s(TARGET) < 12


@pytest.mark.parametrize(("gop_s", "key"), [(2.0, 6), (2.0, 40), (10.0, 100)])
def test_frames_around_a_key_frame_have_its_quality(gop_s, key):
    coded = simulate(steady(60), gop_s=gop_s, key=key)
    for n in coded.keys[2:]:
        near = coded.qualities[n - 5 : n + 20]
        assert max(near) - min(near) <= 1
    settled = coded.between(10, 60)
    assert sum(a != b for a, b in pairwise(settled)) <= 15


def test_a_dear_plate_takes_a_share_of_its_minute_and_all_of_it_is_paid():
    """At the ceiling it would cost three minutes of the target."""
    coded = simulate(steady(120), plate=550_000.0)
    first, second = (plate for plate in coded.plates if plate)
    assert 8 * max(first, second) < 0.62 * TARGET * SEGMENT_S
    assert coded.rate(120) == pytest.approx(TARGET, rel=0.03)
    assert max(coded.between(58, 62)) - min(coded.between(58, 62)) <= 2, "the second plate is a blow to its neighbours"
    assert min(coded.between(5, 120)) > 15


def test_quality_that_has_settled_hardly_moves():
    coded = simulate(steady(60), lambda t: 1.0 + 0.5 * (round(t * 25) % 2))
    settled = coded.between(10, 60)
    assert max(settled) - min(settled) <= 3


def test_time_that_was_not_recorded_earns_nothing():
    whole = simulate(steady(60))
    broken = simulate([*steady(30), *steady(30, first_s=4030)])
    after = broken.between(4030, 4060)
    assert max(after) <= max(whole.between(10, 60)) + 1
    assert broken.rate(60) == pytest.approx(TARGET, rel=0.06), "with a plate more than its time can pay"


@pytest.mark.parametrize(
    "times",
    [
        [n * 0.04 + (0.018 if n % 2 else 0) for n in range(1500)],
        [*steady(20, 25), *steady(20, 5, 20), *steady(20, 30, 40)],
    ],
    ids=["uneven", "changing"],
)
def test_frame_rates_vary(times):
    coded = simulate(times)
    assert coded.rate(60) == pytest.approx(TARGET, rel=0.03)


def test_a_quiet_scene_stays_at_the_ceiling_and_below_the_target():
    coded = simulate(steady(60), lambda t: 0.05)
    assert set(coded.qualities) == {CEILING}
    assert coded.rate(60) < TARGET


def test_what_a_quiet_hour_saved_is_bounded():
    coded = simulate(steady(660), lambda t: 0.02 if t < 600 else 3.0)
    busy = 8 * sum(size for t, size in zip(coded.times, coded.sizes, strict=True) if t >= 600)
    assert TARGET * 60 < busy < TARGET * (60 + 14)


def test_what_cannot_be_reached_ends_at_the_lowest_quality_and_is_forgiven_soon_after():
    coded = simulate(steady(180), lambda t: 60.0 if t < 60 else 1.0)
    assert set(coded.between(10, 60)) == {0}
    level = coded.between(170, 180)[0]
    assert min(coded.between(75, 90)) >= level - 15
    assert min(coded.between(110, 180)) >= level - 2


def test_a_change_of_scene_is_digested_without_swinging():
    coded = simulate(steady(90), lambda t: 0.1 if t < 20 else 3.0)
    assert set(coded.between(4, 20)) == {CEILING}
    assert max(coded.between(55, 90)) - min(coded.between(55, 90)) <= 2
    assert min(coded.between(20, 55)) >= min(coded.between(55, 90)) - 5, "it overshoots"


def test_quality_moves_in_small_steps():
    coded = simulate(steady(60), lambda t: 30.0 if 20 <= t < 40 else 0.05)
    steps = [b - a for a, b in pairwise(coded.qualities)]
    assert max(steps) <= 2
    assert min(steps) >= -2
    assert min(coded.between(20, 40)) < 15
    assert max(coded.between(40.2, 41)) < CEILING == coded.qualities[-1]


def test_a_loan_is_paid_evenly_and_once():
    loan = Loan(10.0)
    assert loan.pay(5.0) == 0
    loan.take(1000)
    assert [loan.pay(2.0) for _ in range(7)] == pytest.approx([200] * 5 + [0, 0])
    assert loan.rate_bps == 0


def test_what_is_left_of_a_loan_joins_the_next():
    loan = Loan(10.0)
    loan.take(1000)
    loan.pay(4.0)
    loan.take(1000)
    assert loan.rate_bps == pytest.approx(160)
    assert sum(loan.pay(1.0) for _ in range(12)) == pytest.approx(1600)


def test_the_encoder_keeps_a_target():
    brain = small_brain()
    height, width = 64, 64

    def rate(bitrate_bps: int | None, busy: bool) -> float:
        encoder = Encoder(
            width=width, height=height, quality=70, bitrate_bps=bitrate_bps, brain=brain, device="cpu",
            gop_us=10**9,
        )  # fmt: skip
        sizes = []
        # Two frames a second: the control works in stream time, so much of it passes in few frames.
        for n, (_, mask) in enumerate(walk(40, height, width)):
            y = texture(height, width, n if busy else 0)
            coded = encoder.encode(
                frame_of(y, n, frame_us=500_000), full_mask(height, width) if busy else mask
            )  # fmt: skip
            sizes.append(coded.nbytes)
        return sum(sizes[20:]) * 8 / (20 * 0.5)

    target = int(rate(None, True) / 3)
    assert 0.5 * target < rate(target, True) < 1.6 * target
    assert rate(target, False) < 0.5 * target


def test_a_plate_that_is_too_dear_is_coded_again():
    height, width, segment_s = 64, 96, 10.0

    def plate(bitrate_bps: int | None) -> int:
        encoder = Encoder(
            width=width, height=height, quality=70, bitrate_bps=bitrate_bps, brain=small_brain(), device="cpu",
            segment_us=round(segment_s * 1e6),
        )  # fmt: skip
        return len(encoder.encode(frame_of(texture(height, width, 3), 0), full_mask(height, width)).plate)

    free = plate(None)
    dear = round(8 * free / segment_s)
    assert plate(3 * dear) == free
    assert plate(dear) < 0.65 * free


def test_a_background_that_falls_behind_counts_more_and_one_that_leads_counts_less():
    behind, ahead = BackgroundBalance(1.0), BackgroundBalance(1.0)
    first = behind.importance
    for _ in range(100):
        behind.seen(10.0, 20.0)
        ahead.seen(10.0, 5.0)
    assert ahead.importance < first < behind.importance <= 1.0
    assert ahead.importance >= 0.5


def test_within_the_slack_nothing_moves():
    balance = BackgroundBalance(3.0)
    first = balance.importance
    for _ in range(50):
        balance.seen(10.0, 10.0 * 10**0.3)
    assert balance.importance == pytest.approx(first)


def test_without_a_foreground_there_is_nothing_to_compare_with():
    balance = BackgroundBalance(1.0)
    first = balance.importance
    balance.seen(None, 50.0)
    balance.seen(10.0, None)
    assert balance.importance == first
    balance.seen(None, 50.0)
    assert balance.importance > first
