"""Detection again: the index says what the new detector saw, segment by segment or not at all."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest

from pipeline.config import AgeStep, RetentionConfig
from pipeline.errors import JobCancelled, UsageError
from pipeline.redetect import redetect
from pipeline.store import EVER_US, Sink, Store, age, check
from pipeline.types import CodedFrame, Detection, Frame, Layer, Masked, RoiMask
from tests.streams import INFO, WALL_US, FakeDecoder, make_packets

PERSON = Detection(1.0, 2.0, 30.5, 40.0, "person", 0.9, 7)
CAR = Detection(5.0, 6.0, 50.0, 60.0, "car", 0.8, 1)
SECOND = 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Three segments of four seconds, with a person in every frame."""
    store = Store(tmp_path / "archive")
    sink = Sink(store, "gate", INFO)
    for packet in make_packets(300, gop=25, segment=100):
        sink.append(CodedFrame(packet, (PERSON,)))
    sink.close()
    return store


def cars(frames: Iterable[Frame]) -> list[Masked]:
    """Sees a car in every other frame."""
    nothing = RoiMask(np.zeros((4, 6), bool), np.zeros((4, 6), np.uint8))
    return [Masked(frame, nothing, (CAR,) * (frame.index % 2)) for frame in frames]


def labels(store: Store) -> list[str]:
    return [track.best.label for track in store.tracks("gate")]


def test_the_index_says_what_the_new_detector_saw(store: Store) -> None:
    begin = WALL_US + 5 * SECOND
    done = redetect(store, "gate", from_us=begin, to_us=begin + SECOND, make_decoder=FakeDecoder, detect=cars)
    assert (done.segments, done.left, done.frames, done.before, done.after) == (1, 0, 100, 100, 50)
    assert labels(store) == ["person", "car", "person"]
    assert [d.frame for d in store.detections("gate") if d.detection.label == "car"] == list(range(101, 200, 2))
    assert check(store) == ()
    redetect(store, "gate", from_us=0, to_us=EVER_US, make_decoder=FakeDecoder, detect=cars)
    assert labels(store) == ["car"] * 3


def test_what_cannot_be_looked_at_in_full_stays_as_it_was(store: Store) -> None:
    first, second, _ = store.segments()
    age(store, {"gate": RetentionConfig(thin=AgeStep(days=0))}, now_us=first.last_wall_us + 1)
    path = store.path(second, Layer.FOREGROUND)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    done = redetect(store, "gate", from_us=0, to_us=EVER_US, make_decoder=FakeDecoder, detect=cars)
    assert (done.segments, done.left) == (1, 2)
    assert labels(store) == ["person", "person", "car"]


def test_a_segment_that_goes_meanwhile(store: Store) -> None:
    segment = store.segments()[0]
    age(store, {"gate": RetentionConfig(remove=AgeStep(days=0))}, now_us=segment.last_wall_us + 1)
    assert store.replace_detections(segment, ()) is None


def test_called_off_and_misused(store: Store) -> None:
    with pytest.raises(JobCancelled):
        redetect(store, "gate", from_us=0, to_us=EVER_US, make_decoder=FakeDecoder, detect=cars, cancelled=lambda: True)
    assert labels(store) == ["person"] * 3
    with pytest.raises(UsageError, match="'yard'"):
        redetect(store, "yard", from_us=0, to_us=EVER_US, make_decoder=FakeDecoder, detect=cars)
