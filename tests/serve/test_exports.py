"""Clips to take away, pins and room."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from pipeline.serve.served import Served
from pipeline.store import pins
from pipeline.types import StreamInfo
from tests.serve.site import HEADERS, T0, make_site, serving, sign_in, until
from tests.serve.test_media import shown
from tests.streams import FakeDecoder

SPAN = {"from": T0, "to": T0 + 3}


@pytest.fixture
def here(tmp_path: Path) -> Iterator[tuple[Served, TestClient]]:
    with serving(make_site(tmp_path)) as (served, client):
        sign_in(client)
        yield served, client


def ask(client: TestClient, **body: Any) -> str:
    answer = client.post("/api/exports", json=SPAN | body, headers=HEADERS)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["id"])


def job(client: TestClient, name: str) -> dict[str, Any]:
    (found,) = (one for one in client.get("/api/exports").json() if one["id"] == name)
    return dict(found)


def test_a_clip_is_made_and_downloaded(here: tuple[Served, TestClient]) -> None:
    served, client = here
    name = ask(client, cameras=["gate", "yard"], time=False, layer="foreground")
    until(lambda: job(client, name)["state"] == "done")
    found = job(client, name)
    assert (found["progress"], found["error"], found["cameras"]) == (1.0, None, ["gate", "yard"])
    assert [file["name"] for file in found["files"]] == ["gate.mp4", "gate.mp4.json", "yard.mp4", "yard.mp4.json"]
    for file in found["files"]:
        answer = client.get(f"/api/exports/{name}/{file['name']}")
        assert "attachment" in answer.headers["content-disposition"]
        assert (len(answer.content), hashlib.sha256(answer.content).hexdigest()) == (file["bytes"], file["sha256"])
    assert len(shown(client.get(f"/api/exports/{name}/gate.mp4").content)) == 75
    assert client.get(f"/api/exports/{name}/gate.mp4", headers={"Range": "bytes=0-9"}).status_code == 206
    assert client.get(f"/api/exports/{name}/job.json").status_code == 422
    assert client.get(f"/api/exports/{name}/attic.mp4").status_code == 404
    assert {pin.reason for pin in pins(served.archive.store)} == {"exported by admin"}
    assert client.delete(f"/api/exports/{name}", headers=HEADERS).status_code == 200
    assert client.get(f"/api/exports/{name}/gate.mp4").status_code == 404
    assert client.get("/api/exports").json() == []


def test_what_cannot_be_exported_is_said(here: tuple[Served, TestClient]) -> None:
    served, client = here
    name = ask(client, camera="gate", **{"from": T0 - 60, "to": T0 - 30})
    until(lambda: job(client, name)["state"] == "failed")
    assert "nothing is recorded" in job(client, name)["error"]
    assert pins(served.archive.store) == (), "what was not exported is not pinned"
    for body, status in [
        ({"camera": "gate", "from": T0, "to": T0}, 422),
        ({"camera": "attic"}, 404),
        ({"camera": "gate", "to": T0 + 1e6}, 422),
        ({}, 422),
        ({"camera": "gate", "colour": "red"}, 422),
    ]:
        assert client.post("/api/exports", json=SPAN | body, headers=HEADERS).status_code == status, body


class _Gate(FakeDecoder):
    """Decodes while a file stands beside the archive."""

    folder = Path()

    def decode(self, packet, layer="full", *, held=False):  # type: ignore[no-untyped-def]
        if packet.index > 20:
            until(lambda: (self.folder / "open").exists())
        return super().decode(packet, layer, held=held)


def test_a_running_export_is_cancelled(tmp_path: Path) -> None:
    class Slow(_Gate):
        folder = tmp_path

    def make(info: StreamInfo) -> Slow:
        return Slow(info)

    with serving(make_site(tmp_path), make) as (served, client):
        sign_in(client)
        running, queued = ask(client, camera="gate"), ask(client, camera="yard")
        until(lambda: job(client, running)["state"] == "running" and served.pool.active == 1)
        assert client.delete(f"/api/exports/{queued}", headers=HEADERS).status_code == 200
        assert client.delete(f"/api/exports/{running}", headers=HEADERS).status_code == 200
        (tmp_path / "open").touch()
        until(lambda: served.pool.active == 0 and pins(served.archive.store) == ())
        assert {one["state"] for one in client.get("/api/exports").json()} == {"cancelled"}
        assert not list(tmp_path.glob("archive.exports/*/*.mp4"))
        later = ask(client, camera="gate")
        until(lambda: job(client, later)["state"] == "done")


def test_exports_are_their_owners(here: tuple[Served, TestClient]) -> None:
    served, client = here
    name = ask(client, camera="gate")
    until(lambda: job(client, name)["state"] == "done")
    before = len(pins(served.archive.store))
    sign_in(client, "anna")
    assert client.get("/api/exports").json() == []
    assert client.get(f"/api/exports/{name}/gate.mp4").status_code == 404
    assert client.delete(f"/api/exports/{name}", headers=HEADERS).status_code == 404
    body = SPAN | {"cameras": ["gate", "yard"]}
    assert client.post("/api/exports", json=body, headers=HEADERS).status_code == 403
    own = ask(client, camera="gate")
    until(lambda: job(client, own)["state"] == "done")
    assert len(pins(served.archive.store)) == before, "a viewer's exports keep nothing from aging"
    served.accounts.change("anna", cameras=["yard"])
    sign_in(client, "anna")
    assert client.get("/api/exports").json() == [], "nor what they may no longer see"


def test_finished_clips_outlive_the_server_and_old_ones_go(tmp_path: Path) -> None:
    config = make_site(tmp_path)
    with serving(config) as (_, client):
        sign_in(client)
        name = ask(client, camera="gate")
        until(lambda: job(client, name)["state"] == "done")
    path = tmp_path / "archive.exports" / name / "job.json"
    unfinished = json.loads(path.read_text()) | {"id": "0" * 16, "state": "running", "files": []}
    (tmp_path / "archive.exports" / ("0" * 16)).mkdir()
    (tmp_path / "archive.exports" / ("0" * 16) / "job.json").write_text(json.dumps(unfinished))
    begun = tmp_path / "archive.exports" / ("0" * 16) / ".gate.1.part.mp4"
    begun.write_bytes(b"half")
    (tmp_path / "archive.exports" / "strange").mkdir()
    (tmp_path / "archive.exports" / "strange" / "job.json").write_text("{")
    with serving(config) as (_, client):
        sign_in(client)
        assert client.get(f"/api/exports/{name}/gate.mp4").status_code == 200
        assert (job(client, "0" * 16)["state"], job(client, "0" * 16)["error"]) == ("failed", "the server ended")
        assert not begun.exists()
    path.write_text(json.dumps(json.loads(path.read_text()) | {"made": 1.0}))
    with serving(config) as (_, client):
        sign_in(client)
        assert [one["id"] for one in client.get("/api/exports").json()] == ["0" * 16]
        assert not path.parent.exists()


def test_pins_keep_footage(here: tuple[Served, TestClient]) -> None:
    served, client = here
    body = SPAN | {"camera": "gate", "note": "a van"}
    name = client.post("/api/pins", json=body, headers=HEADERS).json()["id"]
    assert client.get("/api/pins").json() == [body | {"id": name, "from": T0, "to": T0 + 3}]
    assert [pin.reason for pin in pins(served.archive.store)] == ["a van"]
    sign_in(client, "anna")
    assert client.delete(f"/api/pins/{name}", headers=HEADERS).status_code == 403
    sign_in(client)
    assert client.delete(f"/api/pins/{name}", headers=HEADERS).status_code == 200
    assert client.delete(f"/api/pins/{name}", headers=HEADERS).status_code == 404
    assert client.post("/api/pins", json=body | {"camera": "attic"}, headers=HEADERS).status_code == 404


def test_the_room_that_footage_takes(here: tuple[Served, TestClient]) -> None:
    _, client = here
    found = client.get("/api/storage").json()
    assert found["bytes"] == sum(one["foreground"] + one["background"] for one in found["by_camera"]) > 0
    assert found["free"] > 0
    assert found["cap"] is None
    assert found["by_camera"][0]["oldest"] == pytest.approx(T0)
    assert found["forecast"]["cameras"]["gate"]["days_full"] > 0
    sign_in(client, "anna")
    found = client.get("/api/storage").json()
    assert [one["camera"] for one in found["by_camera"]] == ["gate"] == list(found["forecast"]["cameras"])
