"""What goes into a codec under test and what comes out. Knows no codec."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice

from pipeline.color import BT709
from pipeline.types import Frame, Masked


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Frames with the regions that every codec is given. `name` is a file's name without its folder and ending;
    `detector` says where the regions came from; `matrix` and `full_range` are as in StreamInfo."""

    name: str
    masked: tuple[Masked, ...]
    fps: float
    detector: str = ""
    matrix: int = BT709
    full_range: bool = False

    def __post_init__(self) -> None:
        if not self.masked:
            raise ValueError(f"clip {self.name} has no frames")
        if not self.fps > 0:
            raise ValueError(f"clip {self.name} has {self.fps} frames a second")

    def __len__(self) -> int:
        return len(self.masked)

    @property
    def width(self) -> int:
        return self.masked[0].frame.width

    @property
    def height(self) -> int:
        return self.masked[0].frame.height

    @property
    def seconds(self) -> float:
        return len(self) / self.fps

    @property
    def foreground_share(self) -> float:
        """Of the cells of all frames."""
        return sum(float(item.mask.cells.mean()) for item in self.masked) / len(self)

    def digest(self) -> str:
        """Names frames and masks: equal digests, equal measurements."""
        digest = hashlib.sha256(f"{self.fps:.6g} {self.matrix} {self.full_range}".encode())
        for item in self.masked:
            for plane in (item.frame.y, item.frame.u, item.frame.v, item.mask.cells, item.mask.importance):
                digest.update(str(plane.shape).encode())
                digest.update(plane.tobytes())
        return digest.hexdigest()[:16]


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """What a codec made of a clip: `nbytes` in all, in `layers` the same by layer and frame, and the decoded frames,
    which are decoded while they are taken, once."""

    nbytes: int
    layers: Mapping[str, tuple[int, ...]]
    frames: Iterator[Frame]


def cut(frames: Iterable[Frame], *, skip: int, count: int) -> list[Frame]:
    """`count` frames after the first `skip`, counted and timed from 0 again."""
    taken = list(islice(frames, skip, skip + count))
    return [replace(frame, index=index, pts_us=frame.pts_us - taken[0].pts_us) for index, frame in enumerate(taken)]
