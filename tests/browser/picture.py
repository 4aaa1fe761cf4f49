"""Draws the picture of the page in docs: `python -m tests.browser.picture docs/page.jpg`."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.site import START_S, browsing, go, record, serving, sign_in

FPS, FRAMES, AT_S = 10, 200, 12.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--keep", type=Path, help="where the archive is kept and found again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing, browsing() as browser:
        if browser is None:
            parser.error("no Chromium on this machine")
        folder = options.keep or Path(passing)
        config = folder / "site.yaml"
        if not config.exists():
            config = record(folder, cameras=("gate",), size="640x360", fps=FPS, frames=FRAMES)
        size = {"width": 1440, "height": 900}
        with serving(config) as site, browser.new_context(viewport=size, locale="en-GB", timezone_id="UTC") as context:
            page = context.new_page()
            sign_in(page, site)
            go(page, site, f"camera/gate?t={START_S + AT_S}")
            page.get_by_role("switch", name="Boxes").click()
            expect(page.locator(".badge")).to_have_text("Full picture")
            page.locator(".event").first.wait_for()
            page.screenshot(path=options.out, type="jpeg", quality=80)


if __name__ == "__main__":
    main()
