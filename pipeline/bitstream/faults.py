"""What a reader found wrong, as data. Knows nothing of how it was found."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.types import Layer


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in a stream. `frame` is the first frame concerned, -1 if unknown; `layer` is None where both or neither
    are meant; `offset` is the byte in the layer's file, -1 if there is none."""

    frame: int
    layer: Layer | None
    offset: int
    reason: str
