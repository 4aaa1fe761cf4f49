"""Starts and ends Ray: on loopback, with a token of its own, without telemetry. Knows nothing of cameras.

Ray's ports run code for whoever reaches them. Without `address` Ray is therefore started on 127.0.0.1 alone and asks
for a token that lives as long as the run; a cluster that `address` names must ask for one too (workers.node).
"""

from __future__ import annotations

import logging
import os
import secrets
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from pipeline.config import RayConfig
from pipeline.errors import JobError
from pipeline.graph import BATCH_BYTES
from workers.node import LOOPBACK, QUIET, require_token


@contextmanager
def runtime(config: RayConfig, *, cameras: int) -> Iterator[None]:
    """Ray for the length of a `with`. Uses, and leaves running, a Ray that this process has started before.

    Raises ConfigError where a cluster is to be used without a token, JobError when Ray does not start or the cluster
    cannot be reached.
    """
    local = config.address is None
    os.environ.update(QUIET)
    if local:
        os.environ.update(LOOPBACK)
        os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
    else:
        require_token(f"ray.address {config.address}")
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, object] = {"address": config.address}
    if local:  # "local": never the Ray of another on this machine, nor what a dead one left behind
        options = {
            "address": "local", "include_dashboard": False, "object_store_memory": _store_bytes(config, cameras),
        }  # fmt: skip
    on_terminate = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**options, log_to_driver=False, logging_level=logging.ERROR, namespace="fovea")
    except Exception as error:  # Ray raises a dozen types here, none of them common
        raise JobError(f"Ray did not start: {str(error).splitlines()[0]}") from error
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_terminate)  # Ray's own ends the process on the spot, with frames under way
    try:
        with redirect_stdout(sys.stderr):  # Ray prints the news of dead workers to stdout, which is ours alone
            yield
    finally:
        ray.shutdown()


def _store_bytes(config: RayConfig, cameras: int) -> int:
    """What is configured, or what all cameras' windows hold at once where that is more: Ray must never spill."""
    return max(config.object_store_mb << 20, cameras * (config.window + 2) * BATCH_BYTES)
