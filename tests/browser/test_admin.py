"""Exports, kept footage and settings, against a real server."""

from __future__ import annotations

import re
from pathlib import Path

import av
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser.site import CAMERAS, START_S, Site, free_port, go, sign_in, until


def test_a_marked_range_is_exported_with_its_true_duration(page: Page, site: Site, tmp_path: Path) -> None:
    go(page, site, f"camera/gate?t={START_S + 2}")
    expect(page.locator(".badge")).to_have_text("Full picture")
    page.get_by_role("button", name="Mark start").click()
    page.keyboard.press("l")  # ten seconds on: past the end, so the last picture
    until(page, "() => document.querySelector('.controls .time').textContent.includes(':00:11.')")
    expect(page.locator(".badge")).to_have_text("Full picture")
    page.get_by_role("button", name="Mark end").click()
    expect(page.locator(".range")).to_contain_text("12:00:02")
    page.get_by_role("button", name="Export …").click()
    dialog = page.get_by_role("dialog", name="Export gate")
    dialog.get_by_label("To", exact=True).fill("2026-01-31T12:00:08")
    dialog.get_by_role("button", name="Export").click()
    expect(dialog).to_have_count(0)
    row = page.locator(".export").first
    expect(row).to_have_attribute("data-state", "done", timeout=60_000)
    with page.expect_download() as loading:
        row.get_by_role("link", name=re.compile(r"\.mp4$")).click()
    loading.value.save_as(tmp_path / "clip.mp4")
    with av.open(str(tmp_path / "clip.mp4")) as clip:
        assert clip.duration is not None
        assert clip.duration / 1e6 == pytest.approx(6.0, abs=0.3)
    go(page, site, "exports")
    expect(page.locator(".export")).to_have_count(1)
    page.locator(".export").get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.locator(".export")).to_have_count(0)


def test_footage_is_kept_and_let_go(page: Page, site: Site) -> None:
    go(page, site, f"camera/yard?t={START_S + 2}")
    page.get_by_role("button", name="Keep …").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Note").fill("the blue coat")
    dialog.get_by_role("button", name="Keep").click()
    expect(dialog).to_have_count(0)
    go(page, site, "storage")
    row = page.get_by_role("row", name=re.compile("the blue coat"))
    row.get_by_role("button", name="Let go").click()
    page.get_by_role("dialog").get_by_role("button", name="Let go").click()
    expect(row).to_have_count(0)


def test_storage_draws_layers_aging_and_forecast(page: Page, site: Site) -> None:
    go(page, site, "storage")
    expect(page.get_by_role("img", name="Bytes stored by layer over time").locator("canvas")).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("Growth of the archive")).locator("canvas")).to_be_visible()
    expect(page.get_by_text(re.compile(r"foreground \d.* kB, background \d"))).to_be_visible()
    for camera in CAMERAS:
        expect(page.get_by_role("img", name=re.compile(f"{camera}: 12 s full"))).to_be_visible()
    expect(page.get_by_role("region", name="Forecast by camera").get_by_role("row")).to_have_count(1 + len(CAMERAS))


def test_a_mask_is_drawn_moved_saved_and_removed(page: Page, site: Site) -> None:
    go(page, site, "settings/masks?camera=street")
    layer = page.locator(".easel .layer")
    box = layer.bounding_box()
    assert box is not None
    for x, y in ((0.1, 0.1), (0.5, 0.1), (0.5, 0.5), (0.1, 0.1)):
        page.mouse.click(box["x"] + x * box["width"], box["y"] + y * box["height"])
    expect(page.locator("polygon.mask")).to_have_count(1)
    corner = page.get_by_role("button", name="Mask 1, corner 3")
    corner.focus()
    corner.press("ArrowDown")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".form-line")).to_contain_text("Saved")
    [mask] = _camera(page, "street")["masks"]
    assert [[round(x, 2), round(y, 2)] for x, y in mask] == [[0.1, 0.1], [0.5, 0.1], [0.5, 0.51]]
    page.get_by_role("button", name="Remove mask 1").click()
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".form-line")).to_contain_text("Saved")
    assert _camera(page, "street")["masks"] == []


def _camera(page: Page, name: str) -> dict[str, list[list[list[float]]]]:
    cameras = page.evaluate("() => fetch('/api/cameras').then((answer) => answer.json())")
    return next(camera for camera in cameras if camera["id"] == name)


def test_a_camera_is_tested_added_changed_and_removed(page: Page, site: Site) -> None:
    go(page, site, "settings/cameras")
    page.get_by_role("button", name="Add a camera").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("attic")
    dialog.get_by_label("Address").fill(f"rtsp://127.0.0.1:{free_port()}/nobody")
    dialog.get_by_role("button", name="Test").click()
    expect(dialog.locator(".form-line.fault")).to_contain_text("127.0.0.1")
    dialog.get_by_label("Address").fill("demo://street?size=96x64")
    dialog.get_by_role("button", name="Test").click()
    expect(dialog.locator(".form-line.good")).to_contain_text("96×64")
    dialog.get_by_label("Background goes after, days").fill("7")
    dialog.get_by_role("button", name="Add").click()
    expect(dialog).to_have_count(0)
    go(page, site, "camera/attic")
    expect(page.get_by_text("Nothing is recorded yet.")).to_be_visible()
    box = page.locator(".stage").bounding_box()
    assert box is not None
    assert box["height"] > 200
    go(page, site, "settings/cameras")
    row = page.get_by_role("row", name=re.compile("attic"))
    row.get_by_role("button", name="Change").click()
    expect(dialog.get_by_label("Background goes after, days")).to_have_value("7")
    dialog.get_by_label("Quality").fill("300")
    dialog.get_by_label("Quality").evaluate("(input) => input.removeAttribute('max')")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog.locator(".form-line.fault")).to_contain_text("quality")
    dialog.get_by_label("Quality").fill("40")
    dialog.get_by_role("button", name="Save").click()
    expect(dialog).to_have_count(0)
    assert "quality: 40" in site.config.read_text()
    row.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)
    assert "attic" not in site.config.read_text()


def test_a_viewer_sees_what_was_given_and_no_more(page: Page, browser: Browser, site: Site) -> None:
    go(page, site, "settings/users")
    page.get_by_role("button", name="Add a user").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("User").fill("night")
    dialog.get_by_label("Password").fill("correct horse battery")
    dialog.get_by_label("All cameras").uncheck()
    dialog.get_by_label("gate").check()
    dialog.get_by_role("button", name="Add").click()
    expect(dialog).to_have_count(0)
    with browser.new_context() as context:
        other = context.new_page()
        sign_in(other, site, user="night", password="correct horse battery")
        expect(other.locator(".tile")).to_have_count(1)
        go(other, site, "camera/yard")
        expect(other.get_by_text("There is no camera yard, or you may not see it.")).to_be_visible()
        go(other, site, "settings/users")
        expect(other.get_by_text("Only an administrator may change this.")).to_be_visible()
        expect(other.get_by_role("navigation", name="Settings").get_by_role("link")).to_have_count(2)
    page.get_by_role("row", name=re.compile("night")).get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_role("row", name=re.compile("night"))).to_have_count(0)


def test_a_token_is_shown_once_and_works(page: Page, site: Site) -> None:
    go(page, site, "settings/tokens")
    page.get_by_label("Name").fill("backup")
    page.get_by_role("button", name="Make a token").click()
    token = page.locator(".secret code").inner_text()
    answer = page.request.get(f"{site.url}api/me", headers={"Authorization": f"Bearer {token}", "Cookie": ""})
    assert answer.json()["user"] == "admin"
    page.get_by_role("button", name="Remove backup").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No tokens.")).to_be_visible()


def test_the_audit_log_is_shown_and_sifted(page: Page, site: Site) -> None:
    go(page, site, "settings/audit")
    rows = page.get_by_role("region", name="Audit log").locator("tbody tr:visible")
    expect(rows.first).to_contain_text("admin")
    page.get_by_label("Find").fill("nobody at all")
    expect(rows).to_have_count(0)


def test_one_changes_ones_own_password(page: Page, site: Site) -> None:
    go(page, site, "settings/password")
    page.get_by_label("Old password").fill("wrong")
    page.get_by_label("New password", exact=True).fill("correct horse staple")
    page.get_by_label("New password again").fill("correct horse stable")
    page.get_by_role("button", name="Change password").click()
    expect(page.locator(".form-line")).to_have_text("The two new passwords differ.")
    page.get_by_label("New password again").fill("correct horse staple")
    page.get_by_role("button", name="Change password").click()
    expect(page.locator(".form-line")).to_have_text("the old password is wrong")
    expect(page.get_by_role("heading", name="Settings")).to_be_visible()
