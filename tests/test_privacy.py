"""What is masked is black before anything looks at it, in both runners and in what is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.config import CameraConfig, DetectorConfig, SiteConfig, SourceConfig
from pipeline.graph import SourceStage
from pipeline.privacy import Blackout, covered
from pipeline.recording import plan_site
from tests.chains import frame

LEFT = ((0.0, 0.0), (0.25, 0.0), (0.25, 1.0), (0.0, 1.0))


def test_pixels_that_a_polygon_touches_are_black() -> None:
    picture = frame(100, height=66, width=98)
    shown = Blackout([LEFT])(picture)
    assert (shown.y[:, :24] == 16).all()
    assert (shown.y[:, 28:] == picture.y[:, 28:]).all()
    assert (shown.u[:, :13] == 128).all()
    assert (shown.v[:, :13] == 128).all()
    assert (shown.u[:, 15:] == picture.u[:, 15:]).all()
    assert (picture.y[:, :24] != 16).any(), "the original is left as it is"
    assert (Blackout([LEFT])(picture, full_range=True).y[:, :24] == 0).all()
    assert Blackout([])(picture) is picture


@pytest.mark.parametrize("size", [(64, 64), (97, 65), (640, 360)])
def test_nothing_inside_is_left(size: tuple[int, int]) -> None:
    """Against a plain count: every pixel whose centre lies in the triangle."""
    width, height = size
    corners = np.array([(0.1, 0.2), (0.9, 0.35), (0.4, 0.95)])
    found = covered([tuple(map(tuple, corners))], width, height)
    x, y = (np.arange(width) + 0.5) / width, ((np.arange(height) + 0.5) / height)[:, None]
    sides = []
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, 0), strict=True):
        sides.append((x1 - x0) * (y - y0) - (y1 - y0) * (x - x0) >= 0)
    inside = np.logical_and.reduce(sides)
    assert inside.any()
    assert found[inside].all()
    assert found.sum() < inside.sum() + 8 * (width + height)


def test_a_sliver_is_not_rounded_away() -> None:
    assert covered([((0.5, 0.0), (0.5001, 0.0), (0.5001, 1.0), (0.5, 1.0))], 64, 64)[:, 31:33].any(1).all()


def test_a_source_gives_masked_frames_alone() -> None:
    stage = SourceStage(SourceConfig(url="demo://street?size=96x64", frames=3), batch=2, masks=[LEFT])
    stage.setup()
    for count in (2, 1):
        footage, _ = stage.process()
        assert len(footage.frames) == count
        for item in footage.frames:
            assert (item.y[:, :24] == 16).all()
            assert item.y[:, 30:].std() > 5
    stage.close()


def test_both_runners_take_the_masks_from_the_plan(tmp_path: Path) -> None:
    camera = CameraConfig(source=SourceConfig(url="demo://street?size=96x64", frames=1), masks=(LEFT,))
    (plan,) = plan_site(SiteConfig(store=tmp_path, cameras={"yard": camera}))
    stage = plan.source()
    stage.setup()
    assert (stage.process()[0].frames[0].y[:, :24] == 16).all()
    stage.close()


def test_nothing_of_it_is_stored(tmp_path: Path) -> None:
    from pipeline.codec import Decoder
    from pipeline.local import SiteRun
    from pipeline.replay import replay
    from pipeline.store import EVER_US, Store

    camera = CameraConfig(
        source=SourceConfig(url="demo://street?size=128x64", frames=4),
        detector=DetectorConfig(kind="motion"), masks=(LEFT,),
    )  # fmt: skip
    job = SiteRun(plan_site(SiteConfig(store=tmp_path / "archive", cameras={"yard": camera})))
    job.start()
    assert job.wait(120)
    assert not job.failed
    with Store(tmp_path / "archive", readonly=True) as store:
        frames = list(replay(store, "yard", 0, EVER_US, make_decoder=Decoder))
        seen = store.detections("yard")
    assert len(frames) == 4
    for item in frames:
        assert abs(item.y[:, :28].astype(int) - 16).mean() < 3
        assert item.y[:, :28].std() < 4 < item.y[:, 40:].std()
    assert all(found.detection.x1 > 32 for found in seen)
