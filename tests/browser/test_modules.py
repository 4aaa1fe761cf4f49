"""The page's plain modules, each alone in a browser."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, Page

from tests.browser.site import Site

BERLIN = "Europe/Berlin"


@pytest.fixture
def bare(browser: Browser, site: Site) -> Page:
    """A page in Berlin that has not signed in."""
    page = browser.new_context(timezone_id=BERLIN, locale="en-GB").new_page()
    page.goto(site.url)
    return page


def call(page: Page, module: str, expression: str) -> object:
    return page.evaluate(f"import('/js/{module}.js').then((it) => {expression})")


def test_zooming_keeps_the_moment_under_the_pointer(bare: Page) -> None:
    view = call(bare, "timescale", "it.zoom({ from: 1000, to: 2000 }, 0.5, 1250)")
    assert view == {"from": 1125, "to": 1625}
    narrow = call(bare, "timescale", "it.zoom({ from: 1000, to: 1020 }, 0.001, 1005)")
    assert narrow == {"from": 1002.5, "to": 1012.5}  # no narrower than ten seconds


@pytest.mark.parametrize("span", [10, 60, 3600, 86400, 7 * 86400, 365 * 86400, 10 * 365 * 86400])
def test_ticks_are_round_in_order_and_not_too_many(bare: Page, span: int) -> None:
    begin = 1774731600  # the night before summer time began in Berlin
    ticks = call(bare, "timescale", f"it.ticks({{ from: {begin}, to: {begin + span} }}, 1000)")
    assert isinstance(ticks, list)
    times = [tick["t"] for tick in ticks]
    assert 2 <= len(times) <= 13
    assert times == sorted(set(times))
    assert begin <= times[0]
    assert times[-1] <= begin + span


def test_ticks_of_a_day_stand_at_local_hours_also_when_the_clock_changes(bare: Page) -> None:
    day = "({ from: +new Date(2026, 2, 29) / 1000, to: +new Date(2026, 2, 30, 12) / 1000 })"
    hours = call(
        bare,
        "timescale",
        f"it.ticks({day}, 700).filter((tick) => tick.major).map((tick) => new Date(tick.t * 1000).getHours())",
    )
    assert hours == [0, 0]


@pytest.mark.parametrize(
    ("expression", "text"),
    [
        ("it.formatDuration(0.2)", "0.2 s"),
        ("it.formatDuration(90)", "1 min 30 s"),
        ("it.formatDuration(3600)", "1 h"),
        ("it.formatDuration(90061)", "1 d 1 h"),
        ("it.formatBytes(999)", "999 B"),
        ("it.formatBytes(1500)", "1.5 kB"),
        ("it.formatBytes(76.3e9)", "76.3 GB"),
        ("it.formatDays(null)", "no limit"),
        ("it.formatExact(1769860802.2)", "31 Jan 2026, 13:00:02.200"),
        ("it.toInput(1769860802.9)", "2026-01-31T13:00:02"),
        ("String(it.fromInput('2026-01-31T13:00:02'))", "1769860802"),
        ("String(it.fromInput(''))", "null"),
    ],
)
def test_numbers_as_people_read_them(bare: Page, expression: str, text: str) -> None:
    assert call(bare, "format", expression) == text


def test_text_never_becomes_markup(bare: Page) -> None:
    made = "it.h('p', { title: '\"><b>' }, '<img src=x onerror=alert(1)>')"
    assert call(bare, "dom", f"{made}.children.length") == 0
    assert call(bare, "dom", f"{made}.textContent") == "<img src=x onerror=alert(1)>"
    assert call(bare, "dom", f"{made}.title") == '"><b>'
