"""Footage on a second disk: the same bytes and the same knowledge there, and read from wherever it lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import AgeStep, RetentionConfig
from pipeline.errors import StoreError, UsageError
from pipeline.replay import replay
from pipeline.store import (
    EVER_US,
    Segment,
    Sink,
    Store,
    age,
    check,
    pin,
    pins,
    purge_low_disk,
    repair,
    transfer,
)  # fmt: skip
from pipeline.store import transfer as transfer_function
from pipeline.store.files import INDEX
from pipeline.types import CodedFrame, Detection, Layer
from tests.streams import INFO, WALL_US, FakeDecoder, make_packets

SECOND = 1_000_000
PERSON = Detection(1.0, 2.0, 30.5, 40.0, "person", 0.9, 7)


@pytest.fixture
def near(tmp_path: Path) -> Store:
    """Five segments of four seconds."""
    store = Store(tmp_path / "near")
    sink = Sink(store, "gate", INFO)
    for packet in make_packets(500, gop=25, segment=100):
        sink.append(CodedFrame(packet, (PERSON,)))
    sink.close()
    return store


@pytest.fixture
def far(tmp_path: Path) -> Store:
    return Store(tmp_path / "far")


def contents(store: Store, segment: Segment) -> list[bytes]:
    return [store.path(segment, layer).read_bytes() for layer in Layer]


def shown(store: Store) -> list[int]:
    run = replay(store, "gate", WALL_US, WALL_US + 60 * SECOND, make_decoder=FakeDecoder)
    found = [frame.index for frame in run]
    assert run.faults == []
    return found


def sound(*stores: Store) -> None:
    for store in stores:
        assert check(store) == ()


def files(store: Store) -> int:
    return len(list(store.root.rglob("*.?g")))


def test_a_copy_is_the_same_and_leaves_the_original(near: Store, far: Store) -> None:
    made = pin(near, "gate", from_us=WALL_US, to_us=WALL_US + SECOND, reason="evidence", now_us=5)
    done = transfer(near, far, "gate", from_us=0, to_us=EVER_US, move=False)
    assert (done.segments, done.there, done.left) == (5, 0, 0)
    assert done.bytes == sum(s.nbytes for s in near.segments())
    assert [contents(far, s) for s in far.segments()] == [contents(near, s) for s in near.segments()]
    assert far.detections("gate") == near.detections("gate")
    assert far.tracks("gate") == near.tracks("gate")
    assert [(p.from_us, p.to_us, p.reason) for p in pins(far)] == [(made.from_us, made.to_us, made.reason)]
    assert shown(near) == shown(far) == list(range(500))
    again = transfer(near, far, "gate", from_us=0, to_us=EVER_US, move=False)
    assert (again.segments, again.there, again.bytes) == (5, 5, 0)
    assert len(pins(far)) == 1
    sound(near, far)


def test_what_is_moved_is_read_from_where_it_lies(near: Store, far: Store) -> None:
    before = near.tracks("gate"), [contents(near, s) for s in near.segments()]
    done = transfer(near, far, "gate", from_us=WALL_US, to_us=WALL_US + 7 * SECOND, move=True)
    assert (done.segments, files(near), files(far)) == (2, 6, 4)
    assert [s.place for s in near.segments()] == [str(far.root)] * 2 + [None] * 3
    assert (near.tracks("gate"), [contents(near, s) for s in near.segments()]) == before
    assert shown(near) == list(range(500))
    assert shown(far) == list(range(200))
    assert near.summary()[0].elsewhere == 2
    sound(near, far)
    assert repair(near.root) == repair(far.root) == ()

    purge_low_disk(near, keep_free_bytes=1, now_us=0, free_bytes=lambda root: 0)
    assert len(near.segments()) == 2, "what lies elsewhere is not this store's to purge"
    assert transfer(near, far, "gate", from_us=0, to_us=EVER_US, move=True).left == 2

    back = transfer(far, near, "gate", from_us=0, to_us=EVER_US, move=True)
    assert (back.segments, files(near), files(far)) == (2, 4, 0)
    assert [s.place for s in near.segments()] == [None, None]
    assert shown(near) == shown(far) == list(range(200))
    sound(near, far)


def test_a_place_that_is_not_there(near: Store, far: Store) -> None:
    transfer(near, far, "gate", from_us=WALL_US, to_us=WALL_US + SECOND, move=True)
    far.close()
    far.root.rename(far.root.with_name("unmounted"))
    run = replay(near, "gate", WALL_US, WALL_US + 60 * SECOND, make_decoder=FakeDecoder)
    assert [frame.index for frame in run] == list(range(100, 500))
    (fault,) = run.faults
    assert (fault.path.startswith(str(far.root)), "No such file" in fault.fault.reason) == (True, True)
    assert len(check(near)) > 0
    assert repair(near.root) == (), "it may come back"
    far.root.with_name("unmounted").rename(far.root)
    sound(near)


def test_aged_there_is_shown_as_it_is(near: Store, far: Store) -> None:
    transfer(near, far, "gate", from_us=0, to_us=EVER_US, move=True)
    age(far, {"gate": RetentionConfig(background=AgeStep(days=0))}, now_us=EVER_US)
    assert shown(near) == list(range(500))


def test_what_differs_or_is_being_written_is_left(near: Store, far: Store) -> None:
    transfer(near, far, "gate", from_us=WALL_US, to_us=WALL_US + SECOND, move=False)
    age(far, {"gate": RetentionConfig(background=AgeStep(days=0))}, now_us=EVER_US)
    sink = Sink(near, "yard", INFO)
    for packet in make_packets(60, gop=25):
        sink.append(CodedFrame(packet))
    done = transfer(near, far, "gate", from_us=0, to_us=EVER_US, move=True)
    assert (done.segments, done.left) == (4, 1)
    assert near.segments("gate")[0].place is None, "here it still has its background"
    assert transfer(near, far, "yard", from_us=0, to_us=EVER_US, move=True).left == 1
    sink.close()
    sound(near, far)


def test_a_transfer_that_is_cut_off_is_done_again(near: Store, far: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    module = __import__("sys").modules[transfer_function.__module__]
    for name in ("_leave", "put_gaps", "_copy_file"):
        with monkeypatch.context() as patch:
            real, calls = getattr(module, name), []

            def fail(*arguments: object, real: object = real, calls: list[int] = calls) -> object:
                calls.append(1)
                if len(calls) > 1:
                    raise StoreError("cut off")
                return real(*arguments)  # type: ignore[operator]

            patch.setattr(module, name, fail)
            with pytest.raises(StoreError, match="cut off"):
                transfer(near, far, "gate", from_us=0, to_us=EVER_US, move=True)
        sound(near, far)
        assert shown(near) == list(range(500))
    transfer(near, far, "gate", from_us=0, to_us=EVER_US, move=True)
    assert (files(near), files(far)) == (0, 10)
    sound(near, far)


def test_a_damaged_original_is_not_taken_for_a_copy(near: Store, far: Store) -> None:
    path = near.path(near.segments()[0], Layer.FOREGROUND)
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(StoreError, match="5 bytes missing"):
        transfer(near, far, "gate", from_us=0, to_us=EVER_US, move=True)
    assert far.segments() == ()
    assert len(near.segments()) == 5


def test_misuse(near: Store, far: Store) -> None:
    with pytest.raises(UsageError, match="same store"):
        transfer(near, near, "gate", from_us=0, to_us=1, move=True)
    with pytest.raises(UsageError, match="'yard'"):
        transfer(near, far, "yard", from_us=0, to_us=1, move=True)
    assert (near.root / INDEX).exists()
