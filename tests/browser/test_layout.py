"""Every page on a phone and on a desk, light and dark: nothing runs over, text can be read, controls have names.

The screenshots lie in tests/browser/shots afterwards, for people to look at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.site import START_S, Complaints, Site, go, sign_in, until

SHOTS = Path(__file__).with_name("shots")
T = START_S + 6
# What each page shows when it is ready.
PAGES = {
    "wall": ("", ".tile"),
    "camera": (f"camera/street?t={T}", ".stage[data-badge=full]"),
    "foreground": (f"camera/street?t={T}&layer=foreground", ".stage[data-badge=foreground]"),
    "search": ("search", ".result"),
    "exports": ("exports", ".exports li"),
    "storage": ("storage", ".uplot canvas"),
    "cameras": ("settings/cameras", "tbody tr"),
    "masks": ("settings/masks?camera=yard", ".easel img[src]"),
    "users": ("settings/users", "tbody tr"),
    "tokens": ("settings/tokens", "form"),
    "password": ("settings/password", "form"),
    "audit": ("settings/audit", "tbody tr"),
    "nothing": ("no/such/page", ".empty"),
}
# Elements that stick out of the window, without those inside something that scrolls.
OUTSIDE = """() => [...document.querySelectorAll("body *")].filter((element) => {
    const box = element.getBoundingClientRect();
    if (!box.width || !box.height || box.right <= innerWidth + 1 && box.left >= -1) return false;
    if (element.closest(".unseen, .skip")) return false;
    for (let up = element.parentElement; up; up = up.parentElement) {
        if (["auto", "scroll", "hidden"].includes(getComputedStyle(up).overflowX)) return false;
    }
    return true;
}).map((element) => `${element.tagName}.${element.className}`)"""
# Text under 4.5:1 (3:1 where it is large) on the plain colour behind it; what is disabled may be paler.
PALE = """() => {
    const parse = (text) => {
        const [r, g, b, a = 1] = text.match(/[0-9.]+/g).map(Number);
        return { rgb: [r, g, b], a };
    };
    const over = (top, under) => top.rgb.map((value, at) => value * top.a + under[at] * (1 - top.a));
    const light = (rgb) => {
        const linear = (value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = rgb.map((value) => linear(value / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = (element) => {
        const layers = [];
        for (let up = element; up; up = up.parentElement) layers.push(parse(getComputedStyle(up).backgroundColor));
        return layers.reverse().reduce((rgb, layer) => over(layer, rgb), [255, 255, 255]);
    };
    const found = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node; (node = walker.nextNode());) {
        const element = node.parentElement;
        const box = element.getBoundingClientRect();
        if (!node.data.trim() || !box.width || element.closest(":disabled, .unseen, .skip, script, option")) continue;
        const style = getComputedStyle(element);
        const ground = behind(element);
        const [a, b] = [light(over(parse(style.color), ground)), light(ground)].sort((x, y) => y - x);
        const large = parseFloat(style.fontSize) >= 24;
        const ratio = (a + 0.05) / (b + 0.05);
        if (ratio < (large ? 3 : 4.5)) found.push(`${node.data.trim()}: ${ratio.toFixed(2)}`);
    }
    return found;
}"""
NAMELESS = """() => [...document.querySelectorAll("button, a[href], input, select, [role], canvas, img")]
    .filter((element) => !["status", "alert", "group", "list", "listitem"].includes(element.getAttribute("role")))
    .filter((element) => element.getBoundingClientRect().width && !element.closest("[aria-hidden=true], .uplot"))
    .filter((element) => !(element.textContent.trim() || element.getAttribute("aria-label") || element.labels?.length ||
        element.hasAttribute("alt") || element.getAttribute("aria-labelledby")))
    .map((element) => element.outerHTML.slice(0, 120))"""
LOADED = "() => [...document.images].slice(0, 3).every((image) => image.naturalWidth > 0)"
FOCUSED = """() => {
    const { ariaLabel, labels, textContent, tagName } = document.activeElement;
    const { outlineStyle } = getComputedStyle(document.activeElement);
    return [ariaLabel || textContent || labels?.[0]?.textContent || tagName, outlineStyle];
}"""
CLIPPED = """() => [...document.querySelectorAll("button, h1, h2, .state, .badge, label, .time")]
    .filter((element) => element.getBoundingClientRect().width && element.scrollWidth > element.clientWidth + 1 &&
        getComputedStyle(element).display !== "inline")
    .map((element) => element.textContent)"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_every_page_fits_and_can_be_read(
    browser: Browser, site: Site, width: int, scheme: Literal["light", "dark"]
) -> None:
    SHOTS.mkdir(exist_ok=True)
    size = {"width": width, "height": 844 if width == 390 else 900}
    faults: dict[str, list[str]] = {}
    with browser.new_context(viewport=size, color_scheme=scheme, locale="en-GB", timezone_id="UTC") as context:
        complaints = Complaints(context)
        page = context.new_page()
        page.goto(site.url)
        expect(page.get_by_role("button", name="Sign in")).to_be_visible()
        page.screenshot(path=SHOTS / f"sign-in-{width}-{scheme}.png")
        faults["sign-in"] = _faults(page)
        sign_in(page, site)
        for name, (path, ready) in PAGES.items():
            go(page, site, path)
            expect(page.locator(ready).first).to_be_visible()
            until(page, LOADED)
            page.screenshot(path=SHOTS / f"{name}-{width}-{scheme}.png", full_page=True)
            faults[name] = _faults(page)
    assert {name: found for name, found in faults.items() if found} == {}
    assert complaints.said == []


def _faults(page: Page) -> list[str]:
    landmarks = page.locator("main").count() == 1 and page.locator("header").count() == 1
    headings = page.locator("h1").count()
    return [
        *(f"sticks out: {item}" for item in page.evaluate(OUTSIDE)),
        *(f"pale: {item}" for item in page.evaluate(PALE)),
        *(f"without a name: {item}" for item in page.evaluate(NAMELESS)),
        *(f"clipped: {item}" for item in page.evaluate(CLIPPED)),
        *([] if landmarks else ["landmarks"]),
        *([] if headings == 1 else [f"{headings} top headings"]),
    ]


def test_everything_on_a_cameras_page_is_reached_with_the_keyboard(page: Page, site: Site) -> None:
    go(page, site, f"camera/gate?t={T}")
    expect(page.locator(".badge")).to_have_text("Full picture")
    page.locator("main").focus()
    reached = []
    for _ in range(60):
        page.keyboard.press("Tab")
        name, outline = page.evaluate(FOCUSED)
        reached.append(name)
        assert outline != "none" or name == "BODY", name
        if reached[-1] == "Export …":
            break
    wanted = {
        "Play",
        "Frame back",
        "Speed",
        "Foreground only",
        "Timeline",
        "Zoom in",
        "Jump to a time",
        "Mark start",
        "Export …",
    }
    assert wanted <= set(reached)
