"""Layer payloads: a decoder written from FORMAT.md alone reads the same symbols and shows the same frames."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.codec import Decoder, Encoder, weights
from pipeline.codec.modes import SPLIT
from pipeline.types import Layer, Packet, RoiMask
from tests.codec.clips import FRAME_US, frame_of, mask_of, planes, walk
from tests.reference_decoder import ReferenceDecoder, Weights, crc32c


@pytest.fixture(scope="module")
def second() -> Weights:
    return Weights(weights.available()[weights.newest()])


def test_crc():
    assert crc32c(b"123456789") == 0xE3069283


def test_fingerprint(second):
    assert second.fingerprint == weights.newest()


def compare(second: Weights, height: int, width: int, clip: list, **options) -> tuple[list[Packet], set[int]]:
    """Decode with both; symbols, maps, modes, vectors equal, samples within rounding."""
    encoder = Encoder(width=width, height=height, device="cpu", **options)
    product = Decoder(encoder.info, device="cpu")
    reference = ReferenceDecoder(second, width, height)
    packets: list[Packet] = []
    modes: set[int] = set()
    for frame, mask in clip:
        packet = encoder.encode(frame, mask)
        mine = product.decode(packet)
        theirs = reference.decode(packet.key, packet.plate, (packet.foreground, packet.background), packet.sums)
        for layer in Layer:
            a, b = product._layers[layer], reference.layers[layer]
            assert np.array_equal(a.symbols.numpy(), b.before.symbols[b.before.flags])
            for name in ("cells", "mode", "vector", "since", "habit"):
                assert np.array_equal(getattr(a.past, name), getattr(b.before, name))
            assert np.array_equal(a.past.coded, b.before.flags)
            assert np.array_equal(a.past.coded_habit, b.before.flag_habit)
            assert a.age == b.age
            modes |= set(a.past.mode.ravel().tolist())
        for a, b in zip(planes(mine), theirs, strict=True):
            assert a.shape == b.shape
            assert np.abs(a.astype(int) - b).max() <= 2
        packets.append(packet)
    return packets, modes


def test_a_walk_over_two_segments(second):
    clip = list(walk(5, 67, 85, noise=1.0))
    packets, _ = compare(second, 67, 85, clip, gop_us=2 * FRAME_US, segment_us=4 * FRAME_US, quality=35.0)
    assert [bool(p.plate) for p in packets] == [True, False, False, False, True]


def test_motion_in_both_layers_and_a_map_that_stays(second):
    from tests.codec.clips import texture

    wide = texture(64, 110, 7)
    clip = [
        (frame_of(np.ascontiguousarray(wide[:, 5 * n : 5 * n + 80]), n), mask_of(64, 80, ((20, 20, 50, 50),)))
        for n in range(3)
    ]
    clip.append((frame_of(clip[-1][0].y, 3), RoiMask.empty(64, 80)))
    packets, modes = compare(second, 64, 80, clip, quality=60.0)
    split = SPLIT in modes
    moved = [p for p in packets if p.background and not p.background[0] & 1]
    assert moved, "no motion in the background: the test shows nothing"
    assert split, "no split cell"
    assert any(p.foreground and p.foreground[0] & 16 for p in packets)
    assert not packets[3].foreground
