"""A GOP of the archive under decoding: packet by packet, with the frames that were decoded last at hand."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace

from pipeline.bitstream import Fault, KeyFrame, StreamReader
from pipeline.errors import CodecError, StreamError, UsageError
from pipeline.replay import Decoders
from pipeline.store import Segment, Store, StoreFault
from pipeline.types import Frame, Layer, LayerName, Packet

_HOLD_BYTES = 256 << 20  # of decoded frames, to go backwards


@dataclass(frozen=True, slots=True)
class Opened:
    """A segment whose files are open, and its key frames."""

    segment: Segment
    reader: StreamReader
    stack: ExitStack
    keys: tuple[KeyFrame, ...]

    def close(self) -> None:
        self.stack.close()

    def faults(self, store: Store) -> Iterator[StoreFault]:
        for fault in self.reader.faults:
            yield StoreFault(store.name(self.segment, fault.layer or Layer.FOREGROUND), fault)


@dataclass(frozen=True, slots=True)
class Gop:
    """`following`: the next key frame of its segment, None for the last."""

    opened: Opened
    key: KeyFrame
    following: KeyFrame | None

    @property
    def name(self) -> tuple[str, int]:
        return self.opened.segment.id, self.key.index

    @property
    def end_us(self) -> int:
        """Wall time where it ends, as far as is known."""
        if self.following is not None:
            return self.following.wall_us
        return max(self.opened.segment.last_wall_us, self.key.wall_us)


class Decoding:
    """The decoder, whose plate it has, and whose turn it is."""

    def __init__(self, decoders: Decoders) -> None:
        self.decoders = decoders
        self.turn = 0
        self.plated: tuple[str, int] | None = None
        self._backed = 0  # the last turn that decoded a background

    def decode(self, gop: Gop, packet: Packet, plate: bytes, layer: LayerName) -> Frame:
        """Raises StreamError and CodecError; the next packet given is then a key frame."""
        name = gop.opened.segment.id, gop.key.plate_index
        known, self.plated = self.plated, None
        decoder = self.decoders.get(gop.opened.reader.info)
        if plate and known != name:
            decoder.set_plate(plate)
        frame = decoder.decode(replace(packet, plate=b""), layer, held=self._backed == self.turn)
        self._backed = self.turn if layer == "full" else self._backed
        self.plated = name
        return frame


class Run:
    """One GOP under decoding, packet by packet. `layer`: what is decoded; a background left out once is left out until
    the GOP's end."""

    def __init__(self, decoding: Decoding, turn: int, gop: Gop, layer: LayerName) -> None:
        self._decoding = decoding
        self._turn = turn
        self._require_turn()
        self.gop = gop
        self.asked = layer
        self.layer: LayerName = layer if gop.opened.reader.has_background else "foreground"
        self._items = gop.opened.reader.packets(gop.key, layer=self.layer)
        self._item = next(self._items, None)

    @property
    def current(self) -> bool:
        """Whether nothing else has been decoded since."""
        return self._turn == self._decoding.turn

    def peek(self) -> Packet | None:
        """The next packet, None at the GOP's end."""
        packet = self._item.packet if self._item is not None else None
        end = self.gop.following
        return None if packet is None or (end is not None and packet.index >= end.index) else packet

    def take(self, layer: LayerName) -> Frame | None:
        """Decode the next packet. None at the GOP's end, and where damage has ended it."""
        self._require_turn()
        if self._item is None or self.peek() is None:
            return None
        item = self._item
        self.layer = "foreground" if layer == "foreground" else self.layer
        try:
            plate = item.plate or item.packet.plate
            frame = self._decoding.decode(self.gop, item.packet, plate, self.layer)
        except (StreamError, CodecError) as error:
            offset = error.offset if isinstance(error, StreamError) else -1
            self.gop.opened.reader.report(Fault(item.packet.index, None, offset, f"does not decode: {error}"))
            self._item = None
            return None
        self._item = next(self._items, None)
        return frame

    def _require_turn(self) -> None:
        if not self.current:
            raise UsageError("this playback has ended: the player began another")

    def tail(self, before: int, until_us: int, most: int | None) -> deque[Frame]:
        """The frames with an index under `before` and a time up to `until_us`; of many only the last that may be held,
        or the first `most`."""
        frames: deque[Frame] = deque()
        while (packet := self.peek()) is not None and packet.index < before and packet.wall_us <= until_us:
            frame = self.take(self.layer)
            if frame is None:
                break
            _hold(frames, frame)
            if most is not None and len(frames) >= most:
                break
        return frames


class Held:
    """The frames of a GOP under decoding that steps go back and forth in."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self._frames: deque[Frame] = deque()

    def at(self, at_us: int) -> Frame | None:
        """The last frame that begins at or before a moment, or the first."""
        while (packet := self.run.peek()) is not None and (packet.wall_us <= at_us or not self._frames):
            self._advance()
        return next((frame for frame in reversed(self._frames) if frame.wall_us <= at_us), self._first())

    def after(self, at_us: int) -> Frame | None:
        while (not self._frames or self._frames[-1].wall_us <= at_us) and self._advance():
            pass
        return next((frame for frame in self._frames if frame.wall_us > at_us), None)

    def before(self, at_us: int) -> Frame | None:
        while (packet := self.run.peek()) is not None and packet.wall_us < at_us:
            self._advance()
        return next((frame for frame in reversed(self._frames) if frame.wall_us < at_us), None)

    def serves(self, gop: Gop, at_us: int) -> bool:
        """Whether it is of this GOP and still knows what lies beside a moment."""
        if self.run.gop.name != gop.name or not self.run.current:
            return False
        return not self._frames or self._frames[0].index == gop.key.index or self._frames[0].wall_us < at_us

    def _advance(self) -> bool:
        frame = self.run.take(self.run.layer)
        if frame is not None:
            _hold(self._frames, frame)
        return frame is not None

    def _first(self) -> Frame | None:
        return self._frames[0] if self._frames else None


def _hold(frames: deque[Frame], frame: Frame) -> None:
    """Add a frame; the oldest go where there are too many to hold."""
    frames.append(frame)
    most = max(2, _HOLD_BYTES // max(1, frame.y.nbytes + frame.u.nbytes + frame.v.nbytes))
    while len(frames) > most:
        frames.popleft()
