"""Old footage fades from the background inward: what is due goes, what is pinned or being written stays, the foreground
decodes as before."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import AgeStep, RetentionConfig
from pipeline.errors import StoreError, UsageError
from pipeline.replay import replay
from pipeline.store import (
    GB,
    Keeper,
    Sink,
    Store,
    age,
    check,
    forecast,
    pin,
    pins,
    purge_low_disk,
    purges,
    remove_range,
    unpin,
)
from pipeline.store import retention as retention_module
from pipeline.store.files import UPKEEP_LOCK, lock
from pipeline.types import CodedFrame, Detection, Layer
from tests.streams import INFO, WALL_US, FakeDecoder, make_packets

SECOND = 1_000_000
DAY = 86_400 * SECOND
NEVER = AgeStep()
PERSON = Detection(1.0, 2.0, 30.5, 40.0, "person", 0.9, 7)
SEGMENTS = 10


def record(store: Store, camera: str = "gate", *, close: bool = True) -> Sink:
    """Ten segments of four seconds, GOPs of one second."""
    sink = Sink(store, camera, INFO)
    for packet in make_packets(100 * SEGMENTS, gop=25, segment=100):
        sink.append(CodedFrame(packet, (PERSON,)))
    if close:
        sink.close()
    return sink


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "archive")
    record(store)
    return store


def ends(store: Store, place: int) -> int:
    return store.segments("gate")[place].last_wall_us


def on_disk(store: Store) -> int:
    return sum(path.stat().st_size for path in store.root.rglob("*.?g"))


def shown(store: Store, layer: str = "foreground") -> dict[int, bytes]:
    run = replay(store, "gate", WALL_US, WALL_US + DAY, make_decoder=FakeDecoder, layer=layer)  # type: ignore[arg-type]
    found = {frame.index: frame.y.tobytes() + frame.u.tobytes() + frame.v.tobytes() for frame in run}
    assert run.faults == []
    return found


def by_age(**steps: float) -> dict[str, RetentionConfig]:
    """A policy of days since the end of footage, as fractions."""
    given = {name: AgeStep(days=steps[name]) if name in steps else NEVER for name in ("background", "thin", "remove")}
    return {"gate": RetentionConfig.model_validate(given)}


def test_footage_fades_step_by_step(store: Store) -> None:
    before, size = shown(store), on_disk(store)
    policy = by_age(background=1, thin=2, remove=3)
    done = age(store, policy, now_us=ends(store, 7) + DAY + 1)
    assert [(p.action, p.segments, p.reason) for p in done] == [("background", 8, "older than 1 days")]
    assert size - on_disk(store) == done[0].bytes > 0
    assert [s.level for s in store.segments()] == ["foreground"] * 8 + ["full"] * 2
    assert shown(store) == before, "every foreground picture is exactly what it was"

    age(store, policy, now_us=ends(store, 5) + 2 * DAY + 1)
    assert [s.level for s in store.segments()] == ["thin"] * 6 + ["foreground"] * 4
    kept = shown(store)
    assert kept == {n: before[n] for n in before if n >= 600 or n % 25 == 0}

    (*_, removed) = age(store, policy, now_us=ends(store, 2) + 3 * DAY + 1)
    assert (removed.action, removed.segments) == ("remove", 3)
    assert len(store.segments()) == 7
    assert len(store.detections("gate", to_us=WALL_US + 12 * SECOND)) == 0, "what was seen in it is forgotten"
    assert check(store) == ()
    assert purges(store)[0].action == "remove", "the newest first"
    assert sum(p.bytes for p in purges(store)) == size - on_disk(store)
    assert age(store, policy, now_us=ends(store, 0)) == ()


def test_thinning_may_keep_the_begin_of_each_gop(store: Store) -> None:
    before = shown(store)
    policy = {"gate": by_age(thin=1)["gate"].model_copy(update={"thin_keep_s": 0.2})}
    age(store, policy, now_us=WALL_US + 2 * DAY)
    assert shown(store) == {n: before[n] for n in before if n % 25 <= 5}
    assert check(store) == ()


def test_shares_of_a_cap(store: Store) -> None:
    cap = on_disk(store)
    sizes = [s.nbytes for s in store.segments()]
    policy = RetentionConfig(max_gb=cap / GB, background=AgeStep(share=0.5), thin=NEVER, remove=AgeStep(share=1.0))
    done = age(store, {"gate": policy}, now_us=0)
    full = [s.level for s in store.segments()].count("full")
    assert sum(sizes[-full:]) <= cap / 2 < sum(sizes[-full - 1 :])
    assert [p.action for p in done] == ["background"]
    assert "beyond 0.5 of" in done[0].reason
    tight = policy.model_copy(update={"max_gb": cap / 3 / GB})
    age(store, {"gate": tight}, now_us=0)
    assert 0 < on_disk(store) <= cap / 3
    assert check(store) == ()


def test_pinned_footage_stays(store: Store) -> None:
    made = pin(
        store, "gate", from_us=WALL_US + 5 * SECOND, to_us=WALL_US + 9 * SECOND, reason="evidence", now_us=WALL_US
    )
    assert pins(store) == (made,)
    policy = by_age(background=1, remove=1)
    age(store, policy, now_us=WALL_US + 2 * DAY)
    purge_low_disk(store, keep_free_bytes=1, now_us=0, free_bytes=lambda root: 0)
    assert [(s.first_wall_us - WALL_US) // SECOND for s in store.segments()] == [4, 8]
    assert [s.level for s in store.segments()] == ["full", "full"]
    unpin(store, made.number)
    age(store, policy, now_us=WALL_US + 2 * DAY)
    assert store.segments() == ()
    with pytest.raises(UsageError, match="no pin 1"):
        unpin(store, made.number)
    with pytest.raises(UsageError, match="'yard'"):
        pin(store, "yard", from_us=0, to_us=1, reason="", now_us=0)


def test_a_pin_that_is_made_while_footage_ages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    find = retention_module._due

    def due_then_pinned(*arguments: object, **options: object) -> object:
        found = find(*arguments, **options)  # type: ignore[arg-type]
        pin(store, "gate", from_us=WALL_US, to_us=WALL_US + SECOND, reason="", now_us=0)
        return found

    monkeypatch.setattr(retention_module, "_due", due_then_pinned)
    age(store, by_age(background=1), now_us=WALL_US + 2 * DAY)
    assert [s.level for s in store.segments()] == ["full"] + ["foreground"] * 9


def test_what_is_being_written_stays(store: Store) -> None:
    sink = record(store, "yard", close=False)
    age(store, {"yard": by_age(remove=1)["gate"]}, now_us=WALL_US + 2 * DAY)
    (left,) = store.segments("yard")
    assert left.state == "open"
    sink.close()
    assert check(store) == ()
    assert len(store.segments("gate")) == SEGMENTS, "a camera without a policy keeps everything"


def test_a_low_disk_takes_the_oldest_backgrounds_first(store: Store) -> None:
    record(store, "yard")
    room = 1000

    def free(root: Path) -> int:
        return room + start - on_disk(store)

    start = on_disk(store)
    assert purge_low_disk(store, keep_free_bytes=room, now_us=0, free_bytes=free) == ()
    wanted = room + sum(s.bytes_background for s in store.segments()[:3])
    done = purge_low_disk(store, keep_free_bytes=wanted, now_us=0, free_bytes=free)
    assert {p.reason for p in done} == {"low disk"}
    assert free(store.root) >= wanted
    assert [s.level for s in store.segments()][:4].count("foreground") == 4
    assert [s.level for s in store.segments()][4:] == ["full"] * 16
    purge_low_disk(store, keep_free_bytes=room + start * 2 // 3, now_us=0, free_bytes=free)
    assert {s.level for s in store.segments()} == {"foreground"}
    assert 0 < len(store.segments()) < 20
    assert check(store) == ()


def test_a_range_is_removed_on_request(store: Store) -> None:
    (done,) = remove_range(store, "gate", from_us=WALL_US + 4 * SECOND, to_us=WALL_US + 14 * SECOND, now_us=0)
    assert done.segments == 2
    assert len(store.segments()) == SEGMENTS - 2


def test_damaged_footage_is_not_thinned(store: Store) -> None:
    path = store.path(store.segments()[0], Layer.FOREGROUND)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (done,) = age(store, by_age(thin=1), now_us=WALL_US + 2 * DAY)
    assert done.segments == SEGMENTS - 1
    assert [s.level for s in store.segments()] == ["full"] + ["thin"] * 9


def test_one_upkeep_at_a_time(store: Store) -> None:
    with lock(store.root, wait=False, name=UPKEEP_LOCK), pytest.raises(StoreError, match="at work"):
        age(store, by_age(background=1), now_us=WALL_US + 2 * DAY)
    with Store(store.root, readonly=True) as readonly, pytest.raises(UsageError, match="open for reading"):
        age(readonly, {}, now_us=0)


def test_a_replay_goes_on_while_its_footage_fades(store: Store) -> None:
    run = iter(replay(store, "gate", WALL_US, WALL_US + DAY, make_decoder=FakeDecoder))
    seen = [next(run).index for _ in range(50)]
    age(store, by_age(background=1, thin=1), now_us=WALL_US + 2 * DAY)
    seen += [frame.index for frame in run]
    assert seen[:100] == list(range(100)), "the open segment is shown as it was"
    assert seen[100:] == list(range(100, 1000, 25))


def test_the_keeper_works_beside_a_recording(store: Store) -> None:
    said: list[str] = []
    done = threading.Event()

    def report(line: str) -> None:
        said.append(line)
        done.set()

    with Keeper(store.root, by_age(background=0), keep_free_gb=0, report=report, interval_s=0.01):
        assert done.wait(60)
    assert "10 segments backgrounds dropped (older than 0 days)" in said[0]


def test_a_forecast(store: Store) -> None:
    (plain,) = forecast(store, {}, free_bytes=lambda root: 10**6)
    seconds = (store.segments()[-1].last_wall_us - WALL_US) / 1e6
    foreground = sum(s.bytes_foreground for s in store.segments())
    background = sum(s.bytes_background for s in store.segments())
    assert plain.foreground_rate == pytest.approx(foreground * 86_400 / seconds)
    assert plain.background_rate == pytest.approx(background * 86_400 / seconds)
    assert plain.thin_rate < plain.foreground_rate
    assert plain.room_bytes == 10**6 + foreground + background
    assert plain.days_full < plain.days_foreground < plain.days_thin
    assert plain.days_aged == pytest.approx(plain.days_full), "without a cap nothing ages"

    cap = RetentionConfig(max_gb=1.0, background=AgeStep(share=0.5), thin=NEVER, remove=AgeStep(share=1.0))
    (aged,) = forecast(store, {"gate": cap}, free_bytes=lambda root: 0)
    assert aged.days_aged == pytest.approx(aged.days_full / 2 + aged.days_foreground / 2)
    (dated,) = forecast(store, {"gate": replace_remove(cap, days=aged.days_full)}, free_bytes=lambda root: 0)
    assert dated.days_aged == pytest.approx(aged.days_full)

    age(store, by_age(background=1), now_us=WALL_US + 2 * DAY)
    (later,) = forecast(store, {}, free_bytes=lambda root: 10**6)
    assert replace(later, room_bytes=0, days_full=0, days_foreground=0, days_thin=0, days_aged=0) == replace(
        plain, room_bytes=0, days_full=0, days_foreground=0, days_thin=0, days_aged=0
    ), "rates are those of recording, whatever has aged since"


def replace_remove(policy: RetentionConfig, *, days: float) -> RetentionConfig:
    return policy.model_copy(update={"remove": AgeStep(days=days, share=1.0)})
