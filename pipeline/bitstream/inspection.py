"""What stands in a stream, as data: header, GOPs, bytes by layer and frame. Draws nothing, decodes nothing."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise

from pipeline.bitstream.faults import Fault, Loss
from pipeline.bitstream.reader import StreamReader
from pipeline.types import Layer


@dataclass(frozen=True, slots=True)
class FrameReport:
    """Sizes in bytes; `plate` is not 0 where the frame opens a segment."""

    index: int
    pts_us: int
    wall_us: int
    key: bool
    plate: int
    foreground: int
    background: int
    background_lost: bool


@dataclass(frozen=True, slots=True)
class GopReport:
    """A key frame and what depends on it. Sizes in bytes."""

    first: int
    pts_us: int
    frames: int
    plate: int
    foreground: int
    background: int


@dataclass(frozen=True, slots=True)
class StreamReport:
    """Sizes in bytes; `overhead` is what the container adds to the payloads, the plates' parity included."""

    width: int
    height: int
    fps: float
    sar: tuple[int, int]
    rotation: int
    matrix: int
    full_range: bool
    fingerprint: str
    stream_id: str
    closed: bool
    seconds: float
    bytes: int
    plates: int
    foreground: int
    background: int
    overhead: int
    gops: tuple[GopReport, ...]
    frames: tuple[FrameReport, ...]
    faults: tuple[Fault, ...]
    losses: tuple[Loss, ...]

    def to_json(self) -> str:
        """One JSON object with the names of the fields, layers by their names."""
        return json.dumps(asdict(self, dict_factory=_plain))


def inspect_stream(reader: StreamReader) -> StreamReport:
    """Read a stream to its end. Raises StreamError only if the reader is strict."""
    frames = tuple(
        FrameReport(
            index=p.index, pts_us=p.pts_us, wall_us=p.wall_us, key=p.key, plate=len(p.plate),
            foreground=len(p.foreground), background=len(p.background), background_lost=item.background_lost,
        )
        for item in reader.packets()
        for p in (item.packet,)
    )  # fmt: skip
    starts = [place for place, frame in enumerate(frames) if frame.key]
    gops = tuple(_gop(frames[a:b]) for a, b in pairwise([*starts, len(frames)]))
    plates, foreground, background = (
        sum(getattr(frame, name) for frame in frames) for name in ("plate", "foreground", "background")
    )
    info, total = reader.info, reader.size
    return StreamReport(
        width=info.width, height=info.height, fps=info.fps, sar=info.sar, rotation=info.rotation, matrix=info.matrix,
        full_range=info.full_range, fingerprint=info.fingerprint.hex(), stream_id=reader.header.stream_id.hex(),
        closed=reader.closed, seconds=_seconds(frames), bytes=total, plates=plates, foreground=foreground,
        background=background, overhead=total - plates - foreground - background, gops=gops, frames=frames,
        faults=tuple(reader.faults), losses=tuple(reader.losses),
    )  # fmt: skip


def _plain(fields: list[tuple[str, object]]) -> dict[str, object]:
    return {name: value.name.lower() if isinstance(value, Layer) else value for name, value in fields}


def _gop(frames: tuple[FrameReport, ...]) -> GopReport:
    plate, foreground, background = (
        sum(sizes) for sizes in zip(*((f.plate, f.foreground, f.background) for f in frames), strict=True)
    )
    return GopReport(frames[0].index, frames[0].pts_us, len(frames), plate, foreground, background)


def _seconds(frames: tuple[FrameReport, ...]) -> float:
    """From the first frame to the end of the last, which is taken to last as long as the mean one."""
    if len(frames) < 2:
        return 0.0
    span_us = frames[-1].pts_us - frames[0].pts_us
    return span_us * len(frames) / (len(frames) - 1) / 1e6
