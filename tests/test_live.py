"""Live cameras that fall silent, hang, break, change and come back; on a clock of its own, and against real servers."""

from __future__ import annotations

import contextlib
import http.server
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import pytest

from pipeline.config import SourceConfig
from pipeline.errors import SourceError, UsageError
from pipeline.footage import Footage
from pipeline.graph import SourceStage
from pipeline.live import MAX_HUNG, LiveSettings, LiveSource
from pipeline.types import Frame, Gap
from tests.chains import TinyCamera, frame
from tests.rtsp_server import RtspServer, missing
from tests.videos import picture

LIMIT_S = 60.0


def at(index: int, wall_us: int, *, size: int = 64) -> Frame:
    made = frame(index, height=size, width=size)
    return Frame(made.y, made.u, made.v, index=index, pts_us=index * 100_000, wall_us=wall_us)


def gather(source: LiveSource, count: int) -> list[Footage]:
    """Takes until so many frames have come."""
    taken: list[Footage] = []
    deadline = time.monotonic() + LIMIT_S
    while sum(len(footage.frames) for footage in taken) < count:
        assert time.monotonic() < deadline, source.counts()
        footage = source.take(100, patience_s=0.05)
        taken += [footage] if footage.frames else []
    return taken


def opener(*sessions: Callable[[], Iterator[Frame]] | Exception) -> Callable[[], TinyCamera]:
    """Opens one after the other; the last one again and again."""
    left = list(sessions)

    def open_next() -> TinyCamera:
        session = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(session, Exception):
            raise session
        frames = list(itertools.islice(session(), 1000))
        return TinyCamera(iter(frames), size=(frames[0].width, frames[0].height))

    return open_next


def test_a_camera_that_breaks_comes_back_as_another_session() -> None:
    begin = 1_700_000_000_000_000
    source = LiveSource(
        opener(
            lambda: (at(i, begin + i * 100_000) for i in range(5)),
            SourceError("cannot be reached"),
            lambda: (at(i, begin + 60_000_000 + i * 100_000, size=96) for i in range(4)),
            SourceError("gone"),
        ),
        LiveSettings(size=100, retry_s=0.01),
    )  # type: ignore[arg-type]
    first, second = gather(source, 9)
    source.stop()
    assert [f.index for f in (*first.frames, *second.frames)] == list(range(9))
    assert first.facts is not None
    assert second.facts is not None
    assert (first.facts.width, second.facts.width) == (64, 96)
    assert first.facts.session < second.facts.session
    assert all(a.pts_us < b.pts_us for a, b in itertools.pairwise((*first.frames, *second.frames)))
    counts = source.counts()
    assert (counts.reconnects, counts.gaps) == (1, 1)
    assert counts.noticed == (Gap(begin + 400_000, begin + 60_000_000, "cannot be reached"),)
    assert source.counts().noticed == ()


def test_a_silence_within_a_session_is_a_gap() -> None:
    times = [0, 100_000, 200_000, 9_200_000, 9_300_000]
    source = LiveSource(
        opener(lambda: (at(i, 1_000_000 + wall) for i, wall in enumerate(times))), LiveSettings(size=100, limit=5)
    )  # type: ignore[arg-type]
    gather(source, 5)
    counts = source.counts()
    assert [(gap.from_wall_us, gap.to_wall_us) for gap in counts.noticed] == [(1_200_000, 10_200_000)]
    assert counts.ended


def test_an_open_that_hangs_holds_the_camera_up_for_its_timeout_only() -> None:
    release = threading.Event()
    attempts = itertools.count()

    def open_slowly() -> TinyCamera:
        if next(attempts) == 0:
            release.wait(LIMIT_S)
            raise SourceError("at last")
        return TinyCamera(at(i, i + 1) for i in range(3))

    source = LiveSource(open_slowly, LiveSettings(size=10, stall_s=0.1, retry_s=0.01, limit=3))  # type: ignore
    assert len(gather(source, 3)[0].frames) == 3
    release.set()


def test_threads_that_hang_are_bounded() -> None:
    release = threading.Event()
    opened: list[int] = []

    def open_never() -> TinyCamera:
        opened.append(1)
        release.wait(LIMIT_S)
        raise SourceError("at last")

    source = LiveSource(open_never, LiveSettings(size=10, stall_s=0.02, retry_s=0.01))  # type: ignore[arg-type]
    with pytest.raises(SourceError, match="hang"):
        gather(source, 1)
    assert len(opened) == MAX_HUNG
    release.set()


def test_a_slow_chain_drops_the_oldest_frames_but_it_noticed_the_gap() -> None:
    times = [0, 5_000_000, *range(5_100_000, 7_000_000, 100_000)]
    done = threading.Event()

    def all_frames() -> Iterator[Frame]:
        yield from (at(i, 1 + wall) for i, wall in enumerate(times))
        done.set()
        time.sleep(LIMIT_S)

    source = LiveSource(lambda: TinyCamera(all_frames()), LiveSettings(size=4))  # type: ignore[arg-type,return-value]
    source.take(0, patience_s=0.0)
    assert done.wait(LIMIT_S)
    footage = source.take(100)
    assert [f.index for f in footage.frames] == list(range(len(times) - 4, len(times)))
    counts = source.counts()
    assert [(gap.from_wall_us, gap.to_wall_us) for gap in counts.noticed] == [(1, 5_000_001)]
    assert (counts.frames_in, counts.dropped) == (len(times), len(times) - 4)


def test_thinning_is_even_and_counted() -> None:
    """A first frame is always there; of what was left out each is counted, and none is a gap."""
    begun = threading.Event()

    def all_frames() -> Iterator[Frame]:
        assert begun.wait(LIMIT_S)
        yield from (at(i, 1_000_000 + i * 1_500_000) for i in range(40))

    source = LiveSource(lambda: TinyCamera(all_frames()), LiveSettings(size=100, limit=40))  # type: ignore
    source.take(0, patience_s=0.0)
    source.thin(0.25)
    begun.set()
    footage = gather(source, 10)
    assert [f.index for f in footage[0].frames] == [0, *range(4, 40, 4)]
    counts = source.counts()
    assert (counts.frames_in, counts.dropped, counts.thinned, counts.gaps) == (40, 30, 30, 0)
    assert counts.ended


def test_a_take_lingers_for_more_frames() -> None:
    """Of frames that come one after the other, all are taken together where there is time."""
    going = threading.Event()

    def one_by_one() -> Iterator[Frame]:
        yield at(0, 1)
        assert going.wait(LIMIT_S)
        yield from (at(i, i + 1) for i in range(1, 9))

    source = LiveSource(lambda: TinyCamera(one_by_one()), LiveSettings(size=20, limit=9, linger_s=LIMIT_S))  # type: ignore
    threading.Timer(0.2, going.set).start()
    assert len(source.take(9, patience_s=LIMIT_S).frames) == 9


def test_without_reconnect_the_first_end_is_an_error() -> None:
    source = LiveSource(opener(lambda: (at(i, i + 1) for i in range(3))), LiveSettings(size=10, reconnect=False))  # type: ignore[arg-type]
    assert len(gather(source, 3)[0].frames) == 3
    with pytest.raises(SourceError, match="ended the stream"):
        gather(source, 1)


def test_what_can_never_work_is_an_error_at_once() -> None:
    source = LiveSource(opener(SourceError("wrong password", final=True)), LiveSettings(size=10))  # type: ignore
    with pytest.raises(SourceError, match="wrong password"):
        gather(source, 1)
    with pytest.raises(UsageError):
        SourceStage(SourceConfig(url="gopher://host/x"), batch=4).setup()


@pytest.fixture
def mjpeg() -> Iterator[tuple[str, list[int]]]:
    """A camera that sends JPEGs at 20 a second and hangs up after `pattern` of them: their widths."""
    pattern: list[int] = [128] * 6

    def image(width: int, seed: int) -> bytes:
        context = av.CodecContext.create("mjpeg", "w")
        context.width, context.height, context.pix_fmt, context.time_base = width, 96, "yuvj420p", Fraction(1, 20)
        made, _ = picture(width, 96, "yuvj420p", seed=seed)
        return b"".join(bytes(packet) for packet in context.encode(made))

    class Camera(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=next")
            self.end_headers()
            for seed, width in enumerate(list(pattern)):
                data = image(width, seed)
                head = f"--next\r\nContent-Type: image/jpeg\r\nContent-Length: {len(data)}\r\n\r\n"
                with contextlib.suppress(OSError):
                    self.wfile.write(head.encode() + data + b"\r\n")
                time.sleep(0.05)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Camera) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/video", pattern
        finally:
            server.shutdown()


def run_stage(stage: SourceStage, count: int, gaps: list[Gap] | None = None) -> list[Footage]:
    found: list[Footage] = []
    deadline = time.monotonic() + LIMIT_S
    while sum(len(footage.frames) for footage in found) < count:
        assert time.monotonic() < deadline
        footage, counts = stage.process()
        if gaps is not None:
            gaps += counts.noticed
        found += [footage] if footage.frames else []
    return found


def test_an_http_camera_that_hangs_up_and_changes_its_size(mjpeg: tuple[str, list[int]]) -> None:
    url, pattern = mjpeg
    pattern[:] = [128] * 5 + [160] * 20
    stage = SourceStage(SourceConfig(url=url, retry_s=0.1), batch=8)
    assert stage.setup()
    before = run_stage(stage, 3)
    pattern[:] = [160] * 50
    after = run_stage(stage, 20)
    stage.close()
    widths = [f.facts.width for f in (*before, *after) if f.facts is not None]
    assert widths[0] == 128
    assert widths[-1] == 160
    assert all({item.width for item in f.frames} == {f.facts.width} for f in after if f.facts)


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_an_rtsp_camera_whose_server_dies_and_returns_with_another_size(transport: str) -> None:
    reason = missing()
    if reason:
        pytest.skip(reason)
    with RtspServer(fps=10) as server:
        config = SourceConfig(url=server.url(), rtsp_transport=transport, timeout_s=3, retry_s=0.3)  # type: ignore
        stage = SourceStage(config, batch=4)
        assert stage.setup()
        first = run_stage(stage, 5)
        server.kill()
        server.start(width=192, height=128)
        again: list[Footage] = []
        gaps: list[Gap] = []
        while not any(f.facts is not None and f.facts.width == 192 for f in again):
            again += run_stage(stage, 3, gaps)
        counts = stage.process()[1]
        stage.close()
    last = [f for footage in (*first, *again) for f in footage.frames if f.width == 320][-1]
    back = next(f for footage in again for f in footage.frames if f.width == 192)
    assert any(gap.from_wall_us >= last.wall_us and gap.to_wall_us <= back.wall_us for gap in gaps)
    assert back.pts_us > last.pts_us
    assert abs((back.pts_us - last.pts_us) - (back.wall_us - last.wall_us)) < 2_000_000
    assert counts.reconnects >= 1
