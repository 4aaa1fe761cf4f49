"""The chain of one camera as data: source -> roi -> codec -> sink, and the plain stages that it is made of.

A stage is made cheaply, prepares itself in `setup()` (where it runs), works on a batch of frames per `process()` and
ends with `close()`. Knows neither Ray nor threads of others: `pipeline.local` and the package `workers` run the same
stages. Order within a camera is the runner's duty.
"""

from __future__ import annotations

import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.config import CameraConfig, CodecConfig, SiteConfig, SourceConfig
from pipeline.errors import FoveaError, JobError
from pipeline.types import CodedFrame, Detection, Frame, RoiMask, StreamInfo

if TYPE_CHECKING:
    from pipeline.codec import Encoder
    from pipeline.source import Source
    from pipeline.track import RoiStage

PATIENCE_S = 0.5  # a live read returns after this long, so that a silent camera can be stopped
BATCH_BYTES = 16 << 20  # a batch of large frames is cut to about this, which bounds what is in flight


@dataclass(frozen=True, slots=True)
class Counters:
    """What became of a camera's frames. In the end `frames_in == coded + dropped`; `lost` never arrived."""

    frames_in: int = 0
    coded: int = 0
    dropped: int = 0
    lost: int = 0
    bytes_foreground: int = 0
    bytes_background: int = 0

    def plus(self, coded: tuple[CodedFrame, ...]) -> Counters:
        """With these frames coded too. The plate is foreground: it is kept as long."""
        packets = [frame.packet for frame in coded]
        return replace(
            self,
            coded=self.coded + len(packets),
            bytes_foreground=self.bytes_foreground + sum(len(p.plate) + len(p.foreground) for p in packets),
            bytes_background=self.bytes_background + sum(len(p.background) for p in packets),
        )

    def read(self, batch: FrameBatch) -> Counters:
        """With the source's own counts, as they stood when this batch was read."""
        return replace(self, frames_in=batch.frames_in, dropped=batch.dropped, lost=batch.lost)


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """What the codec and the archive must know of a source; see StreamInfo for the units."""

    width: int
    height: int
    fps: float
    is_live: bool
    sar: tuple[int, int]
    rotation: int
    matrix: int
    full_range: bool


@dataclass(frozen=True, slots=True, eq=False)
class FrameBatch:
    """Frames in order, with the source's counts so far. `ended`: nothing follows."""

    frames: tuple[Frame, ...]
    frames_in: int
    dropped: int
    lost: int
    ended: bool


@dataclass(frozen=True, slots=True, eq=False)
class Roi:
    """What the detector says of one frame. Apart from the frame, so that frames travel once."""

    mask: RoiMask
    detections: tuple[Detection, ...]


class FrameSink(Protocol):
    """Where coded frames go: the archive's Sink or a stream file."""

    def append(self, frame: CodedFrame) -> None: ...

    def close(self) -> None: ...


SinkOpener = Callable[[StreamInfo], FrameSink]


class SourceStage:
    """Frames from one source in batches. A file is read when asked, so nothing is lost; a live camera is read by a
    thread into a bounded queue that drops its oldest frame when the chain is slow."""

    def __init__(self, config: SourceConfig, *, batch: int) -> None:
        self._config = config
        self._batch = batch
        self._source: Source | None = None
        self._error: FoveaError | None = None
        self._frames_in = 0

    def setup(self) -> SourceFacts:
        """Open the source. Raises SourceError."""
        from pipeline.source import open_source

        self._source = source = open_source(self._config)
        frame_bytes = source.width * source.height * 3 // 2
        self._batch = max(1, min(self._batch, BATCH_BYTES // frame_bytes))
        self._iterator: Iterator[Frame] = iter(source)
        self._live: LiveQueue | None = None
        if source.is_live:
            self._live = LiveQueue(self._iterator, size=2 * self._batch, close=source.close)
        return SourceFacts(
            width=source.width, height=source.height, fps=source.fps, is_live=source.is_live,
            sar=source.sar, rotation=source.rotation, matrix=source.matrix, full_range=source.full_range,
        )  # fmt: skip

    def process(self) -> FrameBatch:
        """The next frames: a full batch of a file, what is there of a live camera (none after PATIENCE_S)."""
        source = self._source
        if source is None:
            raise JobError("the source was not set up")
        if self._live is None:
            frames = self._pull()
            self._frames_in += len(frames)
            ended = len(frames) < self._batch and self._error is None
            return FrameBatch(frames, self._frames_in, 0, source.lost, ended)
        frames, ended = self._live.take(self._batch, patience_s=PATIENCE_S)
        return FrameBatch(frames, self._live.frames_in, self._live.dropped, source.lost, ended)

    def _pull(self) -> tuple[Frame, ...]:
        """A batch of a file. Where the file turns out damaged, what came before counts and the next call raises."""
        if self._error is not None:
            raise self._error
        frames: list[Frame] = []
        try:  # extend() keeps what came before an error
            frames.extend(islice(self._iterator, self._batch))
        except FoveaError as error:
            if not frames:
                raise
            self._error = error
        return tuple(frames)

    def close(self) -> None:
        if self._source is not None:
            if self._live is not None:
                self._live.stop()
            else:
                self._source.close()
            self._source = None


class LiveQueue:
    """Reads an iterator in a thread; keeps the newest `size` frames. The thread alone calls `close`, at its end: a
    container must not be closed while another thread reads it."""

    def __init__(self, frames: Iterator[Frame], *, size: int, close: Callable[[], None] = lambda: None) -> None:
        self._frames = frames
        self._close = close
        self._queue: deque[Frame] = deque()
        self._size = size
        self._change = threading.Condition()
        self._ended = self._stopped = False
        self._error: BaseException | None = None
        self._frames_in = self._dropped = 0
        self._thread = threading.Thread(target=self._read, name="live-source", daemon=True)
        self._thread.start()

    @property
    def frames_in(self) -> int:
        """Frames that were taken or dropped: what still waits in the queue is nobody's yet."""
        return self._frames_in

    @property
    def dropped(self) -> int:
        return self._dropped

    def take(self, count: int, *, patience_s: float) -> tuple[tuple[Frame, ...], bool]:
        """Up to `count` frames, and whether that was the end. Raises what the source raised, after its last frame."""
        with self._change:
            self._change.wait_for(lambda: len(self._queue) >= count or self._ended, timeout=patience_s)
            frames = tuple(self._queue.popleft() for _ in range(min(count, len(self._queue))))
            self._frames_in += len(frames)
            ended = self._ended and not self._queue
            if ended and not frames and self._error is not None:
                raise self._error
            return frames, ended and self._error is None

    def stop(self) -> None:
        """Ask the reader to end. It may hang in a dead camera's read; being a daemon it holds nobody up."""
        self._stopped = True
        self._thread.join(timeout=PATIENCE_S)

    def _read(self) -> None:
        try:
            for frame in self._frames:
                if self._stopped:
                    break
                self._put(frame)
        except Exception as error:  # the thread's outermost loop: handed to whoever takes
            self._error = error
        finally:
            self._close()
            with self._change:
                self._ended = True
                self._change.notify_all()

    def _put(self, frame: Frame) -> None:
        with self._change:
            self._queue.append(frame)
            if len(self._queue) > self._size:
                self._queue.popleft()
                self._frames_in += 1
                self._dropped += 1
            self._change.notify_all()


class DetectStage:
    """Frames to masks. `threads` bounds torch where a network runs, as the codec's setting does."""

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._stage: RoiStage | None = None

    def setup(self) -> str:
        """Load the detector. Returns one line that says which. Raises DetectorError."""
        from pipeline.track import RoiStage

        self._stage = RoiStage(self._config.detector, self._config.mask)
        threads = self._config.codec.threads
        if threads is not None and "torch" in sys.modules:
            import torch

            torch.set_num_threads(threads)
        return str(self._stage)

    def process(self, frames: tuple[Frame, ...]) -> tuple[Roi, ...]:
        if self._stage is None:
            raise JobError("the detector was not set up")
        if not frames:
            return ()
        return tuple(Roi(item.mask, tuple(item.detections)) for item in self._stage.process(list(frames)))

    def close(self) -> None:
        self._stage = None


class CodecStage:
    """Frames and masks to packets. Holds the codec's state: batches must come in order."""

    def __init__(self, config: CodecConfig, facts: SourceFacts) -> None:
        self._config = config
        self._facts = facts
        self._encoder: Encoder | None = None

    def setup(self) -> StreamInfo:
        """Load the codec. Raises CodecError."""
        from pipeline.codec import Encoder

        facts, config = self._facts, self._config
        self._encoder = Encoder(
            width=facts.width, height=facts.height, fps=facts.fps,
            quality=config.quality, bitrate_bps=config.bitrate_bps,
            gop_us=round(config.gop_s * 1e6), segment_us=round(config.segment_s * 1e6),
            device=config.device, threads=config.threads,
        )  # fmt: skip
        return replace(
            self._encoder.info,
            sar=facts.sar, rotation=facts.rotation, matrix=facts.matrix, full_range=facts.full_range,
        )  # fmt: skip

    def process(self, frames: tuple[Frame, ...], rois: tuple[Roi, ...]) -> tuple[CodedFrame, ...]:
        encoder = self._encoder
        if encoder is None:
            raise JobError("the codec was not set up")
        return tuple(
            CodedFrame(encoder.encode(frame, roi.mask), roi.detections)
            for frame, roi in zip(frames, rois, strict=True)
        )  # fmt: skip

    def close(self) -> None:
        self._encoder = None


class SinkStage:
    """Packets into what `opener` opens."""

    def __init__(self, opener: SinkOpener) -> None:
        self._opener = opener
        self._sink: FrameSink | None = None

    def setup(self, info: StreamInfo) -> None:
        """Open the sink. Raises StoreError."""
        self._sink = self._opener(info)

    def process(self, coded: tuple[CodedFrame, ...]) -> int:
        """Append; returns how many, so that a runner can wait for it."""
        if self._sink is None:
            raise JobError("the sink was not set up")
        for frame in coded:
            self._sink.append(frame)
        return len(coded)

    def close(self) -> None:
        if self._sink is not None:
            sink, self._sink = self._sink, None
            sink.close()


@dataclass(frozen=True, slots=True)
class CameraPlan:
    """One camera's chain as data: everything that a runner must know to build its stages, wherever they will live."""

    camera: str
    config: CameraConfig
    opener: SinkOpener
    batch: int

    def source(self) -> SourceStage:
        return SourceStage(self.config.source, batch=self.batch)

    def detect(self) -> DetectStage:
        return DetectStage(self.config)

    def codec(self, facts: SourceFacts) -> CodecStage:
        return CodecStage(self.config.codec, facts)

    def sink(self) -> SinkStage:
        return SinkStage(self.opener)


class ArchiveSink:
    """The archive's sink of one camera with the store that it writes to, so that closing it closes both."""

    def __init__(self, root: Path, camera: str, info: StreamInfo) -> None:
        from pipeline.store import Sink, Store

        self._store = Store(root)
        try:
            self._sink = Sink(self._store, camera, info)
        except BaseException:
            self._store.close()
            raise

    def append(self, frame: CodedFrame) -> None:
        self._sink.append(frame)

    def close(self) -> None:
        try:
            self._sink.close()
        finally:
            self._store.close()


def plan_site(site: SiteConfig, *, frames: int | None = None) -> tuple[CameraPlan, ...]:
    """One plan a camera. `frames` ends every camera after so many, where its own setting does not end it earlier."""
    plans = []
    for camera, config in site.cameras.items():
        if frames is not None:
            source = config.source.model_copy(update={"frames": min(frames, config.source.frames or frames)})
            config = config.model_copy(update={"source": source})
        plans.append(CameraPlan(camera, config, partial(ArchiveSink, site.store, camera), site.ray.batch))
    return tuple(plans)
