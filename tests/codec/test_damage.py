"""A short run of the damage experiment, see damage.py."""

from __future__ import annotations

import numpy as np
import pytest

from tests.codec.damage import Recording, flip_and_show, flip_file, flip_payloads, record


@pytest.fixture(scope="module")
def recording() -> Recording:
    return record(50, width=160, height=128)


def test_any_bit_of_the_file(recording):
    outcome = flip_file(recording, 300, np.random.default_rng(1))
    assert (outcome.flips, outcome.unseen, outcome.beyond) == (300, 0, 0)
    assert outcome.detected == 300, "every byte of a stream is under a checksum"
    assert outcome.most_frames_lost > 0, "no flip cost anything: the test shows nothing"


def test_bits_behind_the_containers_checksums(recording):
    outcome = flip_payloads(recording, 100, np.random.default_rng(2))
    assert outcome.unseen == 0
    assert outcome.detected >= 98
    assert len(outcome.reasons) > 1


def test_what_is_shown_is_right(recording):
    outcome = flip_and_show(recording, 3, np.random.default_rng(3))
    assert (outcome.flips, outcome.unseen, outcome.beyond) == (3, 0, 0)
