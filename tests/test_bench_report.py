"""A run as a whole: regions are kept, results are JSON, the page needs nothing else, an earlier run is continued."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.bench import results as results_module
from pipeline.bench.agreement import Agreement
from pipeline.bench.clip import Clip
from pipeline.bench.exhibits import like, subject
from pipeline.bench.regions import load_regions, put_on, regions_of, save_regions
from pipeline.bench.report import page
from pipeline.bench.results import Results, clip_result, known_points, to_json
from pipeline.bench.run import clip_name
from pipeline.cli import call
from pipeline.errors import UsageError
from pipeline.types import Detection, Masked, RoiMask
from tests.test_bench import clip, frame
from tests.test_bench_bdrate import curve, point

DEMO = "demo://street?size=96x64&fps=5"
CAR = Detection(33.25, 17, 63, 40, "car", 0.75, 4)


def with_boxes(count: int) -> tuple[Masked, ...]:
    return tuple(replace(item, detections=(CAR,)) for item in clip(count).masked)


def test_regions_survive_their_file(tmp_path: Path) -> None:
    made = [
        regions_of("yard", "yolo", with_boxes(4)),
        regions_of("empty", "none", [Masked(frame(0), RoiMask.empty(64, 96))]),
    ]
    save_regions(tmp_path / "r.npz", made)
    found = load_regions(tmp_path / "r.npz")
    assert (list(found), found["yard"].detector) == (["yard", "empty"], "yolo")
    for before, after in zip(with_boxes(4)[:3], put_on(found["yard"], [frame(i) for i in range(3)]), strict=True):
        assert (before.mask.cells == after.mask.cells).all()
        assert (before.mask.importance == after.mask.importance).all()
        assert before.detections == after.detections


def test_regions_of_other_frames_are_refused(tmp_path: Path) -> None:
    made = regions_of("yard", "yolo", with_boxes(4))
    with pytest.raises(UsageError, match="yard: its regions were made on other frames, from frame 1 on"):
        put_on(made, [frame(0), frame(1, offset=1)])
    with pytest.raises(UsageError, match="regions of 4 frames for 5"):
        put_on(made, [frame(i) for i in range(5)])
    (tmp_path / "r.npz").write_bytes(b"PK\3\4 not really")
    with pytest.raises(UsageError, match=r"r\.npz: not a file of regions"):
        load_regions(tmp_path / "r.npz")


def test_importance_outside_the_mask_is_no_region() -> None:
    cells = np.zeros((4, 6), np.bool_)
    with pytest.raises(ValueError, match="frame 0"):
        regions_of("yard", "x", [Masked(frame(0), RoiMask(cells, (~cells).astype(np.uint8)))])


def made_results() -> tuple[Clip, Results]:
    own = [replace(p, codec="fovea", agreement=Agreement(50, 48, 40 + k)) for k, p in enumerate(curve(times=0.5))]
    own[0] = replace(own[0], ms_ssim=float("nan"))
    other = [replace(p, codec="x265-medium", agreement=Agreement(50, 52, 43 + 2 * k)) for k, p in enumerate(curve())]
    frames = clip(4)
    return frames, Results((clip_result(frames, [*own, *other], skip=3, halve=False),), (("svt-av1-8", "no <codec>"),))


def test_results_are_json() -> None:
    frames, made = made_results()
    stored = json.loads(json.dumps(to_json(made), allow_nan=False))
    (one,) = stored["clips"]
    assert (one["name"], one["digest"], one["frames"], one["skip"]) == ("gradient", frames.digest(), 4, 3)
    assert one["points"][0]["ms_ssim"] is None
    assert one["points"][0]["agreement"]["precision"] == pytest.approx(40 / 48)
    assert one["bd_rates"][0]["percent"] == pytest.approx(-50, abs=0.01)
    assert one["detections"][0]["opponent"] == "x265-medium"
    assert 10_000 < one["detections"][0]["nbytes"] < 31_000
    assert stored["means"][0]["counted"] == 1
    assert stored["opponents"][0]["settings"][0] == 51
    assert {"fovea", "weights", "pyav", "libx264"} <= set(stored["versions"])


def test_a_handful_of_boxes_is_not_compared() -> None:
    _, made = made_results()
    few = [replace(p, agreement=Agreement(49, 49, 45)) for p in made.clips[0].points]
    result = clip_result(clip(4), few, skip=0, halve=False)
    assert result.detections == ()
    assert "49 boxes in the source, IoU 0.5, same class. 50 are needed" in page(Results((result,)), {})


def test_opponents_of_an_earlier_run_are_known() -> None:
    frames, made = made_results()
    text = json.dumps(to_json(made))
    assert known_points(text, frames) == made.clips[0].of("x265-medium")
    assert known_points(text, clip(3)) == []
    assert known_points(text.replace('"preset", "medium"', '"preset", "slow"'), frames) == []
    assert known_points(text.replace('"pyav": "', '"pyav": "0'), frames) == []
    with pytest.raises(UsageError, match="not the results of an earlier run"):
        known_points("[]", frames)


def test_the_page_needs_nothing_else_and_has_the_numbers() -> None:
    _, made = made_results()
    text = page(made, {})
    words = re.sub(r'data:image/png;base64,[^"]*', "(picture)", text)
    assert set(re.findall(r'(?:src|srcset)="([^"]*)"', words)) == {"(picture)"}
    assert not re.search(r"https?:|//|<link|<script|@import|url\(|href", words)
    assert "-50.0 %" in text
    assert "no &lt;codec&gt;" in text
    assert "x265-medium" in text
    assert "prefers-color-scheme: dark" in text


def test_a_crop_shows_the_largest_whole_object() -> None:
    items = list(with_boxes(4))
    big = Detection(0, 0, 50, 50, "bus", 0.9)
    items[2] = replace(items[2], detections=(big, CAR, Detection(40, 20, 45, 25, "cat", 0.9)))
    window = subject(Clip("x", tuple(items), 10))
    assert (window.frame, window.x0, window.y0, window.x1, window.y1) == (2, 0, 0, 96, 64)
    assert subject(clip(4)).frame == 2
    left = [*with_boxes(2), *clip(5).masked[2:]]
    assert subject(Clip("x", tuple(left), 10)).frame in (0, 1)
    cut_off = [*left[:3], replace(left[3], detections=(Detection(0, 0, 96, 64, "bus", 0.9),)), left[4]]
    assert subject(Clip("x", tuple(cut_off), 10)).frame in (0, 1)
    assert subject(Clip("x", tuple(cut_off[2:]), 10)).frame == 3


def test_equal_bytes_are_sought_on_the_best_curve() -> None:
    worse = [point(30, 20_000, gop=9, codec="x264-medium"), point(33, 40_000, gop=9, codec="x264-medium")]
    better = [replace(p, setting=s) for p, s in zip(curve(codec="x264-medium"), (43, 39, 35, 31), strict=True)]
    assert (like(31_000, [*worse, *better]).setting, like(31_000, [*worse, *better]).gop) == (35, 20)
    assert like(20_000, better).setting == 37
    assert like(100_000, better).setting == 29
    assert like(10**9, better).setting == 15


def test_clips_have_names_without_places(tmp_path: Path) -> None:
    (tmp_path / "my clip.mp4").touch()
    assert clip_name(str(tmp_path / "my clip.mp4")) == "my_clip"
    assert clip_name(DEMO) == "street_size_96x64_fps_5"


def test_a_run_leaves_all_its_files_and_is_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ["bench", "rd", DEMO, "--frames", "6", "--skip", "90", "--quality", "30,50", "--quality", "70", "--json"]
    line += ["--opponents", "x264-veryfast-zl", "--out", str(tmp_path)]
    assert call([*line, "--detector", "motion"]) == 0
    first = json.loads(capsys.readouterr().out)
    names = ["points.json", "regions.npz", "report.html"]
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        *names[:1], *names[1:], "street_size_96x64_fps_5-bits.png", "street_size_96x64_fps_5-curves.png"
    ]  # fmt: skip
    assert json.loads((tmp_path / "points.json").read_text()) == first
    assert (tmp_path / "report.html").read_text().count("<figure>") == 3

    monkeypatch.setattr(results_module.opponents, "code", None)  # opponents must not run again
    regions = str(tmp_path / "regions.npz")
    monkeypatch.setattr("pipeline.bench.run.make_show", lambda *_: None)
    monkeypatch.setattr("pipeline.bench.run.write_report", lambda *_: None)
    assert call([*line, "--regions", regions, "--resume"]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert call([*line, "--regions", regions, "--resume", "--effort", "balanced"]) == 0
    other = json.loads(capsys.readouterr().out)
    assert [found["clips"][0]["effort"] for found in (first, other)] == ["best", "balanced"]
    ours, theirs = (
        [p["nbytes"] for p in found["clips"][0]["points"] if p["codec"] == "fovea"] for found in (first, other)
    )
    assert ours != theirs


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--opponents", "h266"], "--opponents h266: one of mjpeg"),
        (["--quality", "101"], "--quality 101: a number from 0 to 100"),
        (["--resume"], "--resume needs --out"),
        (["--effort", "slow"], "--effort slow: one of best, balanced, fast"),
        (["--skip", "3", "--regions", "none.npz"], "none.npz: No such file"),
        ([DEMO], "two clips have the same name"),
    ],
    ids=str,
)
def test_misuse_is_said(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(["bench", "rd", DEMO, "--frames", "2", *arguments]) == 2
    assert says in capsys.readouterr().err
