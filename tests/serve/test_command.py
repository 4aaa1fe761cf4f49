"""`fovea serve` as a command: what it says, what it refuses, how it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from pipeline.cli import call
from pipeline.config import ServeConfig
from pipeline.serve.run import make_served
from tests.rtsp_server import free_port
from tests.serve.site import as_thread, until
from tests.streams import FakeDecoder

SITE = """store: {store}
cameras:
  gate: {{source: {{url: "rtsp://admin:s3cr3t@192.0.2.10/stream1"}}}}
serve: {{listen: "127.0.0.1:{port}"}}
"""


@contextmanager
def served(config: Path, port: int, *more: str) -> Iterator[Path]:
    """The command at work, and its stderr."""
    log = config.with_suffix(".log")
    command = [sys.executable, "-c", "from pipeline.cli import main; main()", "serve", str(config), *more]
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stderr=stderr, env=os.environ | {"FOVEA_DEBUG": "0"})

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=10) as answer:
                return bool(answer.read() == b"ok\n")
        except OSError:
            return False

    try:
        until(answers)
        yield log
        process.send_signal(signal.SIGINT)
        assert process.wait(60) in (0, 130)
    finally:
        process.kill()
        process.wait(60)


def sign_in(port: int, password: str) -> dict[str, object]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/login",
        json.dumps({"user": "admin", "password": password}).encode(),
        {"X-Fovea": "1", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return dict(json.load(answer))


def test_the_first_start_shows_a_password_and_the_second_does_not(tmp_path: Path) -> None:
    port = free_port()
    config = tmp_path / "site.yaml"
    config.write_text(SITE.format(store=tmp_path / "archive", port=port))
    with served(config, port) as log:
        (password,) = re.findall(r"user admin, password (\S+) ", log.read_text())
        assert sign_in(port, password) == {"user": "admin", "role": "admin", "cameras": None}
        assert f"http://127.0.0.1:{port}/" in log.read_text()
    assert log.read_text().count(password) == 1
    assert "Traceback" not in log.read_text()
    with served(config, port) as log:
        assert "password" not in log.read_text()
        sign_in(port, password)
    assert "s3cr3t" not in log.read_text()


def test_a_lost_password_is_replaced(tmp_path: Path) -> None:
    config = tmp_path / "site.yaml"
    config.write_text(SITE.format(store=tmp_path / "archive", port=1))
    found = make_served(config, FakeDecoder, start=as_thread)
    first = found.accounts.first_password()
    again = found.accounts.first_password(again=True)
    assert again is not None
    assert first is not None
    assert found.accounts.check("admin", first) is None
    assert found.accounts.check("admin", again) is not None
    found.accounts.close()


def test_others_are_not_answered_without_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "site.yaml"
    config.write_text(SITE.format(store=tmp_path / "archive", port=1).replace("127.0.0.1", "0.0.0.0"))
    assert call(["serve", str(config)]) == 2
    assert "give certificate and key, or set plain_http" in capsys.readouterr().err
    assert ServeConfig(listen="0.0.0.0:1", plain_http=True).plain_http
    for listen in ("127.0.0.1:1", "[::1]:1", "localhost:1"):
        ServeConfig(listen=listen)
    with pytest.raises(ValueError, match="go together"):
        ServeConfig(certificate=Path("cert.pem"))


def test_a_port_that_is_taken_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        config = tmp_path / "site.yaml"
        config.write_text(SITE.format(store=tmp_path / "archive", port=taken.getsockname()[1]))
        assert call(["serve", str(config)]) == 1
    shown = capsys.readouterr().err
    assert "Address already in use" in shown
    assert "password" not in shown, "it is shown by the start that begins"
