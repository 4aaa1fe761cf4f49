"""Plays one camera's footage: any moment foreground first, at 1 to 16 times its speed, backwards, frame by frame.

Decoding is injected, and so is the clock; nothing here sleeps. Each picture says when it is due, and whoever shows it
waits until then. A player that is late leaves out backgrounds first, then whole GOPs: `late` and `skipped` count them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from types import TracebackType

from pipeline.bitstream import Fault
from pipeline.errors import StreamError, UsageError
from pipeline.gops import Decoding, Gop, Held, Opened, Run
from pipeline.replay import Decoders, MakeDecoder
from pipeline.store import EVER_US, Segment, Store, StoreFault, open_segment
from pipeline.types import Frame, Layer, LayerName

SLOWEST, FASTEST = 0.1, 16.0
KEYS_ABOVE = 2.0  # at a higher speed key frames alone are shown, without background
LATE_S = 0.5  # a player later than this leaves out backgrounds
_MOST_FAULTS = 1000


@dataclass(frozen=True, slots=True)
class Picture:
    """What to show. `layer` foreground: the foreground over the plate; of a player that is late, over the background
    that the same playback decoded last on this plate, if it did. `due_s`: seconds after the first picture of the same
    playback, at the speed asked for; gaps in the footage keep their duration."""

    frame: Frame
    layer: LayerName
    due_s: float = 0.0


class Player:
    """One camera of a store. A context manager; for one thread at a time.

    There is one playback at a time: a call of `seek`, `play`, `step` or `at` ends the one before, whose iterator then
    raises UsageError. What is damaged is left out, and stands in `faults` (the newest thousand) once its segment is
    left.
    """

    def __init__(
        self, store: Store, camera: str, *, make_decoder: MakeDecoder, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if camera not in store.cameras():
            raise UsageError(f"camera {camera!r} is not in {store.root}")
        self._store = store
        self._camera = camera
        self._clock = clock
        self._decoding = Decoding(Decoders(make_decoder))
        self._opened: Opened | None = None
        self._held: Held | None = None
        self.faults: deque[StoreFault] = deque(maxlen=_MOST_FAULTS)
        self.late = 0  # frames shown without their background, for want of time
        self.skipped = 0  # GOPs not shown at all, for want of time

    def close(self) -> None:
        """Let the files go. May be called twice."""
        if self._opened is not None:
            opened, self._opened = self._opened, None
            opened.close()
            self.faults.extend(opened.faults(self._store))

    def rest(self) -> None:
        """Let go of decoded frames, which may be many; the plate stays decoded."""
        self._held = None

    def __enter__(self) -> Player:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def seek(self, at_us: int) -> Iterator[Picture]:
        """Show a moment: at once the key frame before it, its foreground over the plate; then the exact frame, the last
        that begins at or before `at_us` (or the first there is). Nothing where nothing is recorded."""
        return self._seek(self._begin(), at_us)

    def play(
        self,
        at_us: int,
        *,
        speed: float = 1.0,
        until_us: int | None = None,
        layer: LayerName = "full",
        lead: bool = False,
    ) -> Iterator[Picture]:
        """Frames from `at_us` on (with a negative speed: up to it, backwards) until `until_us`, which is not shown.
        Ends with the footage. `layer` foreground: never more than that. With `lead` it begins as `seek` does: at once
        the key frame's foreground over the plate, then the frame that the moment shows. Raises
        UsageError for a speed beyond SLOWEST to FASTEST."""
        if not SLOWEST <= abs(speed) <= FASTEST:
            raise UsageError(f"speed {speed:g}: expected {SLOWEST:g} to {FASTEST:g}, or the same negative")
        turn = self._begin()
        if speed > 0:
            return self._forwards(turn, at_us, speed, EVER_US if until_us is None else until_us, layer, lead)
        return self._backwards(turn, at_us, -speed, -1 if until_us is None else until_us, layer)

    def step(self, at_us: int, *, back: bool = False) -> Picture | None:
        """The frame after, or before, the moment `at_us`: give it the `wall_us` of the frame shown. None at the end of
        the footage."""
        for gop in self._gops(at_us, forwards=not back):
            held = self._held
            if held is None or not held.serves(gop, at_us):
                held = Held(Run(self._decoding, self._begin(), gop, "full"))
                self._held = held
            frame = held.before(at_us) if back else held.after(at_us)
            if frame is not None:
                return Picture(frame, held.run.layer)
        return None

    def at(self, at_us: int, *, layer: LayerName = "full", key: bool = False) -> Picture | None:
        """One picture: the exact frame of a moment, or with `key` the key frame before it, which costs less. None where
        nothing is recorded."""
        for gop in self._gops(at_us, forwards=True):
            held = self._held
            if held is None or not held.serves(gop, at_us + 1) or held.run.asked != layer:
                held = Held(Run(self._decoding, self._begin(), gop, layer))
                self._held = held
            frame = held.at(gop.key.wall_us if key else at_us)
            if frame is not None:
                return Picture(frame, held.run.layer)
        return None

    # -- playing

    def _seek(self, turn: int, at_us: int) -> Iterator[Picture]:
        for gop in self._gops(at_us, forwards=True):
            first = Run(self._decoding, turn, gop, "foreground").take("foreground")
            if first is None:
                continue  # damaged: the next GOP
            yield Picture(first, "foreground")
            held = Held(Run(self._decoding, turn, gop, "full"))
            exact = held.at(at_us)
            self._held = held
            if exact is not None and (exact.index != first.index or held.run.layer == "full"):
                yield Picture(exact, held.run.layer)
            return

    def _forwards(
        self, turn: int, at_us: int, speed: float, until_us: int, layer: LayerName, lead: bool
    ) -> Iterator[Picture]:
        pace = _Pace(self._clock, speed)
        shown_us, shown_epoch = -1, -1
        leads, before = lead, None  # `before`: what the moment shows, until a frame at or after it does
        for gop in self._gops(at_us, forwards=True):
            if gop.key.wall_us >= until_us:
                break
            if pace.late_s(gop.end_us) > LATE_S:
                self.skipped += 1
                continue
            run = Run(self._decoding, turn, gop, "foreground" if speed > KEYS_ABOVE else layer)
            wanted = run.layer
            if leads and (first := Run(self._decoding, turn, gop, "foreground").take("foreground")) is not None:
                leads = False
                yield Picture(first, "foreground")
            while (packet := run.peek()) is not None and packet.wall_us < until_us:
                late = pace.late_s(packet.wall_us) > LATE_S
                frame = run.take("foreground" if late else run.layer)
                if frame is None:
                    break
                self.late += run.layer != wanted
                hidden = gop.opened.segment.epoch != shown_epoch and frame.wall_us <= shown_us
                if frame.wall_us < at_us:
                    before = Picture(frame, run.layer) if lead else None
                elif not hidden:
                    if before is not None and frame.wall_us > at_us:
                        yield before
                    lead, before = False, None
                    shown_us, shown_epoch = max(shown_us, frame.wall_us), gop.opened.segment.epoch
                    yield Picture(frame, run.layer, pace.show(frame.wall_us))
                if speed > KEYS_ABOVE:
                    break
        if before is not None:
            yield before

    def _backwards(self, turn: int, at_us: int, speed: float, until_us: int, asked: LayerName) -> Iterator[Picture]:
        pace = _Pace(self._clock, -speed)
        for gop in self._gops(at_us, forwards=False):
            if gop.end_us < until_us:
                return
            if pace.late_s(gop.key.wall_us) > LATE_S:
                self.skipped += 1
                continue
            late = pace.late_s(gop.end_us) > LATE_S
            layer: LayerName = "foreground" if late or speed > KEYS_ABOVE else asked
            before = EVER_US
            while before > gop.key.index:
                run = Run(self._decoding, turn, gop, layer)
                frames = list(run.tail(before, at_us, 1 if speed > KEYS_ABOVE else None))
                self.late += len(frames) * (late and speed <= KEYS_ABOVE)
                for frame in reversed(frames):
                    if frame.wall_us >= until_us:
                        yield Picture(frame, run.layer, pace.show(frame.wall_us))
                before = frames[0].index if frames else 0

    # -- finding

    def _begin(self) -> int:
        self._held = None
        self._decoding.turn += 1
        return self._decoding.turn

    def _gops(self, at_us: int, *, forwards: bool) -> Iterator[Gop]:
        """GOPs from the one that shows a moment on, or back."""
        segment = self._store.segment_at(self._camera, at_us)
        found = False
        while segment is not None:
            opened = self._open(segment)
            keys = opened.keys if opened is not None else ()
            place = 0 if forwards else len(keys) - 1
            if not found and opened is not None:
                key = opened.reader.find(wall_us=at_us)
                place, found = (keys.index(key) if key is not None else 0 if forwards else -1), True
            while opened is not None and 0 <= place < len(keys):
                yield Gop(opened, keys[place], keys[place + 1] if place + 1 < len(keys) else None)
                place += 1 if forwards else -1
            segment = self._store.neighbour(segment, later=forwards)

    def _open(self, segment: Segment) -> Opened | None:
        """A segment's reader; the last one is kept, unless it may have grown. None if it cannot be read."""
        if self._opened is not None and self._opened.segment == segment and segment.state == "closed":
            return self._opened
        self.close()
        stack = ExitStack()
        try:
            reader = open_segment(self._store, segment, stack)
            self._opened = Opened(segment, reader, stack, reader.key_frames())
        except (StreamError, OSError) as error:
            stack.close()
            name = self._store.name(segment, Layer.FOREGROUND)
            self.faults.append(StoreFault(name, Fault(-1, None, getattr(error, "offset", -1), str(error))))
            return None
        return self._opened


class _Pace:
    """When pictures are due: the footage's time since the first one by the speed, which is negative for backwards.
    Where the footage's clock was set the other way no time passes."""

    def __init__(self, clock: Callable[[], float], speed: float) -> None:
        self._clock = clock
        self._speed = speed
        self._began_s: float | None = None
        self._due_s = 0.0
        self._wall_us = 0

    def show(self, wall_us: int) -> float:
        """When a frame is due that is shown next."""
        if self._began_s is None:
            self._began_s = self._clock()
        else:
            self._due_s = self._due(wall_us)
        self._wall_us = wall_us
        return self._due_s

    def late_s(self, wall_us: int) -> float:
        """How late a frame would be if it were shown now; nothing is late before the first."""
        return 0.0 if self._began_s is None else self._clock() - self._began_s - self._due(wall_us)

    def _due(self, wall_us: int) -> float:
        return self._due_s + max(0.0, (wall_us - self._wall_us) / 1e6 / self._speed)
