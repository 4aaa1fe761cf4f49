"""How many days of footage fit: from what each camera wrote in its last day, by layer, before and after aging."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.config import RetentionConfig
from pipeline.errors import StreamError
from pipeline.store.check import open_segment
from pipeline.store.index import Store
from pipeline.store.retention import DAY_US, GB, kept_packets
from pipeline.store.rows import CameraSummary


@dataclass(frozen=True, slots=True)
class Forecast:
    """One camera. Rates are bytes a day of recording, thin that of the foreground once it is thinned; `room_bytes` is
    what its footage may take, now and to come. Days are how much footage fits into that: all of it full, all without
    background, all thinned, and as the retention has it. Infinite where a camera writes nothing."""

    camera: str
    foreground_rate: float
    background_rate: float
    thin_rate: float
    room_bytes: float
    days_full: float
    days_foreground: float
    days_thin: float
    days_aged: float


def forecast(
    store: Store,
    policies: Mapping[str, RetentionConfig],
    *,
    keep_free_bytes: int = 0,
    free_bytes: Callable[[Path], int] = lambda root: shutil.disk_usage(root).free,
) -> tuple[Forecast, ...]:
    """One entry a camera that has footage. Cameras without a `max_gb` share what the disk has, by what they write; one
    without a policy keeps everything."""
    cameras = [summary for summary in store.summary() if summary.segments]
    rates = {summary.camera: _rates(store, summary, policies.get(summary.camera)) for summary in cameras}
    sharing = [summary for summary in cameras if _cap(policies, summary.camera) is None]
    total = sum(sum(rates[summary.camera][:2]) for summary in sharing)
    taken = sum(summary.bytes_foreground + summary.bytes_background for summary in sharing)
    room = max(0, free_bytes(store.root) - keep_free_bytes) + taken
    found = []
    for summary in cameras:
        foreground, background, thin = rates[summary.camera]
        cap = _cap(policies, summary.camera)
        own = cap if cap is not None else room * _days(foreground + background, total, empty=0.0)
        policy = policies.get(summary.camera, RetentionConfig())
        found.append(
            Forecast(
                camera=summary.camera,
                foreground_rate=foreground,
                background_rate=background,
                thin_rate=thin,
                room_bytes=own,
                days_full=_days(own, foreground + background),
                days_foreground=_days(own, foreground),
                days_thin=_days(own, thin),
                days_aged=_aged(policy, own, (foreground + background, foreground, thin)),
            )
        )
    return tuple(found)


def finite(item: Forecast) -> dict[str, float | None]:
    """A forecast's numbers by name, for JSON, which knows no infinity: None."""
    values = asdict(item)
    del values["camera"]
    return {name: value if math.isfinite(value) else None for name, value in values.items()}


def _cap(policies: Mapping[str, RetentionConfig], camera: str) -> float | None:
    policy = policies.get(camera)
    return policy.max_gb * GB if policy is not None and policy.max_gb is not None else None


def _rates(store: Store, summary: CameraSummary, policy: RetentionConfig | None) -> tuple[float, float, float]:
    """Bytes a day of foreground, of background, and of the foreground once thinned."""
    newest_us = summary.last_wall_us or 0
    day = [s for s in store.segments(summary.camera, from_us=newest_us - DAY_US) if not s.thinned]
    if not day:
        return 0.0, 0.0, 0.0
    begin_us = max(newest_us - DAY_US, min(s.first_wall_us for s in day))
    days = max(newest_us - begin_us, 1) / DAY_US
    foreground = sum(s.bytes_foreground for s in day) / days
    background = sum(s.bytes_background for s in day) / days
    keep_us = round((policy or RetentionConfig()).thin_keep_s * 1e6)
    sample = next((s for s in reversed(day) if s.state == "closed"), day[-1])
    thin = foreground
    try:
        with ExitStack() as stack:
            reader = open_segment(store, sample, stack, foreground_only=True)
            kept = sum(len(p.plate) * 5 // 4 + len(p.foreground) for p in kept_packets(reader, keep_us))
            thin = foreground * min(1.0, kept / sample.bytes_foreground)
    except (StreamError, OSError):
        pass  # a damaged sample: as if thinning gained nothing
    return foreground, background, thin


def _aged(policy: RetentionConfig, room: float, rates: tuple[float, float, float]) -> float:
    """Days until footage is gone. Each step begins where its age or its share of the room says, whichever comes first,
    or where a later one does; without a cap a share means nothing, and the room ends it all."""
    steps = (policy.background, policy.thin, policy.remove)
    capped = policy.max_gb is not None
    shares = [1.0 if step.share is None or not capped else step.share for step in steps]
    ages = [math.inf if step.days is None else step.days for step in steps]
    day = used = 0.0
    for place, rate in enumerate(rates):
        until = min(day + _days(max(0.0, room * min(shares[place:]) - used), rate), *ages[place:])
        until = max(day, until)
        used += (until - day) * rate if rate else 0.0
        day = until
    return day


def _days(room: float, rate: float, *, empty: float = math.inf) -> float:
    return room / rate if rate else empty
