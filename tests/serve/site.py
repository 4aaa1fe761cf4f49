"""A site to serve in tests: an archive of made-up packets, a fake decoder, workers as threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.client import HTTPConnection, HTTPResponse
from multiprocessing.connection import Connection
from pathlib import Path
from urllib.parse import urlencode

import uvicorn
from starlette.testclient import TestClient

from pipeline.replay import MakeDecoder
from pipeline.serve import make_app
from pipeline.serve.pool import Start
from pipeline.serve.run import make_served
from pipeline.serve.served import Served
from pipeline.serve.worker import Worker
from pipeline.store import Sink, Store
from pipeline.types import CodedFrame, Detection
from tests.streams import INFO, WALL_US, FakeDecoder, make_packets

SECOND = 1_000_000
T0 = WALL_US / 1e6
PASSWORD = "correct horse"
CAMERA_PASSWORD = "s3cr3t-of-the-camera"
PERSON = Detection(10, 12, 50, 60, "person", 0.9, 1)
HEADERS = {"X-Fovea": "1"}
LIMIT_S = 30.0

SITE = """store: {store}
cameras:
  gate:
    source: {{url: "rtsp://admin:{password}@192.0.2.10/stream1"}}
  yard:
    source: {{url: "rtsp://admin:{password}@192.0.2.11/stream1"}}
serve:
  session_hours: 1
"""


def record(store: Store, camera: str, *, frames: int = 200, silence_s: int = 7) -> None:
    """Segments of 100 frames in GOPs of 25, a silence before the second; someone is there in every fifth frame of the
    second."""
    sink = Sink(store, camera, INFO)
    for packet in make_packets(frames, gop=25, segment=100):
        later = replace(packet, wall_us=packet.wall_us + silence_s * SECOND * (packet.index >= 100))
        sink.append(CodedFrame(later, (PERSON,) if packet.index >= 150 and packet.index % 5 == 0 else ()))
    sink.close()


def make_site(folder: Path, *, more: str = "") -> Path:
    """A site file of two cameras, both with footage; `more` is added to its `serve`."""
    with Store(folder / "archive") as store:
        for camera in ("gate", "yard"):
            record(store, camera)
    config = folder / "site.yaml"
    config.write_text(SITE.format(store=folder / "archive", password=CAMERA_PASSWORD) + more)
    return config


def as_thread(pipe: Connection, root: Path, make_decoder: MakeDecoder, threads: int) -> threading.Thread:
    """A worker in this process."""
    return threading.Thread(target=lambda: Worker(pipe, root, make_decoder).run(), daemon=True)


@contextmanager
def serving(config: Path, make_decoder: MakeDecoder = FakeDecoder) -> Iterator[tuple[Served, TestClient]]:
    """What is served, and a client that has not signed in; users admin, and anna who may see the gate alone."""
    served = make_served(config, make_decoder, start=as_thread)
    if not served.accounts.users():
        served.accounts.add("admin", PASSWORD, "admin", None)
        served.accounts.add("anna", PASSWORD, "viewer", ["gate"])
    with TestClient(make_app(served), raise_server_exceptions=False) as client:
        yield served, client
    served.accounts.close()


def sign_in(client: TestClient, user: str = "admin", password: str = PASSWORD) -> None:
    answer = client.post("/api/login", json={"user": user, "password": password}, headers=HEADERS)
    assert answer.status_code == 200, answer.text


@contextmanager
def running(config: Path, make_decoder: MakeDecoder = FakeDecoder, start: Start = as_thread) -> Iterator[Running]:
    """The same behind a real server, for what a client in this process cannot do."""
    served = make_served(config, make_decoder, start=start)
    served.accounts.add("admin", PASSWORD, "admin", None)
    _, token = served.accounts.make_token("admin", "test")
    settings = uvicorn.Config(make_app(served), host="127.0.0.1", port=0, log_level="error", lifespan="on")
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started)
    found = Running(served, server.servers[0].sockets[0].getsockname()[1], {"Authorization": f"Bearer {token}"})
    try:
        yield found
    finally:
        for answer in found.answers:
            answer.close()
        server.should_exit = True
        thread.join(LIMIT_S)
        served.accounts.close()
    assert not thread.is_alive()


@dataclass
class Running:
    served: Served
    port: int
    headers: dict[str, str]
    answers: list[HTTPResponse] = field(default_factory=list)

    def get(self, path: str, **query: object) -> HTTPResponse:
        """An answer whose body has not been read."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)
        connection.request("GET", f"{path}?{urlencode(query)}", headers=self.headers | {"Connection": "close"})
        self.answers.append(connection.getresponse())
        return self.answers[-1]


def until(condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
