"""A chain's throughput, here and on Ray: that both are counted, not how fast they are."""

from __future__ import annotations

import json

import pytest

from pipeline.cli import call
from pipeline.cli import speed as module
from pipeline.config import RayConfig

pytestmark = pytest.mark.ray


def test_ray_beside_one_process(
    ray_config: RayConfig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RAY_SIZE", "96x64")
    options = ["--frames", "3", "--size", "96x64", "--detector", "motion", "--opponents", "x264-veryfast-zl"]
    assert call(["bench", "speed", *options, "--rounds", "1", "--ray", "12", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["ray"]
    assert (found["width"], found["height"], found["frames"]) == (96, 64, 12)
    assert found["local_fps"] > 0
    assert found["ray_fps"] > 0
