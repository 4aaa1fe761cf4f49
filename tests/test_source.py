from __future__ import annotations

import contextlib
import functools
import http.server
import itertools
import socket
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from pipeline.capture import Clock
from pipeline.config import SourceConfig
from pipeline.errors import SourceError, UsageError
from pipeline.source import open_source, probe
from pipeline.types import Frame
from tests.videos import picture, write_video


def read(path: Path, **settings: object) -> tuple[list[Frame], object]:
    source = open_source(SourceConfig(url=str(path), **settings))  # type: ignore[arg-type]
    with source:
        return list(source), source


def test_8_bit_420_is_copied_verbatim(tmp_path: Path) -> None:
    for width, height in ((128, 96), (131, 67)):
        path = tmp_path / f"{width}.mkv"
        written = write_video(path, width=width, height=height)
        frames, source = read(path)
        assert (source.width, source.height, source.fps, source.lost) == (width, height, 10.0, 0)
        assert [frame.pts_us for frame in frames] == [0, 100_000, 200_000, 300_000, 400_000]
        for frame, planes in zip(frames, written, strict=True):
            for ours, theirs in zip((frame.y, frame.u, frame.v), planes, strict=True):
                assert np.array_equal(ours, theirs)
                assert ours.flags.c_contiguous


def test_grey(tmp_path: Path) -> None:
    written = write_video(tmp_path / "grey.mkv", pixel_format="gray", width=101)
    frames, _ = read(tmp_path / "grey.mkv")
    assert np.array_equal(frames[2].y, written[2][0])
    assert set(np.unique(frames[2].u)) == {128}


@pytest.mark.parametrize("pixel_format", ["yuv420p10le", "yuv422p", "yuv444p", "yuv422p10le", "bgra"])
def test_other_formats_are_converted(tmp_path: Path, pixel_format: str) -> None:
    written = write_video(tmp_path / "a.mkv", pixel_format=pixel_format, width=129, height=95)
    frames, source = read(tmp_path / "a.mkv")
    assert (frames[0].width, frames[0].height, source.full_range) == (129, 95, False)
    if pixel_format.startswith("yuv"):
        luma = written[1][0]
        luma = luma.view("<u2") / 4 if "10" in pixel_format else luma
        assert np.abs(frames[1].y - luma.astype(float)).max() <= 1


def test_full_range_stays_full_range(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", pixel_format="yuvj444p", codec="mjpeg", options={"qscale": "2"})
    frames, source = read(tmp_path / "a.mkv")
    with av.open(str(tmp_path / "a.mkv")) as container:
        luma = next(container.decode(video=0)).to_ndarray()[0]
    assert source.full_range
    assert source.matrix == 5 or source.matrix == 6
    assert np.abs(frames[0].y.astype(int) - luma).max() <= 1


@pytest.mark.parametrize(("rotation", "turns", "clockwise"), [(90, 1, 270), (-90, 3, 90), (180, 2, 180)])
def test_rotation_is_undone(tmp_path: Path, rotation: int, turns: int, clockwise: int) -> None:
    lossless = {"qp": "0", "preset": "ultrafast"}
    planes = write_video(tmp_path / "a.mp4", codec="libx264", options=lossless, rotation=rotation)
    frames, source = read(tmp_path / "a.mp4")
    assert source.rotation == clockwise
    assert (source.width, source.height) == ((96, 128) if turns % 2 else (128, 96))
    assert np.array_equal(frames[0].y, np.rot90(planes[0][0], turns))
    assert np.array_equal(frames[0].v, np.rot90(planes[0][2], turns))
    assert frames[0].y.flags.c_contiguous


def test_variable_frame_rate_and_start(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", times=(400, 433, 700, 2700))
    frames, _ = read(tmp_path / "a.mkv", start_time="2026-01-31T12:00:00+01:00")
    assert [frame.pts_us for frame in frames] == [0, 33_000, 300_000, 2_300_000]
    assert frames[3].wall_us == 1769857200_000_000 + 2_300_000


def test_creation_time_of_the_container(tmp_path: Path) -> None:
    for stamp, matters in (("2021-05-06T07:08:09.500000Z", True), ("1904-01-01T00:00:00Z", False)):
        write_video(tmp_path / "a.mkv", metadata={"creation_time": stamp})
        frames, _ = read(tmp_path / "a.mkv")
        assert (frames[0].wall_us == 1620284889_500_000) == matters
        assert frames[1].wall_us == frames[0].wall_us + 100_000


def test_clock_repairs_time_stamps() -> None:
    clock = Clock(40_000, live=False)
    stamps = [2_500_000, 2_540_000, 2_540_000, 2_530_000, None, 2_620_000]
    assert [clock.next(stamp, 0) for stamp in stamps] == [0, 40_000, 41_000, 42_000, 82_000, 120_000]
    assert clock.next(10_000, 0) == 160_000  # set back by more than a second: goes on from there
    assert clock.next(50_000, 0) == 200_000
    assert clock.next(90_000_000, 0) == 90_150_000  # a file may have gaps


def test_live_clock_follows_no_leap_that_did_not_happen() -> None:
    clock = Clock(40_000, live=True)
    assert [clock.next(0, 0), clock.next(3_600_000_000, 40_000)] == [0, 40_000]
    assert clock.next(3_660_000_000, 60_040_000) == 60_040_000  # a gap that did


def test_limits(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", times=range(0, 3000, 33))
    frames, source = read(tmp_path / "a.mkv", fps=10, frames=12)
    assert source.fps == 10
    assert [frame.index for frame in frames] == list(range(12))
    steps = np.diff([frame.pts_us for frame in frames])
    assert abs(steps.mean() - 100_000) < 3_000
    frames, _ = read(tmp_path / "a.mkv", fps=30)
    assert len(frames) >= 90


def test_halving(tmp_path: Path) -> None:
    for pixel_format, width, height in (("yuv420p", 256, 192), ("yuv420p", 259, 131)):
        written = write_video(tmp_path / "a.mkv", width=width, height=height, pixel_format=pixel_format)
        frames, source = read(tmp_path / "a.mkv", halve=True)
        assert (source.width, source.height) == (width // 2, height // 2)
        if width % 2 == 0:
            mean = written[0][0].reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
            assert np.abs(frames[0].y - mean).max() <= 0.5


def test_sizes_outside_the_range(tmp_path: Path) -> None:
    write_video(tmp_path / "small.mkv", width=62, times=[0])
    with pytest.raises(SourceError, match="62x96"):
        read(tmp_path / "small.mkv")
    write_video(tmp_path / "wide.mkv", width=4098, height=64, times=[0])
    with pytest.raises(SourceError, match="4098x64"):
        read(tmp_path / "wide.mkv")
    with pytest.raises(SourceError, match="2049x32"):
        read(tmp_path / "wide.mkv", halve=True)


def test_what_is_no_video(tmp_path: Path) -> None:
    noise = tmp_path / "noise.mp4"
    noise.write_bytes(np.random.default_rng(0).bytes(20_000))
    empty = tmp_path / "empty.mp4"
    empty.touch()
    sound = tmp_path / "sound.wav"
    with av.open(str(sound), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        samples.sample_rate = 8000
        container.mux(stream.encode(samples))
    for path in (noise, empty, sound):
        with pytest.raises(SourceError) as caught:
            read(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "none.mp4")


def test_playlists_reach_no_network(tmp_path: Path) -> None:
    with listener() as (port, calls):
        playlist = tmp_path / "list.m3u8"
        playlist.write_text(
            f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\nhttp://127.0.0.1:{port}/a.ts\n#EXT-X-ENDLIST\n"
        )
        with pytest.raises(SourceError):
            read(playlist)
        assert calls == []


def test_damaged_frames_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    write_video(path, codec="ffv1", times=range(0, 2000, 100), options={"slices": "4", "slicecrc": "1", "g": "1"})
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    for number in (5, 6, 11):
        at = packets[number].pos + 8  # behind the chunk's name and length
        data[at : at + packets[number].size - 1] = bytes(packets[number].size - 1)
    path.write_bytes(data)
    frames, source = read(path)
    assert source.lost >= 1
    assert len(frames) + source.lost == 20
    assert [frame.index for frame in frames] == list(range(len(frames)))


def test_truncated_file_gives_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    write_video(path, times=range(0, 2000, 100))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    frames, _ = read(path)
    assert 5 < len(frames) < 20


def test_a_change_of_size_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "a.mjpeg"
    with path.open("wb") as out:
        for width, count in ((128, 3), (160, 3)):
            context = av.CodecContext.create("mjpeg", "w")
            context.width, context.height, context.pix_fmt = width, 96, "yuvj420p"
            context.time_base = Fraction(1, 10)
            for seed in range(count):
                made, _ = picture(width, 96, "yuvj420p", seed=seed)
                made.pts = seed
                for packet in context.encode(made):
                    out.write(bytes(packet))
    with open_source(SourceConfig(url=str(path))) as source:
        frames = iter(source)
        assert [next(frames).width for _ in range(3)] == [128] * 3
        with pytest.raises(SourceError, match="128x96 to 160x96 at frame 3"):
            next(frames)


@contextlib.contextmanager
def listener() -> Iterator[tuple[int, list[int]]]:
    """A server that accepts and never answers."""
    calls: list[int] = []
    held = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        stop = threading.Event()

        def accept() -> None:
            while not stop.is_set():
                with contextlib.suppress(TimeoutError):
                    held.append(server.accept()[0])
                    calls.append(1)

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1], calls
        finally:
            stop.set()
            thread.join()
            for connection in held:
                connection.close()


def test_a_silent_camera_ends_in_time_and_tells_no_password() -> None:
    with listener() as (port, calls):
        config = SourceConfig(url=f"rtsp://admin:hunter2@127.0.0.1:{port}/live", timeout_s=1)
        with pytest.raises(SourceError) as caught:
            open_source(config)
        assert calls
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert f"rtsp://admin:***@127.0.0.1:{port}/live" in str(caught.value)


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    for scheme in ("rtsp", "http"):
        with pytest.raises(SourceError, match="refused"):
            open_source(SourceConfig(url=f"{scheme}://127.0.0.1:{port}/live", timeout_s=5))


def test_probe(tmp_path: Path) -> None:
    write_video(tmp_path / "a.mkv", width=200)
    found = probe(str(tmp_path / "a.mkv"))
    assert (found.codec, found.pixel_format, found.width, found.fps) == ("ffv1", "yuv420p", 200, 10.0)
    assert found.reconnects
    assert not found.is_live
    demo = probe("demo://street?size=320x200")
    assert (demo.width, demo.is_live) == (320, False)
    assert probe("demo://street?size=320x200&live=1").is_live


def test_a_live_demo_comes_by_the_clock() -> None:
    begin_s = time.time()
    with open_source(SourceConfig(url="demo://street?size=64x64&fps=40&live=1", frames=9)) as source:
        assert source.is_live
        frames = list(source)
    assert [frame.pts_us for frame in frames] == [25_000 * i for i in range(9)]
    assert begin_s <= frames[0].wall_us / 1e6 <= time.time() - 0.19
    assert frames[8].wall_us - frames[0].wall_us == 200_000


@contextlib.contextmanager
def serving(handler: Callable[..., http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_a_file_on_a_server(tmp_path: Path) -> None:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    write_video(tmp_path / "a.mkv")
    with serving(functools.partial(Quiet, directory=str(tmp_path))) as url:
        with open_source(SourceConfig(url=f"{url}/a.mkv")) as source:
            assert len(list(source)) == 5
            assert not source.is_live
        with pytest.raises(SourceError, match="404"):
            open_source(SourceConfig(url=f"{url}/b.mkv?token=hunter2"))


def test_a_camera_that_sends_jpegs() -> None:
    images = [cv2.imencode(".jpg", np.full((96, 128, 3), 40 * number, np.uint8))[1].tobytes() for number in range(6)]

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            for image in images:
                head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(image)}\r\n\r\n"
                self.wfile.write(head.encode() + image + b"\r\n")

        def log_message(self, format: str, *args: object) -> None:
            pass

    before_us = time.time_ns() // 1000
    with serving(Camera) as url, open_source(SourceConfig(url=url, frames=5)) as source:
        frames = list(source)
    assert source.is_live
    assert source.full_range
    assert len(frames) == 5
    assert all(frame.wall_us >= before_us for frame in frames)
    assert all(a.wall_us < b.wall_us and a.pts_us < b.pts_us for a, b in itertools.pairwise(frames))
    assert frames[3].y.mean() == pytest.approx(120, abs=2)
