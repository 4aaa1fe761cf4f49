"""Footage as it is being recorded, followed at its end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.store import Sink, Store
from pipeline.tail import Tail
from pipeline.types import CodedFrame
from tests.streams import INFO, FakeDecoder, make_packets

Write = Callable[[int], None]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store(tmp_path / "archive") as store:
        yield store


@pytest.fixture
def write(store: Store) -> Iterator[Write]:
    """Records up to a frame; GOPs of 25, segments of 100."""
    sink, packets = Sink(store, "gate", INFO), iter(make_packets(300, gop=25, segment=100))

    def write(until: int) -> None:
        for packet in packets:
            sink.append(CodedFrame(packet))
            if packet.index == until - 1:
                break
        sink.flush()

    yield write
    sink.close()


def taken(tail: Tail) -> list[int]:
    return [frame.index for frame in tail.take()]


def test_it_begins_at_the_newest_key_frame_and_goes_on_without_decoding_again(store: Store, write: Write) -> None:
    write(40)
    decoders: list[FakeDecoder] = []

    def make_decoder(info: object) -> FakeDecoder:
        decoders.append(FakeDecoder(INFO))
        return decoders[-1]

    tail = Tail(store, "gate", make_decoder=make_decoder)
    assert taken(tail) == list(range(25, 40))
    assert taken(tail) == []
    write(48)
    assert taken(tail) == list(range(40, 48))
    write(60)
    assert taken(tail) == list(range(48, 60))
    assert [index for index, _ in decoders[0].seen] == list(range(25, 60))
    assert tail.skipped == 0


def test_it_goes_on_into_the_next_segment(store: Store, write: Write) -> None:
    write(90)
    tail = Tail(store, "gate", make_decoder=FakeDecoder)
    assert taken(tail) == list(range(75, 90))
    write(110)
    assert taken(tail) == list(range(90, 110))


def test_who_is_late_goes_on_at_the_newest_key_frame(store: Store, write: Write) -> None:
    write(30)
    tail = Tail(store, "gate", make_decoder=FakeDecoder)
    assert taken(tail) == list(range(25, 30))
    write(85)
    assert taken(tail) == list(range(75, 85))
    assert tail.skipped == 1


def test_what_is_damaged_is_left_out_until_the_next_key_frame(store: Store, write: Write) -> None:
    write(30)

    class Failing(FakeDecoder):
        def decode(self, packet, layer="full", *, held=False):  # type: ignore[no-untyped-def]
            if packet.index == 35:
                packet = replace(packet, foreground=b"other", sums=(1, 0))
            return super().decode(packet, layer, held=held)

    tail = Tail(store, "gate", make_decoder=Failing)
    taken(tail)
    write(45)
    assert taken(tail) == list(range(30, 35))
    assert taken(tail) == []
    write(55)
    assert taken(tail) == list(range(50, 55))


def test_a_camera_without_footage_has_nothing_to_show(store: Store, write: Write) -> None:
    with pytest.raises(UsageError, match="not in"):
        Tail(store, "yard", make_decoder=FakeDecoder)
    tail = Tail(store, "gate", make_decoder=FakeDecoder)
    assert taken(tail) == []
    write(5)
    assert taken(tail) == list(range(5))
