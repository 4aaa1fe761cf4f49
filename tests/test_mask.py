from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import MaskConfig
from pipeline.mask import HeldMask, exact_mask, paint_importance
from pipeline.types import Detection

CLASSES = {"person": 1.0, "car": 0.5, "bird": 0.0}


def box(x0: float, y0: float, x1: float, y1: float, label: str = "person") -> Detection:
    return Detection(x0, y0, x1, y1, label, 0.9)


def test_exact_mask_is_the_touched_cells_of_half_open_boxes() -> None:
    mask = exact_mask(64, 80, [box(16, 16, 32, 32)], CLASSES)
    assert np.argwhere(mask.cells).tolist() == [[1, 1]]
    mask = exact_mask(64, 80, [box(15.5, 16, 32.5, 17)], CLASSES)
    assert np.argwhere(mask.cells).tolist() == [[1, 0], [1, 1], [1, 2]]


def test_exact_mask_knows_every_class() -> None:
    mask = exact_mask(64, 64, [box(0, 0, 8, 8, "zebra"), box(16, 0, 20, 8, "car"), box(32, 0, 40, 8, "bird")], CLASSES)
    assert mask.importance[0].tolist() == [255, 128, 0, 0]
    assert mask.cells[0].tolist() == [True, True, False, False]


def test_boxes_are_cut_at_the_picture() -> None:
    assert not exact_mask(64, 64, [box(-50, 0, -1, 20), box(64, 0, 90, 20), box(0, 64, 9, 70)], CLASSES).cells.any()
    assert exact_mask(70, 66, [box(-1e9, -1e9, 1e9, 1e9)], CLASSES).cells.all()


@given(*(st.floats(-40, 140) for _ in range(2)), *(st.floats(0.01, 90) for _ in range(2)))
def test_a_cell_is_set_where_it_shares_area_with_the_box(x: float, y: float, w: float, h: float) -> None:
    found = box(x, y, x + w, y + h)
    cells = exact_mask(75, 100, [found], CLASSES).cells
    x0, x1, y0, y1 = max(found.x0, 0), min(found.x1, 100), max(found.y0, 0), min(found.y1, 75)
    for row, column in np.ndindex(cells.shape):
        wide = min(x1, 16 * column + 16) - max(x0, 16 * column)
        high = min(y1, 16 * row + 16) - max(y0, 16 * row)
        assert cells[row, column] == (wide > 0 and high > 0)


def test_the_highest_importance_wins_and_unlisted_classes_are_ignored() -> None:
    found = [box(0, 0, 16, 16, "car"), box(0, 0, 16, 16), box(0, 0, 16, 16, "car"), box(20, 0, 24, 4, "zebra")]
    assert paint_importance(64, 64, found, classes=CLASSES)[0].tolist() == [255, 0, 0, 0]


def test_dilation() -> None:
    grown = paint_importance(64, 64, [box(17, 17, 31, 31)], classes=CLASSES, dilate=2)
    assert np.argwhere(grown).tolist() == [[row, column] for row in range(3) for column in range(3)]


def test_a_cell_is_held_by_time_not_by_frames() -> None:
    held = HeldMask(MaskConfig(dilate=0, hold_s=0.5), CLASSES)
    assert held.update(64, 64, 0, [box(0, 0, 9, 9)]).importance[0, 0] == 255
    for pts_us in (100_000, 110_000, 120_000, 500_000):
        assert held.update(64, 64, pts_us, []).cells[0, 0]
    assert not held.update(64, 64, 500_001, []).cells.any()


def test_no_hold_and_what_covers_a_held_cell() -> None:
    held = HeldMask(MaskConfig(dilate=0, hold_s=0), CLASSES)
    held.update(64, 64, 0, [box(0, 0, 9, 9)])
    assert not held.update(64, 64, 1, []).cells.any()
    held = HeldMask(MaskConfig(dilate=0, hold_s=1), CLASSES)
    first = held.update(64, 64, 0, [box(0, 0, 9, 9)])
    assert held.update(64, 64, 1, [box(0, 0, 9, 9, "car")]).importance[0, 0] == 128
    assert first.importance[0, 0] == 255  # what was handed out does not change
