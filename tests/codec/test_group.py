"""Mini-GOPs: the order of turns, what packets carry, and both ends that agree on every frame of them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.codec import Decoder, Encoder, Tuning
from pipeline.codec import encoder as encoder_module
from pipeline.codec.group import MOST, Group, carried, checks, opens, pack, turns, unpack
from pipeline.codec.modes import AFTER, BEFORE, BOTH, MOVED, PLATE, SPLIT, STILL, Vectors, read_sides, write_sides
from pipeline.codec.rans import SymbolWriter
from pipeline.codec.tables import SIDE, initial_tables
from pipeline.errors import CodecError, StreamError
from pipeline.types import CELL, Frame, Packet, RoiMask
from tests.codec.clips import (
    FRAME_US,
    decode_all,
    encoder_picture,
    in_cells,
    meeting,
    planes,
    same,
    small_brain,
    walk,
)
from tests.codec.side import reader_of

SIZES = range(1, MOST + 1)
H, W = 64, 112
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
def test_a_packet_carries_what_its_frame_needs_and_no_more(size):
    order, counts = [turn.place for turn in turns(size)], carried(size)
    assert sum(counts) == len(counts) == size
    end = 0
    for place, count in enumerate(counts):
        end += count
        assert place in order[:end]
        assert not count or order[end - 1] == place


def test_eight_frames():
    """Frozen: it stands in FORMAT.md."""
    assert [turn.place for turn in turns(8)] == [7, 3, 1, 0, 2, 5, 4, 6]
    assert carried(8) == (4, 0, 1, 0, 2, 0, 1, 0)


def some_bodies(rng: np.random.Generator, size: int, share: float) -> list[bytes]:
    """As a layer may code them; `share` of them are not empty."""
    return [bytes(2) + rng.bytes(int(rng.integers(400))) if rng.random() < share else b"" for _ in range(size)]


def unpacked(payloads: list[bytes]) -> list[bytes]:
    """As a decoder goes about it."""
    found, size, place = [], 0, 0
    for payload in payloads:
        place += 1
        if place >= size:
            size, place = opens(payload), 0
        found += unpack(payload, size, place)
    return found


@pytest.mark.parametrize("share", [0.0, 0.2, 0.8, 1.0])
@pytest.mark.parametrize("size", SIZES)
def test_bodies_come_back(size, share):
    rng = np.random.default_rng(size)
    for _ in range(5):
        bodies = some_bodies(rng, size, share)
        payloads = pack(bodies)
        assert len(payloads) == size
        assert unpacked(payloads) == bodies
        assert opens(payloads[0]) == (size if any(bodies) else 1)
        for payload, count in zip(payloads, carried(size), strict=True):
            assert not payload or count


def test_what_packets_look_like():
    """Frozen: it stands in FORMAT.md."""
    assert pack([b"", b"", b""]) == [b"", b"", b""]
    assert pack([b"\1\2"]) == [b"\1\2"]
    assert pack([b"\1\2", b""]) == [b"\x20\x02\x02\1\2\0", b""]
    assert pack([b"", b"\1\2"]) == [b"\x20\x02\0\x02\1\2", b""]
    assert pack([b"", b"", b"\1\2"]) == [b"\x20\x03\0\0", b"\1\2", b""], "an opening stays, with nothing in it"
    long = bytes(130)
    assert pack([long, b""])[0] == b"\x20\x02\x82\x01" + long + b"\0"
    eight = pack([b"\1\1", *[b""] * 7])
    assert eight == [b"\x20\x08\x02\1\1\0\0\0", *[b""] * 7], "nor is there anything where all that is carried is empty"


@pytest.mark.parametrize(
    "payload", ["20", "2000", "2001", "2011", "20ff", "2108", "3008", "6008", "a008", "e002", "28", "3f"]
)
def test_what_opens_no_mini_gop(payload):
    with pytest.raises(StreamError, match="not valid"):
        opens(bytes.fromhex(payload))


def test_what_opens_one():
    assert [opens(data) for data in (b"", b"\0", b"\x1f\x05", b"\x20\x02", b"\x20\x10\x05")] == [1, 1, 1, 2, 16]


def test_payloads_that_cannot_be():
    opened, later = pack([b"ab", b"cdef", b"", b"gh", b"ij", b"kl", b"mn", b"op"])[0:5:4]
    assert unpack(opened, 8, 0) == [b"ab", b"cdef", b"", b"gh"]
    assert unpack(later, 8, 4) == [b"kl", b"mn"]
    for place, payload in ((0, opened), (4, later)):
        for length in range(2 if place == 0 else 1, len(payload)):
            with pytest.raises(StreamError):
                unpack(payload[:length], 8, place)
        with pytest.raises(StreamError, match="follow"):
            unpack(payload + b"\0", 8, place)
    with pytest.raises(StreamError, match="out of range"):
        unpack(b"\x07abcd\0", 8, 4)
    with pytest.raises(StreamError, match="shortest"):
        unpack(b"\x82\0kl\x02mn", 8, 4)
    with pytest.raises(StreamError, match="follow"):
        unpack(b"ab", 8, 1)


def test_checks_are_sums_of_what_is_carried():
    sums = [1, 10, 100, 1000, 0xFFFF, 7, 0xFFF0, 0x20]
    assert checks(sums) == [1111, 0, 0xFFFF, 0, (7 + 0xFFF0) & 0xFFFF, 0, 0x20, 0]
    assert checks([0xFFFF, 3]) == [2, 0]
    assert checks([77]) == [77]


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
    foreground, background = ([getattr(p, layer) for p in packets] for layer in ("foreground", "background"))
    assert [p.key for p in packets] == [n in (0, 12) for n in range(15)]
    assert [n for n, data in enumerate(foreground) if data[:1] == b" "] == [1, 13], "an empty one is not opened"
    assert [n for n, data in enumerate(background) if data[:1] == b" "][:2] == [1, 9], "each layer has its own"
    assert foreground[1][1] == background[1][1] == 8
    assert (background[9][1], foreground[13][1]) == (3, 2)
    assert not any(foreground[9:12])
    assert all(bool(data) == bool(count) for data, count in zip(foreground[1:9], carried(8), strict=True))
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
    sizes = [p.foreground[1] if p.foreground[:1] == b" " else 0 for p in packets]
    assert sizes == [0, 4, 0, 0, 0, 2, 0, 0, 4, 0, 0, 0, 2, 0, 0, 0]
    decoder = Decoder(encoder.info, device="cpu", brain=small_brain())
    expected = [decoder.decode(p) for p in packets]
    assert same(planes(expected[-1]), encoder_picture(encoder, clip[-1][1].cells))
    late = Decoder(encoder.info, device="cpu", brain=small_brain())
    late.set_plate(packets[0].plate)
    assert all(same(planes(late.decode(p)), planes(e)) for p, e in zip(packets[7:], expected[7:], strict=True))


def damaged(packets: list[Packet]) -> list[Packet]:
    """Each is wrong in another way."""
    opened, middle, last = packets[1], packets[3], packets[7]
    assert all(p.foreground for p in (opened, middle, last))
    bad = [
        replace(opened, foreground=b"\x20\x11" + opened.foreground[2:]),
        replace(opened, foreground=b"\x20\x07" + opened.foreground[2:]),
        replace(opened, foreground=opened.foreground[:1]),
        replace(opened, foreground=opened.foreground[:2]),
        replace(opened, foreground=opened.foreground[:-1]),
        replace(opened, foreground=opened.foreground + b"\0"),
        replace(opened, foreground=b"\x24" + opened.foreground[1:]),
        replace(opened, background=opened.background[:-5]),
        replace(middle, foreground=middle.foreground[:-4]),
        replace(middle, foreground=b"\x20\x02" + middle.foreground),
        replace(last, foreground=bytes((last.foreground[0] ^ 0x20,)) + last.foreground[1:]),
        replace(packets[2], foreground=b"\1\2\3\4\5\6"),
    ]
    return bad + [replace(p, sums=(p.sums[0] ^ 1, p.sums[1])) for p in (opened, middle, last)]


def test_damage_is_named_and_the_next_key_frame_is_whole(met):
    encoder, _, packets, _ = met
    expected = decode_all(encoder, packets, brain=small_brain())
    for bad in damaged(packets):
        decoder = Decoder(encoder.info, device="cpu", brain=small_brain())
        for packet in packets[: bad.index]:
            decoder.decode(packet)
        with pytest.raises(StreamError):
            decoder.decode(bad)
        with pytest.raises(StreamError, match="key frame"):
            decoder.decode(packets[bad.index + 1])
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
    assert packets[1].foreground[:2] == b"\x20\x10"
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
