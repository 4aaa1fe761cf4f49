"""Cameras, timelines, search and pictures, as the page asks for them."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from starlette.testclient import TestClient

from tests.serve.site import T0, make_site, serving, sign_in
from tests.streams import FakeDecoder, make_packets


def get(client: TestClient, path: str, **query: Any) -> Any:
    answer = client.get(path, params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def luma(data: bytes) -> np.ndarray:
    with av.open(BytesIO(data)) as container:
        return next(container.decode(video=0)).to_ndarray(format="gray")


def test_cameras_are_listed_with_what_they_hold(admin: TestClient) -> None:
    gate, yard = get(admin, "/api/cameras")
    assert (gate["id"], yard["id"]) == ("gate", "yard")
    assert (gate["width"], gate["height"], gate["fps"], gate["state"]) == (96, 64, 25.0, "stored")
    assert gate["last"] == pytest.approx(T0 + 199 * 0.04 + 7)
    assert gate["bytes_foreground"] > 0


def test_a_timeline_shows_footage_gaps_and_what_was_seen(admin: TestClient) -> None:
    found = get(admin, "/api/cameras/gate/timeline", **{"from": T0 - 10, "to": T0 + 20, "buckets": 30})
    assert [[a - T0, b - T0, level] for a, b, level in found["covered"]] == [
        [pytest.approx(0), pytest.approx(3.96), "full"],
        [pytest.approx(11), pytest.approx(14.96), "full"],
    ]
    assert len(found["gaps"]) == 3
    assert len(found["activity"]) == 30
    assert sum(found["activity"]) >= 2
    (event,) = found["events"]
    assert (event["class"], event["score"], found["more"]) == ("person", 0.9, False)


def test_layers_by_time_show_where_the_bytes_are(admin: TestClient) -> None:
    (gate, _) = get(admin, "/api/cameras")
    packets = make_packets(200, gop=25, segment=100)
    found = get(admin, "/api/cameras/gate/layers", **{"from": T0, "to": T0 + 2, "buckets": 2})
    for place in (0, 1):
        part = packets[25 * place : 25 * place + 25]
        assert found["foreground"][place] == sum(len(p.plate) + len(p.foreground) for p in part)
        assert found["background"][place] == sum(len(p.background) for p in part)
    found = get(admin, "/api/cameras/gate/layers", **{"from": T0 - 1000, "to": T0 + 1000, "buckets": 7})
    assert sum(found["foreground"]) == pytest.approx(gate["bytes_foreground"], abs=7)
    assert sum(found["background"]) == pytest.approx(gate["bytes_background"], abs=7)


def test_a_search_finds_by_class_and_zone(admin: TestClient) -> None:
    found = get(admin, "/api/search", **{"class": "person"})
    assert [item["camera"] for item in found["results"]] == ["gate", "yard"]
    assert found["results"][0]["box"] == pytest.approx([10 / 96, 12 / 64, 50 / 96, 60 / 64], abs=1e-4)
    assert found["next"] is None
    assert get(admin, "/api/search", **{"class": "car"})["results"] == []
    assert len(get(admin, "/api/search", zone="0.2,0.2,0.3,0.3")["results"]) == 2
    assert get(admin, "/api/search", zone="0.6,0.2,0.9,0.9")["results"] == []
    assert admin.get("/api/search", params={"zone": "0,0,nan,1"}).status_code == 422


def test_a_search_goes_on_where_it_ended(admin: TestClient) -> None:
    first = get(admin, "/api/search", limit=1)
    second = get(admin, "/api/search", limit=1, before=first["next"])
    assert [item["camera"] for item in first["results"] + second["results"]] == ["gate", "yard"]
    assert second["next"] is None


def test_a_moment_is_shown_as_it_was(admin: TestClient) -> None:
    answer = admin.get("/api/cameras/gate/frame.jpg", params={"t": T0 + 42 * 0.04 + 0.001})
    assert answer.headers["content-type"] == "image/jpeg"
    assert float(answer.headers["x-time"]) == pytest.approx(T0 + 42 * 0.04)
    picture = luma(answer.content)
    assert picture.shape == (64, 128), "with square pixels: the sample aspect is 4:3"
    later = admin.get("/api/cameras/gate/frame.jpg", params={"t": T0 + 90 * 0.04, "width": 32})
    assert luma(later.content).shape == (16, 32)
    assert luma(later.content).mean() > picture.mean() + 20, "the fake decoder draws the frame's number"


def test_boxes_and_the_layer_can_be_chosen(admin: TestClient) -> None:
    at = T0 + 150 * 0.04 + 7
    plain, boxed = (
        luma(admin.get("/api/cameras/gate/frame.jpg", params={"t": at, "boxes": boxes}).content) for boxes in (0, 1)
    )
    assert np.abs(plain.astype(int) - boxed).max() > 50
    answer = admin.get("/api/cameras/gate/frame.jpg", params={"t": at, "layer": "foreground"})
    assert answer.headers["x-layer"] == "foreground"


def test_the_newest_picture_is_sent_once(admin: TestClient) -> None:
    answer = admin.get("/api/cameras/yard/latest.jpg", params={"width": 64})
    assert answer.status_code == 200
    assert float(answer.headers["x-time"]) == pytest.approx(T0 + 175 * 0.04 + 7)
    again = admin.get(
        "/api/cameras/yard/latest.jpg", params={"width": 64}, headers={"If-None-Match": answer.headers["etag"]}
    )
    assert (again.status_code, again.content) == (304, b"")


def test_what_is_not_there_is_said_in_a_line(admin: TestClient) -> None:
    for path, status in [
        ("/api/cameras/attic/latest.jpg", 404),
        ("/api/cameras/attic/timeline?from=1&to=2", 404),
        ("/api/cameras/gate/timeline?from=2&to=1", 422),
        ("/api/cameras/gate/frame.jpg?t=nan", 422),
        ("/api/cameras/gate/frame.jpg", 422),
        ("/api/nowhere", 404),
        ("/nowhere.js", 404),
    ]:
        answer = admin.get(path)
        assert (answer.status_code, list(answer.json())) == (status, ["error"]), path
        assert "\n" not in answer.json()["error"]


def test_the_page_is_open(stranger: TestClient) -> None:
    answer = stranger.get("/")
    assert answer.status_code == 200
    assert "Fovea" in answer.text
    assert stranger.get("/healthz").text == "ok\n"


def test_what_is_not_foreground_can_be_darkened(tmp_path: Path) -> None:
    class Masking(FakeDecoder):
        @property
        def cells(self) -> np.ndarray:
            cells = np.zeros((4, 6), np.bool_)
            cells[1:3, 2:4] = True
            return cells

    with serving(make_site(tmp_path), Masking) as (_, client):
        sign_in(client)
        query = {"t": T0 + 90 * 0.04}
        plain, masked = (
            luma(client.get("/api/cameras/gate/frame.jpg", params=query | {"mask": mask}).content) for mask in (0, 1)
        )
    assert abs(int(masked[32, 64]) - int(plain[32, 64])) < 4
    assert masked[4, 4] < plain[4, 4] - 20


def test_frame_by_frame(admin: TestClient) -> None:
    at = T0 + 42 * 0.04
    for step, number in ((1, 43), (-1, 41), (0, 42)):
        answer = admin.get("/api/cameras/gate/frame.jpg", params={"t": at, "step": step})
        assert float(answer.headers["x-time"]) == pytest.approx(T0 + number * 0.04, abs=1e-4)
    assert admin.get("/api/cameras/gate/frame.jpg", params={"t": T0, "step": -1}).status_code == 404
