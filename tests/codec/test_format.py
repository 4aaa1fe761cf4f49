"""Layer payloads: a decoder written from FORMAT.md alone reads the same symbols and shows the same frames."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.codec import Decoder, Encoder, weights
from pipeline.codec.between import follow, mean_of
from pipeline.codec.modes import MOVED, SPLIT
from pipeline.types import Layer, Packet, RoiMask
from tests import reference_decoder
from tests.codec.clips import FRAME_US, frame_of, mask_of, meeting, planes, sizes, texture, walk
from tests.reference_decoder import ReferenceDecoder, Weights, crc32c
from tests.reference_side import Side


@pytest.fixture(scope="module")
def second() -> Weights:
    return Weights(weights.available()[weights.newest()])


def test_crc():
    assert crc32c(b"123456789") == 0xE3069283


def test_fingerprint(second):
    assert second.fingerprint == weights.newest()


def compare(
    second: Weights, height: int, width: int, clip: list, *, mini_gop: int = 1, **options
) -> tuple[list[Packet], set[int]]:
    """Decode with both; symbols, maps, modes, vectors equal, samples within rounding."""
    encoder = Encoder(width=width, height=height, device="cpu", mini_gop=mini_gop, **options)
    product = Decoder(encoder.info, device="cpu")
    reference = ReferenceDecoder(second, width, height)
    packets = encoder.encode_all(clip)
    modes: set[int] = set()
    for packet in packets:
        mine = product.decode(packet)
        theirs = reference.decode(packet.key, packet.plate, (packet.foreground, packet.background), packet.sums)
        for layer in Layer:
            a, b = product._chains[layer].shown, reference.layers[layer].shown
            assert np.array_equal(a.symbols.numpy(), b.before.symbols[b.before.flags])
            for name in ("cells", "mode", "vector", "since", "habit"):
                assert np.array_equal(getattr(a.past, name), getattr(b.before, name)), name
            assert np.array_equal(a.past.coded, b.before.flags)
            assert layer is Layer.BACKGROUND or np.array_equal(a.motion, b.motion)
            assert np.array_equal(a.past.coded_habit, b.before.flag_habit)
            assert product._chains[layer]._state.age == reference.layers[layer].age
            modes |= set(a.past.mode.ravel().tolist())
        for a, b in zip(planes(mine), theirs, strict=True):
            assert a.shape == b.shape
            assert np.abs(a.astype(int) - b).max() <= 2
            assert (a != b).mean() < 0.01, "rounding is rarely another"
    return packets, modes


def test_a_walk_over_two_segments(second):
    clip = list(walk(5, 67, 85, noise=1.0))
    packets, _ = compare(second, 67, 85, clip, gop_us=2 * FRAME_US, segment_us=4 * FRAME_US, quality=35.0)
    assert [bool(p.plate) for p in packets] == [True, False, False, False, True]


def test_motion_in_both_layers_and_a_map_that_stays(second):
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


def told(monkeypatch) -> list[int]:
    """What sides will have been read by the second decoder."""
    found: list[int] = []
    read = Side.sides

    def and_note(side: Side, mode: np.ndarray) -> np.ndarray:
        values = read(side, mode)
        found.extend(values[np.isin(mode, (1, 3))].tolist())
        return values

    monkeypatch.setattr(Side, "sides", and_note)
    return found


@pytest.mark.parametrize("seed", range(6))
def test_what_moves_on_both_sides(second, seed):
    """Stripes, so that many vectors show the same, with more or less noise on them, so that some just do."""
    rng, shape = np.random.default_rng(seed), (4, 6)
    contrast = (15, 60)[seed % 2]
    stripes = rng.integers(128 - contrast, 128 + contrast, 128).repeat(4)
    pair = []
    for shift in (20, 24):
        y = np.tile(stripes[shift : shift + 96], (64, 1))
        y = (y + rng.normal(size=96) * np.linspace(0.1, 0.9 * contrast, 96)).round().clip(0, 255)
        pair.append(tuple(plane.astype(np.uint8) for plane in (y, y[::2, ::2], y[::2, 1::2])))
    few = np.array(((0, 0), (0, 8), (4, 8), (-8, 8), (0, 7), (0, -40)))
    motion = few[rng.integers(0, len(few), shape)]
    layer, whole = (
        reference_decoder.Layer(second, "foreground", shape),
        [[p.astype(int) for p in each] for each in pair],
    )
    ends = [replace(layer.done(), plane=each) for each in whole]
    theirs = layer.between(*ends, 1, 1)
    theirs.follow(motion)
    before, after = (tuple(torch.from_numpy(p)[None] for p in each) for each in pair)
    everywhere = np.ones(shape, np.bool_)
    mean, found = follow(before, after, (1, 1), everywhere, motion, mean_of(before, after, everywhere))
    assert 0 < found.any(2).sum() < found[..., 0].size
    assert np.array_equal(found, theirs.began)
    assert all(np.array_equal(a[0].numpy(), b) for a, b in zip(mean, theirs.plane, strict=True))


def followed(monkeypatch) -> list[int]:
    """How many cells of each frame will have begun with what moves on both sides."""
    found: list[int] = []
    follow = reference_decoder.Layer.follow

    def and_count(layer: reference_decoder.Layer, motion: np.ndarray) -> None:
        follow(layer, motion)
        found.append(int(layer.began.any(2).sum()))

    monkeypatch.setattr(reference_decoder.Layer, "follow", and_count)
    return found


def test_mini_gops(second, monkeypatch):
    """A key frame, a group of eight and one of three that is left over, in which nothing is foreground."""
    sides, moving = told(monkeypatch), followed(monkeypatch)
    packets, modes = compare(second, 64, 112, list(meeting(12, 64, 112)), mini_gop=8, quality=55.0)
    assert sizes(packets, Layer.FOREGROUND) == [1, 8, *[0] * 10], "of the second group the layer has nothing"
    assert sizes(packets, Layer.BACKGROUND) == [0, 8, *[0] * 7, 3, 0, 0]
    assert {MOVED, SPLIT} <= modes
    assert sum(moving) > 20, "hardly a cell began as what moves on both sides"
    assert set(sides) == {0, 1, 2}, "what moves was not on all sides: the test shows nothing"


def test_mini_gops_before_a_key_frame(second):
    """Groups of four, and what is left of them before each key frame: distances of all sorts, frames alone too."""
    clip = list(walk(12, 67, 85, noise=1.0))
    packets, _ = compare(second, 67, 85, clip, mini_gop=4, gop_us=7 * FRAME_US, segment_us=7 * FRAME_US)
    assert [p.key for p in packets] == [n in (0, 7) for n in range(12)]
    assert sizes(packets, Layer.FOREGROUND) == [1, 4, 0, 0, 0, 2, 0, 1, 4, 0, 0, 0]
