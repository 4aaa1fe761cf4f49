"""Mini-GOPs: the order of turns, what packets carry, and both ends that agree on every frame of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.codec import Decoder, Encoder, Tuning
from pipeline.codec import encoder as encoder_module
from pipeline.codec.group import MOST, Group, Opened, needed, pack, turns
from pipeline.codec.layer import NOTHING, Coded
from pipeline.codec.modes import AFTER, BEFORE, BOTH, MOVED, PLATE, SPLIT, STILL, Vectors, read_sides, write_sides
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.tables import CODED, SIDE, initial_tables
from pipeline.errors import CodecError, StreamError
from pipeline.types import CELL, Frame, Layer, Packet, RoiMask
from tests.codec.clips import (
    FRAME_US,
    decode_all,
    encoder_picture,
    in_cells,
    meeting,
    planes,
    same,
    sizes,
    small_brain,
    walk,
)
from tests.codec.side import reader_of

SIZES = range(1, MOST + 1)
H, W = 64, 112
TABLES = initial_tables()
Clip = list[tuple[Frame, RoiMask]]


@pytest.mark.parametrize("size", SIZES)
def test_every_frame_has_one_turn_after_those_it_is_predicted_from(size):
    done, depths = [-1], {-1: 0}
    for turn in turns(size):
        assert turn.before in done
        assert turn.before < turn.place
        if turn.after is None:
            assert (turn.place, turn.before, turn.depth) == (size - 1, -1, 0)
        else:
            assert turn.after in done
            assert turn.after > turn.place
            assert turn.depth == 1 + max(depths[turn.before], depths[turn.after])
            assert not any(turn.before < place < turn.after for place in done), "the nearest that there are"
        depths[turn.place] = turn.depth
        done.append(turn.place)
    assert sorted(done) == list(range(-1, size))


@pytest.mark.parametrize("size", SIZES)
def test_a_frame_is_decoded_when_it_is_shown_and_no_sooner(size):
    order, counts = [turn.place for turn in turns(size)], needed(size)
    assert sum(counts) == len(counts) == size
    end = 0
    for place, count in enumerate(counts):
        end += count
        assert place in order[:end]
        assert not count or order[end - 1] == place


def test_eight_frames():
    """Frozen: it stands in FORMAT.md."""
    assert [turn.place for turn in turns(8)] == [7, 3, 1, 0, 2, 5, 4, 6]
    assert [turn.depth for turn in turns(8)] == [0, 1, 2, 3, 3, 2, 3, 3]
    assert needed(8) == (4, 0, 1, 0, 2, 0, 1, 0)


def body(rng: np.random.Generator) -> Coded:
    """As a layer may be coded."""
    writer = SymbolWriter(TABLES)
    writer.add(rng.integers(0, 64, 50), rng.integers(-3, 4, 50))
    return Coded(writer.section(), 7)


@pytest.mark.parametrize("layer", list(Layer))
@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_bodies_come_back(size, share, layer):
    rng = np.random.default_rng(size)
    for _ in range(3):
        coded = [body(rng) if rng.random() < share else NOTHING for _ in range(size)]
        opened = Opened.of(pack(layer, TABLES, coded), layer, TABLES, 12)
        if not any(one.section for one in coded):
            assert opened == Opened(1)
            continue
        assert opened.size == size
        assert list(opened.has) == [one.section is not None for one in coded]
        for one in coded:
            if one.section is not None:
                opened.reader.begin(TABLES)
                rows = np.array([TABLES.rows.index(one.section.rows[place]) for place in one.section.places])
                assert opened.reader.read(rows).tolist() == one.section.symbols
                opened.reader.end()
        opened.reader.finish()


def test_what_a_payload_looks_like():
    """Frozen: it stands in FORMAT.md."""
    assert pack(Layer.FOREGROUND, TABLES, [NOTHING] * 3) == b""
    none = Coded(SymbolWriter(TABLES).section(), 0)
    assert pack(Layer.FOREGROUND, TABLES, [none]) == b"\x40\0\0\0\x80", "the empty state"
    payload = pack(Layer.BACKGROUND, TABLES, [NOTHING, none])
    assert payload[0] & 15 == 1
    assert SymbolReader(TABLES, payload[1:], payload[0] >> 4, most=2).read(np.array([965, 966])).tolist() == [0, 1]


@pytest.mark.parametrize(
    "payload", [b"\x40", b"\x80\0\0\0\x80", b"\xc0\0\0\0\x80", b"\x40\0\0\0\x7f", b"\x20\0\0\0\x80"]
)
def test_what_opens_no_mini_gop(payload):
    """No state, a reserved bit, and again, a state that is too small, one that is cut off."""
    with pytest.raises(StreamError):
        Opened.of(payload, Layer.FOREGROUND, TABLES, 12)


@pytest.mark.parametrize(("bits", "error"), [([0, 0, 0], "nothing in it"), ([1, 2, 0], "not a bit")])
def test_a_mini_gop_without_bodies_is_refused(bits, error):
    writer = SymbolWriter(TABLES)
    writer.add(CODED + np.array([0, 1, 2]), np.array(bits))
    data, zeros = writer.finish()
    with pytest.raises(StreamError, match=error):
        Opened.of(bytes((2 | zeros << 4,)) + data, Layer.FOREGROUND, TABLES, 12)


def test_a_payload_longer_than_it_can_be_is_refused():
    whole = pack(Layer.FOREGROUND, TABLES, [body(np.random.default_rng(0)), NOTHING])
    with pytest.raises(StreamError, match="longer"):
        Opened.of(whole + bytes(5 * 2 * (2 + 4 * 96 + 21 + 3)), Layer.FOREGROUND, TABLES, 1)


def test_sides_come_back():
    tables = initial_tables()
    mode = np.array([STILL, MOVED, SPLIT, PLATE, MOVED, MOVED])
    side = np.array([0, AFTER, BEFORE, 0, BOTH, AFTER])
    writer = SymbolWriter(tables)
    write_sides(writer, Vectors(np.zeros((6, 2), np.int64), mode, np.zeros((6, 4, 2), np.int64), side))
    assert writer.collected()[1].tolist() == [AFTER, BEFORE, BOTH, AFTER]
    reader = reader_of(writer)
    assert read_sides(reader, mode).tolist() == side.tolist()
    reader.finish()


@pytest.mark.parametrize("symbol", [-1, 3, 4])
def test_a_side_that_there_is_not_is_refused(symbol):
    writer = SymbolWriter(initial_tables())
    writer.add(np.full(2, SIDE), np.array([1, symbol]))
    with pytest.raises(StreamError, match="neither side"):
        read_sides(reader_of(writer), np.full(2, MOVED))


def make(**more) -> Encoder:
    options = {"width": W, "height": H, "device": "cpu", "brain": small_brain(), "quality": 50.0, "mini_gop": 8, **more}
    return Encoder(**options)


@pytest.fixture(scope="module")
def met() -> tuple[Encoder, Clip, list[Packet], list[tuple[Group, Group]]]:
    """A key frame, a mini-GOP of eight, one of three without foreground that is left over, another key frame and one of
    two; with the encoder's own of each layer."""
    groups: list[Group] = []

    class Kept(Group):
        def __init__(self, *args: object) -> None:
            super().__init__(*args)  # type: ignore[arg-type]
            groups.append(self)

    encoder = make(gop_us=12 * FRAME_US, segment_us=24 * FRAME_US)
    clip = [*meeting(12, H, W), *meeting(3, H, W)]
    clip = [(replace(f, index=n, pts_us=n * FRAME_US, wall_us=n * FRAME_US), mask) for n, (f, mask) in enumerate(clip)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder_module, "Group", Kept)
        packets = encoder.encode_all(clip)
    return encoder, clip, packets, list(zip(groups[::2], groups[1::2], strict=True))


def test_both_ends_agree_on_every_frame(met):
    encoder, clip, packets, groups = met
    assert [group.size for group, _ in groups] == [1, 8, 3, 1, 2]
    decoder, number = Decoder(encoder.info, device="cpu", brain=small_brain()), iter(range(len(clip)))
    for pair in groups:
        for place in range(pair[0].size):
            n = next(number)
            (frame, mask), shown = clip[n], decoder.decode(packets[n])
            assert (shown.index, shown.pts_us, shown.wall_us) == (frame.index, frame.pts_us, frame.wall_us)
            assert np.array_equal(decoder.cells, mask.cells)
            for group, chain in zip(pair, decoder._chains, strict=True):
                mine, theirs = group.at(place), chain.shown
                assert all(torch.equal(a, b) for a, b in zip(mine.plane, theirs.plane, strict=True)), n
                assert np.array_equal(mine.past.mode, theirs.past.mode)
                assert torch.equal(mine.symbols, theirs.symbols)
    assert same(planes(shown), encoder_picture(encoder, clip[-1][1].cells))


def test_anchors_are_what_the_encoder_goes_on_from():
    """After each call, also where a layer was empty: of a decoder that saw nothing but packets."""
    encoder, clip = make(), list(meeting(14, H, W))
    decoder = Decoder(encoder.info, device="cpu", brain=small_brain())
    for start, end in ((0, 1), (1, 9), (9, 12), (12, 13), (13, 14)):
        for packet in encoder.encode_all(clip[start:end]):
            shown = decoder.decode(packet)
        assert same(planes(shown), encoder_picture(encoder, clip[end - 1][1].cells))
        for mine, chain in zip((encoder._foreground, encoder._background), decoder._chains, strict=True):
            theirs = chain._state
            assert all(torch.equal(a, b) for a, b in zip(mine.plane, theirs.plane, strict=True))
            assert torch.equal(mine.symbols, theirs.symbols)
            for name in ("cells", "mode", "vector", "since", "habit", "coded", "coded_habit", "total", "filled"):
                assert np.array_equal(getattr(mine.past, name), getattr(theirs.past, name)), name
            assert mine.age == theirs.age
            assert mine.tables.rows == theirs.tables.rows
            assert mine._between.rows == theirs._between.rows
    assert mine._between.rows != initial_tables().rows != mine.tables.rows


def test_the_foreground_alone_is_the_same_in_its_cells(met):
    encoder, clip, packets, _ = met
    full, alone = (decode_all(encoder, packets, layer, small_brain()) for layer in ("full", "foreground"))
    plate = decode_all(encoder, packets[:1], "foreground", small_brain())[0]
    for (frame, mask), a, b in zip(clip, full, alone, strict=True):
        for x, y, size in zip(planes(a), planes(b), (CELL, CELL // 2, CELL // 2), strict=True):
            assert np.array_equal(in_cells(x, mask.cells, size), in_cells(y, mask.cells, size)), frame.index
        if frame.index < 12:
            outside = ~mask.cells & ~clip[0][1].cells
            assert np.array_equal(in_cells(b.y, outside, CELL), in_cells(plate.y, outside, CELL)), "no ghost"
    assert not all(np.array_equal(a.y, b.y) for a, b in zip(full, alone, strict=True))


def test_what_packets_carry(met):
    _, _, packets, _ = met
    assert [p.key for p in packets] == [n in (0, 12) for n in range(15)]
    assert sizes(packets, Layer.FOREGROUND) == [1, 8, *[0] * 10, 1, 2, 0], "an empty one is not opened"
    assert sizes(packets, Layer.BACKGROUND)[:12] == [0, 8, *[0] * 7, 3, 0, 0], "each layer has its own"
    assert all(p.sums[0] == 0 for p in packets if not p.foreground)


def test_one_by_one_is_mini_gops_of_one():
    clip = list(meeting(7, H, W))
    alone, single, grouped = make(), make(mini_gop=1), make(mini_gop=8)
    packets = [alone.encode(frame, mask) for frame, mask in clip]
    assert packets == single.encode_all(clip)
    assert packets[1:] != grouped.encode_all(clip)[1:]


def test_the_calls_that_frames_come_in_do_not_matter_where_groups_end_with_them():
    clip = list(meeting(9, H, W))
    whole, parts = make(mini_gop=4), make(mini_gop=4)
    packets = whole.encode_all(clip)
    assert packets == parts.encode_all(clip[:5]) + parts.encode_all(clip[5:])
    assert whole.encode_all([]) == []


def test_what_is_left_before_a_key_frame_is_a_mini_gop_of_its_own():
    encoder = make(mini_gop=4, gop_us=7 * FRAME_US)
    clip = list(walk(16, H, W))
    packets = encoder.encode_all(clip)
    assert [n for n, p in enumerate(packets) if p.key] == [0, 7, 14]
    assert sizes(packets, Layer.FOREGROUND) == [1, 4, 0, 0, 0, 2, 0, 1, 4, 0, 0, 0, 2, 0, 1, 1]
    decoder = Decoder(encoder.info, device="cpu", brain=small_brain())
    expected = [decoder.decode(p) for p in packets]
    assert same(planes(expected[-1]), encoder_picture(encoder, clip[-1][1].cells))
    late = Decoder(encoder.info, device="cpu", brain=small_brain())
    late.set_plate(packets[0].plate)
    assert all(same(planes(late.decode(p)), planes(e)) for p, e in zip(packets[7:], expected[7:], strict=True))


def damaged(packets: list[Packet]) -> list[Packet]:
    """Each is wrong in another way."""
    opened = packets[1]
    first, rest = opened.foreground[0], opened.foreground[1:]
    bad = [
        replace(opened, foreground=bytes((first ^ 0x80,)) + rest),
        replace(opened, foreground=bytes((first ^ 0x10,)) + rest),
        replace(opened, foreground=bytes((first ^ 1,)) + rest),
        replace(opened, foreground=opened.foreground[:1]),
        replace(opened, foreground=opened.foreground[:-4]),
        replace(opened, foreground=opened.foreground + bytes(4)),
        replace(opened, background=opened.background[:-4]),
        replace(opened, sums=(opened.sums[0] ^ 1, opened.sums[1])),
        replace(opened, sums=(opened.sums[0], opened.sums[1] ^ 1)),
    ]
    return [*bad, replace(packets[2], foreground=b"\1\2\3\4\5\6"), replace(packets[8], background=opened.background)]


def test_damage_is_named_and_the_next_key_frame_is_whole(met):
    """By the end of the mini-GOP, and nothing is shown from there on."""
    encoder, _, packets, _ = met
    expected = decode_all(encoder, packets, brain=small_brain())
    for bad in damaged(packets):
        decoder = Decoder(encoder.info, device="cpu", brain=small_brain())
        for packet in packets[: bad.index]:
            decoder.decode(packet)
        following = iter([bad, *packets[bad.index + 1 : 9]])
        with pytest.raises(StreamError, match="ground"):
            all(map(decoder.decode, following))
        for packet in following:
            with pytest.raises(StreamError, match="key frame"):
                decoder.decode(packet)
        for packet, whole in zip(packets[12:], expected[12:], strict=True):
            assert same(planes(decoder.decode(packet)), planes(whole))


@pytest.mark.parametrize("mini_gop", [-1, 0, 17])
def test_a_mini_gop_of_another_size_is_refused(mini_gop):
    with pytest.raises(CodecError, match=f"mini-GOP of {mini_gop} frames: 1 to 16"):
        make(mini_gop=mini_gop)


def test_a_frame_of_another_size_stops_a_call_before_it_begins():
    encoder, clip = make(), list(meeting(3, H, W))
    wrong = next(iter(walk(1, H, W + 16)))
    with pytest.raises(CodecError, match="the stream"):
        encoder.encode_all([*clip, wrong])
    assert encoder.encode_all(clip) == make().encode_all(clip)


def test_the_largest_mini_gop():
    encoder, clip = make(mini_gop=16), list(walk(17, H, W))
    packets = encoder.encode_all(clip)
    assert sizes(packets, Layer.FOREGROUND) == [1, 16, *[0] * 15]
    assert same(
        planes(decode_all(encoder, packets, brain=small_brain())[-1]), encoder_picture(encoder, clip[-1][1].cells)
    )


def plate_quality(clip: Clip, **settings: int) -> int:
    """The quality step of the first plate."""
    frame = clip[0][0]
    encoder = Encoder(width=frame.width, height=frame.height, quality=50, brain=small_brain(), **settings)
    return encoder.encode_all(clip)[0].plate[1]


def test_a_plate_of_which_little_stays_is_as_coarse_as_the_foreground():
    standing, turning = list(walk(MOST, 2 * H, 2 * W)), list(meeting(MOST, H, W))
    step, tuning = encoder_module.quality_step(50), Tuning()
    assert plate_quality(standing) == step + tuning.plate_offset
    assert plate_quality(turning) == step + tuning.passing_offset
    assert plate_quality(turning[:1]) == step + tuning.plate_offset, "nothing is known of what comes"
    assert plate_quality(turning, mini_gop=1) == step + tuning.plate_offset, "nor is there where nobody waits"


def test_what_a_plate_was_worth_is_remembered_where_nothing_can_be_seen_ahead():
    turning = list(meeting(MOST, H, W))
    encoder = Encoder(width=W, height=H, quality=50, brain=small_brain(), segment_us=1, gop_us=MOST * FRAME_US)
    encoder.encode_all(turning)
    frame, mask = turning[0]
    second = encoder.encode(replace(frame, index=MOST, pts_us=MOST * FRAME_US), mask)
    assert second.plate[1] == encoder_module.quality_step(50) + Tuning().passing_offset
