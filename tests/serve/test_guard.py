"""Who gets past the door: nobody without sign-in, no other site, no viewer to another camera."""

from __future__ import annotations

from pathlib import Path

import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from pipeline.serve.guard import MOST_BODY_BYTES, Attempts, Guard
from pipeline.serve.served import Served
from tests.serve.site import CAMERA_PASSWORD, HEADERS, PASSWORD, T0, make_site, running, sign_in


def routes(client: TestClient) -> list[tuple[str, str]]:
    """Method and path of every route of the API."""
    guard = client.app
    assert isinstance(guard, Guard)
    app = guard._app
    assert isinstance(app, FastAPI)
    found = []
    for path, methods in app.openapi()["paths"].items():
        found += [(method.upper(), path) for method in methods]
    assert ("GET", "/api/cameras/{camera}/frame.jpg") in found
    return found


def filled(path: str, camera: str = "gate") -> str:
    for name, value in {"camera": camera, "name": "anna", "number": "1", "job": "0" * 16, "file": "gate.mp4"}.items():
        path = path.replace(f"{{{name}}}", value)
    assert "{" not in path, path
    return path


def test_without_sign_in_every_route_is_closed(stranger: TestClient) -> None:
    for method, path in [*routes(stranger), ("GET", "/api/nowhere"), ("GET", "/api/openapi.json"), ("GET", "/metrics")]:
        if path == "/api/login":
            continue
        for headers in ({}, HEADERS, {"Authorization": "Bearer fovea_guess"}, {"Cookie": "fovea_session=guess"}):
            answer = stranger.request(method, filled(path), headers=headers)
            assert answer.status_code == 401, (method, path)
            assert answer.json() == {"error": "sign in first"}


def test_a_viewer_sees_no_other_camera(anna: TestClient) -> None:
    cameras = [path for method, path in routes(anna) if "{camera}" in path and method == "GET"]
    assert len(cameras) >= 4
    for path in cameras:
        query = {"t": T0, "from": T0, "to": T0 + 1}
        assert anna.get(filled(path, "yard"), params=query).status_code == 403, path
        assert anna.get(filled(path, "attic"), params=query).status_code == 403, "nor whether there is one"
    assert [camera["id"] for camera in anna.get("/api/cameras").json()] == ["gate"]
    assert {item["camera"] for item in anna.get("/api/search").json()["results"]} == {"gate"}
    assert anna.get("/api/search", params={"camera": "yard"}).status_code == 403
    assert anna.get("/api/cameras/gate/frame.jpg", params={"t": T0}).status_code == 200


def test_a_viewer_changes_nothing(anna: TestClient) -> None:
    for method, path, body in [
        ("GET", "/api/users", None),
        ("GET", "/api/audit", None),
        ("POST", "/api/users", {"name": "eve", "password": PASSWORD, "role": "admin"}),
        ("PATCH", "/api/users/anna", {"role": "admin"}),
        ("DELETE", "/api/users/admin", None),
    ]:
        assert anna.request(method, path, json=body, headers=HEADERS).status_code == 403, path


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "X-Fovea"),
        ({"X-Fovea": "1", "Origin": "https://evil.example"}, "another site"),
        ({"X-Fovea": "1", "Origin": "null"}, "another site"),
        ({"X-Fovea": "1", "Origin": "http://testserver.evil.example"}, "another site"),
        ({"X-Fovea": "1", "Sec-Fetch-Site": "cross-site"}, "another site"),
    ],
)
def test_other_sites_are_refused(admin: TestClient, headers: dict[str, str], reason: str) -> None:
    answer = admin.post("/api/tokens", json={"name": "theirs"}, headers=headers)
    assert answer.status_code == 403
    assert reason in answer.json()["error"]
    own = {"X-Fovea": "1", "Origin": "http://testserver", "Sec-Fetch-Site": "same-origin"}
    assert admin.post("/api/tokens", json={"name": "ours"}, headers=own).status_code == 200


def test_a_picture_cannot_be_shown_on_another_site(admin: TestClient) -> None:
    at = "/api/cameras/gate/frame.jpg"
    answer = admin.get(at, params={"t": T0}, headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.status_code == 403
    assert admin.get(at, params={"t": T0}).headers["cross-origin-resource-policy"] == "same-origin"


def test_headers_of_every_answer(admin: TestClient) -> None:
    for path in ("/", "/api/me", "/api/nowhere", "/nowhere", "/healthz"):
        headers = admin.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'self'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
    assert admin.get("/api/me").headers["cache-control"] == "no-store"
    page = admin.get("/")
    assert page.headers["cache-control"] == "no-cache"
    assert admin.get("/", headers={"If-None-Match": page.headers["etag"]}).status_code == 304


def test_the_cookie_is_for_this_site_and_no_script(stranger: TestClient) -> None:
    answer = stranger.post("/api/login", json={"user": "admin", "password": PASSWORD}, headers=HEADERS)
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie
    assert "path=/" in cookie
    stranger.post("/api/logout", headers=HEADERS)
    assert stranger.get("/api/me").status_code == 401


def test_a_session_is_worth_nothing_after_sign_out(admin: TestClient) -> None:
    kept = dict(admin.cookies)
    assert admin.get("/api/me").json()["user"] == "admin"
    admin.post("/api/logout", headers=HEADERS)
    admin.cookies.update(kept)
    assert admin.get("/api/me").status_code == 401


def test_guessing_is_slowed_down(stranger: TestClient) -> None:
    body = {"user": "mallory", "password": "x"}
    answers = [stranger.post("/api/login", json=body, headers=HEADERS) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert int(answers[-1].headers["retry-after"]) > 60
    sign_in(stranger)  # others of the same address get in
    deeds = stranger.get("/api/audit").json()
    assert {"sign-in refused", "sign-in"} <= {deed["action"] for deed in deeds}


def test_attempts_are_counted_by_name_for_a_while() -> None:
    now = [0.0]
    attempts = Attempts(2, 60.0, clock=lambda: now[0])
    for at in (0.0, 10.0):
        now[0] = at
        assert attempts.wait_s("a") == 0
        attempts.fail("a")
    assert attempts.wait_s("a") == pytest.approx(50)
    assert attempts.wait_s("b") == 0
    now[0] = 60.0
    assert attempts.wait_s("a") == 0
    attempts.fail("a")
    attempts.forget("a")
    attempts.fail("a")
    assert attempts.wait_s("a") == 0


def test_users_come_and_go(admin: TestClient) -> None:
    body = {"name": "carl", "password": PASSWORD, "cameras": ["yard"]}
    assert admin.post("/api/users", json=body, headers=HEADERS).status_code == 200
    assert admin.post("/api/users", json=body, headers=HEADERS).status_code == 409
    assert {"user": "carl", "role": "viewer", "cameras": ["yard"]} in admin.get("/api/users").json()
    assert admin.patch("/api/users/carl", json={"cameras": None}, headers=HEADERS).status_code == 200
    assert {"user": "carl", "role": "viewer", "cameras": None} in admin.get("/api/users").json()
    assert admin.patch("/api/users/carl", json={"role": "king"}, headers=HEADERS).status_code == 422
    assert admin.delete("/api/users/carl", headers=HEADERS).status_code == 200
    assert admin.delete("/api/users/carl", headers=HEADERS).status_code == 404


def test_one_changes_ones_own_password(stranger: TestClient, served: Served) -> None:
    served.accounts.add("dora", PASSWORD, "viewer", None)
    sign_in(stranger, "dora")
    old = dict(stranger.cookies)
    bodies = [{"old": "wrong", "new": "another horse"}, {"old": PASSWORD, "new": "short"}]
    for body, status in zip(bodies, (403, 400), strict=True):
        assert stranger.post("/api/me/password", json=body, headers=HEADERS).status_code == status
    body = {"old": PASSWORD, "new": "another horse"}
    assert stranger.post("/api/me/password", json=body, headers=HEADERS).status_code == 200
    assert stranger.get("/api/me").json()["user"] == "dora", "this session goes on"
    stranger.cookies.clear()
    stranger.cookies.update(old)
    assert stranger.get("/api/me").status_code == 401, "others end"
    stranger.cookies.clear()
    sign_in(stranger, "dora", "another horse")


def test_a_token_opens_what_its_user_may_see(anna: TestClient) -> None:
    made = anna.post("/api/tokens", json={"name": "script"}, headers=HEADERS).json()
    anna.cookies.clear()
    bearer = {"Authorization": f"Bearer {made['token']}"}
    assert anna.get("/api/me", headers=bearer).json()["user"] == "anna"
    assert anna.get("/api/cameras/yard/latest.jpg", headers=bearer).status_code == 403
    assert made["token"] not in anna.get("/api/tokens", headers=bearer).text
    gone = anna.delete(f"/api/tokens/{made['id']}", headers=bearer | HEADERS)
    assert gone.status_code == 200
    assert anna.get("/api/me", headers=bearer).status_code == 401


def test_what_is_too_large_is_refused(admin: TestClient) -> None:
    large = b"x" * (MOST_BODY_BYTES + 1)
    assert admin.post("/api/tokens", content=large, headers=HEADERS).status_code == 413
    unsaid = admin.post("/api/tokens", content=iter([large[:1000]] * 300), headers=HEADERS)
    assert unsaid.status_code == 413


def test_nothing_sent_comes_back_in_an_error(stranger: TestClient) -> None:
    answer = stranger.post("/api/login", json={"user": "admin", "password": ["hunter2"]}, headers=HEADERS)
    assert answer.status_code == 422
    assert "hunter2" not in answer.text


def test_no_camera_password_is_ever_shown(admin: TestClient) -> None:
    for method, path in routes(admin):
        if method == "GET" and not path.endswith("/live.mp4"):  # which never ends
            query = {"t": T0, "from": T0, "to": T0 + 1}
            answer = admin.get(filled(path), params=query)
            assert CAMERA_PASSWORD.encode() not in answer.content, path


@pytest.mark.parametrize(
    "path",
    ["/../pyproject.toml", "/%2e%2e/pyproject.toml", "/..%2f..%2fconfig.py", "//etc/passwd", "/%00", "/a\\..\\..\\b"],
)
def test_no_path_leads_out_of_the_page(stranger: TestClient, path: str) -> None:
    assert stranger.get(path).status_code in (400, 404)


def test_every_route_is_in_the_openapi_document(admin: TestClient) -> None:
    guard = admin.app
    assert isinstance(guard, Guard)
    assert isinstance(guard._app, FastAPI)
    known = {path for _, path in routes(admin)}
    for route in guard._app.routes:
        if isinstance(route, APIRoute) and route.path.startswith("/api/") and "{path" not in route.path:
            assert route.path in known


def test_metrics_are_for_those_who_have_signed_in_or_for_this_machine(admin: TestClient, tmp_path: Path) -> None:
    admin.get("/api/cameras/gate/frame.jpg", params={"t": T0})
    families = {f.name: f for f in text_string_to_metric_families(admin.get("/metrics").text)}
    assert families["fovea_serve_begun"].samples[0].value >= 1
    assert {sample.labels["state"] for sample in families["fovea_serve_exports"].samples} >= {"queued", "done"}
    with running(make_site(tmp_path, more="  metrics: loopback\n")) as server:
        server.headers = {}
        assert server.get("/metrics").status == 200
        assert server.get("/api/me").status == 401
