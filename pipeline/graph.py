"""The chain of one camera as data: source -> roi -> codec -> sink, and the plain stages that it is made of.

A stage is made cheaply, prepares itself in `setup()` (where it runs), works on a batch of frames per `process()` and
ends with `close()`. Knows neither Ray nor threads of others: `pipeline.local` and the package `workers` run the same
stages. Order within a camera is the runner's duty.
"""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Protocol

from pipeline.address import parse_address
from pipeline.config import LINGER_S, CameraConfig, CodecConfig, Polygon, SourceConfig
from pipeline.errors import FoveaError, JobError, SourceError
from pipeline.footage import CodedFootage, Counters, Footage, Receipt, Relief, Roi, SourceCounts, SourceFacts
from pipeline.pace import LEVELS, Lane, Pace
from pipeline.privacy import Blackout
from pipeline.still import StillBackground
from pipeline.types import CodedFrame, Frame, Masked, StreamInfo

if TYPE_CHECKING:
    from pipeline.codec import Encoder
    from pipeline.live import LiveSource
    from pipeline.source import Source
    from pipeline.track import RoiStage

NO_RELIEF = Relief()
QUEUE_BATCHES = 4  # of a live camera: what comes while a plate is coded has room
BATCH_BYTES = 25 << 20  # a batch of large frames is cut to about this, which bounds what is in flight


class FrameSink(ABC):
    """Where coded frames go: an archive or a stream file."""

    @abstractmethod
    def append(self, frame: CodedFrame) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def flush(self) -> None:
        """Make durable what was appended, if that means anything here."""
        return

    @property
    def durable_us(self) -> int | None:
        """Wall time of the last frame that is safe from a crash; None where nobody promises that."""
        return None


class Held(Protocol):
    """What has been stored of a camera for sure; see pipeline.recording.Recordings."""

    def mark(self) -> int: ...

    def stored(self, mark: int) -> int: ...


SinkOpener = Callable[[StreamInfo], FrameSink]


class SourceStage:
    """Frames from one source in batches. A file is read when asked, so nothing is lost; it begins at frame `skip`. A
    live camera comes back when it breaks, and drops its oldest frames when the chain is slow."""

    def __init__(
        self,
        config: SourceConfig,
        *,
        batch: int,
        skip: int = 0,
        masks: Sequence[Polygon] = (),
        linger_s: float = LINGER_S,
    ) -> None:
        """`masks`: what is black in every frame before it leaves this stage. `linger_s`: see LiveSettings."""
        self._config = config
        self._blackout = Blackout(masks)
        self._batch, self._linger_s = batch, linger_s
        self._skip = skip
        self._source: Source | None = None
        self._live: LiveSource | None = None
        self._error: FoveaError | None = None
        self._frames_in = 0
        self._ended = False

    def setup(self) -> bool:
        """Open the source; whether it is live. A camera that cannot be reached yet is no error. Raises SourceError and
        UsageError."""
        from pipeline.live import source_facts
        from pipeline.source import open_source

        address = parse_address(self._config.url)
        if address.kind == "v4l2" or address.target.lower().startswith(("rtsp:", "rtsps:")):
            self._go_live(None)
            return True
        try:
            source = open_source(self._config)
        except SourceError as error:
            if address.kind != "network" or error.final or not self._config.reconnect:
                raise
            self._go_live(None)
            return True
        if source.is_live:
            self._go_live(source)
            return True
        self._source = source
        self._facts = source_facts(source)
        self._batch = max(1, min(self._batch, BATCH_BYTES // _frame_bytes(self._facts)))
        self._iterator: Iterator[Frame] = islice(source, self._skip, None)
        return False

    def process(self, relief: Relief = NO_RELIEF) -> tuple[Footage, SourceCounts]:
        """As `_read`, with what must not be seen blacked out."""
        footage, counts = self._read(relief)
        facts = footage.facts
        if facts is not None:
            frames = tuple(self._blackout(frame, full_range=facts.full_range) for frame in footage.frames)
            footage = replace(footage, frames=frames)
        return footage, counts

    def _read(self, relief: Relief) -> tuple[Footage, SourceCounts]:
        """The next frames and the counts with them: a full batch of a file, what is there of a live camera, which alone
        goes without what `relief` says. Raises SourceError."""
        if self._live is not None:
            self._live.thin(relief.keep)
            footage = self._live.take(self._batch)
            return replace(footage, relief=relief), self._live.counts()
        if self._source is None:
            raise JobError("the source was not set up")
        frames = self._pull()
        self._frames_in += len(frames)
        self._ended = len(frames) < self._batch and self._error is None
        counts = SourceCounts(frames_in=self._frames_in, lost=self._source.lost, ended=self._ended)
        return Footage(self._facts, frames), counts

    def _go_live(self, first: Source | None) -> None:
        from pipeline.live import LiveSettings, LiveSource
        from pipeline.source import open_source

        config = self._config
        settings = LiveSettings(
            size=QUEUE_BATCHES * self._batch, stall_s=config.timeout_s, retry_s=config.retry_s,
            reconnect=config.reconnect, limit=config.frames and max(1, config.frames - self._skip),
            linger_s=self._linger_s,
        )  # fmt: skip
        self._live = LiveSource(partial(open_source, config), settings, first=first)

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
        if self._live is not None:
            self._live.stop()
        if self._source is not None:
            self._source.close()
            self._source = None


def _frame_bytes(facts: SourceFacts) -> int:
    return facts.width * facts.height * 3 // 2


class DetectStage:
    """Frames to masks. `threads` bounds torch where a network runs, as the codec's setting does."""

    def __init__(self, config: CameraConfig) -> None:
        self._config = config
        self._stage: RoiStage | None = None
        self._size: tuple[int, int] | None = None

    def setup(self) -> str:
        """Load the detector. Returns one line that says which. Raises DetectorError."""
        self._stage = self._make()
        threads = self._config.codec.threads
        if threads is not None and "torch" in sys.modules:
            import torch

            torch.set_num_threads(threads)
        return str(self._stage)

    def process(self, footage: Footage) -> tuple[Roi, ...]:
        if self._stage is None:
            raise JobError("the detector was not set up")
        if footage.facts is None or not footage.frames:
            return ()
        size = (footage.facts.width, footage.facts.height)
        if self._size not in (None, size):
            self._stage = self._make()  # background, tracks and masks are of another picture
        self._size = size
        found: list[Masked] = self._stage.process(list(footage.frames))
        return tuple(Roi(item.mask, tuple(item.detections)) for item in found)

    def _make(self) -> RoiStage:
        from pipeline.track import RoiStage

        return RoiStage(self._config.detector, self._config.mask)

    def close(self) -> None:
        self._stage = None


class CodecStage:
    """Frames and masks to packets. Holds the codec's state: batches must come in order. Other facts mean another
    encoder, which begins with a plate and a key frame. What is live is coded with less effort than was asked for where
    time is short; cameras that work in turn share a `lane`."""

    def __init__(self, config: CodecConfig, lane: Lane | None = None) -> None:
        self._config = config
        self._pace = Pace(config.effort, lane or Lane())
        self._facts: SourceFacts | None = None
        self._encoder: Encoder | None = None
        self._info: StreamInfo | None = None
        self._still = StillBackground()

    def setup(self) -> None:
        """Load the codec, so that the first frame does not wait for it. Raises CodecError."""
        self._make(SourceFacts(64, 64, 0.0, False))

    def process(self, footage: Footage, rois: tuple[Roi, ...]) -> CodedFootage:
        facts = footage.facts
        if facts is None or not footage.frames:
            return CodedFootage(None, 0, ())
        if self._encoder is None or facts != self._facts:
            self._facts, (self._encoder, self._info) = facts, self._make(facts)
            self._still = StillBackground()
        coded: list[CodedFrame] = []
        efforts: list[str] = []
        waiting, every = list(zip(footage.frames, rois, strict=True)), footage.relief.background_every
        while waiting:
            count = len(waiting)
            if facts.is_live:
                newest, _ = waiting[: self._config.mini_gop][-1]
                self._encoder.effort = self._pace.effort(newest.wall_us, relieved=footage.relief != NO_RELIEF)
                # Motion between frames is looked for on both sides: not where time is short.
                count = 1 if self._encoder.effort == LEVELS[-1] else self._config.mini_gop
            together, waiting = waiting[:count], waiting[count:]
            begin_s = time.perf_counter()
            shown = [(self._still.process(frame, roi.mask.cells, every=every), roi.mask) for frame, roi in together]
            packets = self._encoder.encode_all(shown)
            each_s = (time.perf_counter() - begin_s) / len(together)
            for (frame, roi), packet in zip(together, packets, strict=True):
                coded.append(CodedFrame(packet, roi.detections))
                efforts.append(self._encoder.effort)
                if facts.is_live:
                    self._pace.took(frame.wall_us, each_s)
        easing = facts.is_live and self._pace.easing
        return CodedFootage(self._info, facts.session, tuple(coded), facts.is_live, tuple(efforts), easing)

    def _make(self, facts: SourceFacts) -> tuple[Encoder, StreamInfo]:
        from pipeline.codec import Encoder

        config = self._config
        encoder = Encoder(
            width=facts.width, height=facts.height, fps=facts.fps,
            quality=config.quality, bitrate_bps=config.bitrate_bps,
            gop_us=round(config.gop_s * 1e6), segment_us=round(config.segment_s * 1e6),
            mini_gop=config.mini_gop, device=config.device, threads=config.threads, effort=config.effort,
        )  # fmt: skip
        return encoder, replace(
            encoder.info, sar=facts.sar, rotation=facts.rotation, matrix=facts.matrix, full_range=facts.full_range
        )

    def close(self) -> None:
        self._encoder = None
        self._pace.leave()


class SinkStage:
    """Packets into what `opener` opens, anew for every session of the source: what lies between two is a gap."""

    def __init__(self, opener: SinkOpener) -> None:
        self._opener = opener
        self._sink: FrameSink | None = None
        self._opened: tuple[StreamInfo, int] | None = None
        self._waiting_us: deque[int] = deque(maxlen=10_000)  # wall times of live frames that are not durable yet

    def process(self, coded: CodedFootage) -> Receipt:
        """Append. Without frames what was appended before becomes durable: the camera has fallen silent. Raises
        StoreError."""
        if coded.info is None:
            if self._sink is not None:
                self._sink.flush()
        else:
            if self._sink is None or self._opened != (coded.info, coded.session):
                self.close()
                self._sink, self._opened = self._opener(coded.info), (coded.info, coded.session)
            for frame in coded.frames:
                self._sink.append(frame)
            if coded.is_live:
                self._waiting_us.extend(frame.packet.wall_us for frame in coded.frames)
        info, counters = coded.info, Counters().plus(coded.frames, coded.efforts)
        pixels = info.width * info.height * counters.coded if info else 0
        return Receipt(counters, pixels, self._latencies(), coded.efforts[-1] if coded.efforts else "")

    def _latencies(self) -> tuple[float, ...]:
        """Seconds from the arrival of live frames until they were durable, for those that have become so."""
        durable_us = self._sink.durable_us if self._sink is not None else None
        now_us, found = time.time_ns() // 1000, []
        while durable_us is not None and self._waiting_us and self._waiting_us[0] <= durable_us:
            found.append((now_us - self._waiting_us.popleft()) / 1e6)
        return tuple(found)

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
    held: Held | None = None
    linger_s: float = LINGER_S

    @property
    def counted_off(self) -> bool:
        """Whether the camera ends after a number of frames."""
        return self.config.source.frames is not None

    def source(self, *, skip: int = 0) -> SourceStage:
        masks, linger_s = self.config.masks, self.linger_s
        return SourceStage(self.config.source, batch=self.batch, skip=skip, masks=masks, linger_s=linger_s)

    def detect(self) -> DetectStage:
        return DetectStage(self.config)

    def codec(self, lane: Lane | None = None) -> CodecStage:
        return CodecStage(self.config.codec, lane)

    def sink(self) -> SinkStage:
        return SinkStage(self.opener)
