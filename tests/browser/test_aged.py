"""Footage that has lost its background, in the page."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.browser.site import START_S, Site, fovea, free_port, go, serving, sign_in, until

RETENTION = """retention:
  background: {days: 0}
"""


@pytest.fixture
def aged(browser: Browser, recorded: Path, tmp_path: Path) -> Iterator[Site]:
    """The recorded site, whose footage may keep its background for no time at all (but what other tests exported)."""
    store = tmp_path / "archive"
    shutil.copytree(recorded.parent / "archive", store)
    config = tmp_path / "site.yaml"
    sources = recorded.read_text().split("cameras:")[1].split("serve:")[0]
    serve = f'serve: {{listen: "127.0.0.1:{free_port()}", workers: 1}}\n'
    config.write_text(f"store: {store}\ncameras:{sources}{RETENTION}{serve}")
    subprocess.run([*fovea(), "store", "age", str(store), "--config", str(config)], check=True, capture_output=True)
    with serving(config) as site:
        yield site


def test_aged_footage_is_said_to_be_without_background(browser: Browser, aged: Site) -> None:
    with browser.new_context(locale="en-GB", timezone_id="UTC") as context:
        page = context.new_page()
        sign_in(page, aged)
        go(page, aged, f"camera/street?t={START_S + 2}")
        expect(page.locator(".badge")).to_have_text("Foreground only")
        asked = f"/api/cameras/street/timeline?from={START_S}&to={START_S + 60}&buckets=10"
        found = page.evaluate("(path) => fetch(path).then((answer) => answer.json())", asked)
        assert {level for _, _, level in found["covered"]} == {"foreground"}
        page.get_by_role("button", name="Play").click()
        until(page, "() => document.querySelector('video').currentTime > 0.5")
        expect(page.locator(".badge")).to_have_text("Foreground only")
        page.get_by_role("link", name="Storage").click()
        expect(page.get_by_role("img", name="street: 0 s full, 12 s without background, 0 s thinned")).to_be_visible()
