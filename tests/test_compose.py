from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.monitor import SiteState, StoreState
from pipeline.monitor.metrics import SiteCollector

STATE = SiteState(0.0, 0.0, 0, (), (), StoreState(0, 0, 1))
ROOT = Path(__file__).resolve().parent.parent
COMPOSE = ROOT / "docker-compose.yml"


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
    return found


def test_what_runs_fovea_is_confined_and_has_room_for_frames(services: dict[str, Any]) -> None:
    ours = {name: service for name, service in services.items() if service.get("image") == "fovea"}
    assert {"recorder", "recorder-gpu", "head", "node", "node-gpu", "recorder-cluster", "serve"} == set(ours)
    for service in services.values():
        assert service["cap_drop"] == ["ALL"]
        assert not service.get("privileged", False)
    assert all(service["shm_size"] == "2gb" for service in ours.values())
    assert all("healthcheck" in service for name, service in ours.items() if name.startswith(("recorder", "serve")))
    assert "USER fovea" in (ROOT / "Dockerfile").read_text()


def test_a_cluster_has_its_token_from_a_file_alone(services: dict[str, Any]) -> None:
    for name in ("head", "node", "node-gpu", "recorder-cluster"):
        assert services[name]["environment"]["RAY_AUTH_MODE"] == "token"
        assert "RAY_AUTH_TOKEN" not in services[name]["environment"]
        assert services[name]["secrets"] == ["ray_token"]
    assert not (ROOT / "secrets").exists() or "/secrets/" in (ROOT / ".gitignore").read_text()


def test_nothing_is_published_beyond_this_machine(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_client_accepts_it() -> None:
    for client in (["docker", "compose"], ["docker-compose"]):
        try:
            subprocess.run([*client, "version"], check=True, capture_output=True, timeout=60)
        except (OSError, subprocess.SubprocessError):
            continue
        done = subprocess.run(
            [*client, "-f", str(COMPOSE), "config"], capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return
    pytest.skip("no docker compose on this machine")


def test_the_dashboard_shows_what_there_is_and_all_of_it() -> None:
    """Against the names that docs/operations.md promises."""
    board = json.loads((ROOT / "configs" / "grafana.json").read_text())
    asked = " ".join(target["expr"] for panel in board["panels"] for target in panel["targets"])
    used = {name.removesuffix("_total").removesuffix("_bucket") for name in re.findall(r"fovea_[a-z_]+", asked)}
    known = {metric.name for metric in SiteCollector(lambda: STATE).collect()}
    assert used <= known
    by_hand = {"fovea_frames_in", "fovea_frames_coded", "fovea_frames_lost", "fovea_frames_thinned", "fovea_fps_in"}
    by_hand |= {"fovea_frames_balanced", "fovea_frames_fast"}
    assert known - used <= by_hand | {"fovea_bits_a_pixel", "fovea_queue_age_seconds", "fovea_memory_bytes"}
    places = [tuple(panel["gridPos"].values()) for panel in board["panels"]]
    assert len(set(places)) == len(places)
