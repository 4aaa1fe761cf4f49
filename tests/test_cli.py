"""The command line as a user meets it: a line for what is wrong, JSON with fixed keys, files whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli import call
from pipeline.cli.output import parse_time, replacing, show_bytes, show_time
from pipeline.errors import JobError, UsageError

DEMO = "demo://street?size=96x64"
FAST = ["--detector", "motion", "--threads", "1", "--device", "cpu"]
SITE = """
store: {store}
cameras:
  good:
    source: {{url: "{demo}", frames: 6}}
    detector: {{kind: none}}
    codec: {{threads: 1, device: cpu}}
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    capsys.readouterr()
    status = call([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return status, out, err


@pytest.fixture(scope="module")
def stream(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A coded clip of the demo scene."""
    path = tmp_path_factory.mktemp("stream") / "clip.fov"
    assert call(["encode", DEMO, str(path), "--frames", "12", *FAST]) == 0
    return path


def test_help_imports_nothing_heavy() -> None:
    heavy = ["torch", "cv2", "av", "ray", "ultralytics", "compressai", "matplotlib"]
    code = (
        "import sys; from pipeline.cli import call; status = call(['--help']);"
        f"print(sorted(set({heavy!r}) & set(sys.modules)), file=sys.stderr); sys.exit(status)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "encode" in done.stdout
    assert done.stderr.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["encode", "none.mp4", "out.fov"], 2, "none.mp4"),
        (["encode", "text.mp4", "out.fov"], 1, "text.mp4"),
        (["encode", "gopher://host/x", "out.fov"], 2, "gopher"),
        (["encode", "rtsp://user:secret@127.0.0.1:9/x", "out.fov"], 1, "127.0.0.1"),
        (["encode", DEMO, "nowhere/out.fov"], 2, "no directory nowhere"),
        (["encode", DEMO, "out.fov", "--quality", "101"], 2, "--quality"),
        (["encode", DEMO, "out.fov", "--quality", "5", "--bitrate", "9000"], 2, "one of them"),
        (["encode", DEMO, "out.fov", "--gop", "0"], 2, "gop"),
        (["encode", DEMO, "out.fov", "--detector", "magic"], 2, "--detector magic"),
        (["encode", DEMO, "out.fov", "--weights", "none.pt"], 2, "none.pt"),
        (["encode", DEMO, "out.fov", "--boxes", "none.jsonl"], 2, "none.jsonl"),
        (["encode", DEMO, "out.fov", "--boxes", "text.mp4"], 2, "text.mp4"),
        (["encode", DEMO, "out.fov", "--device", "abacus"], 2, "--device abacus"),
        (["decode", "none.fov", "out.mp4"], 2, "none.fov"),
        (["decode", "text.mp4", "out.mp4"], 1, "text.mp4: not a Fovea stream"),
        (["decode", "text.mp4", "out.gif"], 2, ".gif"),
        (["inspect", "."], 2, "not a file"),
        (["inspect", "text.mp4"], 1, "byte 0"),
        (["verify", "none"], 2, "none"),
        (["store", "ls", "none"], 1, "none"),
        (["store", "rm", "none"], 2, "CAMERA"),
        (["store", "pin", "none", "gate", "--from", "1", "--to", "2"], 1, "none: not a Fovea store"),
        (["export", "none", "cam", "o.mp4", "--from", "1", "--to", "0"], 2, "is not after"),
        (["export", "none", "cam", "o.mp4", "--from", "noon", "--to", "1"], 2, "noon: not a time"),
        (["export", "none", "cam", "o.mp4", "--from", "2026-01-31T12:00:00", "--to", "1"], 2, "time zone"),
        (["export", "none", "cam", "o.mp4", "--from", "0", "--to", "1"], 1, "none"),
        (["run", "none.yaml"], 2, "none.yaml"),
        (["run", "wrong.yaml"], 2, "cameras.good.codec.qualty: unknown key"),
        (["run", "wrong.yaml", "--runner", "horse"], 2, "--runner horse"),
        (["fly"], 2, "fly"),
    ],
)
def test_wrong_input_is_a_line(
    arguments: list[str], status: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    Path("text.mp4").write_text("this is no video\n" * 50)
    site = SITE.format(store="archive", demo=DEMO).replace("threads: 1", "qualty: 1")
    Path("wrong.yaml").write_text(site)
    before = sorted(tmp_path.iterdir())
    got, out, err = run(capsys, *arguments)
    assert (got, out) == (status, "")
    lines = err.splitlines()
    assert len([line for line in lines if line.startswith("fovea: ")]) == 1, err
    assert says in lines[-1]
    assert "secret" not in err
    assert "Traceback" not in err
    assert sorted(tmp_path.iterdir()) == before


def test_encode_decode_inspect_verify(stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = run(capsys, "encode", DEMO, tmp_path / "a.fov", "--frames", 5, "--json", *FAST)
    result = json.loads(out)
    assert status == 0
    assert list(result) == [
        "frames", "width", "height", "fps", "seconds", "bytes", "bytes_foreground", "bytes_background", "bpp",
    ]  # fmt: skip
    assert (result["frames"], result["width"], result["height"], result["fps"]) == (5, 96, 64, 10)
    assert result["bytes"] == (tmp_path / "a.fov").stat().st_size
    assert result["bytes_foreground"] + result["bytes_background"] <= result["bytes"]
    for name in ("full.mkv", "seen.mp4"):
        status, out, _ = run(capsys, "decode", stream, tmp_path / name, "--threads", 1, "--json")
        assert (status, json.loads(out)["frames"]) == (0, 12)
    status, out, _ = run(capsys, "decode", stream, tmp_path / "fg.mkv", "--layer", "foreground", "--threads", 1)
    assert status == 0
    status, out, _ = run(capsys, "inspect", stream, "--plot", tmp_path / "bits.png", "--json")
    assert status == 0
    assert len(json.loads(out)["frames"]) == 12
    assert (tmp_path / "bits.png").read_bytes().startswith(b"\x89PNG")
    assert run(capsys, "inspect", stream)[0] == 0
    status, out, _ = run(capsys, "verify", stream, "--decode", "--json")
    assert (status, json.loads(out)) == (0, {"ok": True, "faults": [], "losses": []})


def test_a_damaged_stream_says_where(stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = bytearray(stream.read_bytes())
    data[len(data) // 2] ^= 0xFF
    damaged = tmp_path / "damaged.fov"
    damaged.write_bytes(data)
    status, out, err = run(capsys, "decode", damaged, tmp_path / "out.mkv")
    assert (status, out) == (1, "")
    assert err.startswith(f"fovea: {damaged}: ")
    assert "byte" in err
    assert not list(tmp_path.glob("*out*"))
    status, out, _ = run(capsys, "verify", damaged, "--json")
    result = json.loads(out)
    assert (status, result["ok"]) == (1, False)
    assert result["faults"]
    assert list(result["faults"][0]) == ["frame", "layer", "offset", "reason"]
    assert list(result) == ["ok", "faults", "losses"]


def test_run_then_the_archive(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = tmp_path / "archive"
    site = tmp_path / "site.yaml"
    site.write_text(SITE.format(store=store, demo=DEMO))
    status, out, err = run(capsys, "run", site, "--runner", "local", "--frames", 4, "--json")
    result = json.loads(out)
    assert status == 0, err
    assert list(result) == ["seconds", "cameras"]
    counters = result["cameras"]["good"]
    names = ["frames_in", "coded", "dropped", "lost", "bytes_foreground", "bytes_background", "killed"]
    assert list(counters) == [*names, "reconnects", "gaps", "restarts", "thinned", "balanced", "fast"]
    assert (counters["frames_in"], counters["coded"], counters["dropped"], counters["lost"]) == (4, 4, 0, 0)
    status, out, _ = run(capsys, "store", "ls", store, "--json")
    listed = json.loads(out)["cameras"]["good"]
    assert (status, listed["frames"]) == (0, 4)
    status, out, _ = run(capsys, "store", "ls", store, "--camera", "good", "--from", 0, "--class", "person", "--json")
    found = json.loads(out)
    assert (status, len(found["covered"]["good"]), found["events"]) == (0, 1, [])
    assert run(capsys, "store", "ls", store, "--camera", "bad")[0] == 2
    for command, more in ((["verify", store], {"losses": []}), (["store", "check", store], {})):
        status, out, _ = run(capsys, *command, "--json")
        assert (status, json.loads(out)) == (0, {"ok": True, "faults": [], **more})
    begin, end = listed["first_wall_us"] / 1e6 - 1, show_time(listed["last_wall_us"] + 1_000_000)
    clip = tmp_path / "clip.mp4"
    status, out, err = run(capsys, "export", store, "good", clip, "--from", begin, "--to", end, "--json")
    assert (status, json.loads(out)["frames"]) == (0, 4), err
    assert clip.stat().st_size > 0
    assert (tmp_path / "clip.mp4.json").exists()
    drawn = ("--time", "--boxes", "--layer", "foreground", "--no-pin", "--threads", 1)
    status, out, err = run(capsys, "export", store, "all", tmp_path, "--from", begin, "--to", end, *drawn, "--json")
    assert (status, json.loads(out)["cameras"]["good"]["frames"]) == (0, 4), err
    assert (tmp_path / "good.mp4").stat().st_size > 0
    assert run(capsys, "export", store, "good,bad", clip, "--from", begin, "--to", end)[0] == 2
    status, _, err = run(capsys, "export", store, "nobody", clip, "--from", begin, "--to", end)
    assert (status, err.count("\n")) == (2, 1)
    span = ("--from", begin, "--to", end)
    status, out, _ = run(capsys, "store", "pin", store, "good", *span, "--reason", "seen")
    assert (status, out) == (0, "pin 2\n"), "the export has made the first"
    assert json.loads(run(capsys, "store", "rm", store, "good", *span, "--json")[1]) == {"segments": 0, "bytes": 0}
    site.write_text(site.read_text() + "retention: {background: {days: 0}}\n")
    assert "nothing is due" in run(capsys, "store", "age", store, "--config", site)[1]
    assert "seen" in run(capsys, "store", "pins", store)[1]
    assert [run(capsys, "store", "unpin", store, number)[0] for number in (1, 2, 3)] == [0, 0, 2]
    assert "days in full" in run(capsys, "store", "forecast", store, "--config", site)[1]
    again = run(capsys, "store", "redetect", store, "good", *span, "--detector", "motion", "--threads", 1, "--json")
    assert [json.loads(again[1])[key] for key in ("segments", "left", "frames")] == [1, 0, 4]
    forecast = json.loads(run(capsys, "store", "forecast", store, "--json")[1])["cameras"]["good"]
    assert forecast["background_rate"] > 0
    aged = json.loads(run(capsys, "store", "age", store, "--config", site, "--json")[1])
    assert [(p["action"], p["bytes"]) for p in aged["purges"]] == [("background", listed["bytes_background"])]
    for command in ("copy", "move"):
        done = json.loads(run(capsys, "store", command, store, "good", tmp_path / "second", *span, "--json")[1])
        assert (done["segments"], done["there"]) == (1, int(command == "move"))
    assert "1 elsewhere" in run(capsys, "store", "ls", store)[1]
    assert "1 segments moved" in run(capsys, "store", "move", tmp_path / "second", "good", store, *span)[1]
    os.truncate(next(store.rglob("*.fg")), 200)
    status, out, _ = run(capsys, "verify", store)
    assert status == 1
    assert ".fg" in out
    status, out, _ = run(capsys, "verify", store, "--json")
    assert run(capsys, "store", "check", store)[0] == 1
    (loss,) = json.loads(out)["losses"]
    assert list(loss) == ["first", "last", "layer", "offset", "reason"]
    assert (loss["first"], loss["last"], loss["layer"]) == (0, -1, "foreground")
    assert ".fg: chunk cut off" in loss["reason"]
    status, out, err = run(capsys, "store", "check", store, "--repair", "--json")
    assert (status, json.loads(out)["ok"]) == (0, True)
    assert err.startswith("fovea: mended: ")


def test_a_camera_that_fails_is_named_and_the_others_go_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site = tmp_path / "site.yaml"
    bad = f'  bad: {{source: {{url: "{tmp_path}/none.mp4"}}}}\n'
    site.write_text(SITE.format(store=tmp_path / "archive", demo=DEMO) + bad)
    status, out, err = run(capsys, "run", site, "--runner", "local", "--json")
    assert status == 1
    assert "fovea: camera bad: " in err
    assert json.loads(out)["cameras"]["good"]["coded"] == 6


def test_an_archive_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    site = tmp_path / "site.yaml"
    site.write_text(SITE.format(store=tmp_path / "file" / "archive", demo=DEMO))
    status, out, err = run(capsys, "run", site, "--runner", "local")
    assert (status, out, err.count("\n")) == (1, "", 1)


def test_an_output_is_replaced_only_on_success(tmp_path: Path) -> None:
    out = tmp_path / "out.bin"
    out.write_text("before")

    def fail() -> None:
        with replacing(out) as part:
            part.write_text("half")
            raise JobError("no")

    with pytest.raises(JobError):
        fail()
    assert out.read_text() == "before"
    with replacing(out) as part:
        part.write_text("after")
    assert [path.name for path in tmp_path.iterdir()] == ["out.bin"]
    assert out.read_text() == "after"


def test_an_unexpected_error_is_a_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("pipeline.config.load_site", lambda path: 1 / 0)
    status, _, err = run(capsys, "run", "x.yaml")
    assert status == 1
    assert err == "fovea: ZeroDivisionError: division by zero (FOVEA_DEBUG=1 shows where)\n"


def test_an_interrupt_leaves_nothing_half_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-C while frames are coded: as if the user pressed it at the first look at the progress."""
    from pipeline.local import SiteRun

    wait, presses = SiteRun.wait, iter([True])

    def interrupted(self: SiteRun, timeout_s: float) -> bool:
        if timeout_s and next(presses, False):
            raise KeyboardInterrupt
        return wait(self, timeout_s)

    monkeypatch.setattr(SiteRun, "wait", interrupted)
    status, _, err = run(capsys, "encode", DEMO, tmp_path / "out.fov", "--frames", 100000, *FAST)
    assert status == 130, err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("text", "us"), [("0.5", 500_000), ("1970-01-01T00:00:01Z", 1_000_000)])
def test_times(text: str, us: int) -> None:
    assert parse_time(text) == us


def test_times_need_a_zone() -> None:
    with pytest.raises(UsageError, match="time zone"):
        parse_time("2026-01-31T12:00:00")


def test_numbers_for_people() -> None:
    assert show_time(1_500_000) == "1970-01-01T00:00:01.500Z"
    assert [show_bytes(n) for n in (5, 2048, 3 << 20, 5 << 40)] == ["5 B", "2.0 KiB", "3.0 MiB", "5.0 TiB"]


def test_the_readme_names_only_commands_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    text = (Path(__file__).parent.parent / "README.md").read_text()
    table = [line.split("`")[1].split() for line in text.splitlines() if line.startswith("| `fovea ")]
    assert table
    for words in table:
        command = [word for word in words[1:3] if word.islower() and word.isalpha()]
        assert run(capsys, *command, "--help")[0] == 0, words


@pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")
def test_the_makefile_finds_a_python() -> None:
    root = Path(__file__).parent.parent
    done = subprocess.run(["make", "-n", "-C", root, "test"], capture_output=True, text=True, check=True)
    assert "pytest" in done.stdout
