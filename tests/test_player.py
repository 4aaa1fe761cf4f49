"""Any moment, foreground first; speeds, backwards, steps. Time is a number that the tests set."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline import gops
from pipeline.config import AgeStep, RetentionConfig
from pipeline.errors import UsageError
from pipeline.player import Picture, Player
from pipeline.store import Sink, Store, age
from pipeline.types import CodedFrame, Layer, Packet
from tests.streams import INFO, WALL_US, FakeDecoder, make_packets

FRAME = 40_000
SECOND = 1_000_000


Make = Callable[..., Player]


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def record(store: Store, packets: list[Packet]) -> None:
    sink = Sink(store, "gate", INFO)
    for packet in packets:
        sink.append(CodedFrame(packet))
    sink.close()


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three segments of 100 frames in GOPs of 25; seven seconds of silence before the second."""
    store = Store(tmp_path / "archive")
    packets = make_packets(300, gop=25, segment=100)
    record(store, packets[:100] + [replace(p, wall_us=p.wall_us + 7 * SECOND) for p in packets[100:]])
    return store


def wall(index: int) -> int:
    return WALL_US + index * FRAME + 7 * SECOND * (index >= 100)


def indices(pictures: Iterator[Picture]) -> list[int]:
    return [picture.frame.index for picture in pictures]


@pytest.fixture
def make() -> Iterator[Make]:
    """A player with a clock, closed when the test ends."""
    with ExitStack() as stack:
        yield lambda store, clock=None, make_decoder=FakeDecoder: stack.enter_context(
            Player(store, "gate", make_decoder=make_decoder, clock=clock or Clock())
        )


def test_a_seek_shows_the_foreground_first(store: Store, make: Make) -> None:
    decoders: list[FakeDecoder] = []

    def make_decoder(info: object) -> FakeDecoder:
        decoders.append(FakeDecoder(INFO))
        return decoders[-1]

    with make(store, make_decoder=make_decoder) as player:
        seek = player.seek(wall(142) + 5)
        first = next(seek)
        assert (first.frame.index, first.layer) == (125, "foreground")
        assert decoders[0].seen == [(125, "foreground")], "nothing else is decoded before it is shown"
        (exact,) = seek
        assert (exact.frame.index, exact.layer) == (142, "full")
        assert decoders[0].seen[1:] == [(n, "full") for n in range(125, 143)]
        assert [(p.frame.index, p.layer) for p in player.seek(wall(150))] == [(150, "foreground"), (150, "full")]
        assert indices(player.seek(wall(99) + 3 * SECOND)) == [75, 99], "in a gap: the last frame before it"
        assert indices(player.seek(0)) == [0, 0]
        assert indices(player.seek(wall(1000))) == [275, 299]
        assert not player.faults


def test_a_plate_is_decoded_once(store: Store, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    plates = []
    monkeypatch.setattr(
        FakeDecoder, "set_plate", lambda self, plate: (plates.append(plate), setattr(self, "plate", plate))
    )
    player = make(store)
    for index in (142, 110, 190):
        assert indices(player.seek(wall(index)))[-1] == index
    assert len(plates) == 1
    assert indices(player.seek(wall(90)))[-1] == 90
    assert len(plates) == 2


def test_playing_keeps_gaps_and_says_when(store: Store, make: Make) -> None:
    pictures = list(make(store).play(wall(30)))
    assert [p.frame.index for p in pictures] == list(range(30, 300))
    assert {p.layer for p in pictures} == {"full"}
    assert [p.due_s for p in pictures] == pytest.approx([(wall(n) - wall(30)) / 1e6 for n in range(30, 300)])
    pictures = list(make(store).play(wall(30), speed=2, until_us=wall(120)))
    assert [p.frame.index for p in pictures] == list(range(30, 120))
    assert pictures[-1].due_s == pytest.approx((wall(119) - wall(30)) / 2e6)


@pytest.mark.parametrize("speed", [4, 16])
def test_high_speed_shows_key_frames_and_reads_no_background(store: Store, make: Make, speed: float) -> None:
    for segment in store.segments():
        path = store.path(segment, Layer.BACKGROUND)
        path.unlink()
        path.with_suffix(".gone").touch()
    player = make(store)
    forwards = list(player.play(wall(30), speed=speed))
    assert [(p.frame.index, p.layer) for p in forwards] == [(n, "foreground") for n in range(50, 300, 25)]
    assert forwards[-1].due_s == pytest.approx((wall(275) - wall(50)) / 1e6 / speed)
    backwards = list(player.play(wall(130), speed=-speed))
    assert [p.frame.index for p in backwards] == [125, 100, 75, 50, 25, 0]
    assert (player.late, player.skipped) == (0, 0)


def test_backwards(store: Store, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures = list(make(store).play(wall(130) + 3, speed=-1))
    assert [p.frame.index for p in pictures] == list(range(130, -1, -1))
    assert [p.due_s for p in pictures] == pytest.approx([(wall(130) - wall(n)) / 1e6 for n in range(130, -1, -1)])
    shown = {p.frame.index: p.frame.v[0, 0] for p in make(store).play(0)}
    assert all(p.frame.v[0, 0] == shown[p.frame.index] for p in pictures), "the same pictures as forwards"
    assert indices(make(store).play(wall(130), speed=-1, until_us=wall(90))) == list(range(130, 89, -1))
    monkeypatch.setattr(gops, "_HOLD_BYTES", 10 * 96 * 64 * 3 // 2)
    assert indices(make(store).play(wall(130), speed=-1)) == list(range(130, -1, -1)), "with room for ten frames"


def test_a_late_player_leaves_out_backgrounds_then_gops(store: Store, make: Make) -> None:
    clock = Clock()
    player = make(store, clock)
    seen = []
    for picture in player.play(wall(100)):
        seen.append((picture.frame.index, picture.layer))
        clock.now = max(clock.now, 100.0 + picture.due_s)
        clock.now += {110: 0.6, 160: 3.0}.get(picture.frame.index, 0.0)
    assert seen[:11] == [(n, "full") for n in range(100, 111)]
    layers = dict(seen)
    assert layers[111] == "foreground", "0.6 s late"
    assert {layers[n] for n in range(125, 161)} == {"full"}, "from the next key frame on, there is time again"
    assert {layers[n] for n in range(161, 175)} == {"foreground"}
    assert [n for n in range(100, 300) if n not in layers] == list(range(175, 200)), "a GOP that was over already"
    assert player.skipped == 1
    assert player.late == list(layers.values()).count("foreground")
    assert indices(player.play(wall(100), until_us=wall(110))) == list(range(100, 110)), "a new playback is not late"


def test_a_late_player_shows_the_last_background_that_it_decoded(store: Store, make: Make) -> None:
    def backgrounds(*late: int) -> dict[int, tuple[str, int]]:
        clock = Clock()
        player, shown = make(store, clock), {}
        list(player.seek(wall(190)))  # what another playback has decoded is no background of this one
        for picture in player.play(wall(100)):
            shown[picture.frame.index] = picture.layer, int(picture.frame.v[0, 0])
            clock.now = max(clock.now, 100.0 + picture.due_s) + 0.6 * (picture.frame.index in late)
        return shown

    timely, shown = backgrounds(), backgrounds(110, 185)
    assert len({value for _, value in timely.values()}) > 20
    assert shown[110] == timely[110]
    assert {shown[n] for n in range(111, 125)} == {("foreground", timely[110][1])}
    assert shown[125] == timely[125]
    assert {shown[n] for n in range(186, 200)} == {("foreground", timely[185][1])}
    assert shown[200] == timely[200]
    at_once = backgrounds(100, 199)
    assert {at_once[n] for n in range(101, 125)} == {("foreground", timely[100][1])}
    assert {at_once[n] for n in range(200, 225)} == {("foreground", 0)}, "a plate is newer than what lay on the last"


def test_steps_go_both_ways(store: Store, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    player = make(store)
    at, walked = wall(120), []
    for back in [False] * 10 + [True] * 40 + [False] * 3:
        picture = player.step(at, back=back)
        assert picture is not None
        at = picture.frame.wall_us
        walked.append(picture.frame.index)
    assert walked == [*range(121, 131), *range(129, 89, -1), 91, 92, 93]
    assert player.step(wall(299)) is None
    assert player.step(wall(0), back=True) is None
    monkeypatch.setattr(gops, "_HOLD_BYTES", 3 * 96 * 64 * 3 // 2)
    at, walked = wall(123), []
    for back in [True] * 30 + [False] * 10:
        picture = player.step(at, back=back)
        assert picture is not None
        at = picture.frame.wall_us
        walked.append(picture.frame.index)
    assert walked == [*range(122, 92, -1), *range(94, 104)]


def test_a_step_after_a_seek_decodes_one_frame(store: Store, make: Make) -> None:
    decoders: list[FakeDecoder] = []

    def make_decoder(info: object) -> FakeDecoder:
        decoders.append(FakeDecoder(INFO))
        return decoders[-1]

    player = make(store, make_decoder=make_decoder)
    *_, exact = player.seek(wall(140))
    before = len(decoders[0].seen)
    picture = player.step(exact.frame.wall_us)
    assert picture is not None
    assert (picture.frame.index, picture.layer) == (141, "full")
    assert len(decoders[0].seen) == before + 1
    picture = player.step(exact.frame.wall_us, back=True)
    assert picture is not None
    assert picture.frame.index == 139
    assert len(decoders[0].seen) == before + 1


def test_one_playback_at_a_time(store: Store, make: Make) -> None:
    player = make(store)
    for count in (1, 25):
        play = player.play(wall(0))
        for _ in range(count):
            next(play)
        assert indices(player.seek(wall(210)))[-1] == 210
        with pytest.raises(UsageError, match="another"):
            next(play)


def test_aged_footage_plays_as_foreground(store: Store, make: Make) -> None:
    age(store, {"gate": RetentionConfig(background=AgeStep(days=1))}, now_us=wall(150) + 86_400 * SECOND)
    layers = [p.layer for p in make(store).play(0)]
    assert layers == ["foreground"] * 100 + ["full"] * 200
    assert indices(make(store).seek(wall(60))) == [50, 60]
    assert indices(make(store).seek(wall(50))) == [50], "the first picture is all there is"


def test_damage_is_left_out_and_named(store: Store, make: Make) -> None:
    first, second, _ = store.segments()
    store.path(second, Layer.FOREGROUND).write_bytes(b"nothing of the kind")
    path = store.path(first, Layer.FOREGROUND)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    player = make(store)
    shown = indices(player.play(0))
    back = indices(player.play(wall(299), speed=-1))
    player.close()
    assert len(shown) == 175
    assert back == shown[::-1]
    assert {Path(fault.path).stem for fault in player.faults} == {first.id, second.id}


def test_an_open_segment_grows_under_the_player(tmp_path: Path, make: Make) -> None:
    store = Store(tmp_path / "growing")
    sink = Sink(store, "gate", INFO)
    packets = make_packets(200, gop=25)
    for packet in packets[:90]:
        sink.append(CodedFrame(packet))
    player = make(store)
    assert indices(player.play(0)) == list(range(75))
    for packet in packets[90:]:
        sink.append(CodedFrame(packet))
    assert indices(player.play(packets[74].wall_us + 1)) == list(range(75, 200))
    sink.close()


def test_misuse(store: Store, make: Make) -> None:
    with pytest.raises(UsageError, match="'yard'"):
        Player(store, "yard", make_decoder=FakeDecoder)
    for speed in (0, 17, -17):
        with pytest.raises(UsageError, match="speed"):
            make(store).play(0, speed=speed)


def test_a_playback_can_begin_foreground_first(store: Store, make: Make) -> None:
    decoders: list[FakeDecoder] = []

    def make_decoder(info: object) -> FakeDecoder:
        decoders.append(FakeDecoder(INFO))
        return decoders[-1]

    with make(store, make_decoder=make_decoder) as player:
        shown = list(player.play(wall(142) + 5, until_us=wall(146), lead=True))
        assert [(p.frame.index, p.layer) for p in shown[:2]] == [(125, "foreground"), (142, "full")]
        assert [p.frame.index for p in shown[2:]] == [143, 144, 145]
        assert [round(p.due_s, 3) for p in shown] == [0, 0, 0, 0.04, 0.08]
        assert [index for index, _ in decoders[0].seen] == [125, *range(125, 146)], "nothing is decoded twice"
        assert indices(player.play(wall(142), until_us=wall(144), lead=True)) == [125, 142, 143]
        assert indices(player.play(wall(299) + 9 * SECOND, lead=True)) == [275, 299], "beyond the end: what was last"
        assert indices(player.play(wall(100) - SECOND, until_us=wall(102), lead=True)) == [75, 99, 100, 101]
        assert indices(player.play(wall(110), until_us=wall(160), speed=4, lead=True)) == [100, 100, 125, 150]


def test_one_picture_of_a_moment(store: Store, make: Make) -> None:
    with make(store) as player:
        for at_us, index in [
            (wall(142) + 5, 142),
            (wall(143), 143),
            (wall(141), 141),
            (0, 0),
            (wall(299) + SECOND, 299),
        ]:
            picture = player.at(at_us)
            assert picture is not None
            assert (picture.frame.index, picture.layer) == (index, "full")
        key = player.at(wall(142), layer="foreground", key=True)
        assert key is not None
        assert (key.frame.index, key.layer) == (125, "foreground")
