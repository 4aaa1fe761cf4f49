from __future__ import annotations

import numpy as np
import pytest

from pipeline.color import frame_from_rgb, frame_to_rgb, usual_matrix

KNOWN = [  # RGB, matrix, full range, YUV as the standards give it
    ((255, 255, 255), 1, False, (235, 128, 128)),
    ((0, 0, 0), 1, False, (16, 128, 128)),
    ((255, 0, 0), 1, False, (63, 102, 240)),
    ((255, 0, 0), 6, False, (81, 90, 240)),
    ((0, 0, 255), 6, False, (41, 240, 110)),
    ((0, 255, 0), 6, True, (150, 44, 21)),
]


@pytest.mark.parametrize(("rgb", "matrix", "full", "yuv"), KNOWN)
def test_known_colours(rgb: tuple[int, ...], matrix: int, full: bool, yuv: tuple[int, ...]) -> None:
    frame = frame_from_rgb(np.full((64, 66, 3), rgb, np.uint8), 3, 7, 9, matrix=matrix, full_range=full)
    assert [int(plane[0, 0]) for plane in (frame.y, frame.u, frame.v)] == pytest.approx(yuv, abs=1)
    assert (frame.index, frame.pts_us, frame.wall_us) == (3, 7, 9)


@pytest.mark.parametrize("matrix", [1, 5, 6, 9, 77])
@pytest.mark.parametrize("full", [False, True])
def test_smooth_pictures_survive_the_way_there_and_back(matrix: int, full: bool) -> None:
    y, x = np.mgrid[0:67, 0:91]
    rgb = np.stack([x * 2, y * 3, 255 - x - y], axis=2).clip(0, 255).astype(np.uint8)
    frame = frame_from_rgb(rgb, 0, 0, 0, matrix=matrix, full_range=full)
    back = frame_to_rgb(frame, matrix=matrix, full_range=full)
    assert back.shape == rgb.shape
    assert back.flags.c_contiguous
    assert np.abs(back.astype(int) - rgb).max() <= 6


def test_other_arrays_are_refused() -> None:
    with pytest.raises(ValueError, match="float64"):
        frame_from_rgb(np.zeros((64, 64, 3)), 0, 0, 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="4"):
        frame_from_rgb(np.zeros((64, 64, 4), np.uint8), 0, 0, 0)


def test_usual_matrix() -> None:
    assert [usual_matrix(height) for height in (576, 719, 720, 1080)] == [6, 6, 1, 1]
