"""What passes between the stages of one camera's chain, and its accounts. Data alone; `pipeline.graph` has the stages.

Frames travel with the facts of the source that gave them. Where the facts change (another opening of a live camera,
another picture size) detector, codec and sink begin anew: each reads that from what it is handed, in order, so no
runner has to stop the chain for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace

from pipeline.types import CodedFrame, Detection, Frame, Gap, RoiMask, StreamInfo


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the codec and the archive must know of a source; see StreamInfo for the units. `session` counts the openings
    of a live camera: what lies before one and after it are two recordings."""

    width: int
    height: int
    fps: float
    is_live: bool
    sar: tuple[int, int] = (1, 1)
    rotation: int = 0
    matrix: int = 1
    full_range: bool = False
    session: int = 0


@dataclass(frozen=True, slots=True)
class Relief:
    """What a live camera goes without while its node is over its budget, the background first: it is brought up to date
    with every n-th frame alone. Then frames: `keep` is the share that is accepted, spread evenly."""

    background_every: int = 1
    keep: float = 1.0

    def __post_init__(self) -> None:
        if self.background_every < 1 or not 0 < self.keep <= 1:
            raise ValueError(f"relief of background 1 in {self.background_every}, {self.keep:g} of the frames")

    def __str__(self) -> str:
        """For people; empty where nothing is left out."""
        background = f"background 1 in {self.background_every}" if self.background_every > 1 else ""
        frames = f"{self.keep:.0%} of frames" if self.keep < 1 else ""
        return ", ".join(filter(None, (background, frames)))


@dataclass(frozen=True, slots=True, eq=False)
class Footage:
    """Frames in order, all with the same facts (None only where there are no frames). `relief`: what the camera goes
    without just now."""

    facts: SourceFacts | None
    frames: tuple[Frame, ...]
    relief: Relief = Relief()

    def __post_init__(self) -> None:
        if self.frames and self.facts is None:
            raise ValueError(f"{len(self.frames)} frames without facts")


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """A source's own accounts so far. `frames_in` were taken or dropped; `dropped` made room for newer ones or were, so
    many of them, `thinned` out for the node's budget; `lost` arrived damaged; `noticed` are the gaps since the counts
    before these; `trouble` says in a line why no frames come, if so; `queue_age_s` is how long the oldest frame waits.
    `ended`: nothing follows."""

    frames_in: int = 0
    dropped: int = 0
    lost: int = 0
    reconnects: int = 0
    gaps: int = 0
    noticed: tuple[Gap, ...] = ()
    trouble: str = ""
    queue_age_s: float = 0.0
    ended: bool = False
    thinned: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Roi:
    """What the detector says of one frame. Apart from the frame, so that frames travel once."""

    mask: RoiMask
    detections: tuple[Detection, ...]


@dataclass(frozen=True, slots=True, eq=False)
class CodedFootage:
    """Packets in order, all of the stream that `info` describes (None only where there are none) and of the same source
    session. `efforts`: what the encoder spent on each (see pipeline.codec.effort); `easing`: where that is too much, it
    can still spend less by itself."""

    info: StreamInfo | None
    session: int
    frames: tuple[CodedFrame, ...]
    is_live: bool = False
    efforts: tuple[str, ...] = ()
    easing: bool = False


@dataclass(frozen=True, slots=True)
class Counters:
    """What became of a camera's frames. In the end `frames_in == coded + dropped + killed`: `dropped` made room for
    newer ones, or was `thinned` out evenly while the node was over its budget; `killed` were under way when a worker
    died. `lost` arrived damaged and never were frames. Of the coded, `balanced` and `fast` were coded with that
    effort."""

    frames_in: int = 0
    coded: int = 0
    dropped: int = 0
    lost: int = 0
    bytes_foreground: int = 0
    bytes_background: int = 0
    killed: int = 0
    reconnects: int = 0
    gaps: int = 0
    restarts: int = 0
    thinned: int = 0
    balanced: int = 0
    fast: int = 0

    def plus(self, coded: Sequence[CodedFrame], efforts: Sequence[str] = ()) -> Counters:
        """With these frames coded too, with these efforts. The plate is foreground: it is kept as long."""
        packets = [frame.packet for frame in coded]
        return replace(
            self,
            coded=self.coded + len(packets),
            bytes_foreground=self.bytes_foreground + sum(len(p.plate) + len(p.foreground) for p in packets),
            bytes_background=self.bytes_background + sum(len(p.background) for p in packets),
            balanced=self.balanced + efforts.count("balanced"),
            fast=self.fast + efforts.count("fast"),
        )

    def __add__(self, other: Counters) -> Counters:
        return Counters(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a batch adds to a camera's counters once it is stored. `latencies_s`: seconds from arrival to durability of
    the live frames that have become durable meanwhile; `pixels` is what was coded; `effort` that of the last frame,
    empty where there is none."""

    counters: Counters
    pixels: int = 0
    latencies_s: tuple[float, ...] = ()
    effort: str = ""


class Ledger:
    """One camera's counters over the lives of its workers: what is `settled`, and the chain that is at work."""

    def __init__(self, settled: Counters | None = None) -> None:
        self._settled = settled or Counters()
        self._source = SourceCounts()
        self._stored = Counters()

    def read(self, counts: SourceCounts) -> None:
        """The source's own counts, as they stood when a batch was read."""
        self._source = counts

    def store(self, receipt: Receipt) -> None:
        self._stored += receipt.counters

    @property
    def total(self) -> Counters:
        return self._settled + self._current()

    def settle(self, *, stored: int | None = None, resumes: bool = False, died: bool = False) -> Counters:
        """The chain has ended; returns the counters of all so far. `stored` is what the archive holds of it, where that
        was asked. Frames of which nothing became are dropped, or killed if the chain `died`; a file that `resumes`
        behind its last stored frame reads them again."""
        now = self._current()
        coded = now.coded if stored is None else stored
        frames_in = coded if resumes else max(now.frames_in, coded + now.dropped)
        left = frames_in - coded - now.dropped
        killed, dropped = (left, now.dropped) if died else (0, now.dropped + left)
        self._settled += replace(
            now, frames_in=frames_in, coded=coded, dropped=dropped, killed=killed, restarts=int(died)
        )  # fmt: skip
        self._source, self._stored = SourceCounts(), Counters()
        return self._settled

    def _current(self) -> Counters:
        source = self._source
        return replace(
            self._stored, frames_in=source.frames_in, dropped=source.dropped, lost=source.lost,
            reconnects=source.reconnects, gaps=source.gaps, thinned=source.thinned,
        )  # fmt: skip
