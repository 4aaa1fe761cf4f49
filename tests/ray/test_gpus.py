"""Cameras over several GPUs and nodes; see tests.ray.gpus."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pipeline.config import RayConfig

LIMIT_S = 600.0


@pytest.mark.parametrize(
    ("cpus", "gpus", "config", "groups", "bundle"),
    [
        ((16.0,), (1.0,), RayConfig(), 16, {"CPU": 1.0, "GPU": 0.0625}),
        ((8.0, 8.0), (2.0, 0.0), RayConfig(), 8, {"CPU": 1.0, "GPU": 0.0625}),
        ((8.0,), (2.0,), RayConfig(group_gpus=1), 2, {"CPU": 1.0, "GPU": 1.0}),
        ((8.0, 8.0, 8.0), (2.0, 1.0, 0.0), RayConfig(group_gpus=1), 3, {"CPU": 1.0, "GPU": 1.0}),
        ((8.0,), (1.0,), RayConfig(group_gpus=0.25), 4, {"CPU": 1.0, "GPU": 0.25}),
        ((2.0,), (1.0,), RayConfig(group_gpus=0.25), 2, {"CPU": 1.0, "GPU": 0.25}),
        ((2.0, 1.0), (0.0, 0.0), RayConfig(), 3, {"CPU": 1.0}),
        ((0.5,), (0.0,), RayConfig(), 1, {"CPU": 0.5}),
        ((4.0,), (0.05,), RayConfig(), 4, {"CPU": 1.0}),
    ],
)
@pytest.mark.usefixtures("ray_config")  # Ray must not be imported before its settings are made
def test_room_for_groups(
    cpus: tuple[float, ...], gpus: tuple[float, ...], config: RayConfig, groups: int, bundle: dict[str, float]
) -> None:
    from workers.groups import Room

    room = Room(cpus, gpus)
    assert room.groups(config) == groups
    assert room.bundle(config) == bundle


@pytest.mark.ray
def test_two_codecs_on_two_nodes_share_the_cameras_and_store_what_one_would(tmp_path: Path) -> None:
    report = run("tests.ray.gpus", "--gpus", "1", "1", "--cameras", "4", str(tmp_path))
    assert sorted(report["cameras_by_codec"].values()) == [2, 2]
    assert report["packets_identical_to_one_process"]


@pytest.mark.ray
def test_a_camera_moves_to_a_node_that_comes(tmp_path: Path) -> None:
    assert run("tests.ray.join", str(tmp_path))["spread"]


def run(module: str, *arguments: str) -> dict[str, Any]:
    """In a process with a cluster of its own."""
    command, root = [sys.executable, "-m", module, *arguments], Path(__file__).resolve().parents[2]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, cwd=root, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    report: dict[str, Any] = json.loads(done.stdout[done.stdout.index("{") :])
    return report
