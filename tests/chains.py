"""Chains of tiny stages, to test the runners alone: no codec, no detector, no archive.

A packet's foreground is the frame's checksum, so order, loss and damage on the way show in what the sink wrote.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.budget import Budget
from pipeline.errors import CodecError, SourceError
from pipeline.footage import CodedFootage, Footage, Relief, Roi, SourceCounts, SourceFacts
from pipeline.graph import NO_RELIEF, FrameSink, SinkStage
from pipeline.live import LiveSettings, LiveSource
from pipeline.pace import Lane
from pipeline.types import CodedFrame, Frame, Packet, RoiMask, StreamInfo


def frame(index: int, *, height: int = 64, width: int = 64) -> Frame:
    y = np.full((height, width), index % 251, np.uint8)
    chroma = np.full((height // 2, width // 2), index % 13, np.uint8)
    return Frame(y, chroma, chroma.copy(), index, index * 100_000, 1_700_000_000_000_000 + index * 100_000)


def checksum(item: Frame) -> bytes:
    return zlib.crc32(item.y.tobytes() + item.u.tobytes() + item.v.tobytes()).to_bytes(4, "big")


class TinyCamera:
    """Stands in for an open pipeline.source.Source."""

    def __init__(self, frames: Iterator[Frame], *, size: tuple[int, int] = (64, 64), fps: float = 10.0) -> None:
        self.width, self.height, self.fps, self.is_live, self.lost = *size, fps, True, 0
        self.sar, self.rotation, self.matrix, self.full_range = (1, 1), 0, 1, False
        self._frames = frames
        self.closed = False

    def __iter__(self) -> Iterator[Frame]:
        return self._frames

    def close(self) -> None:
        self.closed = True


@dataclass
class TinySource:
    count: int
    batch: int
    size: tuple[int, int]
    fails_at: int | None
    live: bool
    skip: int = 0
    pace_s: float = 0.0

    def setup(self) -> bool:
        self._live: LiveSource | None = None
        if self.fails_at == -1:
            raise SourceError("tiny: cannot be opened")
        self._frames = self._all()
        self._taken = 0
        if self.live:
            settings = LiveSettings(size=2 * self.batch, limit=self.count)
            self._live = LiveSource(lambda: TinyCamera(self._frames, size=self.size), settings)  # type: ignore
        return self.live

    def _all(self) -> Iterator[Frame]:
        for index in range(0 if self.live else self.skip, self.count):
            if index == self.fails_at:
                raise SourceError(f"tiny: broke at frame {index}")
            if self.live and index % 50 == 0:
                time.sleep(0.01)
            time.sleep(self.pace_s)
            yield frame(index, width=self.size[0], height=self.size[1])

    def process(self, relief: Relief = NO_RELIEF) -> tuple[Footage, SourceCounts]:
        if self._live is not None:
            self._live.thin(relief.keep)
            return self._live.take(self.batch, patience_s=0.2), self._live.counts()
        frames = tuple(item for _, item in zip(range(self.batch), self._frames, strict=False))
        self._taken += len(frames)
        facts = SourceFacts(self.size[0], self.size[1], 10.0, self.live)
        return Footage(facts, frames), SourceCounts(frames_in=self._taken, ended=len(frames) < self.batch)

    def close(self) -> None:
        if self._live is not None:
            self._live.stop()


class TinyDetector:
    def setup(self) -> str:
        return "tiny detector"

    def process(self, footage: Footage) -> tuple[Roi, ...]:
        return tuple(Roi(RoiMask.empty(item.height, item.width), ()) for item in footage.frames)

    def close(self) -> None:
        pass


class Tight(Budget):
    """A node that has room for a quarter of the frames, and remembers what it was told."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes_of: dict[str, str] = {}
        self.done: dict[str, int] = {}
        self.lanes: set[str] = set()

    def join(self, camera: str, node: str) -> None:
        self.nodes_of[camera] = node

    def relief(self, camera: str) -> Relief:
        return Relief(4, 0.25) if camera in self.nodes_of else Relief()

    def worked(
        self, camera: str, counts: SourceCounts, frames: int, spent_s: Mapping[str, float], *, easing: bool = False
    ) -> None:
        self.done[camera] = self.done.get(camera, 0) + frames
        self.lanes |= {lane for lane, seconds in spent_s.items() if seconds > 0}


@dataclass
class TinyCodec:
    fails_at: int | None
    dies_at: int | None
    pause_s: float
    once: Path | None = None
    waits_for: Path | None = None

    def setup(self) -> None:
        self._first = True
        if self.waits_for is not None:
            self.waits_for.with_suffix(".asked").touch()
            while not self.waits_for.exists():
                time.sleep(0.05)

    def process(self, footage: Footage, rois: tuple[Roi, ...]) -> CodedFootage:
        time.sleep(self.pause_s)
        facts = footage.facts
        if facts is None or not footage.frames:
            return CodedFootage(None, 0, ())
        coded = tuple(self._code(item) for item, _ in zip(footage.frames, rois, strict=True))
        info = StreamInfo(facts.width, facts.height, b"tinytiny", fps=facts.fps)
        return CodedFootage(info, facts.session, coded, is_live=facts.is_live)

    def _code(self, item: Frame) -> CodedFrame:
        if item.index == self.fails_at:
            raise CodecError(f"tiny: no room for frame {item.index}")
        if self.dies_at is not None and item.index >= self.dies_at and not self.died():
            os._exit(1)
        key, self._first = self._first, False
        return CodedFrame(Packet(item.index, item.pts_us, item.wall_us, key, checksum(item), b"bg"))

    def died(self) -> bool:
        """Whether it has done so before: once is enough where it shall recover."""
        if self.once is None:
            return False
        died = self.once.exists()
        self.once.touch()
        return died

    def close(self) -> None:
        pass


class LineSink(FrameSink):
    """One JSON line a frame, and a last one when it was closed as it should."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("a")

    def append(self, coded: CodedFrame) -> None:
        packet = coded.packet
        self._file.write(json.dumps([packet.index, packet.pts_us, packet.foreground.hex()]) + "\n")

    def close(self) -> None:
        self._file.write('"closed"\n')
        self._file.close()


@dataclass(frozen=True)
class Lines:
    """What LineSinks have written so far; stands in for Recordings."""

    path: Path

    def mark(self) -> int:
        return len(self._frames())

    def stored(self, mark: int) -> int:
        return len(self._frames()) - mark

    def _frames(self) -> list[str]:
        return [line for line in self.path.read_text().splitlines() if line != '"closed"'] if self.path.exists() else []


@dataclass(frozen=True)
class TinyPlan:
    """Stands in for a CameraPlan."""

    camera: str
    out: Path
    count: int = 50
    batch: int = 4
    size: tuple[int, int] = (64, 64)
    source_fails_at: int | None = None
    codec_fails_at: int | None = None
    codec_dies_at: int | None = None
    codec_pause_s: float = 0.0
    setup_waits_for: Path | None = None
    live: bool = False
    once: Path | None = None
    pace_s: float = 0.0

    @property
    def counted_off(self) -> bool:
        return self.pace_s == 0

    @property
    def held(self) -> Lines | None:
        return Lines(self.out) if self.once is not None else None

    def source(self, *, skip: int = 0) -> TinySource:
        return TinySource(self.count, self.batch, self.size, self.source_fails_at, self.live, skip, self.pace_s)

    def detect(self) -> TinyDetector:
        return TinyDetector()

    def codec(self, lane: Lane | None = None) -> TinyCodec:
        return TinyCodec(self.codec_fails_at, self.codec_dies_at, self.codec_pause_s, self.once, self.setup_waits_for)

    def sink(self) -> SinkStage:
        return SinkStage(self._open)

    def _open(self, info: StreamInfo) -> FrameSink:
        return LineSink(self.out)

    def written(self) -> list[object]:
        return [json.loads(line) for line in self.out.read_text().splitlines()]

    def expected(self, count: int | None = None) -> list[object]:
        """What a whole run writes, or one of the first `count` frames."""
        items = [
            frame(i, width=self.size[0], height=self.size[1]) for i in range(self.count if count is None else count)
        ]
        return [[item.index, item.pts_us, checksum(item).hex()] for item in items] + ["closed"]

    def but(self, **changes: object) -> TinyPlan:
        return replace(self, **changes)
