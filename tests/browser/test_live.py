"""A live camera in the page: RTSP through a running recorder to the browser."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests import rtsp_server
from tests.browser.site import LIMIT_S, Complaints, Site, fovea, free_port, go, serving, sign_in, until

SITE = """store: {folder}/archive
cameras:
  door:
    source: {{url: "{url}", timeout_s: 2, retry_s: 1}}
    detector: {{kind: none}}
    codec: {{threads: 1}}
monitor: {{listen: "127.0.0.1:{monitor}"}}
serve: {{listen: "127.0.0.1:{port}", workers: 1}}
"""


@pytest.fixture(scope="module")
def camera() -> Iterator[rtsp_server.RtspServer]:
    if why := rtsp_server.missing():
        pytest.skip(why)
    with rtsp_server.RtspServer(width=160, height=128, fps=5) as server:
        yield server


@pytest.fixture(scope="module")
def live_site(
    browser: Browser, camera: rtsp_server.RtspServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("live")
    config = folder / "site.yaml"
    config.write_text(SITE.format(folder=folder, url=camera.url(), monitor=free_port(), port=free_port()))
    with (folder / "run.log").open("w") as log:
        recorder = subprocess.Popen([*fovea(), "run", "--runner", "local", str(config)], stderr=log, stdout=log)
        try:
            with serving(config) as site:
                yield site
        finally:
            recorder.send_signal(signal.SIGINT)
            recorder.wait(LIMIT_S)


@pytest.fixture
def live_page(browser: Browser, live_site: Site) -> Iterator[Page]:
    with browser.new_context(viewport={"width": 1440, "height": 900}, locale="en-GB", timezone_id="UTC") as context:
        complaints = Complaints(context)
        page = context.new_page()
        sign_in(page, live_site)
        yield page
        assert complaints.said == []


def test_a_live_camera_is_watched_left_for_the_past_and_returned_to(live_page: Page, live_site: Site) -> None:
    page = live_page
    tile = page.get_by_role("link", name=re.compile("door: Live"))
    expect(tile).to_be_visible(timeout=LIMIT_S * 1000)
    until(page, "() => document.querySelector('.tile img').naturalWidth > 0")
    tile.click()
    expect(page.locator(".badge")).to_have_text("Live")
    since = page.evaluate("document.querySelector('video').currentTime")
    until(page, "(since) => document.querySelector('video').currentTime > since + 2", since)
    shown = page.evaluate("Date.parse(document.querySelector('.controls .time').textContent.replace(',', '') + ' UTC')")
    assert abs(page.evaluate("Date.now()") - shown) < LIMIT_S * 1000
    page.keyboard.press("j")
    expect(page.locator(".badge")).to_have_text("Full picture")
    expect(page.get_by_role("button", name="Live")).to_have_attribute("aria-pressed", "false")
    page.keyboard.press("v")
    expect(page.locator(".badge")).to_have_text("Live")


def test_a_camera_that_falls_silent_is_said_to_and_keeps_its_footage(
    live_page: Page, live_site: Site, camera: rtsp_server.RtspServer
) -> None:
    page = live_page
    expect(page.get_by_role("link", name=re.compile("door: Live"))).to_be_visible(timeout=LIMIT_S * 1000)
    camera.kill()
    expect(page.get_by_role("link", name=re.compile("door: (No signal|Stalled), last picture"))).to_be_visible(
        timeout=LIMIT_S * 1000
    )
    go(page, live_site, "camera/door")
    expect(page.locator(".badge")).to_have_text("Full picture")
