from __future__ import annotations

import json
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.errors import JobError
from pipeline.footage import Counters, Receipt
from pipeline.local import CameraReport, SiteRun
from pipeline.monitor import Monitor, serving
from pipeline.store import Store
from tests.chains import TinyPlan

LIMIT_S = 30.0


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=LIMIT_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    root = tmp_path / "archive"
    with Store(root):
        pass
    return root


def test_a_site_is_seen_over_http(archive: Path, tmp_path: Path) -> None:
    monitor = Monitor(archive)
    good = TinyPlan("good", tmp_path / "good")
    job = SiteRun([good, good.but(camera="bad", out=tmp_path / "bad", source_fails_at=-1)], watch=monitor.stored)
    job.start()
    assert job.wait(LIMIT_S)
    with serving("127.0.0.1:0", partial(monitor.state, job)) as port:
        assert get(port, "/healthz") == (200, "ok\n")
        ready, cameras = get(port, "/readyz")
        assert (ready, sorted(json.loads(cameras))) == (503, ["bad", "good"])
        families = {family.name: family for family in text_string_to_metric_families(get(port, "/metrics")[1])}
        status = json.loads(get(port, "/status")[1])
        assert get(port, "/else")[0] == 404
    coded = {sample.labels["camera"]: sample.value for sample in families["fovea_frames_coded"].samples}
    assert coded == {"good": 50, "bad": 0}
    layers = [s.value for s in families["fovea_stored_bytes"].samples if s.labels["camera"] == "good"]
    assert layers == [200, 100]
    assert families["fovea_store_free_bytes"].samples[0].value > 0
    assert status["cameras"][0]["counters"]["frames_in"] == 50
    assert status["cameras"][0]["bits_a_pixel"] == pytest.approx(8 * 300 / (50 * 64 * 64))
    assert status["cameras"][1]["state"] == "failed"


def test_rates_and_latencies_are_of_late(archive: Path) -> None:
    clock = [0.0]
    monitor = Monitor(archive, now=lambda: clock[0])
    report = CameraReport("gate")
    for second in range(100):
        clock[0] = float(second)
        report.counters = Counters(frames_in=5 * second, coded=4 * second)
        monitor.stored(report, Receipt(Counters(), latencies_s=(9.0 if second < 50 else 0.3,)))
    job = SiteRun([])
    job.cameras = {"gate": report}
    (camera,) = monitor.state(job).cameras
    assert (camera.fps_in, camera.fps_coded) == (pytest.approx(5), pytest.approx(4))
    assert (camera.latency_p50_s, camera.latency_p99_s) == (0.3, 0.3)
    assert camera.buckets == (0, 0, 50, 50, 50, 50, 100, 100)


def test_a_port_that_is_taken_is_one_line(archive: Path) -> None:
    monitor, job = Monitor(archive), SiteRun([])
    with (
        serving("127.0.0.1:0", partial(monitor.state, job)) as port,
        pytest.raises(JobError, match=rf"monitor.listen: 127.0.0.1:{port}"),
        serving(f"127.0.0.1:{port}", partial(monitor.state, job)),
    ):
        pass
