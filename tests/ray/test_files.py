from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.config import CameraConfig, RayConfig
from pipeline.offline import Task
from tests.videos import write_video

pytestmark = pytest.mark.ray


def test_a_video_that_fails_does_not_stop_the_others(tmp_path: Path, ray_config: RayConfig) -> None:
    from workers.files import encode_files

    for name in ("a", "b"):
        write_video(tmp_path / f"{name}.mp4", codec="libx264")
    settings = CameraConfig.model_validate(
        {
            "source": {"url": "x.mp4", "frames": 2},
            "detector": {"kind": "none"},
            "codec": {"threads": 1, "device": "cpu"},
        }
    )
    todo = [Task(tmp_path / f"{name}.mp4", tmp_path / f"{name}.fov") for name in ("a", "none", "b")]
    states = {Path(item.source).stem: (item.state, item.frames) for item in encode_files(todo, settings, ray_config)}
    assert states == {"a": ("done", 2), "none": ("failed", 0), "b": ("done", 2)}
