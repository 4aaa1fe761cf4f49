"""What an index says, as data. Times are microseconds: `wall_us` and what ends in `_wall_us`, `from_us` and `to_us` are
Unix time, `pts_us` stream time. Knows no SQL."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from pipeline.types import Detection

State = Literal["open", "closed", "torn"]
Level = Literal["full", "foreground", "thin"]

EVER_US = 1 << 62  # later than any footage
GAP_US = 2_000_000  # a longer silence is a gap


@dataclass(frozen=True, slots=True)
class Segment:
    """A row of `segments`. Times are of the first and last frame's begin; bytes are on disk for sure, except that
    `bytes_background` stays what it was when the background goes."""

    number: int
    id: str
    camera: str
    epoch: int
    first_wall_us: int
    last_wall_us: int
    first_pts_us: int
    last_pts_us: int
    frames: int
    bytes_foreground: int
    bytes_background: int
    state: State
    has_background: bool
    thinned: bool = False
    place: str | None = None  # the root of the store that holds its files, if not this one

    @property
    def level(self) -> Level:
        """What aging has left of it."""
        return "full" if self.has_background else "thin" if self.thinned else "foreground"

    @property
    def nbytes(self) -> int:
        """What it takes on this store's disk."""
        if self.place is not None:
            return 0
        return self.bytes_foreground + (self.bytes_background if self.has_background else 0)


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """What `ls` says of a camera. Times are None and counts 0 where nothing is recorded. `full`, `foreground` and
    `thin` count segments by what aging has left of them, `elsewhere` those that were moved to another store; bytes are
    on this store's disk now."""

    camera: str
    segments: int
    frames: int
    first_wall_us: int | None
    last_wall_us: int | None
    bytes_foreground: int
    bytes_background: int
    full: int
    foreground: int
    thin: int
    elsewhere: int = 0


@dataclass(frozen=True, slots=True)
class StoredDetection:
    """A detection and the frame it was seen in."""

    camera: str
    frame: int
    wall_us: int
    detection: Detection


@dataclass(frozen=True, slots=True)
class StoredTrack:
    """A track's time in one segment. `best` is its best detection, seen at `best_wall_us`, with the tracker's id if
    there was one; `detections` counts them all."""

    camera: str
    first_wall_us: int
    last_wall_us: int
    detections: int
    best: Detection
    best_wall_us: int


@dataclass(frozen=True, slots=True)
class Event:
    """A class seen by a camera without a break of over EVENT_BREAK_US. `tracks` counts the tracks' rows that make it (a
    track that goes on into another segment has two); `best` is the best detection of all."""

    camera: str
    label: str
    first_wall_us: int
    last_wall_us: int
    tracks: int
    best: Detection
    best_wall_us: int


@dataclass(frozen=True, slots=True)
class Span:
    """Recorded without a gap from `from_us` to `to_us` (of the last frame's begin), all at one level of aging."""

    from_us: int
    to_us: int
    level: Level


@dataclass(frozen=True, slots=True)
class Activity:
    """What was seen in the time [from_us, to_us): by class, how many tracks touched it."""

    from_us: int
    to_us: int
    tracks: dict[str, int]


@dataclass(frozen=True, slots=True)
class Pin:
    """Footage of a camera in [from_us, to_us) that neither ages nor goes."""

    number: int
    camera: str
    from_us: int
    to_us: int
    reason: str
    made_us: int


@dataclass(frozen=True, slots=True)
class Purge:
    """What retention did to some footage of a camera, and the bytes that it freed."""

    at_us: int
    camera: str
    action: str
    reason: str
    segments: int
    bytes: int
    from_us: int
    to_us: int
