from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.cli import call
from pipeline.config import CameraConfig
from pipeline.errors import UsageError
from pipeline.offline import Task, encode_file, tasks
from pipeline.verify import verify
from tests.videos import write_video

SETTINGS = {"source": {"url": "x.mp4"}, "detector": {"kind": "none"}, "codec": {"threads": 1, "device": "cpu"}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "in"
    (root / "yard").mkdir(parents=True)
    write_video(root / "a.mp4", codec="libx264")
    write_video(root / "yard" / "b.mp4", codec="libx264")
    (root / "yard" / "broken.mp4").write_text("no video")
    (root / "notes.md").write_text("nothing")
    return root


def test_which_file_becomes_which(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    names = [str(task.out.relative_to(out)) for task in tasks([folder], out)]
    assert names == ["a.mp4.fov", "yard/b.mp4.fov", "yard/broken.mp4.fov"]
    listed = tmp_path / "list.txt"
    listed.write_text(f"# ours\n{folder / 'a.mp4'}\n\n{folder / 'yard' / 'b.mp4'}\n")
    assert [task.out.name for task in tasks([listed], out)] == ["a.mp4.fov", "b.mp4.fov"]
    with pytest.raises(UsageError, match="no such file"):
        tasks([tmp_path / "none"], out)
    with pytest.raises(UsageError, match="no videos"):
        tasks([_empty(tmp_path)], out)
    (tmp_path / "a.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match="would both become"):
        tasks([folder / "a.mp4", tmp_path / "a.mp4"], out)


def _empty(root: Path) -> Path:
    (root / "empty").mkdir()
    return root / "empty"


def test_one_that_fails_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    task = Task(folder / "yard" / "broken.mp4", tmp_path / "out" / "broken.fov")
    outcome = encode_file(task, CameraConfig.model_validate(SETTINGS))
    assert outcome.state == "failed"
    assert "broken.mp4" in outcome.error
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_goes_on_where_it_was(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    command = ["encode-many", str(folder), "--out", str(out), "--detector", "none", "--device", "cpu", "--frames", "3"]
    assert call([*command, "--runner", "local", "--json"]) == 1
    result = json.loads(capsys.readouterr().out)
    assert [(item["state"], item["frames"]) for item in result["files"]] == [("done", 3), ("done", 3), ("failed", 0)]
    assert not verify(out / "a.mp4.fov").faults
    (out / "a.mp4.fov").unlink()
    (folder / "yard" / "broken.mp4").unlink()
    assert call([*command, "--runner", "local"]) == 0
    assert "1 done, 1 there already, 0 failed" in capsys.readouterr().out


def test_probe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["probe", str(folder / "a.mp4"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["is_live"], found["reconnects"]) == (False, True)
    assert call(["probe", str(folder / "a.mp4")]) == 0
    assert "a recording" in capsys.readouterr().out
    assert call(["probe", str(folder / "yard" / "broken.mp4")]) == 1
