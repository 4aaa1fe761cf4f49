"""What people do with the page, against a real server."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.site import CAMERAS, FPS, FRAMES, START_S, Site, go, until

DRAWN = "(selector) => [...document.querySelectorAll(selector)].every((image) => image.naturalWidth > 0)"
VIEW = "() => { const { from, to } = document.querySelector('canvas.timeline').dataset; return [+from, +to]; }"
# What a canvas or a video shows, as numbers that differ when it differs.
PIXELS = """(selector) => {
    const source = document.querySelector(selector);
    const small = new OffscreenCanvas(32, 24);
    const context = small.getContext("2d");
    context.drawImage(source, 0, 0, 32, 24);
    return [...context.getImageData(0, 0, 32, 24).data];
}"""
MEDIA = f"() => ({{ t: document.querySelector('video').currentTime, pixels: ({PIXELS})('video') }})"


def shown_time(page: Page) -> float:
    """Seconds after the beginning of the recording."""
    text = page.locator(".controls .time").inner_text()
    match = re.search(r"(\d+):(\d+):(\d+)\.(\d+)$", text)
    assert match is not None, text
    hours, minutes, seconds, ms = map(int, match.groups())
    return hours * 3600 + minutes * 60 + seconds + ms / 1000 - START_S % 86400


def badge(page: Page, text: str) -> None:
    expect(page.locator(".badge")).to_have_text(text)


def open_camera(page: Page, site: Site, t: float = 2.0) -> None:
    go(page, site, f"camera/gate?t={START_S + t}")
    badge(page, "Full picture")


def test_who_has_not_signed_in_sees_the_form_and_why_it_failed(browser: Browser, site: Site) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(site.url)
        page.get_by_label("User").fill("admin")
        page.get_by_label("Password").fill("wrong")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator(".form-line")).to_have_text("wrong user or password")
        expect(page.get_by_role("navigation", name="Main")).to_have_count(0)


def test_the_wall_shows_every_camera_and_its_state(page: Page) -> None:
    expect(page.locator(".tile")).to_have_count(len(CAMERAS))
    until(page, DRAWN, ".tile img")
    for camera in CAMERAS:
        expect(page.get_by_role("link", name=re.compile(f"{camera}: Stored"))).to_be_visible()
    page.get_by_label("Find").fill("ya")
    expect(page.locator(".tile:visible")).to_have_count(1)
    page.get_by_role("link", name=re.compile("yard")).click()
    expect(page.get_by_role("heading", name="yard")).to_be_visible()


def test_a_seek_shows_the_foreground_first_and_then_all(page: Page, site: Site) -> None:
    go(page, site, "")
    page.evaluate(
        """() => {
            globalThis.badges = [];
            new MutationObserver(() => {
                const badge = document.querySelector(".stage")?.dataset.badge;
                if (badge && badge !== badges.at(-1)) badges.push(badge);
            }).observe(document, { subtree: true, childList: true, attributes: true });
        }"""
    )
    page.evaluate(f"location.hash = '#/camera/gate?t={START_S + 2}'")
    badge(page, "Full picture")
    assert page.evaluate("badges") == ["loading", "first", "full"]
    assert abs(shown_time(page) - 2.0) <= 1 / FPS
    shown = page.evaluate(PIXELS, "canvas.still")
    assert len(set(shown)) > 20


def test_the_timeline_zooms_from_a_minute_to_a_year(page: Page, site: Site) -> None:
    open_camera(page, site)
    span = page.get_by_label("Time shown")
    for seconds in (60, 86400, 365 * 86400):
        span.select_option(str(seconds))
        begin, end = page.evaluate(VIEW)
        assert end - begin == pytest.approx(seconds)
        assert begin < START_S + 2 < end
    span.select_option("60")
    box = page.locator("canvas.timeline").bounding_box()
    assert box is not None
    at = 0.25
    page.mouse.move(box["x"] + at * box["width"], box["y"] + 10)
    begin, end = page.evaluate(VIEW)
    for turn, wider in ((400, True), (-800, False)):
        page.mouse.wheel(0, turn)
        until(page, f"([from, to]) => {{ const [a, b] = ({VIEW})(); return a !== from || b !== to; }}", [begin, end])
        fresh = page.evaluate(VIEW)
        assert (fresh[1] - fresh[0] > end - begin) == wider
        under = begin + at * (end - begin)
        assert fresh[0] + at * (fresh[1] - fresh[0]) == pytest.approx(under, abs=0.2)
        begin, end = fresh
    page.locator("canvas.timeline").focus()
    page.keyboard.press("-")
    assert page.evaluate(VIEW)[1] - page.evaluate(VIEW)[0] == pytest.approx(2 * (end - begin))


def test_keys_step_through_frames_and_move_in_time(page: Page, site: Site) -> None:
    open_camera(page, site)
    begin = shown_time(page)
    page.get_by_role("button", name="Frame forward").click()
    expect(page.locator(".controls .time")).to_have_text(re.compile(r"02\.200$"))
    assert shown_time(page) == pytest.approx(begin + 1 / FPS, abs=1e-3)
    page.keyboard.press(",")
    expect(page.locator(".controls .time")).to_have_text(re.compile(r"02\.000$"))
    timeline = page.get_by_role("slider", name="Timeline")
    timeline.press("End")
    until(page, "() => document.querySelector('.controls .time').textContent.includes(':00:11.')")
    badge(page, "Full picture")
    assert shown_time(page) <= FRAMES / FPS


def test_footage_plays_and_its_pixels_change(page: Page, site: Site) -> None:
    open_camera(page, site, t=1)
    page.get_by_role("button", name="Play").click()
    until(page, "() => document.querySelector('video').currentTime > 0.3")
    badge(page, "Full picture")
    before = page.evaluate(MEDIA)
    until(page, "(since) => document.querySelector('video').currentTime > since + 1", before["t"])
    after = page.evaluate(MEDIA)
    assert sum(abs(a - b) for a, b in zip(before["pixels"], after["pixels"], strict=True)) > 1000
    page.get_by_role("button", name="Pause").click()
    badge(page, "Full picture")
    # The picture that stands is the one that was shown: times of video and still agree.
    assert shown_time(page) == pytest.approx(1 + after["t"], abs=1.0)
    stood = shown_time(page)
    page.get_by_label("Speed").select_option("16")
    page.keyboard.press("k")
    expect(page.locator(".stage-message")).to_have_text("The footage ends here.", timeout=30_000)
    assert stood < shown_time(page) <= FRAMES / FPS + 0.1
    expect(page.get_by_role("button", name="Play")).to_be_visible()


def test_the_foreground_alone_is_shown_still_and_playing(page: Page, site: Site) -> None:
    open_camera(page, site, t=3)
    switch = page.get_by_role("switch", name="Foreground only")
    switch.click()
    badge(page, "Foreground only")
    expect(switch).to_have_attribute("aria-checked", "true")
    with page.expect_request(re.compile(r"clip\.mp4.*layer=foreground")):
        page.get_by_role("button", name="Play").click()
    until(page, "() => document.querySelector('video').currentTime > 0.3")
    badge(page, "Foreground only")
    with page.expect_request(re.compile(r"clip\.mp4.*layer=full")):
        page.keyboard.press("f")
    expect(switch).to_have_attribute("aria-checked", "false")
    until(page, "() => document.querySelector('video').currentTime > 0.3")
    badge(page, "Full picture")


def test_a_seek_while_playing_goes_on_there(page: Page, site: Site) -> None:
    open_camera(page, site, t=1)
    page.keyboard.press(" ")
    until(page, "() => document.querySelector('video').currentTime > 0.2")
    page.get_by_role("slider", name="Timeline").press("Home")
    until(page, "() => document.querySelector('video').currentTime < 0.2")
    until(page, "() => document.querySelector('video').currentTime > 0.4")
    expect(page.get_by_role("button", name="Pause")).to_be_visible()
    assert 0.1 < shown_time(page) < 3  # the picture drawn lags the video by up to a frame


def test_an_event_in_the_timeline_leads_to_its_moment(page: Page, site: Site) -> None:
    open_camera(page, site, t=9)
    event = page.locator(".event").first
    expect(event).to_be_visible()
    page.get_by_label("Time shown").select_option("60")
    asked = f"/api/cameras/gate/timeline?from={START_S}&to={START_S + 60}&buckets=10"
    found = page.evaluate("(path) => fetch(path).then((answer) => answer.json())", asked)
    first = found["events"][0]
    begin, end = page.evaluate(VIEW)
    box = page.locator("canvas.timeline").bounding_box()
    assert box is not None
    x = box["x"] + (first["t0"] + 0.2 - begin) / (end - begin) * box["width"]
    page.mouse.click(x, box["y"] + box["height"] - 10)
    expect(event).to_have_attribute("aria-current", "true")
    badge(page, "Full picture")
    assert shown_time(page) == pytest.approx(max(0.0, first["t0"] - START_S - 1), abs=1 / FPS)


def test_where_nothing_is_recorded_the_page_says_so(page: Page, site: Site) -> None:
    open_camera(page, site)
    page.get_by_label("Jump to a time").fill("2025-06-01T12:00:00")
    page.get_by_role("button", name="Go").click()
    expect(page.locator(".stage-message")).to_contain_text("No footage at 1 Jun 2025, 12:00:00.")
    assert shown_time(page) == 0.0  # the nearest there is


def test_search_finds_by_class_camera_and_place(page: Page, site: Site) -> None:
    go(page, site, "search")
    expect(page.locator(".result").first).to_be_visible()
    until(page, DRAWN, ".results li:first-child img")
    page.locator("form").get_by_label("Camera").select_option("yard")
    page.get_by_label("Class").fill("motion")
    page.get_by_role("button", name="Search").click()
    expect(page.locator(".result .facts").first).to_have_text("yard")
    assert set(page.locator(".result .facts:nth-child(2)").all_inner_texts()) == {"yard"}
    page.get_by_text("Place in the picture").click()
    box = page.locator(".easel").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 20, box["y"] + box["height"] / 20)
    page.mouse.up()
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("Nothing found.")).to_be_visible()  # the sky over the bus
    page.get_by_role("button", name="Whole picture").click()
    page.get_by_label("Class").fill("zebra")
    page.get_by_role("button", name="Search").click()
    expect(page.get_by_text("Nothing found.")).to_be_visible()


def test_a_session_that_has_ended_leads_to_the_sign_in(page: Page, site: Site) -> None:
    page.context.clear_cookies()
    go(page, site, "search")
    expect(page.get_by_text("Your session has ended.")).to_be_visible()
    expect(page.get_by_label("Password")).to_be_visible()


def test_a_server_that_is_gone_is_told_and_forgotten_when_it_is_back(page: Page) -> None:
    page.route("**/api/**", lambda route: route.abort())
    expect(page.locator(".bar")).to_be_visible()
    page.unroute("**/api/**")
    expect(page.locator(".bar")).to_be_hidden()
