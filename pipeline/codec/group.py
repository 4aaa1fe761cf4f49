"""Mini-GOPs: frames that are coded out of order, so that most are predicted from both sides (hierarchical B-frames).

Of some frames in a row the last, the *anchor*, is coded first, from the anchor before. Then the one in the middle, from
both anchors, and so on in each half. Of each layer a mini-GOP is one entropy-coded stream, which the packet of its
first frame carries; those of the others are empty. Normative; FORMAT.md, "Mini-GOPs", says the same byte by byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from pipeline.codec.decisions import read_bits
from pipeline.codec.layer import Coded, most_symbols
from pipeline.codec.rans import SymbolReader, SymbolWriter, joined
from pipeline.codec.state import LayerState, Planes, Shown
from pipeline.codec.tables import CODED, DEPTHS, CodingTables
from pipeline.errors import StreamError
from pipeline.types import Layer

MOST = 16  # frames of a mini-GOP


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
def needed(size: int) -> tuple[int, ...]:
    """How many turns have to be decoded until the frame at each place can be shown, that have not been for one
    before."""
    places = [turn.place for turn in turns(size)]
    ends = [1 + places.index(place) for place in range(size)]
    so_far = [max(ends[: place + 1]) for place in range(size)]
    return tuple(now - before for now, before in zip(so_far, [0, *so_far], strict=False))


def _rows(layer: Layer, size: int) -> npt.NDArray[np.int64]:
    """The table of each turn, of whether it has anything. A mini-GOP of one frame does not say it."""
    depths = [turn.depth for turn in turns(size)] if size > 1 else []
    return CODED + DEPTHS * int(layer) + np.array(depths, np.int64)


def pack(layer: Layer, tables: CodingTables, coded: Sequence[Coded]) -> bytes:
    """What was coded at each turn -> the payload; empty where nothing was, which a decoder takes for frames one by
    one. `tables` as they ship with the weights."""
    sections = [one.section for one in coded if one.section is not None]
    if not sections:
        return b""
    opening, rows = SymbolWriter(tables), _rows(layer, len(coded))
    has = np.array([one.section is not None for one in coded], np.int64)
    opening.add(rows, has[: len(rows)])
    data, zeros = joined([opening.section(), *sections])
    return bytes((len(coded) - 1 | zeros << 4,)) + data


@dataclass(frozen=True, slots=True)
class Opened:
    """A payload, opened: how many frames, which turns have something, and what that is read from."""

    size: int
    has: tuple[bool, ...] = (False,)
    reader: SymbolReader | None = None

    @classmethod
    def of(cls, payload: bytes, layer: Layer, tables: CodingTables, cells: int) -> Opened:
        """Of a layer of so many cells. Raises StreamError."""
        if not payload:
            return cls(1)
        size = 1 + (payload[0] & 15)
        if payload[0] >> 7:
            raise StreamError(f"a mini-GOP opens with {payload[:1].hex()}")
        reader = SymbolReader(tables, payload[1:], payload[0] >> 4, most=size * (1 + most_symbols(cells)))
        has: tuple[bool, ...] = (True,)
        if size > 1:
            has = tuple(bool(bit) for bit in read_bits(reader, _rows(layer, size)))
            if not any(has):
                raise StreamError("a mini-GOP has nothing in it")
        reader.end()
        return cls(size, has, reader)


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
        return self._anchors.between(*sides, distances, self.differ, depth=turn.depth)

    def coded(self, turn: Turn, state: LayerState, plate: Planes) -> None:
        """The frame of a turn is coded, or was found to have nothing."""
        if state.layer is Layer.FOREGROUND:
            state.restore(state.cells, plate)
        self._shown[turn.place] = state.shown
        self.differ = self.differ | state.cells

    def close(self, coded: Sequence[Coded]) -> None:
        """An encoder's, when all turns are `coded`: see `pack`."""
        if all(one.section is None for one in coded):
            for _ in coded[1:]:
                self._anchors.commit_empty()

    @property
    def whole(self) -> bool:
        """Whether all turns are coded."""
        return len(self._shown) > self.size

    def at(self, place: int) -> Shown:
        """What the frame at a place has come to."""
        return self._shown[place]
