from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.errors import JobError
from pipeline.export import export_mkv, export_mp4
from pipeline.types import Frame, StreamInfo
from tests.streams import INFO, WALL_US

TIMES_US = [0, 40_000, 80_000, 120_000, 5_000_000, 5_040_000]


def pictures(width: int, height: int, times_us: list[int] = TIMES_US, seed: int = 3) -> list[Frame]:
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    chroma = (-(-height // 2), -(-width // 2))
    return [
        Frame(
            y=((rows + columns + 9 * n) % 200 + 20).astype(np.uint8),
            u=rng.integers(100, 156, chroma, np.uint8),
            v=np.full(chroma, 120, np.uint8),
            index=n,
            pts_us=t,
            wall_us=WALL_US + t,
        )
        for n, t in enumerate(times_us)
    ]


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    return [
        np.frombuffer(p, np.uint8).reshape(p.height, p.line_size)[:, : p.width]
        for p in frame.planes
    ]  # fmt: skip


def info(width: int, height: int, **fields: object) -> StreamInfo:
    return replace(INFO, width=width, height=height, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(("width", "height"), [(96, 64), (97, 65)])
def test_mkv_keeps_planes_and_times(tmp_path: Path, width: int, height: int) -> None:
    frames = pictures(width, height, [t + 500_000 for t in TIMES_US])
    path = tmp_path / "a.mkv"
    result = export_mkv(iter(frames), path, info=info(width, height))
    assert (result.frames, result.width, result.height, result.bytes) == (6, width, height, path.stat().st_size)
    assert result.seconds == pytest.approx(5.04)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("ffv1", "yuv420p")
        assert stream.codec_context.colorspace == 6
        assert container.metadata["SAMPLE_ASPECT_RATIO"] == "4:3"
        decoded = list(container.decode(stream))
    assert [round(f.time * 1e6) for f in decoded] == [f.pts_us for f in frames]
    for got, want in zip(decoded, frames, strict=True):
        for plane, original in zip(planes(got), (want.y, want.u, want.v), strict=True):
            assert (plane == original).all()


@pytest.mark.parametrize(("width", "height"), [(96, 64), (97, 65)])
def test_mp4_is_even_close_and_keeps_gaps(tmp_path: Path, width: int, height: int) -> None:
    frames = pictures(width, height)
    path = tmp_path / "a.mp4"
    result = export_mp4(iter(frames), path, info=info(width, height, full_range=True), clock="wall")
    assert (result.width, result.height) == (width + width % 2, height + height % 2)
    data = path.read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat"), "the index stands in front"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        assert (stream.codec_context.colorspace, stream.codec_context.color_range) == (6, 2)
        decoded = list(container.decode(stream))
    assert [round(f.time, 3) for f in decoded] == [t / 1e6 for t in TIMES_US]
    for got, want in zip(decoded, frames, strict=True):
        error = planes(got)[0][:height, :width].astype(int) - want.y
        assert np.abs(error).mean() < 4


def test_a_gap_of_a_day_keeps_its_duration(tmp_path: Path) -> None:
    day = 86_400_000_000
    path = tmp_path / "a.mp4"
    result = export_mp4(iter(pictures(96, 64, [0, 40_000, day, day + 40_000])), path, info=info(96, 64))
    assert result.frames == 4
    with av.open(str(path)) as container:
        times = [f.time for f in container.decode(video=0)]
    assert times[-1] == pytest.approx(86_400.04)
    assert np.diff(times).max() <= 3600.001


def test_a_clock_that_steps_back_is_flattened(tmp_path: Path) -> None:
    frames = pictures(96, 64)
    frames[3] = replace(frames[3], wall_us=WALL_US)
    result = export_mp4(iter(frames), tmp_path / "a.mp4", info=info(96, 64), clock="wall")
    assert result.frames == 6


def test_frames_are_not_held(tmp_path: Path) -> None:
    taken = 0

    def source() -> Iterator[Frame]:
        nonlocal taken
        for frame in pictures(96, 64, [n * 40_000 for n in range(20)]):
            taken += 1
            yield frame

    assert export_mkv(source(), tmp_path / "a.mkv", info=info(96, 64)).frames == taken == 20


def test_a_picture_of_another_size(tmp_path: Path) -> None:
    frames = [*pictures(96, 64)[:3], *(replace(f, index=f.index) for f in pictures(128, 96)[3:])]
    assert export_mp4(iter(frames), tmp_path / "a.mp4", info=info(96, 64)).frames == 6
    with pytest.raises(JobError, match="frame 3 is 128x96"):
        export_mkv(iter(frames), tmp_path / "a.mkv", info=info(96, 64))


def test_failures_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(JobError, match="no frame"):
        export_mp4(iter([]), tmp_path / "a.mp4", info=INFO)
    with pytest.raises(JobError, match="No such file"):
        export_mp4(iter(pictures(96, 64)), tmp_path / "no" / "a.mp4", info=INFO)
