"""Which steps are left out."""

from __future__ import annotations

import pytest
import torch

from pipeline.training.guard import WINDOW, Guard


def judged(guard: Guard, losses: list[float], norms: list[float] | None = None, *, first: int = 0) -> list[bool]:
    """Whether each step is sound."""
    pairs = zip(losses, norms or [1.0] * len(losses), strict=True)
    return [bool(guard.sound(first + i, torch.tensor(x), torch.tensor(y))) for i, (x, y) in enumerate(pairs)]


def test_a_loss_far_beyond_the_usual_is_odd() -> None:
    guard = Guard(torch.device("cpu"))
    assert judged(guard, [50.0, 120.0, 60.0, 1e11, 70.0, 150.0]) == [True, True, True, False, True, True]
    assert guard.told() == "skipped 1 (worst loss 1.0e+11)"


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_odd_from_the_first_step_on(value: float) -> None:
    assert judged(Guard(torch.device("cpu")), [value, 1.0, value, 1.0]) == [False, True, False, True]
    assert judged(Guard(torch.device("cpu")), [1.0, 1.0], [value, 1.0]) == [False, True]


def test_a_gradient_may_be_larger_than_a_loss_for_it_is_clipped() -> None:
    guard = Guard(torch.device("cpu"))
    assert judged(guard, [1.0, 1.0, 1.0], [1.0, 20.0, 1e6]) == [True, True, False]


def test_a_lasting_change_is_followed() -> None:
    guard = Guard(torch.device("cpu"))
    assert all(judged(guard, [1.0] * WINDOW))
    after = judged(guard, [100.0] * WINDOW, first=WINDOW)
    assert not any(after[: WINDOW // 2])
    assert all(after[WINDOW // 2 + 1 :])
    assert all(judged(guard, [1.0] * WINDOW, first=2 * WINDOW))


def test_a_run_of_odd_steps_does_not_become_usual_at_once() -> None:
    guard = Guard(torch.device("cpu"))
    judged(guard, [1.0] * WINDOW)
    assert not any(judged(guard, [torch.inf] * (WINDOW // 2 - 1), first=WINDOW))
    assert judged(guard, [1.0], first=WINDOW + WINDOW // 2 - 1) == [True]
