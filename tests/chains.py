"""Chains of tiny stages, to test the runners alone: no codec, no detector, no archive.

A packet's foreground is the frame's checksum, so order, loss and damage on the way show in what the sink wrote.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from pipeline.errors import CodecError, SourceError
from pipeline.graph import FrameBatch, FrameSink, LiveQueue, Roi, SinkStage, SourceFacts
from pipeline.types import CodedFrame, Frame, Packet, RoiMask, StreamInfo


def frame(index: int, *, height: int = 64, width: int = 64) -> Frame:
    y = np.full((height, width), index % 251, np.uint8)
    chroma = np.full((height // 2, width // 2), index % 13, np.uint8)
    return Frame(y, chroma, chroma.copy(), index, index * 100_000, 1_700_000_000_000_000 + index * 100_000)


def checksum(item: Frame) -> bytes:
    return zlib.crc32(item.y.tobytes() + item.u.tobytes() + item.v.tobytes()).to_bytes(4, "big")


@dataclass
class TinySource:
    count: int
    batch: int
    size: tuple[int, int]
    fails_at: int | None
    live: bool

    def setup(self) -> SourceFacts:
        self._queue: LiveQueue | None = None
        if self.fails_at == -1:
            raise SourceError("tiny: cannot be opened")
        self._frames = self._all()
        self._taken = 0
        if self.live:
            self._queue = LiveQueue(self._frames, size=2 * self.batch)
        return SourceFacts(self.size[0], self.size[1], 10.0, self.live, (1, 1), 0, 1, False)

    def _all(self) -> Iterator[Frame]:
        for index in range(self.count):
            if index == self.fails_at:
                raise SourceError(f"tiny: broke at frame {index}")
            yield frame(index, width=self.size[0], height=self.size[1])

    def process(self) -> FrameBatch:
        if self._queue is not None:
            frames, ended = self._queue.take(self.batch, patience_s=0.2)
            return FrameBatch(frames, self._queue.frames_in, self._queue.dropped, 0, ended)
        frames = tuple(item for _, item in zip(range(self.batch), self._frames, strict=False))
        self._taken += len(frames)
        return FrameBatch(frames, self._taken, 0, 0, len(frames) < self.batch)

    def close(self) -> None:
        if self._queue is not None:
            self._queue.stop()


class TinyDetector:
    def setup(self) -> str:
        return "tiny detector"

    def process(self, frames: tuple[Frame, ...]) -> tuple[Roi, ...]:
        return tuple(Roi(RoiMask.empty(item.height, item.width), ()) for item in frames)

    def close(self) -> None:
        pass


@dataclass
class TinyCodec:
    facts: SourceFacts
    fails_at: int | None
    dies_at: int | None
    pause_s: float

    def setup(self) -> StreamInfo:
        return StreamInfo(self.facts.width, self.facts.height, b"tinytiny", fps=self.facts.fps)

    def process(self, frames: tuple[Frame, ...], rois: tuple[Roi, ...]) -> tuple[CodedFrame, ...]:
        time.sleep(self.pause_s)
        return tuple(self._code(item) for item, _ in zip(frames, rois, strict=True))

    def _code(self, item: Frame) -> CodedFrame:
        if item.index == self.fails_at:
            raise CodecError(f"tiny: no room for frame {item.index}")
        if item.index == self.dies_at:
            os._exit(1)
        return CodedFrame(Packet(item.index, item.pts_us, item.wall_us, item.index == 0, checksum(item), b"bg"))

    def close(self) -> None:
        pass


class LineSink:
    """One JSON line a frame, and a last one when it was closed as it should."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")

    def append(self, coded: CodedFrame) -> None:
        packet = coded.packet
        self._file.write(json.dumps([packet.index, packet.pts_us, packet.foreground.hex()]) + "\n")

    def close(self) -> None:
        self._file.write('"closed"\n')
        self._file.close()


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
    live: bool = False

    def source(self) -> TinySource:
        return TinySource(self.count, self.batch, self.size, self.source_fails_at, self.live)

    def detect(self) -> TinyDetector:
        return TinyDetector()

    def codec(self, facts: SourceFacts) -> TinyCodec:
        return TinyCodec(facts, self.codec_fails_at, self.codec_dies_at, self.codec_pause_s)

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
