"""Which frames a damaged stream has lost, and why: every frame comes out or is named, and never both."""

from __future__ import annotations

import random
from dataclasses import replace
from io import BytesIO
from itertools import combinations

import pytest

from pipeline.bitstream import HEADER_BYTES, Fault, Loss, ReadPacket, StreamReader, inspect_stream
from pipeline.bitstream.chunks import HEAD_BYTES, Kind, parse_head
from pipeline.bitstream.faults import Losses
from pipeline.types import Layer
from tests.streams import chunks, make_packets, pieces, write_joint, write_pair

FG, BG = Layer.FOREGROUND, Layer.BACKGROUND
GOP, COUNT = 10, 40
PACKETS = make_packets(COUNT, fps=5, gop=GOP, segment=20, size=4)  # chunks of 5 frames
DATA = write_joint(PACKETS)
KINDS = [parse_head(piece[:HEAD_BYTES], 0).kind for piece in pieces(DATA)[1:]]


def read(data: bytes, background: bytes | None = None, **options: bool) -> tuple[list[ReadPacket], StreamReader]:
    reader = StreamReader(BytesIO(data), None if background is None else BytesIO(background), **options)
    return list(reader.packets()), reader


def frames_of(losses: list[Loss], layer: Layer) -> list[int]:
    """The frames that losses of a layer name, -1 as last meaning to the stream's end."""
    ranges = (range(loss.first, loss.last + 1 if loss.last >= 0 else COUNT) for loss in losses if loss.layer is layer)
    return [frame for span in ranges for frame in span]


def accounted(items: list[ReadPacket], reader: StreamReader) -> None:
    """Each frame came out or is lost; each frame that came out has its background or that is lost."""
    out = [item.packet.index for item in items]
    assert sorted(out + frames_of(reader.losses, FG)) == list(range(COUNT))
    without = [item.packet.index for item in items if item.background_lost]
    assert without == frames_of(reader.losses, BG)
    for item in items:
        want = PACKETS[item.packet.index]
        assert item.packet.foreground == want.foreground
        assert item.packet.background == (b"" if item.background_lost else want.background)


def place_of(kind: Kind, nth: int) -> int:
    """Which of the chunks in DATA is the nth of a kind."""
    return [place for place, other in enumerate(KINDS) if other is kind][nth]


def without(*places: int) -> bytes:
    header, *found = pieces(DATA)
    return header + b"".join(chunk for place, chunk in enumerate(found) if place not in places)


def test_a_sound_stream_loses_nothing() -> None:
    items, reader = read(DATA, strict=True)
    assert (len(items), reader.losses) == (COUNT, [])


@pytest.mark.parametrize("nth", range(8))
def test_a_missing_foreground_chunk(nth: int) -> None:
    items, reader = read(without(place_of(Kind.FOREGROUND, nth)))
    accounted(items, reader)
    (loss,) = reader.losses
    assert (loss.first, loss.last, loss.layer) == (nth * 5, nth // 2 * GOP + 9 if nth < 7 else -1, FG)
    assert loss.offset > 0
    wanted = f"foreground lost between frames {nth * 5 - 1} and {nth * 5 + 5}"
    assert loss.reason == (wanted if nth < 7 else "the end counts 5 frames more than there are")


@pytest.mark.parametrize("nth", range(8))
def test_a_missing_background_chunk(nth: int) -> None:
    items, reader = read(without(place_of(Kind.BACKGROUND, nth)))
    accounted(items, reader)
    at = chunks(without(place_of(Kind.BACKGROUND, nth)), Kind.FOREGROUND)[nth][0]
    assert reader.losses == [Loss(nth * 5, nth // 2 * GOP + 9, BG, at, "its background chunk is lost")]


@pytest.mark.parametrize("kind", [Kind.PLATE, Kind.PARITY, Kind.END])
def test_what_may_be_missing(kind: Kind) -> None:
    """A plate this small stands in its parity whole; the end says where key frames are."""
    items, reader = read(without(place_of(kind, 0)))
    assert reader.faults
    assert (len(items), reader.losses) == (COUNT, [])


def test_plate_and_parity_missing() -> None:
    items, reader = read(without(place_of(Kind.PLATE, 0), place_of(Kind.PARITY, 0)))
    accounted(items, reader)
    assert reader.losses == [Loss(0, 19, FG, -1, "the plate of frame 0 is lost")]


def test_a_duplicated_chunk_loses_nothing() -> None:
    header, *found = pieces(DATA)
    for chunk in found:
        for place in range(len(found) + 1):
            items, reader = read(header + b"".join([*found[:place], chunk, *found[place:]]))
            assert [item.packet for item in items] == PACKETS
            assert reader.losses == []
            assert any("out of place" in fault.reason for fault in reader.faults)


def test_swapped_chunks_cost_their_own_gops_at_most() -> None:
    header, *found = pieces(DATA)
    for a, b in combinations(range(len(found)), 2):
        order = list(found)
        order[a], order[b] = order[b], order[a]
        items, reader = read(header + b"".join(order))
        accounted(items, reader)
        theirs = {parse_head(chunk[:HEAD_BYTES], 0).first // GOP for chunk in (found[a], found[b])}
        assert {frame // GOP for layer in Layer for frame in frames_of(reader.losses, layer)} <= theirs
        assert reader.faults or KINDS[a] is not KINDS[b]


def test_two_neighbours_swapped() -> None:
    header, *found = pieces(DATA)
    a, b = place_of(Kind.FOREGROUND, 2), place_of(Kind.FOREGROUND, 3)
    found[a], found[b] = found[b], found[a]
    _, reader = read(header + b"".join(found))
    (loss,) = reader.losses
    assert (loss.first, loss.last, loss.layer) == (15, 19, FG), "the second half of the GOP: the first is in its turn"


def test_every_flipped_bit_is_accounted_for() -> None:
    data = bytearray(DATA)
    for bit in range(8 * HEADER_BYTES, 8 * len(data), 5):
        data[bit // 8] ^= 1 << bit % 8
        items, reader = read(bytes(data))
        assert reader.faults
        accounted(items, reader)
        lost = {frame // GOP for layer in Layer for frame in frames_of(reader.losses, layer)}
        assert len(lost) <= 1
        data[bit // 8] ^= 1 << bit % 8


def test_overwritten_cut_out_and_inserted_stretches() -> None:
    rng = random.Random(4)
    there = chunks(DATA, Kind.END)[0][0]  # without the end nobody knows how many frames there were
    for _ in range(400):
        start = rng.randrange(HEADER_BYTES, there)
        end = min(there, start + rng.randint(1, 300))
        patch = rng.choice([b"", bytes(end - start), rng.randbytes(end - start), rng.randbytes(37), DATA[60:300]])
        accounted(*read(DATA[:start] + patch + DATA[end:]))


def test_every_truncation() -> None:
    borders = {start for start, _ in chunks(DATA)}
    for size in range(HEADER_BYTES, len(DATA)):
        items, reader = read(DATA[:size])
        out = len(items)
        assert [item.packet.index for item in items] == list(range(out))
        cut = next((head for head in reader.faults if "cut off" in head.reason or "no chunk" in head.reason), None)
        assert (cut is None) == (size in borders)
        lost = [frame for frame in frames_of(reader.losses, FG) if frame >= 0]  # before the plate, who knows
        assert lost in ([], list(range(out, COUNT)))
        if size in borders or (cut is not None and cut.layer is BG):
            assert not lost, "nothing says that there was more"
        assert frames_of(reader.losses, BG) == [item.packet.index for item in items if item.background_lost]


def test_a_truncated_tail_names_its_first_frame() -> None:
    start, end = chunks(DATA, Kind.FOREGROUND)[5]
    _, reader = read(DATA[: end - 1])
    assert reader.losses == [Loss(25, -1, FG, start, f"chunk cut off after {end - start - 1} of {end - start} bytes")]
    _, reader = read(DATA[: end - 1], open_ended=True)
    assert (reader.losses, reader.faults) == ([], [])


def test_a_damaged_end_loses_nothing() -> None:
    start, end = chunks(DATA, Kind.END)[0]
    for at in (start, start + HEAD_BYTES):
        items, reader = read(DATA[:at] + b"\xff\xff\xff\xff" + DATA[at + 4 :])
        assert (len(items), reader.losses) == (COUNT, [])
        assert reader.faults
    both = DATA[: start - 2] + bytes(end - start + 2)
    _, reader = read(both)
    assert [(loss.first, loss.last, loss.layer) for loss in reader.losses] == [(35, 39, BG), (40, -1, FG)]


def test_an_absent_background_file() -> None:
    foreground, background = write_pair(PACKETS)
    items, reader = read(foreground)
    assert reader.faults == []
    assert reader.losses == [Loss(0, 39, BG, -1, "there is no background file of it")]
    accounted(items, reader)
    reader = StreamReader(BytesIO(foreground), BytesIO(background))
    list(reader.packets(layer="foreground"))
    assert reader.losses == [], "nobody asked for it"


def test_a_background_file_cut_off() -> None:
    foreground, background = write_pair(PACKETS)
    cut = chunks(background)[5][1] - 1
    items, reader = read(foreground, background[:cut])
    accounted(items, reader)
    assert [(loss.first, loss.last, loss.layer) for loss in reader.losses] == [(25, 39, BG)]
    assert (reader.losses[0].offset, "cut off" in reader.losses[0].reason) == (chunks(background)[5][0], True)
    items, reader = read(foreground, background[:cut], open_ended=True)
    accounted(items, reader)
    assert reader.faults == []


def test_frames_that_never_were_are_not_lost() -> None:
    packets = [p for p in PACKETS if p.index not in (13, 19)]
    data = write_joint(packets)
    start, _ = chunks(data, Kind.FOREGROUND)[2]
    _, reader = read(data[: start + HEAD_BYTES] + b"?" + data[start + HEAD_BYTES + 1 :])
    (loss,) = reader.losses
    assert (loss.first, loss.last) == (10, 18)
    last = write_joint([p for p in PACKETS if p.index != 38])
    start, _ = chunks(last, Kind.FOREGROUND)[7]
    _, reader = read(last[: start + HEAD_BYTES] + b"?" + last[start + HEAD_BYTES + 1 :])
    assert [(loss.first, loss.last) for loss in reader.losses] == [(35, -1)], "its gaps are unreadable"


def test_a_stream_whose_first_chunks_are_lost() -> None:
    packets = [replace(p, index=p.index + 1000) for p in PACKETS]
    header, *found = pieces(write_joint(packets))
    _, reader = read(header + b"".join(found[:1] + found[3:]))
    assert [(loss.first, loss.last) for loss in reader.losses] == [(1000, 1009)]
    _, reader = read(header + b"".join(found[5:6] + found[8:9]))
    assert [(loss.first, loss.last) for loss in reader.losses] == [(1000, 1019)], "the parity knows its plate's frame"


def test_after_a_seek_only_what_follows_is_lost() -> None:
    data = bytearray(DATA)
    for nth in (1, 5):
        data[chunks(DATA, Kind.FOREGROUND)[nth][0] + HEAD_BYTES] ^= 1
    reader = StreamReader(BytesIO(bytes(data)))
    list(reader.packets(reader.find(index=12)))
    assert [(loss.first, loss.last) for loss in reader.losses] == [(25, 29)]
    list(reader.packets())
    assert [(loss.first, loss.last) for loss in reader.losses] == [(5, 9), (25, 29)]


def test_losses_are_joined_by_cause() -> None:
    losses, one, two = Losses(), Fault(3, FG, 70, "one"), Fault(9, FG, 80, "two")
    for first, last, cause in ((3, 4, one), (5, 5, one), (6, 5, one), (9, 9, two), (10, None, two), (20, 21, one)):
        losses.add(first, last, FG, cause)
    losses.add(5, 6, BG, one)
    assert [(loss.first, loss.last, loss.reason) for loss in losses.found] == [
        (3, 5, "one"), (9, -1, "two"), (20, 21, "one"), (5, 6, "one"),
    ]  # fmt: skip


def test_inspection_names_losses() -> None:
    report = inspect_stream(StreamReader(BytesIO(without(place_of(Kind.FOREGROUND, 1)))))
    assert [(loss.first, loss.last) for loss in report.losses] == [(5, 9)]
    assert '"losses": [{"first": 5, "last": 9, "layer": "foreground", "offset": ' in report.to_json()
