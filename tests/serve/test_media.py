"""Moving pictures over a real connection: what they show, and what becomes of the work when somebody goes away."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from http.client import HTTPConnection
from io import BytesIO
from itertools import pairwise
from pathlib import Path

import av
import pytest

from pipeline.serve.moving import LEAD_S
from pipeline.serve.pool import as_process
from pipeline.store import Sink, Store
from pipeline.types import CodedFrame
from tests.serve.site import LIMIT_S, T0, Running, make_site, running, until
from tests.streams import INFO, FakeDecoder, make_packets


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with running(make_site(tmp_path_factory.mktemp("media"))) as found:
        yield found


def shown(data: bytes) -> list[tuple[float, int]]:
    """Time and number of each picture: the fake decoder draws the number as brightness."""
    with av.open(BytesIO(data)) as container:
        frames = list(container.decode(video=0))
        return [
            (frame.time or 0.0, round(frame.to_ndarray(format="yuv420p")[: frame.height].mean())) for frame in frames
        ]


def test_a_clip_begins_foreground_first_and_goes_on_in_true_time(server: Running) -> None:
    answer = server.get("/api/cameras/gate/clip.mp4", **{"from": T0 + 60 * 0.04 + 0.01, "to": T0 + 70 * 0.04})
    assert answer.status == 200
    codec = answer.headers["x-codec"]
    assert answer.headers["content-type"] == f'video/mp4; codecs="{codec}"'
    assert codec.startswith("avc1.42")
    pictures = shown(answer.read())
    numbers = [number for _, number in pictures]
    assert numbers == pytest.approx([50, 50, 60, *range(61, 70)], abs=1)
    times = [time for time, _ in pictures]
    assert times[2:6] == pytest.approx([LEAD_S, LEAD_S + 0.03, LEAD_S + 0.07, LEAD_S + 0.11], abs=0.002)


def test_a_gap_keeps_its_duration(server: Running) -> None:
    answer = server.get("/api/cameras/gate/clip.mp4", **{"from": T0 + 95 * 0.04, "to": T0 + 7 + 105 * 0.04, "speed": 2})
    times = [time for time, _ in shown(answer.read())]
    assert max(b - a for a, b in pairwise(times)) == pytest.approx(7.04 / 2, abs=0.01)


def test_speed_layer_and_width(server: Running) -> None:
    span = {"from": T0, "to": T0 + 4}
    answer = server.get("/api/cameras/gate/clip.mp4", **span, speed=8, layer="foreground", width=64)
    assert (answer.headers["x-width"], answer.headers["x-height"]) == ("64", "32")
    numbers = [number for _, number in shown(answer.read())]
    assert sorted({*numbers}) == pytest.approx([0, 25, 50, 75], abs=1), "key frames alone"


def test_whoever_goes_away_is_worked_for_no_longer(server: Running) -> None:
    pool = server.served.pool
    long = {"from": T0, "to": T0 + 20}
    answers = [server.get("/api/cameras/gate/clip.mp4", **long) for _ in range(3)]
    answers += [server.get("/api/cameras/yard/live.mp4")]
    assert pool.active == 4
    for answer in answers:
        answer.read(1000)
        answer.close()
    until(lambda: pool.active == 0)
    picture = server.get("/api/cameras/gate/frame.jpg", t=T0)
    assert picture.status == 200
    picture.read()
    until(lambda: pool.active == 0)


def test_whoever_reads_nothing_holds_nobody_up(server: Running) -> None:
    stuck = [server.get("/api/cameras/gate/clip.mp4", **{"from": T0, "to": T0 + 20}) for _ in range(4)]
    answer = server.get("/api/cameras/gate/clip.mp4", **{"from": T0, "to": T0 + 3})
    assert len(shown(answer.read())) == 77
    for one in stuck:
        one.close()


def test_nothing_recorded_is_not_found(server: Running) -> None:
    for begin, end in ((-60, -30), (5, 9), (60, 90)):
        answer = server.get("/api/cameras/gate/clip.mp4", **{"from": T0 + begin, "to": T0 + end})
        assert answer.status == 404, (begin, end)
        assert b"nothing is recorded" in answer.read()


def test_a_live_camera_is_shown_as_it_is_recorded(tmp_path: Path) -> None:
    config = make_site(tmp_path)
    with Store(tmp_path / "archive") as store, running(config) as server:
        sink, packets = Sink(store, "gate", INFO), make_packets(100, gop=25, first=1000)
        for packet in packets[:30]:
            sink.append(CodedFrame(packet))
        sink.flush()
        answer = server.get("/api/cameras/gate/live.mp4")
        assert answer.status == 200
        data = b""
        for number in range(30, 60):
            sink.append(CodedFrame(packets[number]))
            if number % 10 == 9:
                sink.flush()
                while data.count(b"moof") < number - 28:  # all but the last picture, whose duration is not known
                    data += answer.read1(65536)
        answer.close()
        sink.close()
        until(lambda: server.served.pool.active == 0)
    numbers = [number for _, number in shown(data)]
    assert numbers[2:] == pytest.approx([(1000 + number) & 0xFF for number in range(30, 59)], abs=1)
    assert numbers[0] == numbers[1] == pytest.approx((1000 + 29) & 0xFF, abs=1)


def test_as_many_as_may_be_and_no_more(tmp_path: Path) -> None:
    with running(make_site(tmp_path, more="  streams: 2\n")) as server:
        held = [server.get("/api/cameras/gate/live.mp4") for _ in range(2)]
        answer = server.get("/api/cameras/gate/frame.jpg", t=T0)
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        answer.close()
        held[0].close()
        until(lambda: server.served.pool.active == 1)
        answer = server.get("/api/cameras/gate/frame.jpg", t=T0)
        assert answer.status == 200
        answer.close()
        held[1].close()


class _DeadlyDecoder(FakeDecoder):
    """Takes its process with it at frame 30."""

    def decode(self, packet, layer="full", *, held=False):  # type: ignore[no-untyped-def]
        if packet.index == 30:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(packet, layer, held=held)


def test_a_process_that_dies_is_replaced(tmp_path: Path) -> None:
    with running(make_site(tmp_path), _DeadlyDecoder, as_process) as server:
        answer = server.get("/api/cameras/gate/frame.jpg", t=T0 + 35 * 0.04)
        assert answer.status == 503
        assert b"died" in answer.read()
        assert server.served.pool.deaths == 1

        def works() -> bool:
            return server.get("/api/cameras/gate/frame.jpg", t=T0 + 5 * 0.04).status == 200

        until(works)


def test_a_picture_that_nobody_waits_for_is_not_decoded(tmp_path: Path) -> None:
    decoded: list[int] = []

    class Gated(FakeDecoder):
        """Stands still at frame 10 until it may go on."""

        def decode(self, packet, layer="full", *, held=False):  # type: ignore[no-untyped-def]
            decoded.append(packet.index)
            if packet.index == 10:
                until((tmp_path / "open").exists)
            return super().decode(packet, layer, held=held)

    with running(make_site(tmp_path), Gated) as server:
        connections = [HTTPConnection("127.0.0.1", server.port, timeout=LIMIT_S) for _ in range(4)]
        for number, connection in enumerate(connections):
            path = f"/api/cameras/gate/frame.jpg?t={T0 + (20 + number) * 0.04}"
            connection.request("GET", path, headers=server.headers)
        until(lambda: 10 in decoded and server.served.pool.active == 4)
        for connection in connections:
            connection.close()
        until(lambda: server.served.pool.active == 0)
        (tmp_path / "open").touch()
        picture = server.get("/api/cameras/yard/frame.jpg", t=T0)
        assert picture.status == 200
        assert max(decoded) <= 10, "the others ended at their next turn"
