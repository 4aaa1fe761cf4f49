"""What schemathesis makes of the OpenAPI document: nothing that is sent, fit or not, ends in an error of the server."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from starlette.testclient import TestClient

from tests.serve.site import CAMERA_PASSWORD, HEADERS, T0, make_site, serving

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of other libraries, while they are loaded
    import schemathesis
    from schemathesis import GenerationMode

EXAMPLES = int(os.environ.get("FOVEA_EXAMPLES", "5"))  # of each kind, for each route
LONG = "x" * 20_000


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.serve.moving.AHEAD_S", 1e9)  # clips as fast as they come
        patch.setattr("pipeline.serve.settings.tested", lambda url, timeout_s: {"ok": False})
        with serving(make_site(tmp_path_factory.mktemp("malformed"))) as (served, client):
            client.extra = served  # type: ignore[attr-defined]
            yield client


def _bearer(client: TestClient) -> dict[str, str]:
    """A token of an admin that nothing here removes."""
    accounts = client.extra.accounts  # type: ignore[attr-defined]
    if all(user.name != "root" for user in accounts.users()):
        accounts.add("root", "correct horse", "admin", None)
    for token in accounts.tokens("root"):
        accounts.remove_token(token.id)
    return {"Authorization": f"Bearer {accounts.make_token('root', 'malformed')[1]}"}


def _paths() -> list[str]:
    """Method and path of every route, as they are without a server."""
    from fastapi import FastAPI

    from pipeline.serve.routes import admin, cameras, jobs, media, people

    app = FastAPI()
    for routes in (people, cameras, media, jobs, admin):
        app.include_router(routes.router)
    found = [f"{method.upper()} {path}" for path, methods in app.openapi()["paths"].items() for method in methods]
    return [route for route in found if not route.endswith("/live.mp4")]  # which never ends


@pytest.mark.parametrize("mode", ["fit", "unfit"])
@pytest.mark.parametrize("route", _paths())
def test_no_request_breaks_the_server(client: TestClient, route: str, mode: str) -> None:
    method, path = route.split(" ")
    headers, seen = HEADERS | _bearer(client), []
    document = client.get("/api/openapi.json", headers=headers).json()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        operation = schemathesis.openapi.from_dict(document)[path][method]
        cases = operation.as_strategy(
            generation_mode=GenerationMode.POSITIVE if mode == "fit" else GenerationMode.NEGATIVE
        )

    @seed(1)
    @settings(
        max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(case=cases, data=st.data())
    def send(case, data) -> None:  # type: ignore[no-untyped-def]
        known = {"camera": "gate", "name": "anna"}
        for name in known.keys() & case.path_parameters.keys():
            if data.draw(st.booleans()):
                case.path_parameters[name] = known[name]
        sent = case.as_transport_kwargs(base_url="http://testserver")
        sent["headers"] = {**{k: v for k, v in dict(sent.get("headers") or {}).items() if v.isascii()}, **headers}
        sent.pop("cookies", None)
        answer = client.request(**sent)
        seen.append(answer.status_code)
        if answer.status_code == 401:  # it has removed its own token
            headers.update(_bearer(client))
        assert answer.status_code < 500, (sent, answer.text)
        assert CAMERA_PASSWORD not in answer.text
        if answer.status_code >= 400:
            assert list(answer.json()) == ["error"]
            assert "\n" not in answer.json()["error"]

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            send()
        except Exception as error:
            if type(error).__name__ in ("Unsatisfiable", "SkipTest"):
                pytest.skip("there is nothing that would not fit")
            raise
    assert seen


@pytest.mark.parametrize(
    "camera", ["..", "%2e%2e", "..%2f..%2fetc", "%00", LONG, "gate%0aX-Evil: 1", "GATE", "gäte", "-"]
)
@pytest.mark.parametrize("file", ["frame.jpg", "latest.jpg", "clip.mp4", "live.mp4", "timeline", "settings"])
def test_camera_ids_that_are_none(client: TestClient, camera: str, file: str) -> None:
    query = {"t": T0, "from": T0, "to": T0 + 1}
    answer = client.get(f"/api/cameras/{camera}/{file}", params=query, headers=_bearer(client))
    assert answer.status_code in (400, 404, 422)
    assert len(answer.text) < 1000


@pytest.mark.parametrize("value", ["", "nan", "inf", "-1", "1e999", "1e12", "0x10", "1;drop", LONG, "١٢", "\x00", "[]"])
def test_numbers_that_are_none(client: TestClient, value: str) -> None:
    bearer = _bearer(client)
    fit = {"t": str(T0), "from": str(T0), "to": str(T0 + 1), "width": "64", "speed": "1"}
    for file, names in {
        "frame.jpg": ("t", "width"),
        "clip.mp4": ("from", "to", "width", "speed"),
        "live.mp4": ("width",),
        "latest.jpg": ("width",),
        "timeline": ("from", "to", "buckets"),
        "layers": ("from", "to", "buckets"),
    }.items():
        for name in names:
            answer = client.get(f"/api/cameras/gate/{file}", params=fit | {name: value}, headers=bearer)
            assert answer.status_code == 422, (file, name, answer.text[:200])
            assert len(answer.text) < 1000


def test_exports_lead_to_no_other_file(client: TestClient, tmp_path: Path) -> None:
    bearer = _bearer(client)
    for name in ("..", "%2e%2e", "0" * 16, LONG):
        for file in ("job.json", "..%2fjob.json", "%2e%2e%2f%2e%2e%2fsite.yaml", "gate.mp4", LONG):
            answer = client.get(f"/api/exports/{name}/{file}", headers=bearer)
            assert answer.status_code in (400, 404, 422), (name[:30], file[:30])
