"""Mini-GOPs: frames that are coded out of order, so that most are predicted from both sides (hierarchical B-frames).

Of some frames in a row the last, the *anchor*, is coded first, from the anchor before. Then the one in the middle, from
both anchors, and so on in each half. Packets stay in the order of display, one a frame: each carries what has to be
decoded until its frame can be shown, and so may be empty. Normative; FORMAT.md, "Mini-GOPs", says the same byte by
byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TypeVar

from pipeline.bitstream.wire import Cursor, put_varint
from pipeline.codec.state import LayerState, Planes, Shown
from pipeline.errors import StreamError
from pipeline.types import Layer

_T = TypeVar("_T")

MOST = 16  # frames of a mini-GOP
_LEAD, _HEAD = 0x20, 2  # first byte of a payload that opens one, and how long it is


@dataclass(frozen=True, slots=True)
class Turn:
    """A frame's turn to be coded: its place in the mini-GOP, from 0, and the places of what it is predicted from; of
    the anchor before -1. An anchor has no `after`. `depth`: 0 of an anchor, of others one more than of what they are
    predicted from."""

    place: int
    before: int
    after: int | None
    depth: int


@cache
def turns(size: int) -> tuple[Turn, ...]:
    """The order in which a mini-GOP of so many frames is coded."""
    return Turn(size - 1, -1, None, 0), *_between(-1, size - 1, 1)


def _between(before: int, after: int, depth: int) -> Iterator[Turn]:
    if after - before > 1:
        middle = (before + after) // 2
        yield Turn(middle, before, after, depth)
        yield from _between(before, middle, depth + 1)
        yield from _between(middle, after, depth + 1)


@cache
def carried(size: int) -> tuple[int, ...]:
    """How many turns the packet of each place carries."""
    places = [turn.place for turn in turns(size)]
    ends = [1 + places.index(place) for place in range(size)]
    so_far = [max(ends[: place + 1]) for place in range(size)]
    return tuple(now - before for now, before in zip(so_far, [0, *so_far], strict=False))


def pack(bodies: Sequence[bytes]) -> list[bytes]:
    """What was coded at each turn -> the payloads of the packets, in the order of display. Where nothing was coded all
    are empty, which a decoder takes for frames one by one."""
    if not any(bodies):
        return [b""] * len(bodies)
    payloads = []
    for place, parts in enumerate(_shared_out(bodies)):
        if len(parts) == 1:
            payloads.append(parts[0])
            continue
        payload = bytearray((_LEAD, len(bodies)) if place == 0 else ())
        if place == 0 or any(parts):
            for part in parts:
                put_varint(payload, len(part))
                payload += part
        payloads.append(bytes(payload))
    return payloads


def checks(sums: Sequence[int]) -> list[int]:
    """The checksum of what was coded at each turn -> those of the packets: the sum of what each carries, 16 bits."""
    return [sum(parts) & 0xFFFF for parts in _shared_out(sums)]


def _shared_out(coded: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """What was coded at each turn, by the packets that carry it."""
    start = 0
    for count in carried(len(coded)):
        yield coded[start : start + count]
        start += count


def opens(payload: bytes) -> int:
    """How many frames the mini-GOP has that a payload opens; 1 where it is of one frame alone. Raises StreamError."""
    if not payload or not payload[0] & _LEAD:
        return 1
    if payload[0] != _LEAD or len(payload) < 2 or not 2 <= payload[1] <= MOST:
        raise StreamError(f"layer header {payload[:2].hex()} is not valid")
    return payload[1]


def unpack(payload: bytes, size: int, place: int) -> list[bytes]:
    """What a payload carries for each turn of the packet at a place. Raises StreamError."""
    count = carried(size)[place]
    if count == 1:
        return [payload]
    if not payload:
        return [b""] * count
    cursor = Cursor(payload, 0)
    cursor.take(_HEAD if place == 0 else 0)
    parts = [cursor.take(cursor.varint(cursor.left)) for _ in range(count)]
    if cursor.left:
        raise cursor.fail(f"{cursor.left} bytes follow the frames of a mini-GOP")
    return parts


class Group:
    """A mini-GOP of one layer under way: who is coded with what, and what is there to be shown. `differ` (rows,cols):
    where frames that are coded may not be alike."""

    def __init__(self, state: LayerState, size: int) -> None:
        self._anchors, self.size = state, size
        self._shown: dict[int, Shown] = {-1: state.shown}
        self.differ = state.cells

    def begin(self, turn: Turn) -> LayerState:
        """The state that codes a turn's frame."""
        if turn.after is None:
            self._anchors.reach(turn.place - turn.before)
            return self._anchors
        sides = self._shown[turn.before], self._shown[turn.after]
        distances = turn.place - turn.before, turn.after - turn.place
        return self._anchors.between(*sides, distances, self.differ)

    def coded(self, turn: Turn, state: LayerState, plate: Planes) -> None:
        """The frame of a turn is coded, or was found to have nothing."""
        if state.layer is Layer.FOREGROUND:
            state.restore(state.cells, plate)
        self._shown[turn.place] = state.shown
        self.differ = self.differ | state.cells

    def close(self, bodies: Sequence[bytes]) -> None:
        """An encoder's, when all turns are coded as `bodies`: see `pack`."""
        if not any(bodies):
            for _ in bodies[1:]:
                self._anchors.commit_empty()

    def at(self, place: int) -> Shown:
        """What the frame at a place has come to."""
        return self._shown[place]
