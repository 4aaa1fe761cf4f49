"""What passes between the stages: frozen, validated, picklable. Knows numpy and nothing else of the project.

Pictures are 8-bit YUV 4:2:0 from camera to plane. A *cell* is 16x16 luma pixels (8x8 chroma); a picture of W x H pixels
has ceil(W/16) x ceil(H/16) cells.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np
import numpy.typing as npt

CELL = 16
MIN_SIZE, MAX_SIZE = 64, 4096

Plane = npt.NDArray[np.uint8]
LayerName = Literal["full", "foreground"]


class Layer(IntEnum):
    """The two layers of a stream. The numbers stand in files and are frozen."""

    FOREGROUND = 0
    BACKGROUND = 1


def cell_grid(height: int, width: int) -> tuple[int, int]:
    """Rows and columns of cells that cover a picture."""
    return -(-height // CELL), -(-width // CELL)


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One picture: `y` (H,W), `u` and `v` (ceil(H/2), ceil(W/2)), all uint8 and contiguous.

    `index` counts from 0 within one source; `pts_us` is stream time from the source's first frame, strictly increasing;
    `wall_us` is Unix time. Both in microseconds.
    """

    y: Plane
    u: Plane
    v: Plane
    index: int
    pts_us: int
    wall_us: int

    def __post_init__(self) -> None:
        h, w = self.y.shape
        if not (MIN_SIZE <= h <= MAX_SIZE and MIN_SIZE <= w <= MAX_SIZE):
            raise ValueError(f"frame of {w}x{h}: sizes from {MIN_SIZE} to {MAX_SIZE} are supported")
        chroma = (-(-h // 2), -(-w // 2))
        for name, plane, shape in (("y", self.y, (h, w)), ("u", self.u, chroma), ("v", self.v, chroma)):
            if plane.dtype != np.uint8 or plane.shape != shape:
                raise ValueError(f"plane {name} is {plane.dtype} {plane.shape}, expected uint8 {shape}")
        if self.index < 0 or self.pts_us < 0:
            raise ValueError(f"frame index {self.index} at {self.pts_us} us: neither may be negative")

    @property
    def height(self) -> int:
        return int(self.y.shape[0])

    @property
    def width(self) -> int:
        return int(self.y.shape[1])

    @property
    def nbytes(self) -> int:
        return self.y.nbytes + self.u.nbytes + self.v.nbytes


@dataclass(frozen=True, slots=True)
class Detection:
    """A box in source pixels, half-open: x0 <= x < x1. `track_id` is None until a tracker has seen it."""

    x0: float
    y0: float
    x1: float
    y1: float
    label: str
    score: float
    track_id: int | None = None

    def __post_init__(self) -> None:
        if not (self.x1 > self.x0 and self.y1 > self.y0):
            raise ValueError(f"empty box ({self.x0}, {self.y0}, {self.x1}, {self.y1})")


@dataclass(frozen=True, slots=True, eq=False)
class RoiMask:
    """`cells` (rows, cols) bool: the foreground, as the stream carries it. `importance` (rows, cols) uint8 0..255: how
    much each cell matters, which only the encoder sees; 0 outside the foreground."""

    cells: npt.NDArray[np.bool_]
    importance: npt.NDArray[np.uint8]

    def __post_init__(self) -> None:
        if self.cells.dtype != np.bool_ or self.cells.ndim != 2:
            raise ValueError(f"mask cells are {self.cells.dtype} {self.cells.shape}, expected 2-D bool")
        if self.importance.dtype != np.uint8 or self.importance.shape != self.cells.shape:
            raise ValueError(
                f"importance is {self.importance.dtype} {self.importance.shape}, expected uint8 {self.cells.shape}"
            )

    @classmethod
    def empty(cls, height: int, width: int) -> RoiMask:
        """No foreground in a picture of these pixel dimensions."""
        grid = cell_grid(height, width)
        return cls(np.zeros(grid, np.bool_), np.zeros(grid, np.uint8))


@dataclass(frozen=True, slots=True, eq=False)
class Masked:
    """A frame with what was seen in it and which cells matter: what the detector's side hands to the codec's."""

    frame: Frame
    mask: RoiMask
    detections: tuple[Detection, ...] = ()


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a decoder must know before the first packet. Stands in the header of every stream and segment file.

    `fps` is nominal (0 = unknown); true times are in the packets. `sar` is the sample aspect ratio, `rotation`
    clockwise degrees already undone in the pixels (kept for the record), `matrix` and `full_range` describe the YUV
    values (matrix: the code points of ITU-T H.273). `fingerprint` names weights and tables.
    """

    width: int
    height: int
    fingerprint: bytes
    fps: float = 0.0
    sar: tuple[int, int] = (1, 1)
    rotation: int = 0
    matrix: int = 1
    full_range: bool = False

    def __post_init__(self) -> None:
        for name, value in (("width", self.width), ("height", self.height)):
            if not MIN_SIZE <= value <= MAX_SIZE:
                raise ValueError(f"stream {name} {value}: sizes from {MIN_SIZE} to {MAX_SIZE} are supported")
        if len(self.fingerprint) != 8:
            raise ValueError(f"fingerprint of {len(self.fingerprint)} bytes, expected 8")


@dataclass(frozen=True, slots=True)
class Packet:
    """One coded frame in two layers.

    `plate` is present (not empty) exactly on packets that open a segment, which are key frames too: such a packet and
    what follows decode without anything earlier. A layer is empty where nothing of it has to be decoded for this frame:
    nothing is there or has changed, or, within a mini-GOP, packets before have brought it.
    `sums` are 16-bit checksums of each layer's decoded symbols, (foreground, background), 0 for an empty layer.
    """

    index: int
    pts_us: int
    wall_us: int
    key: bool
    foreground: bytes
    background: bytes
    plate: bytes = b""
    sums: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        if self.plate and not self.key:
            raise ValueError(f"packet {self.index} carries a plate but is not a key frame")

    @property
    def nbytes(self) -> int:
        return len(self.plate) + len(self.foreground) + len(self.background)


@dataclass(frozen=True, slots=True)
class CodedFrame:
    """What the sink stores for a frame: its packet and what was seen in it."""

    packet: Packet
    detections: tuple[Detection, ...] = field(default=())


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without footage: from the begin of the last frame before it to that of the first one after, Unix time in
    microseconds. `reason` is for people and holds no password."""

    from_wall_us: int
    to_wall_us: int
    reason: str

    def __post_init__(self) -> None:
        if self.to_wall_us <= self.from_wall_us:
            raise ValueError(f"gap from {self.from_wall_us} to {self.to_wall_us} us: it must have a length")
