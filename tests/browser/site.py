"""A real `fovea serve` on an archive that a real `fovea run` made of demo cameras, and a Chromium to look at it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from pipeline.config import load_site

CAMERAS = ("gate", "street", "yard")
START = "2026-01-31T12:00:00Z"
START_S = 1769860800.0
FPS, FRAMES = 5, 60
LIMIT_S = 120.0

expect.set_options(timeout=LIMIT_S / 4 * 1000)  # a busy machine is no fault of the page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_CAMERA = """  {name}:
    source: {{url: "demo://street?size={size}&fps={fps}&seed={seed}", frames: {frames}, start_time: "{start}"}}
    detector: {{kind: motion}}
    codec: {{threads: 1, segment_s: 6}}
"""


@dataclass(frozen=True, slots=True)
class Site:
    """A running server. `url` ends with a slash."""

    url: str
    password: str  # of admin
    config: Path
    process: subprocess.Popen[str]


def record(
    folder: Path, *, cameras: tuple[str, ...] = CAMERAS, size: str = "320x240", fps: int = FPS, frames: int = FRAMES
) -> Path:
    """A site file with its archive, made by `fovea run --runner local`."""
    sources = "".join(
        _CAMERA.format(name=name, size=size, fps=fps, seed=seed, frames=frames, start=START)
        for seed, name in enumerate(cameras, 1)
    )
    config = folder / "site.yaml"
    listen = f"127.0.0.1:{free_port()}"
    config.write_text(f"store: {folder / 'archive'}\ncameras:\n{sources}serve:\n  listen: {listen}\n  workers: 1\n")
    subprocess.run([*fovea(), "run", "--runner", "local", str(config)], check=True, capture_output=True)
    return config


@contextmanager
def serving(config: Path) -> Iterator[Site]:
    """`fovea serve` as a process of its own, until the context is left."""
    with (config.parent / "serve.log").open("w+") as log:
        process = subprocess.Popen([*fovea(), "serve", str(config), "--reset-admin"], stderr=log, text=True)
        try:
            url = f"http://{load_site(config).serve.listen}/"
            _await_answer(url, process)
            found = re.search(r"password (\S+)", (config.parent / "serve.log").read_text())
            if found is None:
                raise ValueError("the server showed no password")
            yield Site(url, found[1], config, process)
        finally:
            process.terminate()
            process.wait(LIMIT_S)


def _await_answer(url: str, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + LIMIT_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{url}healthz", timeout=5):
                return
        except urllib.error.URLError:
            time.sleep(0.05)  # nobody listens yet, and nothing else says when somebody does
    raise TimeoutError(f"{url} does not answer; exit status {process.poll()}")


def fovea() -> list[str]:
    return [sys.executable, "-c", "import sys; from pipeline.cli import main; sys.exit(main())"]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    return port


def chromium(playwright: Playwright) -> str | None:
    """A Chromium of this machine: Playwright's own, else an installed one."""
    own = playwright.chromium.executable_path
    return own if Path(own).exists() else next(filter(None, map(shutil.which, _NAMES)), None)


@contextmanager
def browsing() -> Iterator[Browser | None]:
    """A headless Chromium; None where there is none."""
    with sync_playwright() as playwright:
        path = chromium(playwright)
        if path is None:
            yield None
            return
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=path, args=options)
        try:
            yield browser
        finally:
            browser.close()


def sign_in(page: Page, site: Site, *, user: str = "admin", password: str | None = None) -> None:
    """As admin unless told."""
    page.goto(site.url)
    page.get_by_label("User").fill(user)
    page.get_by_label("Password").fill(password or site.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("navigation", name="Main").wait_for()


def go(page: Page, site: Site, path: str) -> None:
    """To a view of the page, whichever is shown."""
    page.goto(f"{site.url}#/{path}")


def until(page: Page, condition: str, arg: object = None) -> None:
    """Wait until a JavaScript function says yes. Playwright's own way needs eval, which the page's policy refuses."""
    deadline = time.monotonic() + LIMIT_S / 4
    while not page.evaluate(condition, arg):
        if time.monotonic() > deadline:
            raise TimeoutError(f"never true: {condition}")
        page.wait_for_timeout(50)


class Complaints:
    """What a page's console says that it should not: errors, and what the content security policy refused."""

    def __init__(self, context: BrowserContext) -> None:
        self.said: list[str] = []
        context.on("weberror", lambda error: self.said.append(str(error.error)))
        context.on("console", lambda message: self._heard(message.type, message.text))

    def _heard(self, kind: str, text: str) -> None:
        # An answer of 401 or 404 is the browser's own note, and what the page shows of it is tested.
        if kind == "error" and "Failed to load resource" not in text:
            self.said.append(text)
