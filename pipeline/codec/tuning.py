"""The encoder's free choices; a decoder needs none. Chosen on the development clips, see docs/experiments.md."""

from __future__ import annotations

from dataclasses import dataclass

# Shares of a picture that stays: a plate of which less does is not worth its offset, of which more does is in full.
_LITTLE, _MOST = 0.3, 0.6


@dataclass(frozen=True, slots=True)
class Tuning:
    """Offsets are quality steps, of which 12 halve the quantiser step."""

    background_offset: int = -4  # from foreground to background
    plate_offset: int = 8  # from foreground to plate: paid once a segment, used in every frame
    passing_offset: int = 0  # in its place where little of the picture stays, as of a camera that turns
    refine_offset: int = 12  # from foreground to every `refine_every`th of it from a key frame on: others live on that
    refine_every: int = 32
    anchor_offset: int = 6  # in place of `refine_offset` where that is a mini-GOP's anchor, finer than others anyway
    between_offsets: tuple[int, ...] = (-6, -10, -13, -15)  # from foreground to frames between others, by depth
    background_slack_db: float = 0.5  # how far the background may fall below the foreground before it counts more
    thrift: float = 1.0  # of the quantiser
    thrift_background: float = 1.3
    new_plate_slack: float = 4.0  # times the usual threshold: a plate is dear, small drift is left to the background
    new_plate_share: float = 0.5  # at a key frame, open a new segment when more than this share left the plate

    def of_plate(self, stays: float) -> int:
        """The offset of a plate, by how much of its picture `stays` for a mini-GOP, 0..1."""
        part = min(1.0, max(0.0, (stays - _LITTLE) / (_MOST - _LITTLE)))
        return round(self.passing_offset + part * (self.plate_offset - self.passing_offset))

    def of_refined(self, size: int) -> int:
        """That of a refined foreground, which is the anchor of so many frames."""
        return self.refine_offset if size == 1 else self.anchor_offset

    def of_between(self, depth: int) -> int:
        """That of a frame between others; `depth` as of `Turn`."""
        return self.between_offsets[min(depth, len(self.between_offsets)) - 1]
