"""A site file that changes while its cameras run: the running job follows it."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType

from pipeline.config import SiteConfig, load_site
from pipeline.errors import FoveaError
from pipeline.local import SiteRun
from pipeline.recording import plan_site

log = logging.getLogger(__name__)

POLL_S = 1.0


class Follower:
    """Applies what changes in a site file to the running job, in a thread, for the length of a `with`. A file that is
    wrong changes nothing and is told of once."""

    def __init__(self, config: Path, job: SiteRun, *, frames: int | None = None, poll_s: float = POLL_S) -> None:
        self._config, self._job, self._frames, self._poll_s = config, job, frames, poll_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow-config", daemon=True)
        self._stamp = self._stat()

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self._config.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _run(self) -> None:
        while not self._stop.wait(self._poll_s):
            stamp = self._stat()
            if stamp is None or stamp == self._stamp:
                continue
            self._stamp = stamp
            try:
                self._apply(load_site(self._config))
            except FoveaError as error:
                log.warning("nothing changed: %s", error)

    def _apply(self, site: SiteConfig) -> None:
        names = zip(("added", "changed", "removed"), self._job.apply(plan_site(site, frames=self._frames)), strict=True)
        for verb, cameras in names:
            for camera in cameras:
                log.warning("%s", verb, extra={"camera": camera})
