from __future__ import annotations

import numpy as np

from pipeline.config import CodecConfig
from pipeline.footage import CodedFootage, Footage, Relief, Roi, SourceFacts
from pipeline.graph import CodecStage
from pipeline.still import StillBackground
from pipeline.types import Frame, RoiMask

H, W = 72, 104  # the last row and column of cells are cut


def flat(index: int) -> Frame:
    """Every frame is of another grey."""
    y = np.full((H, W), 10 * index, np.uint8)
    c = np.full((H // 2, W // 2), 10 * index, np.uint8)
    return Frame(y, c, c.copy(), index, 100_000 * index, 1 + 100_000 * index)


def cells(*where: tuple[int, int]) -> np.ndarray:
    found = RoiMask.empty(H, W).cells.copy()
    for row, col in where:
        found[row, col] = True
    return found


def levels(frame: Frame) -> set[int]:
    return {int(v) for plane in (frame.y, frame.u, frame.v) for v in np.unique(plane)}


def test_nothing_is_touched_without_need() -> None:
    still, frame = StillBackground(), flat(1)
    assert still.process(frame, cells((0, 0)), every=1) is frame


def test_the_background_moves_every_nth_frame_and_the_foreground_always() -> None:
    still, mask = StillBackground(), cells((1, 2), (4, 6))
    shown = [still.process(flat(i), mask, every=3) for i in range(7)]
    assert [levels(frame) - {10 * i} for i, frame in enumerate(shown)] == [set(), {0}, {0}, set(), {30}, {30}, set()]
    for i, frame in enumerate(shown):
        assert (frame.index, frame.pts_us, frame.wall_us) == (i, 100_000 * i, 1 + 100_000 * i)
        assert (frame.y[16:32, 32:48] == 10 * i).all()
        assert (frame.u[8:16, 16:24] == 10 * i).all()
        assert (frame.y[64:, 96:] == 10 * i).all()


def test_what_an_object_uncovers_is_shown_and_then_held() -> None:
    still, empty = StillBackground(), cells()
    still.process(flat(0), cells((1, 2)), every=4)
    first = still.process(flat(1), empty, every=4)
    second = still.process(flat(2), empty, every=4)
    for frame in (first, second):
        assert levels(frame) == {0, 10}
        assert (frame.y[16:32, 32:48] == 10).all()


def test_the_codec_spends_less_on_the_background_and_the_same_on_the_foreground() -> None:
    chance, facts = np.random.default_rng(3), SourceFacts(W, H, 10.0, False)
    scene = chance.integers(60, 190, (12, H, W)).astype(np.uint8)
    frames = [
        Frame(scene[i], flat(0).u, flat(0).v, index=i, pts_us=i * 100_000, wall_us=1 + i * 100_000) for i in range(12)
    ]
    mask = cells((1, 2), (1, 3))
    roi = Roi(RoiMask(mask, np.where(mask, 255, 0).astype(np.uint8)), ())

    def coded(every: int) -> CodedFootage:
        stage = CodecStage(CodecConfig(threads=1, device="cpu", gop_s=10, mini_gop=1))
        stage.setup()
        return stage.process(Footage(facts, tuple(frames), Relief(every)), (roi,) * 12)

    full, eased = ([item.packet for item in coded(every).frames] for every in (1, 4))
    assert [p.foreground for p in full] == [p.foreground for p in eased]
    assert all(p.background for p in full[1:])
    assert [bool(p.background) for p in eased[1:]] == [i % 4 == 0 for i in range(1, 12)]
