"""The plate: there and back, and every kind of damage named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.codec import symbols
from pipeline.codec.effort import EFFORTS
from pipeline.codec.plate import decode_plate, encode_plate
from pipeline.codec.state import Geometry
from pipeline.errors import StreamError
from tests.codec.clips import frame_of, small_brain, texture

GEOMETRY = Geometry(67, 101)
BRAIN = small_brain()


def make(quality: int = 40) -> tuple[bytes, tuple[torch.Tensor, ...], np.ndarray]:
    unclean = np.zeros(GEOMETRY.cells, np.bool_)
    unclean[1, 2:5] = True
    picture = GEOMETRY.pad(frame_of(texture(67, 101, 1), 0), BRAIN.device)
    with torch.inference_mode():
        payload, plate = encode_plate(BRAIN, GEOMETRY, picture, unclean=unclean, q=quality)
    return payload, plate, unclean


def test_round_trip():
    payload, plate, unclean = make()
    with torch.inference_mode():
        found, marked = decode_plate(BRAIN, GEOMETRY, payload)
    assert all(torch.equal(a, b) for a, b in zip(plate, found, strict=True))
    assert np.array_equal(marked, unclean)
    assert tuple(found[0].shape) == (1, 80, 112)


def test_quality_costs_bytes():
    assert len(make(10)[0]) < len(make(40)[0]) < len(make(63)[0])


@pytest.mark.parametrize("cut", [0, 1, 3, 4, 7, -1, -4, -8])
def test_cut_plates_are_refused(cut):
    with torch.inference_mode(), pytest.raises(StreamError):
        decode_plate(BRAIN, GEOMETRY, make()[0][:cut])


@pytest.mark.parametrize(("place", "bit"), [(0, 7), (0, 1), (0, 0), (0, 4), (1, 7), (2, 0), (3, 7), (20, 3)])
def test_flipped_bits_are_refused(place, bit):
    payload = bytearray(make()[0])
    payload[place] ^= 1 << bit
    with torch.inference_mode(), pytest.raises(StreamError):
        decode_plate(BRAIN, GEOMETRY, bytes(payload))


@pytest.mark.parametrize("quick", [True, False])
def test_a_plate_of_many_positions_decodes_at_the_least_effort(monkeypatch, quick):
    """Its analysis is in bfloat16 where the processor has it, which no decoder has to know."""
    monkeypatch.setattr(symbols, "quick_bf16", lambda device: quick)
    geometry = Geometry(256, 320)
    picture, unclean = geometry.pad(frame_of(texture(256, 320, 2), 0), BRAIN.device), np.zeros((16, 20), np.bool_)
    with torch.inference_mode():
        payload, plate = encode_plate(BRAIN, geometry, picture, unclean=unclean, q=40, effort=EFFORTS["fast"])
        found, _ = decode_plate(BRAIN, geometry, payload)
    assert all(torch.equal(a, b) for a, b in zip(plate, found, strict=True))
    assert float((plate[0].float() - picture[0].float()).square().mean()) < 25


def test_a_plate_is_as_good_with_less_effort(monkeypatch):
    """Its nets were trained to have back what the synthesis would miss: without that it costs a seventh more bytes."""
    shares, real = [], symbols.given_back

    def spied(share: float, *arguments: object) -> torch.Tensor:
        shares.append(share)
        return real(share, *arguments)

    monkeypatch.setattr(symbols, "given_back", spied)
    picture = GEOMETRY.pad(frame_of(texture(67, 101, 1), 0), BRAIN.device)
    unclean = np.zeros(GEOMETRY.cells, np.bool_)
    with torch.inference_mode():
        for effort in EFFORTS.values():
            encode_plate(BRAIN, GEOMETRY, picture, unclean=unclean, q=40, effort=effort)
    assert shares == [symbols.PROJECTED["plate"]] * len(EFFORTS)
