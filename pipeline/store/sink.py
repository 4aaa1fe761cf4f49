"""One camera's packets into segments: durable first, indexed then. Decodes nothing.

A chunk of a second is written and synced, background before foreground, before the index row claims it; so after a
crash the row is true and the files hold at most a chunk more.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise
from typing import BinaryIO

from pipeline.bitstream import StreamWriter
from pipeline.errors import UsageError
from pipeline.store.files import as_store_error, create_durable, lock, segment_path, sync, sync_directory
from pipeline.store.index import Store
from pipeline.store.recovery import recover
from pipeline.store.rows import GAP_US, Segment
from pipeline.store.segmentfile import segment_id
from pipeline.types import CodedFrame, Layer, Packet, StreamInfo


class Sink:
    """Stores one camera. A packet with a plate opens a segment; the first one must have it.

    Raises StoreError (one line) when the disk refuses, or if another sink has the camera, and still has it after
    `patience_s`.
    """

    def __init__(self, store: Store, camera: str, info: StreamInfo, *, patience_s: float = 0.0) -> None:
        self._store = store
        self._camera = camera
        self._info = info
        self._directory = segment_path(store.root, camera, "0" * 32, Layer.FOREGROUND).parent
        with as_store_error(self._directory):
            self._directory.mkdir(exist_ok=True)
            sync_directory(self._directory.parent)
        self._lock = lock(self._directory, wait=False, patience_s=patience_s)
        try:
            recover(store, camera)
            self._epoch = store.begin_epoch(camera)
        except BaseException:
            self._lock.close()
            raise
        self._open: _OpenSegment | None = None

    def append(self, coded: CodedFrame) -> None:
        """Take the next frame; what is due becomes durable before this returns."""
        if coded.packet.plate:
            self._finish()
            self._open = _OpenSegment(self._store, self._camera, self._epoch, self._info, coded.packet)
        if self._open is None:
            raise UsageError(f"packet {coded.packet.index} of camera {self._camera} opens no segment: it has no plate")
        self._open.append(coded)

    @property
    def durable_us(self) -> int | None:
        """Wall time of the last frame of the open segment that is on disk and indexed; None while there is none."""
        return self._open.durable_us if self._open is not None else None

    def flush(self) -> None:
        """Make all that was appended durable, for a camera that has fallen silent."""
        if self._open is not None:
            self._open.flush()

    def close(self) -> None:
        """Close the segment and let the camera go. May be called twice."""
        try:
            self._finish()
        finally:
            self._lock.close()

    def _finish(self) -> None:
        if self._open is not None:
            segment, self._open = self._open, None
            segment.close()


class _OpenSegment:
    def __init__(self, store: Store, camera: str, epoch: int, info: StreamInfo, first: Packet) -> None:
        self._store = store
        stream_id = segment_id(first.wall_us)
        self._foreground_path, self._background_path = (
            segment_path(store.root, camera, stream_id.hex(), layer) for layer in Layer
        )
        with as_store_error(self._foreground_path):
            self._foreground = create_durable(self._foreground_path)
            try:
                self._background = create_durable(self._background_path)
            except BaseException:
                self._foreground.close()
                raise
            self._writer = StreamWriter(info, stream_id, foreground=self._foreground, background=self._background)
            sync(self._background)
            sync_directory(self._foreground_path.parent)
        self._failed = False
        self._waiting: list[CodedFrame] = []  # appended, not yet indexed
        self._wall_us = first.wall_us  # of the last frame indexed
        self._row = Segment(
            number=0, id=stream_id.hex(), camera=camera, epoch=epoch, first_wall_us=first.wall_us,
            last_wall_us=first.wall_us, first_pts_us=first.pts_us, last_pts_us=first.pts_us, frames=0,
            bytes_foreground=0, bytes_background=0, state="open", has_background=True,
        )  # fmt: skip

    @property
    def durable_us(self) -> int | None:
        return self._row.last_wall_us if self._row.frames else None

    def append(self, coded: CodedFrame) -> None:
        with self._step():
            wrote = self._writer.append(coded.packet)
            self._waiting.append(coded)
            if wrote:
                self._commit()

    def flush(self) -> None:
        with self._step():
            if self._writer.flush():
                self._commit()

    def close(self) -> None:
        """After a failure the segment stays as it is on disk: indexed as open, torn for the next sink."""
        try:
            if not self._failed:
                with self._step():
                    self._writer.close()
                    self._row = replace(self._row, state="closed")
                    self._commit()
        finally:
            self._foreground.close()
            self._background.close()

    @contextmanager
    def _step(self) -> Iterator[None]:
        """One step of writing: the disk's refusal becomes a StoreError, and nothing is written after a failure."""
        try:
            with as_store_error(self._foreground_path):
                yield
        except BaseException:
            self._failed = True
            raise

    def _commit(self) -> None:
        """Sync, then index the frames that are in the files (the writer may hold the newest back)."""
        sizes = self._writer.layer_bytes
        _sync_if_grown(self._background, self._row.bytes_background, sizes[Layer.BACKGROUND])
        _sync_if_grown(self._foreground, self._row.bytes_foreground, sizes[Layer.FOREGROUND])
        written = len(self._waiting) - self._writer.pending
        done, self._waiting = self._waiting[:written], self._waiting[written:]
        row = replace(
            self._row, frames=self._row.frames + written, bytes_foreground=sizes[Layer.FOREGROUND],
            bytes_background=sizes[Layer.BACKGROUND],
        )  # fmt: skip
        gaps: tuple[tuple[int, int], ...] = ()
        if done:
            walls = [self._wall_us, *(coded.packet.wall_us for coded in done)]
            self._wall_us = walls[-1]
            gaps = tuple((a, b) for a, b in pairwise(walls) if b - a > GAP_US)
            row = replace(
                row, first_wall_us=min(row.first_wall_us, *walls), last_wall_us=max(row.last_wall_us, *walls),
                last_pts_us=done[-1].packet.pts_us,
            )  # fmt: skip
        self._row = self._store.commit(row, done, gaps=gaps)


def _sync_if_grown(file: BinaryIO, before: int, after: int) -> None:
    if after > before:
        sync(file)
