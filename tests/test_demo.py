from __future__ import annotations

import subprocess
import sys

import numpy as np

from pipeline.config import SourceConfig
from pipeline.demo import StreetScene, demo_boxes
from pipeline.source import open_source


def test_the_same_seed_is_the_same_scene_wherever_it_is_entered() -> None:
    one, two, other = StreetScene(seed=3), StreetScene(seed=3), StreetScene(seed=4)
    two.planes(11)
    for a, b, c in zip(one.planes(40), two.planes(40), other.planes(40), strict=True):
        assert np.array_equal(a, b)
        assert not np.array_equal(a, c)


def test_truth_is_where_the_picture_differs_from_the_empty_street() -> None:
    scene = StreetScene(seed=1)
    pictures = np.stack([scene.planes(index)[0] for index in range(0, 150, 10)]).astype(int)
    empty = np.median(pictures, axis=0)
    seen = 0
    for picture, index in zip(pictures, range(0, 150, 10), strict=True):
        differs = np.abs(picture - empty) > 40
        inside = np.zeros_like(differs)
        for box in scene.boxes(index):
            part = (slice(int(box.y0), int(box.y1)), slice(int(box.x0), int(box.x1)))
            inside[part] = True
            seen += 1
            assert differs[part].mean() > 0.15
        assert differs[~inside].mean() < 0.02  # shadows, and who is barely in the picture
    assert seen > 10


def test_people_come_and_go() -> None:
    counts = [len(demo_boxes(index)) for index in range(0, 1200, 40)]
    assert min(counts) == 0
    assert 2 <= max(counts) <= 5


def test_light_is_switched() -> None:
    scene = StreetScene(seed=1)
    before, after = (float(scene.planes(index)[0].mean()) for index in (159, 160))
    assert after < 0.92 * before


def test_as_a_source() -> None:
    config = SourceConfig(url="demo://street?seed=2&size=321x180&fps=5", frames=7, start_time="2026-01-31T12:00:00Z")
    with open_source(config) as source:
        frames = list(source)
    assert (source.width, source.height, source.fps, source.is_live, source.lost) == (321, 180, 5.0, False, 0)
    assert [frame.index for frame in frames] == list(range(7))
    assert [frame.pts_us for frame in frames] == [200_000 * index for index in range(7)]
    assert frames[1].wall_us == 1769860800_200_000
    assert frames[0].y.shape == (180, 321)


def test_needs_no_network_library() -> None:
    code = "import sys, pipeline.demo as demo; demo.StreetScene(); print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"
