"""Which frames of a batch the codec's stage codes together."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.config import CodecConfig
from pipeline.footage import CodedFootage, Footage, Roi, SourceFacts
from pipeline.graph import CodecStage
from pipeline.types import CELL, Frame, Layer, RoiMask
from tests.codec.clips import sizes

H, W, COUNT = 64, 96, 9


def process(mini_gop: int, *, live: bool, effort: str, monkeypatch: pytest.MonkeyPatch) -> CodedFootage:
    noise, chroma = (
        np.random.default_rng(1).integers(0, 256, (H, W + COUNT), np.uint8),
        np.full((H // 2, W // 2), 128, np.uint8),
    )
    frames = tuple(
        Frame(np.ascontiguousarray(noise[:, i : i + W]), chroma, chroma, i, i * 100_000, 1 + i * 100_000)
        for i in range(COUNT)
    )
    cells = np.ones((H // CELL, W // CELL), np.bool_)
    roi = Roi(RoiMask(cells, cells * np.uint8(255)), ())
    stage = CodecStage(CodecConfig(threads=1, device="cpu", gop_s=10, mini_gop=mini_gop))
    stage.setup()
    monkeypatch.setattr(stage._pace, "effort", lambda *_, **__: effort)
    return stage.process(Footage(SourceFacts(W, H, 10.0, live), frames), (roi,) * COUNT)


def openings(coded: CodedFootage) -> list[tuple[int, int]]:
    """Which frames open a mini-GOP, and of how many."""
    assert [item.packet.index for item in coded.frames] == list(range(COUNT))
    found, place = [], 0
    while place < COUNT:
        size = max(1, sizes([coded.frames[place].packet], Layer.FOREGROUND)[0])
        if size > 1:
            found.append((place, size))
        place += size
    return found


@pytest.mark.parametrize(("mini_gop", "expected"), [(16, [(1, 8)]), (4, [(1, 4), (5, 4)]), (1, [])])
def test_a_files_batch_is_coded_together(mini_gop, expected, monkeypatch):
    assert openings(process(mini_gop, live=False, effort="best", monkeypatch=monkeypatch)) == expected


def test_a_live_batch_too(monkeypatch):
    assert openings(process(16, live=True, effort="balanced", monkeypatch=monkeypatch)) == [(1, 8)]


def test_a_live_camera_short_of_time_codes_each_frame_as_it_comes(monkeypatch):
    coded = process(16, live=True, effort="fast", monkeypatch=monkeypatch)
    assert openings(coded) == []
    assert coded.efforts == ("fast",) * COUNT
