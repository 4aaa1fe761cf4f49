"""The archive as the end of a chain: a camera's sink with the store that it writes to, and a site's plans with it.

One opening is one recording (an epoch in the store). What a recording holds for sure is asked of the archive itself,
so accounts stay true whoever died while writing.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.bitstream import StreamWriter
from pipeline.config import SiteConfig
from pipeline.errors import UsageError
from pipeline.graph import CameraPlan, FrameSink
from pipeline.store import Sink, Store
from pipeline.store.files import is_locked, lock, segment_path
from pipeline.store.recovery import recover
from pipeline.types import CodedFrame, Layer, StreamInfo

PATIENCE_S = 5.0  # a recorder that was killed may leave a sink that is about to die


class ArchiveSink(FrameSink):
    """One recording of one camera. Raises StoreError."""

    def __init__(self, root: Path, camera: str, info: StreamInfo) -> None:
        self._camera = camera
        self._store = Store(root)
        try:
            self._sink = Sink(self._store, camera, info, patience_s=PATIENCE_S)
        except BaseException:
            self._store.close()
            raise

    def append(self, frame: CodedFrame) -> None:
        self._sink.append(frame)

    def flush(self) -> None:
        """Make durable what was appended, for a camera that has fallen silent."""
        self._sink.flush()

    @property
    def durable_us(self) -> int | None:
        return self._sink.durable_us

    def close(self) -> None:
        try:
            self._sink.close()
        finally:
            self._store.close()


class FileSink(FrameSink):
    """A stream file as the end of a chain. Tells `opened` what it was made for; a file has one stream, so a second
    opening is a UsageError."""

    def __init__(self, path: Path, opened: list[StreamInfo], info: StreamInfo) -> None:
        if opened:
            raise UsageError("the source began anew, and a stream file holds one stream")
        self._file = path.open("wb")
        self._writer = StreamWriter(
            info, uuid.uuid4().bytes, foreground=self._file, background=self._file, whole_gops=True
        )
        opened.append(info)

    def append(self, frame: CodedFrame) -> None:
        self._writer.append(frame.packet)

    def close(self) -> None:
        with self._file:
            self._writer.close()


@dataclass(frozen=True, slots=True)
class Recordings:
    """What an archive holds of one camera, beyond the end of whoever wrote it."""

    root: Path
    camera: str

    def mark(self) -> int:
        """Stands before every recording that begins from now on."""
        with Store(self.root) as store:
            return store.epoch(self.camera)

    def stored(self, mark: int) -> int:
        """Frames that were recorded since `mark` and can be read. What a dead writer left is put in order first; one
        that is alive goes on undisturbed. Raises StoreError."""
        with Store(self.root) as store:
            directory = segment_path(self.root, self.camera, "0" * 32, Layer.FOREGROUND).parent
            if directory.is_dir() and not is_locked(directory):
                with lock(directory, wait=True):
                    recover(store, self.camera)
            return sum(segment.frames for segment in store.segments(self.camera) if segment.epoch > mark)


def plan_site(site: SiteConfig, *, frames: int | None = None) -> tuple[CameraPlan, ...]:
    """One plan a camera. `frames` ends every camera after so many, where its own setting does not end it earlier."""
    plans, root = [], site.store.absolute()  # a sink may live in another directory
    for camera, config in site.cameras.items():
        if frames is not None:
            source = config.source.model_copy(update={"frames": min(frames, config.source.frames or frames)})
            config = config.model_copy(update={"source": source})
        opener, held = partial(ArchiveSink, root, camera), Recordings(root, camera)
        plans.append(CameraPlan(camera, config, opener, site.ray.batch, held, site.ray.linger_s))
    return tuple(plans)
