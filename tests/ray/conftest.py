"""One Ray for all tests that need it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from pipeline.config import RayConfig


@pytest.fixture(scope="session")
def ray_config() -> Iterator[RayConfig]:
    """A running local Ray and its settings."""
    from workers.runtime import runtime

    config = RayConfig(object_store_mb=200, group_cpus=0.5)
    with runtime(config, cameras=3):
        yield config
