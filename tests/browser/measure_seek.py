"""How long a seek in the page takes, from the click in the timeline to the first picture drawn, and to the full one.

    python -m tests.browser.measure_seek [--size 640x360] [--seeks 30]

Records a demo camera, serves it with `fovea serve` and clicks at random moments, paused and playing. The times are the
page's own (performance.now()): the click's event, and the first animation frame after a picture was drawn.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
from pathlib import Path

from playwright.sync_api import Page, expect

from tests.browser.site import START_S, browsing, go, record, serving, sign_in, until

FPS = 10
# Listens to the page's own mark of a seek and to what the stage shows after it.
LISTEN = """() => {
    globalThis.seek = { begin: 0, first: 0, full: 0 };
    const canvas = document.querySelector("canvas.timeline");
    canvas.addEventListener("pointerup", (event) => { seek = { begin: event.timeStamp, first: 0, full: 0 }; }, true);
    const seen = () => requestAnimationFrame((now) => {
        const badge = stage.dataset.badge;
        if (!seek.begin) return;
        if (!seek.first && (badge === "first" || badge === "full")) seek.first = performance.now();
        if (!seek.full && badge === "full") seek.full = performance.now();
    });
    const stage = document.querySelector(".stage");
    new MutationObserver(seen).observe(stage, { attributes: true, attributeFilter: ["data-badge"] });
}"""


def seek(page: Page, share: float) -> tuple[float, float]:
    """Click at a share of the timeline's width. Milliseconds to the first picture and to the full one."""
    box = page.locator("canvas.timeline").bounding_box()
    if box is None:
        raise RuntimeError("the page shows no timeline")
    page.mouse.click(box["x"] + share * box["width"], box["y"] + 28)
    until(page, "() => seek.full > 0")
    found = page.evaluate("seek")
    return found["first"] - found["begin"], found["full"] - found["begin"]


def summary(times: list[float]) -> dict[str, float]:
    ordered = sorted(times)
    return {
        "median_ms": round(statistics.median(ordered)),
        "p95_ms": round(ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]),
        "max_ms": round(ordered[-1]),
    }


def measure(page: Page, seeks: int, *, playing: bool) -> dict[str, object]:
    chance = random.Random(1)
    if playing:
        page.get_by_role("button", name="Play").click()
        until(page, "() => document.querySelector('video').currentTime > 0.2")
    found = []
    for _ in range(seeks):
        if page.get_by_role("button", name="Play").count() and playing:  # it came to the end of the footage
            page.get_by_role("button", name="Play").click()
        found.append(seek(page, chance.uniform(0.05, 0.8)))
    return {"seeks": seeks, "first": summary([a for a, _ in found]), "full": summary([b for _, b in found])}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", default="640x360")
    parser.add_argument("--frames", type=int, default=200)
    parser.add_argument("--seeks", type=int, default=30)
    parser.add_argument("--keep", type=Path, help="where the archive is kept and found again")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing, browsing() as browser:
        if browser is None:
            parser.error("no Chromium on this machine")
        folder = options.keep or Path(passing)
        folder.mkdir(exist_ok=True)
        config = folder / "site.yaml"
        if not config.exists():
            config = record(folder, cameras=("gate",), size=options.size, fps=FPS, frames=options.frames)
        with serving(config) as site, browser.new_context(viewport={"width": 1440, "height": 900}) as context:
            page = context.new_page()
            sign_in(page, site)
            go(page, site, f"camera/gate?t={START_S + 1}")
            expect(page.locator(".badge")).to_have_text("Full picture")
            page.evaluate(LISTEN)
            result = {
                "size": options.size,
                "seconds": options.frames / FPS,
                "paused": measure(page, options.seeks, playing=False),
                "playing": measure(page, options.seeks, playing=True),
            }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
