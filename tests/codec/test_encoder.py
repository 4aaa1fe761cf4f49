"""Encoder and decoder together: what is shown is what was meant, from any start, with or without the background."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.codec import Decoder, Encoder, Tuning, weights
from pipeline.codec import decoder as decoder_module
from pipeline.codec import encoder as encoder_module
from pipeline.codec.brain import Brain
from pipeline.codec.effort import EFFORTS
from pipeline.codec.encoder import quality_step
from pipeline.codec.layer import Coded, Job
from pipeline.codec.nets import QUALITIES
from pipeline.codec.state import LayerState, Planes
from pipeline.errors import CodecError, StreamError
from pipeline.types import CELL, Layer, Packet, RoiMask, StreamInfo
from tests.codec.clips import (
    FRAME_US,
    decode_all,
    encode_and_check,
    encoder_picture,
    error,
    frame_of,
    full_mask,
    in_cells,
    mask_of,
    planes,
    same,
    small_brain,
    texture,
    walk,
)

H, W = 64, 96


def make(height=H, width=W, *, brain=None, gop=4, segment=1000, quality=50.0, **more) -> Encoder:
    return Encoder(
        width=width,
        height=height,
        quality=quality,
        gop_us=gop * FRAME_US,
        segment_us=segment * FRAME_US,
        device="cpu",
        brain=brain,
        **more,
    )


@pytest.fixture(scope="module")
def walked():
    """Ten frames of the shipped codec: three GOPs, two segments. (encoder, clip, packets)."""
    encoder = make(gop=4, segment=8)
    clip = list(walk(10, H, W, noise=1.0))
    return encoder, clip, encode_and_check(encoder, clip)


def test_decoder_shows_what_the_encoder_meant(walked):
    _, clip, packets = walked
    assert [p.key for p in packets] == [n % 4 == 0 for n in range(10)]
    assert [bool(p.plate) for p in packets] == [n % 8 == 0 for n in range(10)]
    assert all(p.foreground for p in packets)
    assert sum(p.nbytes for p in packets) < 10 * clip[0][0].nbytes / 4


def test_the_foreground_is_refined_now_and_then(monkeypatch):
    qualities = []
    encode_layer = encoder_module.encode_layer

    def and_note(brain: Brain, state: LayerState, plate: Planes, job: Job) -> Coded:
        if state.layer is Layer.FOREGROUND:
            qualities.append(job.q)
        return encode_layer(brain, state, plate, job)

    monkeypatch.setattr(encoder_module, "encode_layer", and_note)
    encoder = make(gop=6, quality=50.0, tuning=Tuning(refine_every=4, refine_offset=12))
    for frame, mask in walk(12, H, W, noise=1.0):
        encoder.encode(frame, mask)
    usual = quality_step(50.0)
    assert [q - usual for q in qualities] == 2 * [12, 0, 0, 0, 12, 0]  # from each key frame on
    make(gop=6, quality=100.0).encode(*next(iter(walk(1, H, W))))
    assert qualities[-1] == QUALITIES - 1


def test_encoding_is_deterministic(walked):
    _, clip, packets = walked
    encoder = make(gop=4, segment=8)
    assert [encoder.encode(frame, mask) for frame, mask in clip] == packets


def test_the_best_effort_is_the_default(walked):
    _, clip, packets = walked
    encoder = make(gop=4, segment=8, effort="best")
    assert [encoder.encode(frame, mask) for frame, mask in clip[:3]] == packets[:3]


@pytest.mark.parametrize("effort", [name for name in EFFORTS if name != "best"])
def test_a_decoder_need_not_know_the_effort(walked, effort):
    encoder = make(gop=4, segment=8, effort=effort)
    _, clip, packets = walked
    eased = encode_and_check(encoder, clip)
    assert encoder.effort == effort
    assert eased != packets
    assert sum(p.nbytes for p in eased) < 1.3 * sum(p.nbytes for p in packets)
    for (frame, _), shown in zip(clip, decode_all(encoder, eased), strict=True):
        assert error(frame, shown) < 300


def test_the_effort_may_change_between_frames():
    encoder = make(gop=6)

    def changing():
        for number, item in enumerate(walk(12, H, W, noise=1.0)):
            encoder.effort = list(EFFORTS)[number % len(EFFORTS)]
            yield item

    encode_and_check(encoder, changing())
    with pytest.raises(CodecError, match="'slow'"):
        encoder.effort = "slow"


def test_with_the_least_effort_a_foreground_in_which_nothing_pays_has_no_symbols():
    """Its cells are said and decoded all the same, and stay as they were."""
    wall, rng, mask = texture(H, W, 3), np.random.default_rng(0), mask_of(H, W, ((16, 16, 64, 48),))
    noisy = (np.clip(wall + rng.normal(scale=0.7, size=wall.shape), 0, 255).astype(np.uint8) for _ in range(6))
    clip = [(frame_of(y, index), mask) for index, y in enumerate(noisy)]
    encoder = make(gop=100, effort="fast")
    packets = encode_and_check(encoder, clip)
    assert all(0 < len(packet.foreground) < 16 for packet in packets[1:])
    assert not len(encoder._foreground.symbols)
    decoder = Decoder(encoder.info, device="cpu")
    shown = [decoder.decode(packet, "foreground") for packet in packets]
    assert np.array_equal(decoder.cells, mask.cells)
    assert np.array_equal(shown[0].y, shown[-1].y)


def test_the_least_effort_codes_every_fourth_background():
    clip = [(frame_of(texture(H, W, n), n), RoiMask.empty(H, W)) for n in range(8)]
    packets = encode_and_check(make(gop=100, effort="fast"), clip)
    assert [bool(p.background) for p in packets[1:]] == [n % 4 == 0 for n in range(1, 8)]


def test_shipped_weights_show_a_picture(walked):
    encoder, clip, packets = walked
    for (frame, _), shown in zip(clip, decode_all(encoder, packets), strict=True):
        assert error(frame, shown) < 300


@pytest.mark.parametrize(("height", "width"), [(67, 101), (64, 64), (65, 127), (80, 97)])
def test_odd_sizes(height, width):
    brain = small_brain()
    encode_and_check(make(height, width, brain=brain), list(walk(6, height, width)), brain)


def test_full_mask():
    brain = small_brain()
    clip = [(frame, full_mask(H, W)) for frame, _ in walk(6, H, W)]
    packets = encode_and_check(make(brain=brain), clip, brain)
    assert not any(p.background for p in packets)


def test_empty_mask():
    brain = small_brain()
    encoder = make(brain=brain)
    clip = [(frame, RoiMask.empty(H, W)) for frame, _ in walk(6, H, W)]
    packets = encode_and_check(encoder, clip, brain)
    assert not any(p.foreground for p in packets)
    assert all(p.sums[0] == 0 for p in packets)
    assert any(p.background for p in packets)


@pytest.mark.parametrize("cell", [(0, 0), (0, 5), (3, 0), (3, 5), (1, 2)])
def test_one_cell(cell):
    brain = small_brain()
    clip = []
    for frame, _ in walk(4, H, W):
        mask = RoiMask.empty(H, W)
        mask.cells[cell], mask.importance[cell] = True, 200
        clip.append((frame, mask))
    encode_and_check(make(brain=brain), clip, brain)


def test_masks_that_come_and_go_and_jump():
    brain = small_brain()
    boxes = [(), ((0, 0, 16, 16),), ((80, 48, 96, 64), (0, 0, 16, 16)), (), (), ((16, 16, 60, 60),), ((0, 0, 96, 64),)]
    clip = [(frame, mask_of(H, W, box)) for (frame, _), box in zip(walk(len(boxes) * 2, H, W), boxes * 2, strict=True)]
    encode_and_check(make(brain=brain, gop=5), clip, brain)


def test_nothing_moves_costs_next_to_nothing():
    brain = small_brain()
    frame, mask = next(iter(walk(1, H, W)))
    clip = [(frame_of(frame.y, n), mask) for n in range(6)]
    encoder = make(brain=brain, gop=100)
    packets = encode_and_check(encoder, clip, brain)
    assert all(not p.background for p in packets[1:])
    assert packets[5].nbytes < packets[0].nbytes / 10


def test_a_repeated_frame_costs_next_to_nothing():
    """Sources that repeat frames are common. What the first showing left is noise to the codec: symbols that do not pay
    for themselves are not sent."""
    encoder = make(gop=1000, quality=60.0)
    clip = list(walk(6, H, W, noise=4.0))
    twice = [(replace(f, index=i, pts_us=i * FRAME_US), m) for i, (f, m) in enumerate(f for f in clip for _ in "ab")]
    packets = encode_and_check(encoder, twice)
    first, again = (sum(len(p.foreground) for p in packets[start::2]) for start in (2, 3))
    assert again < first / 8


def test_flat_picture_with_hardly_a_symbol():
    """Streams of no symbol, or one, once overran a buffer inside the range coder."""
    flat = np.full((H, W), 128, np.uint8)
    mask = mask_of(H, W, ((0, 0, 16, 16),))
    encode_and_check(make(quality=0.0), [(frame_of(flat, n), mask) for n in range(4)])


def test_scene_change():
    brain = small_brain()
    clip = list(walk(5, H, W, seed=1)) + list(walk(7, H, W, seed=50, first=5))
    packets = encode_and_check(make(brain=brain, gop=4), clip, brain)
    assert packets[8].plate, "half of the picture left the plate: a key frame opens a new segment"
    assert not packets[4].plate


def test_camera_that_moves():
    brain = small_brain()
    wide = texture(H, W + 60, 3)
    clip = [
        (frame_of(np.ascontiguousarray(wide[:, 3 * n : 3 * n + W]), n), mask_of(H, W, ((32, 16, 64, 48),)))
        for n in range(6)
    ]
    encode_and_check(make(brain=brain, gop=100), clip, brain)


def test_noise_and_extreme_values():
    brain = small_brain()
    rng = np.random.default_rng(0)
    clip = [
        (frame_of((rng.integers(0, 2, (H, W)) * 255).astype(np.uint8), n), mask_of(H, W, ((16, 16, 64, 48),)))
        for n in range(3)
    ]
    encode_and_check(make(brain=brain, quality=100.0), clip, brain)
    encode_and_check(make(brain=brain, quality=0.0), clip, brain)


def test_foreground_alone_equals_the_full_picture_on_its_cells(walked):
    encoder, clip, packets = walked
    full = decode_all(encoder, packets)
    alone = decode_all(encoder, packets, "foreground")
    bare = decode_all(encoder, [replace(p, background=b"", sums=(p.sums[0], 0)) for p in packets], "foreground")
    for (_, mask), a, b, c in zip(clip, full, alone, bare, strict=True):
        for x, y, size in zip(planes(a), planes(b), (CELL, CELL // 2, CELL // 2), strict=True):
            assert np.array_equal(in_cells(x, mask.cells, size), in_cells(y, mask.cells, size))
        assert same(planes(b), planes(c))


def test_foreground_does_not_depend_on_what_the_background_is(walked):
    """The same foreground over a background that is damaged, foreign or gone."""
    encoder, clip, packets = walked
    expected = decode_all(encoder, packets, "foreground")
    rng = np.random.default_rng(0)
    strange = [replace(p, background=rng.bytes(50), sums=(p.sums[0], 7)) for p in packets]
    for a, b in zip(expected, decode_all(encoder, strange, "foreground"), strict=True):
        assert same(planes(a), planes(b))
    absent = decode_all(encoder, [replace(p, background=b"", sums=(p.sums[0], 0)) for p in packets])
    for (_, mask), a, b in zip(clip, expected, absent, strict=True):
        assert np.array_equal(in_cells(a.y, mask.cells, CELL), in_cells(b.y, mask.cells, CELL))


@pytest.mark.parametrize("layer", ["full", "foreground"])
def test_any_key_frame_is_a_start(walked, layer):
    encoder, _, packets = walked
    expected = decode_all(encoder, packets, layer)
    for start in (4, 8):
        decoder = Decoder(encoder.info, device="cpu")
        plate = packets[0 if start < 8 else 8].plate
        decoder.set_plate(plate)
        for k in range(start, len(packets)):
            shown = decoder.decode(replace(packets[k], plate=b"") if k == start else packets[k], layer)
            assert same(planes(shown), planes(expected[k]))


def test_background_waits_for_a_key_frame_after_foreground_alone(walked):
    encoder, _, packets = walked
    expected = decode_all(encoder, packets)
    decoder = Decoder(encoder.info, device="cpu")
    decoder.decode(packets[0])
    decoder.decode(packets[1], "foreground")
    with pytest.raises(StreamError, match="background"):
        decoder.decode(packets[2])
    assert same(planes(decoder.decode(packets[4])), planes(expected[4]))


def test_a_key_frame_given_again_decodes_its_foreground_once(walked, monkeypatch):
    """As a seek does: first the foreground alone, then everything."""
    encoder, _, packets = walked
    expected, alone = decode_all(encoder, packets), decode_all(encoder, packets, "foreground")
    layers = []
    decode_layer = decoder_module.decode_layer
    monkeypatch.setattr(
        decoder_module, "decode_layer", lambda *args: (layers.append(args[1].layer), decode_layer(*args))[1]
    )
    decoder = Decoder(encoder.info, device="cpu")
    decoder.set_plate(packets[0].plate)
    key = replace(packets[4], plate=b"")
    assert key.key
    assert key.foreground
    assert same(planes(decoder.decode(key, "foreground")), planes(alone[4]))
    assert same(planes(decoder.decode(key)), planes(expected[4]))
    assert layers.count(Layer.FOREGROUND) == 1
    assert same(planes(decoder.decode(packets[5])), planes(expected[5]))
    assert same(planes(decoder.decode(key)), planes(expected[4])), "not when something else came between"
    decoder.set_plate(packets[0].plate)
    layers.clear()
    assert same(planes(decoder.decode(key)), planes(expected[4])), "nor on a plate set anew"
    assert layers.count(Layer.FOREGROUND) == 1
    for damaged in (replace(key, foreground=key.foreground[:-4]), replace(key, sums=(key.sums[0] ^ 1, key.sums[1]))):
        with pytest.raises(StreamError):
            decoder.decode(replace(damaged, index=key.index + 8))
        assert same(planes(decoder.decode(key)), planes(expected[4]))


def test_a_background_is_held_under_the_foreground():
    """What was decoded last of it, as long as the plate is the same; else the plate."""
    encoder = make(gop=4, segment=8)
    packets = [encoder.encode(frame, mask_of(H, W, ((0, 48, 16, 64),))) for frame, _ in walk(10, H, W)]
    full, alone = decode_all(encoder, packets), decode_all(encoder, packets, "foreground")
    busy = mask_of(H, W, ((0, 48, 16, 64),)).cells
    decoder = Decoder(encoder.info, device="cpu")
    assert same(planes(decoder.decode(packets[0], "foreground", held=True)), planes(alone[0])), "none yet"
    decoder = Decoder(encoder.info, device="cpu")
    for packet in packets[:3]:
        decoder.decode(packet)
    for n in range(3, 8):
        shown = decoder.decode(packets[n], "foreground", held=True)
        assert np.array_equal(in_cells(shown.y, busy, CELL), in_cells(full[n].y, busy, CELL))
        assert np.array_equal(in_cells(shown.y, ~busy, CELL), in_cells(full[2].y, ~busy, CELL))
        assert not np.array_equal(in_cells(shown.y, ~busy, CELL), in_cells(alone[n].y, ~busy, CELL))
    assert packets[8].plate
    assert same(planes(decoder.decode(packets[8], "foreground", held=True)), planes(alone[8])), "a new plate"


def test_a_decoder_needs_plate_and_key_frame(walked):
    encoder, _, packets = walked
    decoder = Decoder(encoder.info, device="cpu")
    with pytest.raises(StreamError, match="no plate"):
        decoder.decode(packets[1])
    decoder.set_plate(packets[0].plate)
    with pytest.raises(StreamError, match="key frame"):
        decoder.decode(packets[1])


def test_damage_is_named_and_the_next_key_frame_is_whole(walked):
    encoder, _, packets = walked
    expected = decode_all(encoder, packets)
    for bad in (
        replace(packets[1], sums=(packets[1].sums[0] ^ 1, packets[1].sums[1])),
        replace(packets[1], foreground=packets[1].foreground[:-4]),
        replace(packets[1], foreground=packets[1].foreground[:1]),
        replace(packets[1], foreground=b"\xff" * 40),
        replace(packets[1], background=b"\xff\x00", sums=(packets[1].sums[0], 0)),
    ):
        decoder = Decoder(encoder.info, device="cpu")
        decoder.decode(packets[0])
        with pytest.raises(StreamError):
            decoder.decode(bad)
        with pytest.raises(StreamError, match="key frame"):
            decoder.decode(packets[2])
        assert same(planes(decoder.decode(packets[4])), planes(expected[4]))
        assert same(planes(decoder.decode(packets[5])), planes(expected[5]))


def test_an_old_plate_does_not_serve_after_a_damaged_one(walked):
    encoder, _, packets = walked
    decoder = Decoder(encoder.info, device="cpu")
    decoder.decode(packets[0])
    plate = bytearray(packets[8].plate)
    plate[len(plate) // 2] ^= 0x10
    with pytest.raises(StreamError):
        decoder.decode(replace(packets[8], plate=bytes(plate)))
    with pytest.raises(StreamError, match="no plate"):
        decoder.decode(replace(packets[8], plate=b""))


def test_plates_stay_decoded(walked, monkeypatch):
    encoder, _, packets = walked
    others = (make().encode(frame_of(texture(H, W, seed), 0), mask_of(H, W, ())).plate for seed in (1, 2))
    plates = [packets[0].plate, *others]
    fresh = []
    for plate in plates:
        one = Decoder(encoder.info, device="cpu")
        one.set_plate(plate)
        fresh.append(one._plate)
    decoded = []
    once = decoder_module.decode_plate
    monkeypatch.setattr(
        decoder_module, "decode_plate", lambda brain, size, plate: (decoded.append(plate), once(brain, size, plate))[1]
    )
    decoder = Decoder(encoder.info, device="cpu", plates=2)
    for which in (0, 1, 0, 2, 0, 1):
        decoder.set_plate(plates[which])
        assert all(torch.equal(a, b) for a, b in zip(decoder._plate, fresh[which], strict=True))
    assert decoded == [plates[k] for k in (0, 1, 2, 1)]


def test_random_bytes_are_stream_errors_and_nothing_else(walked):
    encoder, _, packets = walked
    rng = np.random.default_rng(4)
    first = packets[0]
    decoder = Decoder(encoder.info, device="cpu")
    refused = 0
    for trial in range(40):
        length = int(rng.integers(1, 300))
        junk = rng.bytes(length)
        if trial % 2:  # a believable header and a possible state, so that the parse gets far
            junk = bytes((int(rng.integers(0, 2)) * 17, trial)) + junk[:3] + b"\x80" + junk[3:7] + b"\1"
            junk += rng.bytes(4 * length)
        decoder.set_plate(first.plate)
        bad = replace(first, plate=b"", foreground=junk, sums=(1, 0), background=b"")
        try:
            decoder.decode(bad)
        except StreamError:
            refused += 1
    assert refused >= 39, "of junk with a random checksum hardly any may pass"


def test_damaged_real_payloads_are_stream_errors_and_nothing_else(walked):
    encoder, _, packets = walked
    rng = np.random.default_rng(5)
    whole = packets[0]
    decoder = Decoder(encoder.info, device="cpu")
    meant, refused = decoder.decode(whole), 0
    for trial in range(30):
        part = ("foreground", "plate")[trial % 2]
        data = bytearray(getattr(whole, part))
        if trial % 3 == 0:
            data = data[: int(rng.integers(0, len(data)))]
        for _ in range(int(rng.integers(1, 4))):
            if data:
                data[int(rng.integers(len(data)))] ^= 1 << int(rng.integers(8))
        if bytes(data) == getattr(whole, part) or not data:
            continue
        try:
            shown = decoder.decode(replace(whole, **{part: bytes(data)}))
        except StreamError:
            refused += 1
        else:  # a coder's last bits can be wrong and mean the same
            assert same(planes(shown), planes(meant))
    assert refused >= 25


def test_quality_costs_bytes_and_buys_error():
    clip = list(walk(4, H, W))
    bytes_of, error_of = [], []
    for quality in (20.0, 50.0, 80.0):
        encoder = make(quality=quality)
        packets = encode_and_check(encoder, clip)
        bytes_of.append(sum(p.nbytes for p in packets))
        shown = decode_all(encoder, packets)
        error_of.append(sum(error(frame, s) for (frame, _), s in zip(clip, shown, strict=True)))
    assert bytes_of == sorted(bytes_of)
    assert bytes_of[0] < 0.7 * bytes_of[2]
    assert error_of == sorted(error_of, reverse=True)
    assert error_of[2] < 0.7 * error_of[0]


def test_no_ghost_where_an_object_was(walked):
    """A cell that leaves the mask is the plate again in the foreground's plane."""
    encoder, clip, packets = walked
    plate = Decoder(encoder.info, device="cpu")
    plate.set_plate(packets[0].plate)
    empty = Packet(index=0, pts_us=0, wall_us=0, key=True, foreground=b"", background=b"")
    scene = plate.decode(empty, "foreground")
    for (_, mask), shown in zip(clip[:8], decode_all(encoder, packets, "foreground"), strict=False):
        assert np.array_equal(in_cells(shown.y, ~mask.cells, CELL), in_cells(scene.y, ~mask.cells, CELL))


def test_plate_marks_cells_never_seen_empty(walked):
    encoder, clip, packets = walked
    decoder = Decoder(encoder.info, device="cpu")
    assert decoder.unclean is None
    decoder.decode(packets[0])
    assert np.array_equal(decoder.unclean, clip[0][1].cells)


def test_wrong_sizes_are_refused():
    encoder = make(brain=small_brain())
    frame, mask = next(iter(walk(1, H, W)))
    other, other_mask = next(iter(walk(1, 80, 96)))
    with pytest.raises(CodecError, match="96x80"):
        encoder.encode(other, other_mask)
    with pytest.raises(CodecError, match="mask"):
        encoder.encode(frame, other_mask)
    encoder.encode(frame, mask)


def test_stream_info_is_what_a_decoder_needs():
    info = make(fps=12.5).info
    assert (info.width, info.height, info.fps, info.fingerprint) == (W, H, 12.5, weights.newest())


def test_missing_weights_are_named():
    info = StreamInfo(width=W, height=H, fingerprint=bytes.fromhex("0123456789abcdef"))
    with pytest.raises(CodecError, match="0123456789abcdef"):
        Decoder(info, device="cpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_missing_device_is_named():
    with pytest.raises(CodecError, match="cuda"):
        Encoder(width=W, height=H, device="cuda")


def test_encoder_state_is_only_what_decoding_gives(walked):
    """The encoder's planes after a clip are those of a decoder that saw nothing but packets."""
    encoder, clip, packets = walked
    decoder = Decoder(encoder.info, device="cpu")
    for packet in packets:
        decoder.decode(packet)
    states = [chain._state for chain in decoder._chains]
    for mine, theirs in zip((encoder._foreground, encoder._background), states, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(mine.plane, theirs.plane, strict=True))
        assert torch.equal(mine.symbols, theirs.symbols)
        assert np.array_equal(mine.cells, theirs.cells)
        assert np.array_equal(mine.past.mode, theirs.past.mode)
        assert np.array_equal(mine.past.vector, theirs.past.vector)
        assert mine.age == theirs.age
    assert same(encoder_picture(encoder, clip[-1][1].cells), planes(decode_all(encoder, packets)[-1]))


def test_the_decoder_tells_which_cells_were_foreground(walked):
    _, clip, packets = walked
    decoder = Decoder(walked[0].info, device="cpu")
    for (_, mask), packet in zip(clip, packets, strict=True):
        decoder.decode(packet)
        assert np.array_equal(decoder.cells, mask.cells)


@pytest.mark.parametrize("effort", EFFORTS)
def test_less_quality_takes_less_at_every_effort(effort):
    """What is not coded a second time must not be coded wrongly the first: at coarse steps a projection was."""
    sizes = []
    for quality in (5.0, 25.0, 45.0):
        encoder = Encoder(width=W, height=H, device="cpu", quality=quality, effort=effort)
        sizes.append(sum(p.nbytes for p in encoder.encode_all(list(walk(18, H, W, noise=3.0)))))
    assert sizes == sorted(sizes)
