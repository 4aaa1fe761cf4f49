"""A live camera that comes back: opened again, after a pause, whenever it falls silent, breaks or changes its picture.

Every opening is read by a thread of its own into one bounded queue. The watch over it is kept by whoever takes frames:
a camera whose `open` or `read` never returns is left to its thread and opened anew, so nothing that FFmpeg does can
hold a camera up for longer than its timeout. Knows no detector and no codec.
"""

from __future__ import annotations

import random
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace

from pipeline.config import LINGER_S
from pipeline.errors import FoveaError, SourceError
from pipeline.footage import Footage, SourceCounts, SourceFacts
from pipeline.source import Source
from pipeline.types import Frame, Gap

PATIENCE_S = 0.5  # a take without frames returns after this long, so that a silent camera can be stopped
QUEUE_BYTES = 32 << 20  # large frames are held back in smaller numbers
MIN_GAP_US = 2_000_000  # a shorter silence within one opening is the camera's rhythm
FIRST_PAUSE_S = 0.25
MAX_NOTICED = 100  # gaps that are told of; all are counted
MAX_HUNG = 4  # threads that may hang in a camera's open or read at once


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """`size`: frames that wait at most. A camera without a frame for `stall_s` is opened anew; pauses between attempts
    grow to `retry_s`. `limit`: end after so many frames. Without `reconnect` the first end is the last. A take with
    some frames waits `linger_s` for more, which bounds what this adds to a frame's latency."""

    size: int
    stall_s: float = 10.0
    retry_s: float = 2.5
    reconnect: bool = True
    limit: int | None = None
    linger_s: float = LINGER_S


@dataclass(frozen=True, slots=True, eq=False)
class _Item:
    facts: SourceFacts
    frame: Frame


class _Session:
    """One opening of the camera. Its thread alone touches the source, and closes it: a container must not be closed
    while another thread reads it."""

    def __init__(self, number: int, now_s: float) -> None:
        self.number = number
        self.alive_s = now_s  # of its last sign of life
        self.frames = 0
        self.lost = 0
        self.shift_us = 0  # from the source's stream time to the camera's
        self.facts: SourceFacts | None = None
        self.abandoned = self.ended = False
        self.error: BaseException | None = None
        self.thread: threading.Thread | None = None


class LiveSource:
    """Frames of a camera, across all its openings. `take` them from one thread; `stop` at the end.

    Stream time is of this machine's monotonic clock across openings and of the camera's within one. `first` is a source
    that has been opened already. Clock and chance are there to be replaced in tests.
    """

    def __init__(
        self,
        opener: Callable[[], Source],
        settings: LiveSettings,
        *,
        first: Source | None = None,
        now: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._open, self._settings, self._first = opener, settings, first
        self._now, self._chance = now, chance
        self._change = threading.Condition()
        self._items: deque[_Item] = deque()
        self._counts = SourceCounts()
        self._session: _Session | None = None
        self._hung: list[_Session] = []
        self._sessions = self._failures = self._delivered = 0
        self._retry_at_s = 0.0
        self._reason = "opening"
        self._keep, self._credit = 1.0, 0.0
        self._stopped = self._ended = False
        self._error: BaseException | None = None
        self._born_s: float | None = None
        self._last: Frame | None = None
        self._lost = 0

    def counts(self) -> SourceCounts:
        """As of the last take; what still waits in the queue is nobody's yet. A gap is noticed once."""
        with self._change:
            trouble = "" if self._session is not None and self._session.frames else self._reason
            lost = self._lost + (self._session.lost if self._session is not None else 0)
            waited_us = time.time_ns() // 1000 - self._items[0].frame.wall_us if self._items else 0
            counts = replace(
                self._counts, lost=lost, trouble=trouble, queue_age_s=max(0, waited_us) / 1e6,
                ended=self._ended and not self._items,
            )  # fmt: skip
            self._counts = replace(self._counts, noticed=())
            return counts

    def thin(self, keep: float) -> None:
        """Accept this share of the frames from now on, spread evenly, and count the others."""
        with self._change:
            self._keep = keep

    def take(self, count: int, *, patience_s: float = PATIENCE_S) -> Footage:
        """Up to `count` frames of one opening: none after `patience_s`. Raises the source's error, after its last
        frame, where another attempt would not help."""
        until_s = self._now() + patience_s
        lingering = False
        with self._change:
            while True:
                self._tend()
                waiting = len(self._items)
                left_s = until_s - self._now()
                if waiting >= count or self._ended or left_s <= 0:
                    break
                if waiting and not lingering:
                    lingering, until_s = True, self._now() + self._settings.linger_s
                    continue
                self._change.wait(min(left_s, 0.1))
            return self._taken(count)

    def stop(self) -> None:
        """Ask the reader to end. It may hang in a dead camera's read; being a daemon it holds nobody up."""
        with self._change:
            self._stopped = self._ended = True
            session = self._session
        if session is not None and session.thread is not None:
            session.thread.join(timeout=PATIENCE_S)

    def _taken(self, count: int) -> Footage:
        if not self._items:
            if self._error is not None:
                raise self._error
            return Footage(None, ())
        facts = self._items[0].facts
        taken: list[_Item] = []
        while self._items and len(taken) < count and self._items[0].facts == facts:
            taken.append(self._items.popleft())
        self._counts = replace(self._counts, frames_in=self._counts.frames_in + len(taken))
        return Footage(facts, tuple(item.frame for item in taken))

    def _tend(self) -> None:
        """Look after the opening that is at work, and begin the next when it is due."""
        session, now_s = self._session, self._now()
        if self._ended:
            return
        if session is None:
            if now_s >= self._retry_at_s:
                self._begin(now_s)
        elif session.ended:
            self._finish(session, session.error or SourceError("the camera ended the stream"))
        elif now_s - session.alive_s > self._settings.stall_s:
            session.abandoned = True
            self._hung.append(session)
            self._finish(session, SourceError(f"no frame for {self._settings.stall_s:g} s"))

    def _begin(self, now_s: float) -> None:
        self._hung = [session for session in self._hung if not session.ended]
        if len(self._hung) >= MAX_HUNG:
            self._error, self._ended = SourceError(f"{len(self._hung)} attempts to read the camera hang"), True
            return
        self._sessions += 1
        self._session = session = _Session(self._sessions, now_s)
        session.thread = threading.Thread(target=self._read, args=(session,), name="live-source", daemon=True)
        session.thread.start()

    def _finish(self, session: _Session, error: BaseException) -> None:
        """An opening is over: for good, or until the next attempt."""
        self._session = None
        self._lost += session.lost
        self._reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        hopeless = not isinstance(error, FoveaError) or (self._last is None and getattr(error, "final", False))
        if hopeless or not self._settings.reconnect:
            self._error, self._ended = error, True
            return
        self._failures = 0 if session.frames else self._failures + 1
        pause_s = min(self._settings.retry_s, FIRST_PAUSE_S * 2.0**self._failures)
        self._retry_at_s = self._now() + pause_s * (
            0.5 + 0.5 * self._chance()
        )  # or all cameras of a switch come at once

    def _read(self, session: _Session) -> None:
        source: Source | None = None
        try:
            source, self._first = self._first or self._open(), None
            for frame in source:
                if not self._put(session, source, frame):
                    break
        except Exception as error:  # the thread's outermost loop: handed to whoever takes
            session.error = error
        finally:
            if source is not None:
                source.close()
            with self._change:
                session.ended = True
                self._change.notify_all()

    def _put(self, session: _Session, source: Source, frame: Frame) -> bool:
        """Queue a frame; whether more are wanted."""
        with self._change:
            if session.abandoned or self._ended:
                return False
            now_s = session.alive_s = self._now()
            session.lost = source.lost
            self._note_gap(session, source, frame)
            if session.facts is None:
                session.facts = source_facts(source, session.number)
                self._settle(session, frame, now_s)
            frame = Frame(
                frame.y, frame.u, frame.v, index=self._delivered, pts_us=frame.pts_us + session.shift_us,
                wall_us=frame.wall_us,
            )  # fmt: skip
            if self._accepts(session):
                self._items.append(_Item(session.facts, frame))
            self._last = frame
            self._delivered += 1
            session.frames += 1
            self._make_room(frame)
            if self._delivered == self._settings.limit:
                self._ended = True
            self._change.notify_all()
            return not self._ended

    def _settle(self, session: _Session, frame: Frame, now_s: float) -> None:
        """Place an opening's stream time behind all that came before."""
        if self._born_s is None:
            self._born_s = now_s
        begin_us = round((now_s - self._born_s) * 1e6)
        if self._last is not None:
            begin_us = max(begin_us, self._last.pts_us + 1000)
        session.shift_us = begin_us - frame.pts_us

    def _note_gap(self, session: _Session, source: Source, frame: Frame) -> None:
        """The gap that ends with this frame, if there is one."""
        last, counts = self._last, self._counts
        if last is None:
            return
        if session.frames == 0:
            self._counts = counts = replace(counts, reconnects=counts.reconnects + 1)
        silent_us = max(MIN_GAP_US, round(4e6 / source.fps) if source.fps else 0)
        if frame.wall_us - last.wall_us < (silent_us if session.frames else 1):
            return
        gap = Gap(last.wall_us, frame.wall_us, "the camera was silent" if session.frames else self._reason)
        noticed = (*counts.noticed, gap)[-MAX_NOTICED:]
        self._counts = replace(counts, gaps=counts.gaps + 1, noticed=noticed)

    def _accepts(self, session: _Session) -> bool:
        """Whether a frame is among those that the node's budget has room for; an opening's first always is."""
        self._credit += self._keep
        if self._credit >= 1 or session.frames == 0:
            self._credit = max(0.0, self._credit - 1)
            return True
        counts = self._counts
        self._counts = replace(
            counts, frames_in=counts.frames_in + 1, dropped=counts.dropped + 1, thinned=counts.thinned + 1
        )
        return False

    def _make_room(self, newest: Frame) -> None:
        """Drop what is oldest."""
        size = max(2, min(self._settings.size, QUEUE_BYTES // newest.nbytes))
        while len(self._items) > size:
            self._items.popleft()
            counts = self._counts
            self._counts = replace(counts, frames_in=counts.frames_in + 1, dropped=counts.dropped + 1)


def source_facts(source: Source, session: int = 0) -> SourceFacts:
    return SourceFacts(
        width=source.width, height=source.height, fps=source.fps, is_live=source.is_live,
        sar=source.sar, rotation=source.rotation, matrix=source.matrix, full_range=source.full_range, session=session,
    )  # fmt: skip
