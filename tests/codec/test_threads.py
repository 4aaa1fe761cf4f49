"""How many threads share a layer's work."""

from __future__ import annotations

import pytest
import torch

from pipeline.codec import Decoder, Encoder
from pipeline.codec.threads import shared
from tests.codec.clips import walk


@pytest.mark.parametrize(("positions", "expected"), [(0, 1), (2047, 1), (2048, 2), (100_000, 2)])
def test_few_positions_are_for_one_thread(positions, expected):
    before = torch.get_num_threads()
    with shared(positions, 2):
        assert torch.get_num_threads() == expected
    assert torch.get_num_threads() == before


def test_threads_come_back_after_an_error():
    before = torch.get_num_threads()
    with pytest.raises(ZeroDivisionError), shared(4000, before + 1):
        _ = 1 / 0
    assert torch.get_num_threads() == before


def test_coding_leaves_torchs_threads_as_they_were():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        encoder = Encoder(width=85, height=67, device="cpu")
        decoder = Decoder(encoder.info, device="cpu")
        for frame, mask in walk(2, 67, 85):
            decoder.decode(encoder.encode(frame, mask))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
