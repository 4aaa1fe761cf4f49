"""The commands for a site that runs: its cameras, its state, its log."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from pipeline.cli import call
from pipeline.cli.logs import set_up
from pipeline.config import load_site
from pipeline.follow import Follower
from pipeline.graph import CameraPlan
from pipeline.local import SiteRun
from pipeline.monitor import Monitor, serving
from pipeline.store import Store
from tests.chains import TinyPlan

LIMIT_S = 30.0
SITE = """# our yard
store: {store}
monitor: {{listen: "127.0.0.1:{port}"}}
cameras:
  gate:  # behind the hedge
    source: {{url: "rtsp://user:secret@10.0.0.9/main"}}
    codec:
      quality: 40  # enough
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "site.yaml"
    path.write_text(SITE.format(store=tmp_path / "archive", port=1))
    path.chmod(0o600)
    return path


def test_cameras_are_edited_and_comments_stay(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["cameras", "add", str(config), "yard", "rtsp://10.0.0.8/main", "--set", "codec.quality=60"]) == 0
    assert call(["cameras", "set", str(config), "gate", "--set", "source.halve=true", "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1]) == {"changed": "gate"}
    site = load_site(config)
    assert sorted(site.cameras) == ["gate", "yard"]
    assert site.cameras["yard"].codec.quality == 60
    assert site.cameras["gate"].source.halve
    assert call(["cameras", "rm", str(config), "yard"]) == 0
    assert sorted(load_site(config).cameras) == ["gate"]
    text = config.read_text()
    assert all(comment in text for comment in ("# our yard", "# behind the hedge", "# enough"))
    assert config.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["add", "gate", "rtsp://10.0.0.8/main"], "already"),
        (["add", "yard", "rtsp://10.0.0.8/main", "--set", "codec.quality=900"], "cameras.yard.codec.quality"),
        (["add", "yard", "rtsp://10.0.0.8/main", "--set", "codec.qualiti=9"], "unknown key"),
        (["set", "gate"], "nothing to change"),
        (["set", "gate", "--set", "codec"], "KEY=VALUE"),
        (["rm", "yard"], "no camera yard"),
        (["rm", "gate"], "cameras"),  # the last one: a site has at least one
    ],
)
def test_what_would_be_wrong_is_not_written(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    before = config.read_text()
    assert call(["cameras", arguments[0], str(config), *arguments[1:]]) == 2
    err = capsys.readouterr().err
    assert says in err
    assert ".part" not in err
    assert config.read_text() == before
    assert list(config.parent.iterdir()) == [config]


class Job(SiteRun):
    """Notes what is applied."""

    def __init__(self) -> None:
        super().__init__([])
        self.applied: list[list[str]] = []
        self.change = threading.Event()

    def apply(self, plans: Sequence[CameraPlan]) -> tuple[list[str], list[str], list[str]]:
        self.applied.append([plan.camera for plan in plans])
        self.change.set()
        return [], [], []


def test_a_running_site_follows_its_file(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    set_up("text")
    job = Job()
    with Follower(config, job, poll_s=0.02):
        good = config.read_text()
        config.write_text("cameras: [")
        until_s = time.monotonic() + LIMIT_S
        while "nothing changed" not in capsys.readouterr().err:
            assert time.monotonic() < until_s
            time.sleep(0.1)  # what is said in the very moment of reading is lost: to read without a pause is to lose it
        config.write_text(good)
        assert job.change.wait(LIMIT_S)
        job.change.clear()
        call(["cameras", "add", str(config), "yard", "rtsp://10.0.0.8/main"])
        assert job.change.wait(LIMIT_S)
    assert job.applied == [["gate"], ["gate", "yard"]]


def test_cameras_come_and_go_in_a_running_site(tmp_path: Path) -> None:
    one = TinyPlan("one", tmp_path / "one", live=True)
    two = TinyPlan("two", tmp_path / "two")
    job = SiteRun([one])
    job.start()
    assert job.apply([one.but(count=20), two]) == (["two"], ["one"], [])  # type: ignore[list-item]
    assert job.wait(LIMIT_S)
    assert two.written() == two.expected()
    assert job.apply([two]) == ([], [], ["one"])  # type: ignore[list-item]
    assert job.wait(LIMIT_S)


def test_status_of_a_running_site(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Store(tmp_path / "archive"):
        pass
    monitor, plan = Monitor(tmp_path / "archive"), TinyPlan("gate", tmp_path / "out")
    job = SiteRun([plan], watch=monitor.stored)
    job.start()
    assert job.wait(LIMIT_S)
    with serving("127.0.0.1:0", partial(monitor.state, job)) as port:
        config.write_text(SITE.format(store=tmp_path / "archive", port=port))
        assert call(["status", str(config)]) == 0
        out = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in out[:2]] == ["camera", "gate"]
        assert "this machine: 0 live cameras; CPU" in out[2]
        assert call(["status", str(config), "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["cameras"][0]["counters"]["coded"] == 50
    assert call(["status", str(config)]) == 1
    assert "no recorder answers" in capsys.readouterr().err


def test_a_log_line_as_json_knows_its_camera(capsys: pytest.CaptureFixture[str]) -> None:
    set_up("json")
    logging.getLogger("pipeline.local").info("begins", extra={"camera": "gate", "frame": 7})
    line = json.loads(capsys.readouterr().err)
    assert (line["camera"], line["frame"], line["message"], line["level"]) == ("gate", 7, "begins", "info")
    set_up("text")
