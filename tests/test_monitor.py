from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.budget import NodeLoad
from pipeline.errors import JobError
from pipeline.footage import Counters, Receipt, Relief
from pipeline.local import CameraReport, SiteRun
from pipeline.machine import GpuUse, MachineUse, machine_use
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


def test_nodes_say_what_their_cameras_go_without(archive: Path) -> None:
    gpu = GpuUse(0.5, 6 << 30, 8 << 30)
    machines = {"a" * 20: MachineUse("10.0.0.1", 0.25, 1 << 30, 2 << 30, (gpu,)), "": MachineUse("", 0.5, 1, 2)}
    loads = NodeLoad("a" * 20, ("gate",), 1.7, Relief(8, 0.5)), NodeLoad("gone", ("yard",), None, Relief())
    monitor = Monitor(archive, loads=lambda: loads, machines=lambda: machines)
    counters = Counters(frames_in=10, dropped=4, thinned=3, balanced=1, fast=2)
    report = CameraReport("gate", counters=counters, relief=Relief(8, 0.5), effort="fast")
    job = SiteRun([])
    job.cameras = {"gate": report}
    with serving("127.0.0.1:0", partial(monitor.state, job)) as port:
        families = {family.name: family for family in text_string_to_metric_families(get(port, "/metrics")[1])}
        status = json.loads(get(port, "/status")[1])
    nodes = {node["node"]: node for node in status["nodes"]}
    assert sorted(nodes) == ["10.0.0.1 aaaaaaaa", "gone", "this machine"]
    assert nodes["10.0.0.1 aaaaaaaa"]["relief"] == "background 1 in 8, 50% of frames"
    assert nodes["gone"]["cpu"] is None
    assert status["cameras"][0]["relief"] == nodes["10.0.0.1 aaaaaaaa"]["relief"]
    found = {(s.name, *sorted(s.labels.values())): s.value for family in families.values() for s in family.samples}
    node = "10.0.0.1 aaaaaaaa"
    assert found["fovea_node_load_share", node] == 1.7
    assert found["fovea_gpu_share", "0", node] == 0.5
    assert found["fovea_gpu_memory_used_bytes", "0", node] == 6 << 30
    assert found["fovea_node_cpu_share", "this machine"] == 0.5
    assert (found["fovea_keep_share", "gate"], found["fovea_background_every", "gate"]) == (0.5, 8)
    assert found["fovea_effort", "gate"] == 2
    assert (found["fovea_frames_balanced_total", "gate"], found["fovea_frames_fast_total", "gate"]) == (1, 2)
    assert (found["fovea_frames_thinned_total", "gate"], found["fovea_frames_dropped_total", "gate"]) == (3, 4)


def test_a_machine_and_its_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    use = machine_use("10.0.0.1")
    assert (use.address, use.memory_bytes > use.memory_used_bytes > 0) == ("10.0.0.1", True)
    nvml = SimpleNamespace(
        NVMLError=RuntimeError, nvmlInit=lambda: None, nvmlShutdown=lambda: None, nvmlDeviceGetCount=lambda: 2,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=handle, total=10),
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=40 + handle),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert machine_use().gpus == (GpuUse(0.4, 0, 10), GpuUse(0.41, 1, 10))

    def fails() -> None:
        raise RuntimeError("no driver")

    nvml.nvmlInit = fails
    assert machine_use().gpus == ()


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
