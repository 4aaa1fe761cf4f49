"""The archive as a server reads it: for as long as it serves, even where the directory is made anew meanwhile."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

from pipeline.errors import StoreError, StreamError
from pipeline.store import EVER_US, CameraSummary, Segment, Store, open_segment
from pipeline.store.files import INDEX
from pipeline.types import StreamInfo

_SUMMARY_S = 2.0
_MOST_INFOS = 10_000  # kept, by segment: a header never changes


class Archive:
    """An archive for reading. `store` is that which stands at `root` now. Raises StoreError where there is none."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._mutex = threading.Lock()
        self._store: Store | None = None
        self._stamp: tuple[int, int] | None = None
        self._infos: dict[str, StreamInfo] = {}
        self._summary: tuple[float, tuple[CameraSummary, ...]] = (float("-inf"), ())

    @property
    def store(self) -> Store:
        try:
            found = (self.root / INDEX).stat()
        except OSError as error:
            raise StoreError(f"{self.root}: {error.strerror or error}") from error
        with self._mutex:
            if self._store is None or self._stamp != (found.st_dev, found.st_ino):
                # The one before is not closed here: other threads may be reading it.
                self._store, self._stamp = Store(self.root, readonly=True), (found.st_dev, found.st_ino)
            return self._store

    def summary(self) -> dict[str, CameraSummary]:
        """By camera, as it was at most two seconds ago: counting a long archive takes a while."""
        with self._mutex:
            at_s, found = self._summary
        if time.monotonic() - at_s > _SUMMARY_S:
            found = self.store.summary()
            with self._mutex:
                self._summary = time.monotonic(), found
        return {summary.camera: summary for summary in found}

    def info(self, segment: Segment) -> StreamInfo | None:
        """What the segment's header says; None where it cannot be read."""
        store = self.store
        with self._mutex:
            if segment.id in self._infos:
                return self._infos[segment.id]
        with ExitStack() as stack:
            try:
                info = open_segment(store, segment, stack, foreground_only=True).info
            except (StreamError, OSError):
                return None
        with self._mutex:
            if len(self._infos) >= _MOST_INFOS:
                self._infos.clear()
            self._infos[segment.id] = info
        return info

    def newest_key_us(self, camera: str) -> int:
        """When the newest key frame was taken; -1 where there is none."""
        store = self.store
        segment = store.segment_at(camera, EVER_US)
        with ExitStack() as stack:
            try:
                keys = open_segment(store, segment, stack, foreground_only=True).key_frames() if segment else ()
            except (StreamError, OSError):
                keys = ()
        return keys[-1].wall_us if keys else -1

    def info_at(self, camera: str, wall_us: int) -> StreamInfo | None:
        """Of the footage that shows a moment."""
        segment = self.store.segment_at(camera, wall_us)
        return self.info(segment) if segment is not None else None
