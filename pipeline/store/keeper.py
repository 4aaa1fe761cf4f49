"""Keeps an archive within its limits while it is recorded: ages it and minds the disk, once a minute, in a thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType

from pipeline.config import RetentionConfig
from pipeline.errors import FoveaError
from pipeline.store.index import Store
from pipeline.store.retention import GB, age, purge_low_disk
from pipeline.store.rows import Purge

INTERVAL_S = 60.0


class Keeper:
    """A context manager. What it does and what goes wrong is told to `report`, a line each; nothing that goes wrong
    here may end a recording."""

    def __init__(
        self,
        root: Path,
        policies: Mapping[str, RetentionConfig],
        *,
        keep_free_gb: float,
        report: Callable[[str], None],
        interval_s: float = INTERVAL_S,
    ) -> None:
        self._root = root
        self._policies = policies
        self._keep_free = round(keep_free_gb * GB)
        self._report = report
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __enter__(self) -> Keeper:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                with Store(self._root) as store:
                    policies, stopped = self._policies, self._stop.is_set
                    for purge in keep(store, policies, keep_free_bytes=self._keep_free, cancelled=stopped):
                        self._report(purge_line(purge))
            except FoveaError as error:
                self._report(f"upkeep: {error}")


def keep(
    store: Store,
    policies: Mapping[str, RetentionConfig],
    *,
    keep_free_bytes: int,
    cancelled: Callable[[], bool] = lambda: False,
) -> tuple[Purge, ...]:
    """One round: what the disk asks for, then what the policies say is due now."""
    now_us = time.time_ns() // 1000
    urgent = purge_low_disk(store, keep_free_bytes=keep_free_bytes, now_us=now_us)
    return urgent + age(store, policies, now_us=now_us, cancelled=cancelled)


def purge_line(purge: Purge) -> str:
    words = {"background": "backgrounds dropped", "thin": "thinned", "remove": "removed"}
    done = f"{purge.segments} segments {words[purge.action]} ({purge.reason})"
    return f"{purge.camera}: {done}, {purge.bytes} bytes freed"
