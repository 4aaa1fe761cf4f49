"""What the fleet benchmark counts, not how fast anything is."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.bench.clip import Clip
from pipeline.bench.clipfile import load_clip, save_clip
from pipeline.bench.fleet import Work, measure_fleet, prepared, to_and_fro
from pipeline.bench.launches import Kernel, _summed, measure_launches
from pipeline.bench.stages import STAGES
from pipeline.cli import call
from pipeline.errors import JobError, UsageError
from pipeline.types import Masked
from tests.codec.clips import planes, same, walk


def clip(count: int = 4) -> Clip:
    return Clip("walk", tuple(Masked(frame, mask) for frame, mask in walk(count, 64, 96, noise=2.0)), 25.0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    save_clip(clip(), tmp_path / "walk.npz")
    return tmp_path / "walk.npz"


def test_a_clip_comes_back_from_its_file(path: Path) -> None:
    assert load_clip(path).digest() == clip().digest()
    assert load_clip(path).name == "walk"


def test_a_file_that_is_no_clip(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none\.npz: No such file"):
        load_clip(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("no clip")
    with pytest.raises(UsageError, match=r"text\.npz: not a clip"):
        load_clip(tmp_path / "text.npz")
    np.savez(tmp_path / "other.npz", y=np.zeros((2, 2), np.uint8))
    with pytest.raises(UsageError, match=r"other\.npz: not a clip"):
        load_clip(tmp_path / "other.npz")


def test_frames_are_played_to_and_fro_while_time_goes_on() -> None:
    whole = clip(3)
    played = list(islice(to_and_fro(whole), 7))
    assert [item.frame.index for item in played] == list(range(7))
    assert [item.frame.pts_us for item in played] == [40_000 * k for k in range(7)]
    for item, place in zip(played, (0, 1, 2, 1, 0, 1, 2), strict=True):
        assert same(planes(item.frame), planes(whole.masked[place].frame))
    assert [item.frame.index for item in islice(to_and_fro(clip(1)), 3)] == [0, 1, 2]


def test_two_cameras_at_once(path: Path) -> None:
    measured = list(measure_fleet(Work(path, ("encode", "decode"), "cpu", 40.0, 0.4), (1, 2)))
    assert [(f.task, len(f.cameras)) for f in measured] == [("encode", 1), ("encode", 2), ("decode", 1), ("decode", 2)]
    for found in measured:
        assert found.fps == pytest.approx(sum(camera.frames / camera.seconds for camera in found.cameras))
        assert found.cpu_seconds_a_frame > 0
        for camera in found.cameras:
            assert camera.seconds >= 0.4
            assert 0 < camera.latency_s[0] <= camera.latency_s[1] <= camera.latency_s[2]
            assert camera.nbytes > 0
            assert camera.first_s > 0
            assert camera.device_mib is None
    assert "decode, 2 cameras on cpu" in str(measured[-1])


def test_what_is_decoded_is_what_was_encoded(path: Path) -> None:
    """Round after round: the same bytes but for the plate, which comes once."""
    steps = prepared(load_clip(path), Work(path, ("encode", "decode"), "cpu", 40.0, 0.1))
    rounds = [[steps["decode"].run() for _ in range(4)] for _ in range(2)]
    assert rounds[0] == rounds[1]
    assert len(set(rounds[0])) > 1


def test_a_camera_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(JobError, match=r"camera's process failed: UsageError: .*gone\.npz"):
        list(measure_fleet(Work(tmp_path / "gone.npz", ("encode",), "cpu", 40.0, 0.5), [1]))


def test_what_one_camera_asks_of_a_device(path: Path) -> None:
    found = measure_launches(Work(path, ("encode",), "cpu", 40.0, 0.5), "encode", frames=2)
    assert list(found.stages) == [*STAGES, "rest"]
    assert (found.launches, found.busy_seconds, found.kernels) == (0, 0, ()), "a CPU is asked for nothing"
    assert found.seconds > 0
    assert len(found.rows()) == 6 + len(found.stages)


def test_a_profile_of_a_device_is_added_up() -> None:
    class Event:
        def __init__(self, key: str, count: int, microseconds: float = 0.0) -> None:
            self.key, self.count, self.self_device_time_total = key, count, microseconds
            self.device_type = SimpleNamespace(name="CUDA" if microseconds else "CPU")

    events = [
        Event("cudaLaunchKernel", 20), Event("cudaLaunchKernelExC", 4), Event("cudaStreamSynchronize", 6),
        Event("aten::mm", 10), Event("gemm", 20, 100.0), Event("add", 4, 300.0),
        Event("Memcpy HtoD (Pageable -> Device)", 8, 10.0), Event("Memcpy DtoD (Device -> Device)", 2, 10.0),
    ]  # fmt: skip
    launches, waits, copies, kernels = _summed(events, 2)
    assert (launches, waits, copies) == (12, 3, 4)
    assert kernels[:2] == (Kernel("add", pytest.approx(150e-6), 2), Kernel("gemm", pytest.approx(50e-6), 10))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made, out = tmp_path / "made.npz", tmp_path / "fleet.json"
    options = ["--cameras", "1,2", "--seconds", "0.3", "--device", "cpu", "--out", str(out), "--json"]
    first = ["demo://street", "--size", "96x64", "--frames", "4", "--detector", "motion", "--save", str(made)]
    assert call(["bench", "fleet", *first, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == found
    assert (found["width"], found["height"], found["frames"]) == (96, 64, 4)
    assert [len(fleet["cameras"]) for fleet in found["fleets"]] == [1, 2]
    again = [str(made), "--cameras", "1", "--seconds", "0.3", "--task", "decode", "--device", "cpu", "--profile"]
    again += ["--effort", "fast"]
    assert call(["bench", "fleet", *again]) == 0
    shown = capsys.readouterr().out
    assert "decode, 1 cameras on cpu: " in shown
    assert "waits for the device" in shown
    for wrong in (["--cameras", "0"], ["--cameras", "x"], ["--task", "guess"], ["--device", "tpu"], ["--effort", "no"]):
        assert call(["bench", "fleet", str(made), *wrong]) == 2
