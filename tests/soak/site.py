"""A site that is recorded by the real command in processes of its own, for the long runs of this package."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

END_S = 180.0


def camera(url: str, **source: object) -> dict[str, object]:
    """A camera's part of a site file: what moves is foreground, two cameras' coding fits on a core."""
    return {"source": {"url": url, **source}, "detector": {"kind": "motion"}, "codec": {"threads": 1}}


class Recorder:
    """`fovea run` on a site file made here. Its log goes to `run.log`, its result is there after the block."""

    def __init__(self, root: Path, cameras: Mapping[str, object], *, runner: str = "ray", **site: object) -> None:
        self.store, self._log = root / "archive", root / "run.log"
        self.config = root / "site.yaml"
        root.mkdir(parents=True, exist_ok=True)
        self.config.write_text(yaml.safe_dump({"store": str(self.store), "cameras": dict(cameras), **site}))
        self._runner = runner
        self.result: dict[str, Any] = {}

    def __enter__(self) -> Recorder:
        main = "from pipeline.cli import main; main()"
        command = [sys.executable, "-c", main, "run", str(self.config), "--runner", self._runner, "--json"]
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, env=environment)
        return self

    def wait_for(self, cameras: int, *, timeout_s: float = 180.0) -> None:
        """Until so many cameras are in the archive with footage. Raises TimeoutError."""
        from pipeline.errors import StoreError
        from pipeline.store import Store

        until_s = time.monotonic() + timeout_s
        while time.monotonic() < until_s:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"the recorder ended with {self.process.returncode}: {self._log.read_text()[-2000:]}"
                )
            if (self.store / "index.sqlite").exists():
                # The recorder may not be done with making it.
                with contextlib.suppress(StoreError), Store(self.store, readonly=True) as store:
                    if sum(bool(store.segments(name)) for name in store.cameras()) >= cameras:
                        return
            time.sleep(0.5)
        raise TimeoutError(f"not all of {cameras} cameras record after {timeout_s:g} s")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.terminate()  # a run in the background may have been started with interrupts ignored
        try:
            out, _ = self.process.communicate(timeout=END_S)
            self.result = json.loads(out) if out.strip() else {}
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
