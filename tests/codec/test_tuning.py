"""The encoder's free choices, where they hang on something."""

from __future__ import annotations

import pytest

from pipeline.codec import Tuning

TUNING = Tuning(plate_offset=8, passing_offset=-2, refine_offset=12, anchor_offset=6, between_offsets=(-6, -10))


@pytest.mark.parametrize(("stays", "offset"), [(0, -2), (0.3, -2), (0.45, 3), (0.6, 8), (1, 8)])
def test_a_plate_is_as_fine_as_what_stays_of_it_is_worth(stays, offset):
    assert TUNING.of_plate(stays) == offset


def test_anchors_of_mini_gops_are_refined_less():
    assert [TUNING.of_refined(size) for size in (1, 2, 16)] == [12, 6, 6]


def test_frames_between_are_coarser_the_deeper():
    assert [TUNING.of_between(depth) for depth in (1, 2, 3)] == [-6, -10, -10]
