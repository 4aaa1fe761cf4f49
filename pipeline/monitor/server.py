"""HTTP for a running site: `/metrics` for Prometheus, `/healthz` and `/readyz` for a supervisor, `/status` for `fovea
status`. Shows no picture and no password; whoever may reach it may read it."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from pipeline.errors import JobError, StoreError
from pipeline.monitor.metrics import SiteCollector
from pipeline.monitor.state import SiteState

JSON = "application/json"


@contextmanager
def serving(listen: str, state: Callable[[], SiteState]) -> Iterator[int]:
    """Serve at `host:port` for the length of a `with`; gives the port, which is chosen where `listen` says 0. Raises
    JobError where it cannot listen."""
    host, _, port = listen.rpartition(":")
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), _handler(state))
    except OSError as error:
        raise JobError(f"monitor.listen: {listen}: {error.strerror or error}") from error
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, name="monitor", daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(state: Callable[[], SiteState]) -> type[BaseHTTPRequestHandler]:
    registry = CollectorRegistry()
    registry.register(SiteCollector(state))

    def answer(path: str) -> tuple[int, str, bytes]:
        """Status, content type and body."""
        if path == "/healthz":
            return 200, "text/plain", b"ok\n"
        if path == "/metrics":
            return 200, CONTENT_TYPE_LATEST, generate_latest(registry)
        if path == "/status":
            return 200, JSON, json.dumps(asdict(state())).encode()
        if path == "/readyz":
            now = state()
            cameras = {camera.camera: camera.trouble or camera.state for camera in now.cameras}
            return 200 if now.ready else 503, JSON, json.dumps(cameras).encode()
        return 404, "text/plain", b"/metrics, /healthz, /readyz, /status\n"

    class Handler(BaseHTTPRequestHandler):
        timeout = 10.0
        server_version = "fovea"

        def do_GET(self) -> None:
            try:
                status, kind, body = answer(self.path.partition("?")[0])
            except StoreError as error:
                status, kind, body = 503, "text/plain", f"{error}\n".encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """A scrape every few seconds is no news."""

    return Handler
