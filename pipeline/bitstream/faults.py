"""What a reader found wrong and which frames that cost, as data. Knows nothing of how it was found."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.types import Layer

MAX_FAULTS = 10_000  # a hostile file must not fill the memory with its faults


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in a stream. `frame` is the first frame concerned, -1 if unknown; `layer` is None where both or neither
    are meant; `offset` is the byte in the layer's file, -1 if there is none."""

    frame: int
    layer: Layer | None
    offset: int
    reason: str


@dataclass(frozen=True, slots=True)
class Loss:
    """The frames from `first` to `last`, both included, -1 where that is unknown, that one fault cost: those it hit and
    those that depend on them. `layer` BACKGROUND: of these frames the background alone. `offset` and `reason` are the
    fault's."""

    first: int
    last: int
    layer: Layer
    offset: int
    reason: str


class Losses:
    """Gathers the losses of one pass over a stream, at most MAX_FAULTS."""

    def __init__(self) -> None:
        self.found: list[Loss] = []
        self._newest: dict[Layer, int] = {}

    def add(self, first: int, last: int | None, layer: Layer, cause: Fault) -> None:
        """Frames that `cause` cost, none if `last` is before `first`; `last` is None if that is unknown. What goes on
        where an earlier loss to the same cause ended is joined to it."""
        if last is None:
            last = -1
        elif last < first:
            return
        place = self._newest.get(layer)
        before = self.found[place] if place is not None else None
        if (
            place is not None
            and before is not None
            and before == Loss(before.first, first - 1, layer, cause.offset, cause.reason)
        ):
            self.found[place] = replace(before, last=last)
        elif len(self.found) < MAX_FAULTS:
            self._newest[layer] = len(self.found)
            self.found.append(Loss(first, last, layer, cause.offset, cause.reason))
