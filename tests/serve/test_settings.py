"""Cameras over HTTP: added, changed, tested, masked and removed, and no password that ever leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from starlette.testclient import TestClient

from pipeline.config import load_site
from tests.serve.site import CAMERA_PASSWORD, HEADERS, make_site, serving, sign_in

SHOWN = "rtsp://admin:***@192.0.2.10/stream1"
MASK = [[0.0, 0.0], [0.5, 0.0], [0.5, 0.25]]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    config = make_site(tmp_path)
    config.write_text(config.read_text().replace("  gate:\n", "  # the one at the gate\n  gate:\n"))
    return config


@pytest.fixture
def admin(config: Path) -> Iterator[TestClient]:
    with serving(config) as (_, client):
        sign_in(client)
        yield client


def put(client: TestClient, camera: str, settings: dict[str, Any]) -> tuple[int, str]:
    answer = client.put(f"/api/cameras/{camera}", json=settings, headers=HEADERS)
    assert CAMERA_PASSWORD not in answer.text
    return answer.status_code, answer.text


def url(config: Path, camera: str) -> str:
    return load_site(config).cameras[camera].source.url


def test_settings_are_changed_and_the_password_stays(admin: TestClient, config: Path) -> None:
    settings = admin.get("/api/cameras/gate/settings").json()
    assert settings == {"source": {"url": SHOWN}}
    before = url(config, "gate")
    assert put(admin, "gate", settings | {"codec": {"quality": 70}, "detector": {"kind": "motion"}})[0] == 200
    site = load_site(config)
    assert (site.cameras["gate"].codec.quality, url(config, "gate")) == (70, before)
    assert CAMERA_PASSWORD in before
    assert "# the one at the gate" in config.read_text()
    assert put(admin, "gate", settings)[0] == 200
    assert "codec" not in yaml.safe_load(config.read_text())["cameras"]["gate"]


def test_a_password_does_not_go_to_another_host(admin: TestClient, config: Path) -> None:
    for other in ("rtsp://admin:***@192.0.2.99/stream1", "rtsp://eve:***@192.0.2.10/stream1", "***"):
        status, text = put(admin, "gate", {"source": {"url": other}})
        assert status == 400, other
        assert "password again" in text or "source.url" in text
        answer = admin.post("/api/cameras/gate/test", json={"url": other}, headers=HEADERS)
        assert answer.status_code == 400
    assert "192.0.2.10" in url(config, "gate")
    assert put(admin, "gate", {"source": {"url": "rtsp://eve:other@192.0.2.99/stream1"}})[0] == 200
    assert url(config, "gate") == "rtsp://eve:other@192.0.2.99/stream1"


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"source": {"url": "/etc/passwd"}}, "source.url"),
        ({"source": {"url": "file:///etc/passwd"}}, "source.url"),
        ({"source": {"url": "concat:/etc/passwd"}}, "source.url"),
        ({"source": {"url": SHOWN}, "detector": {"weights": "/tmp/evil.pt"}}, "detector.weights"),
        ({"source": {"url": SHOWN}, "detector": {"boxes": "/etc/passwd"}}, "detector.boxes"),
        ({"source": {"url": SHOWN}, "detector": {"allow_download": True}}, "detector.allow_download"),
        ({"source": {"url": SHOWN}, "codec": {"quality": 700}}, "quality"),
        ({"source": {"url": SHOWN}, "colour": "red"}, "colour"),
        ({"mask": {"a": json.loads("[" * 500 + "]" * 500)}}, "too deep"),
        ({}, "source"),
        ({"source": []}, "source"),
    ],
)
def test_what_may_not_be_changed_is_refused(
    admin: TestClient, config: Path, settings: dict[str, Any], reason: str
) -> None:
    before = config.read_text()
    status, text = put(admin, "gate", settings)
    assert status == 400, text
    assert reason in text
    assert str(config.parent) not in text
    assert config.read_text() == before


def test_a_camera_comes_and_goes(admin: TestClient, config: Path) -> None:
    assert put(admin, "attic", {"source": {"url": "demo://street"}}) == (200, '{"ok":true,"new":true}')
    assert "attic" in [camera["id"] for camera in admin.get("/api/cameras").json()]
    assert admin.delete("/api/cameras/attic", headers=HEADERS).status_code == 200
    assert admin.delete("/api/cameras/attic", headers=HEADERS).status_code == 404
    assert admin.delete("/api/cameras/gate", headers=HEADERS).status_code == 200
    assert "gate" in [camera["id"] for camera in admin.get("/api/cameras").json()], "its footage stays"
    assert admin.get("/api/cameras/gate/settings").status_code == 404
    assert admin.delete("/api/cameras/yard", headers=HEADERS).status_code == 400, "a site has a camera"
    actions = [deed["action"] for deed in admin.get("/api/audit").json()]
    assert {"camera added", "camera removed"} <= set(actions)


def test_masks_are_set_and_read(admin: TestClient, config: Path) -> None:
    answer = admin.put("/api/cameras/gate/masks", json={"masks": [MASK]}, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    assert load_site(config).cameras["gate"].masks == (tuple(map(tuple, MASK)),)
    assert admin.get("/api/cameras").json()[0]["masks"] == [MASK]
    for wrong in ([MASK[:2]], [[[0, 0], [0, 2], [1, 1]]], [[[0, 0, 0]] * 3], "x"):
        assert admin.put("/api/cameras/gate/masks", json={"masks": wrong}, headers=HEADERS).status_code == 422
    assert admin.put("/api/cameras/attic/masks", json={"masks": []}, headers=HEADERS).status_code == 404
    assert admin.put("/api/cameras/gate/masks", json={"masks": []}, headers=HEADERS).status_code == 200
    assert "masks:" not in config.read_text()


def test_an_address_is_tested_before_it_is_used(admin: TestClient) -> None:
    answer = admin.post("/api/cameras/new/test", json={"url": "demo://street?size=96x64"}, headers=HEADERS)
    assert answer.json() == {"ok": True, "codec": "demo", "width": 96, "height": 64, "fps": 10.0, "error": None}
    body = {"url": "http://admin:hunter2@127.0.0.1:9/stream"}
    answer = admin.post("/api/cameras/new/test", json=body, headers=HEADERS)
    assert answer.json()["ok"] is False
    assert answer.json()["error"]
    assert "hunter2" not in answer.text
    assert admin.post("/api/cameras/new/test", json={}, headers=HEADERS).status_code == 400


def test_only_admins_may(admin: TestClient) -> None:
    sign_in(admin, "anna")
    for method, path, body in [
        ("GET", "settings", None),
        ("PUT", "masks", {"masks": []}),
        ("POST", "test", {"url": "demo://street"}),
        ("PUT", "", {"source": {"url": "demo://street"}}),
        ("DELETE", "", None),
    ]:
        answer = admin.request(method, f"/api/cameras/gate/{path}".rstrip("/"), json=body, headers=HEADERS)
        assert answer.status_code == 403, (method, path)
