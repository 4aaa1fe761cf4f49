"""What all tests share: the development footage beside the checkout, and quiet third parties."""

from __future__ import annotations

from pathlib import Path

import pytest

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development footage and weights. Tests that use it carry the marker `shared`."""
    if not SHARED.is_dir():
        pytest.skip("no ../shared with development footage and weights")
    return SHARED


@pytest.fixture(scope="session", autouse=True)
def _own_ultralytics_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Keep ultralytics from reading or making the settings of whoever runs the tests."""
    import os

    os.environ["YOLO_CONFIG_DIR"] = str(tmp_path_factory.mktemp("ultralytics"))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """What is marked `cuda` is skipped where torch sees no CUDA device."""
    if item.get_closest_marker("cuda"):
        import torch

        if not torch.cuda.is_available():
            pytest.skip("there is no CUDA device")
