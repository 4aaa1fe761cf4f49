"""Rate control: near the target when there is much to code, below it when there is little."""

from __future__ import annotations

import pytest

from pipeline.codec import Encoder
from pipeline.codec.rate import BackgroundBalance, RateControl
from pipeline.types import Packet
from tests.codec.clips import FRAME_US, frame_of, full_mask, small_brain, texture, walk


def packet(index: int, size: int, plate: int = 0) -> Packet:
    return Packet(
        index=index, pts_us=index * FRAME_US, wall_us=0, key=plate > 0, foreground=bytes(size), background=b"",
        plate=bytes(plate),
    )  # fmt: skip


def model_bytes(quality: int, busy: float) -> int:
    """Bits halve every nine steps."""
    return int(busy * 2 ** (quality / 9))


def simulate(target_bps: int, busy: float, *, frames: int = 1000, ceiling: int = 45) -> tuple[list[int], float]:
    """(qualities, bits a second over the second half)."""
    control = RateControl(ceiling, target_bps)
    qualities, sizes = [], []
    for n in range(frames):
        quality = control.quality(n * FRAME_US)
        size = model_bytes(quality, busy)
        control.spent(packet(n, size))
        qualities.append(quality)
        sizes.append(size)
    half = sizes[frames // 2 :]
    return qualities, sum(half) * 8 / (len(half) * FRAME_US / 1e6)


def test_without_a_target_quality_is_constant():
    control = RateControl(31, None)
    for n in range(5):
        assert control.quality(n * FRAME_US) == 31
        control.spent(packet(n, 10**6))


@pytest.mark.parametrize("busy", [100.0, 400.0, 1000.0])
def test_a_busy_scene_lands_near_the_target(busy):
    qualities, rate = simulate(400_000, busy)
    assert 0.8 * 400_000 < rate < 1.25 * 400_000
    assert all(0 <= q <= 45 for q in qualities)


def test_a_quiet_scene_stays_at_the_ceiling_and_below_the_target():
    qualities, rate = simulate(400_000, 5.0)
    assert set(qualities) == {45}
    assert rate < 400_000


def test_what_cannot_be_reached_ends_at_the_lowest_quality():
    qualities, _ = simulate(1_000, 5000.0)
    assert qualities[-1] == 0


def test_a_plate_is_not_charged_at_once():
    charged, free = RateControl(40, 100_000), RateControl(40, 100_000)
    for control, plate in ((charged, 0), (free, 50_000)):
        control.quality(0)
        control.spent(packet(0, 50_000 - plate, plate))
    for n in range(1, 50):
        low, high = charged.quality(n * FRAME_US), free.quality(n * FRAME_US)
    assert low < high


def test_a_change_of_scene_is_digested_without_swinging():
    control = RateControl(45, 400_000)
    qualities = []
    for n in range(2000):
        quality = control.quality(n * FRAME_US)
        control.spent(packet(n, model_bytes(quality, 50.0 if n < 500 else 1000.0)))
        qualities.append(quality)
    assert set(qualities[100:500]) == {45}
    assert max(qualities[1200:]) - min(qualities[1200:]) <= 3


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
