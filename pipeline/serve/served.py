"""What the routes work on: the site file as it is now, the archive, the decoders, the accounts. Knows no HTTP."""

from __future__ import annotations

import contextlib
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.address import redact_url
from pipeline.config import SiteConfig, load_site
from pipeline.errors import ConfigError
from pipeline.serve.accounts import Account, Accounts
from pipeline.serve.archive import Archive
from pipeline.serve.exports import Exports
from pipeline.serve.pool import Pool
from pipeline.store import GB

_STATE_S = 1.0  # so long what the recorder said holds
_TIMEOUT_S = 2.0
_RECENT_US = 10_000_000  # footage that ends longer ago is not live


class SiteFile:
    """A site file that may change; one that is wrong at the moment changes nothing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._mutex = threading.Lock()
        self._stamp = self._stat()
        self._site = load_site(path)

    @property
    def now(self) -> SiteConfig:
        stamp = self._stat()
        with self._mutex:
            if stamp != self._stamp:
                self._stamp = stamp
                with contextlib.suppress(ConfigError):  # whoever edits it is told by the editor and by the recorder
                    self._site = load_site(self.path)
            return self._site

    def _stat(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError:
            return (0, 0, 0)
        return found.st_mtime_ns, found.st_size, found.st_ino


@dataclass(frozen=True, slots=True)
class CameraNow:
    """What the recorder says of a camera; see monitor.CameraState."""

    state: str
    trouble: str
    fps_in: float
    dropped: int
    reconnects: int


class Recorder:
    """What the running recorder says of its cameras, over its monitor's HTTP. Asked at most once a second."""

    def __init__(self, site: SiteFile, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._site, self._clock = site, clock
        self._mutex = threading.Lock()
        self._at_s = float("-inf")
        self._known: dict[str, CameraNow] = {}

    def cameras(self) -> dict[str, CameraNow]:
        """Each camera that it records; none where no recorder answers."""
        with self._mutex:
            if self._clock() - self._at_s > _STATE_S:
                self._known = self._ask()
                self._at_s = self._clock()
            return self._known

    def _ask(self) -> dict[str, CameraNow]:
        listen = self._site.now.monitor.listen
        if listen is None:
            return {}
        host, _, port = listen.rpartition(":")
        host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
        try:
            with urllib.request.urlopen(f"http://{host}:{port}/status", timeout=_TIMEOUT_S) as answer:
                found = json.load(answer)
            return {camera["camera"]: _now(camera) for camera in found["cameras"]}
        except (urllib.error.URLError, OSError, ValueError, KeyError, TypeError):
            return {}


def _now(camera: dict[str, Any]) -> CameraNow:
    counters = camera["counters"]
    return CameraNow(
        camera["state"],
        redact_url(camera["trouble"]),
        round(camera["fps_in"], 2),
        counters["dropped"],
        counters["reconnects"],
    )


@dataclass(frozen=True, slots=True)
class Served:
    """Everything that is served."""

    site: SiteFile
    archive: Archive
    pool: Pool
    accounts: Accounts
    recorder: Recorder
    secure: bool

    def exports(self) -> Exports:
        """The clips that lie beside the archive."""
        site = self.site.now
        return Exports(
            site.serve.exports or beside(site.store, "exports"), site.store, self.pool,
            keep_s=site.serve.export_days * 86_400, keep_free_bytes=round(site.keep_free_gb * GB),
        )  # fmt: skip

    def cameras(self, account: Account) -> tuple[str, ...]:
        """Those of the site and of the archive that this user may see."""
        known = {*self.site.now.cameras, *self.archive.store.cameras()}
        return tuple(sorted(camera for camera in known if account.sees(camera)))


def beside(store: Path, suffix: str) -> Path:
    """A path beside the archive."""
    whole = store.absolute()
    return whole.with_name(f"{whole.name}.{suffix}")


def state_of(known: CameraNow | None, last_us: int | None, now_us: int) -> str:
    """live, stalled, no_signal or stored: from what the recorder says of a camera (None: nothing) and when its newest
    footage ends."""
    recent = last_us is not None and abs(now_us - last_us) < _RECENT_US
    if known is None:
        return "live" if recent else "stored"
    if known.state == "recording":
        return "live" if recent or known.fps_in > 0 else "stalled"
    return "stored" if known.state == "ended" else "no_signal"
