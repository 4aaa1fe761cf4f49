"""What is read, what is held back, what goes into a pack, and training from one without PyAV."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.cli import call
from pipeline.codec import weights
from pipeline.errors import SourceError, UsageError
from pipeline.training import data, footage
from pipeline.training.config import TrainConfig, load_train
from pipeline.training.data import SampleSets, cut_clips
from pipeline.training.footage import Clip, Material, read_clip
from pipeline.training.pack import pack
from pipeline.training.state import State
from tests.training_material import write_clip, write_material, write_photo
from tests.videos import write_video

# A machine with a GPU may lack these.
WITHOUT_PYAV = """
import sys
for name in ("av", "ultralytics", "lap", "ray", "openvino", "typer", "rich", "pytest"):
    sys.modules[name] = None
from pathlib import Path
from pipeline.training.config import load_train
from pipeline.training.data import SampleSets
from pipeline.training.run import Trainer
config, data, out, weights = map(Path, sys.argv[1:])
config = load_train(config, {"from_weights": weights, "images": data / "images", "clips": data / "clips"})
trainer = Trainer(config, "inter", SampleSets(config, out, print), folder=out, report=print)
trainer._one_step()
trainer._save()
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_material(tmp_path_factory.mktemp("material"))


@pytest.fixture(scope="module")
def config(material: Path) -> TrainConfig:
    return load_train(material, {})


def test_opencv_reads_the_same_luma(config: TrainConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    path = config.clips / "a.mkv"
    exact = read_clip(path, most=10)
    monkeypatch.setitem(sys.modules, "av", None)
    other = read_clip(path, most=10)
    assert len(other) == len(exact) == 10
    for (y, *chroma), (other_y, *other_chroma) in zip(exact, other, strict=True):
        assert np.array_equal(other_y, y)
        for plane, other_plane in zip(chroma, other_chroma, strict=True):
            assert np.abs(other_plane.astype(int) - plane).max() <= 2


def test_both_readers_halve_large_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "large.mkv"
    write_clip(path, frames=2, width=320, height=736)
    exact = read_clip(path)[0]
    monkeypatch.setitem(sys.modules, "av", None)
    other = read_clip(path)[0]
    assert exact[0].shape == other[0].shape == (368, 160)
    assert np.array_equal(exact[0], other[0])


def test_a_file_that_is_no_clip_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "text.mkv").write_text("no clip")
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(SourceError, match=r"text\.mkv"):
        read_clip(tmp_path / "text.mkv")


def test_named_clips_are_held_back_whole(config: TrainConfig) -> None:
    found = Material.find(config)
    assert [(c.path.name, c.part) for c in found.clips] == [("a.mkv", "whole")]
    assert [(c.path.name, c.part) for c in found.held_clips] == [("held.mkv", "whole")]
    assert [p.name for p in found.photos + found.held_photos] == ["two.png", "one.jpg"]


def test_else_the_last_fifth_of_each_is(config: TrainConfig) -> None:
    found = Material.find(config.model_copy(update={"held_back_clips": ("none*",)}))
    assert [(c.path.name, c.part) for c in found.clips] == [("a.mkv", "early"), ("held.mkv", "early")]
    early, late = found.clips[0].frames(400), found.held_clips[0].frames(400)
    assert (len(early), len(late)) == (20, 5)
    whole = Clip(found.clips[0].path).frames(400)
    assert all(np.array_equal(a[0], b[0]) for a, b in zip(early + late, whole, strict=True))


def test_stills_that_are_held_back_are_of_other_photos(config: TrainConfig, tmp_path: Path) -> None:
    """The photos here are recognised by their mean."""
    for name in ("one", "two"):
        value = {"one": 40, "two": 200}[name]
        (tmp_path / "images").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "images" / f"{name}.png"), np.full((200, 200, 3), value, np.uint8))
    samples = SampleSets(config.model_copy(update={"images": tmp_path / "images"}), tmp_path / "run", lambda _: None)
    training, held = samples.still_parts
    photos = len(training) * 4 // 5
    assert (training.y[:photos] == 200).all()
    assert (held.y[:photos] == 40).all()
    assert len(held) == 32


def test_clips_that_are_too_short_or_small_are_named(tmp_path: Path) -> None:
    write_video(tmp_path / "small.mkv", width=128, height=96)
    with pytest.raises(UsageError, match=r"small\.mkv: pictures of 128x96"):
        cut_clips([Clip(tmp_path / "small.mkv")], 1, most=400, seed=1)
    with pytest.raises(UsageError, match=r"small\.mkv: 1 frames to hold back"):
        cut_clips([Clip(tmp_path / "small.mkv", "late")], 1, most=400, seed=1)


def test_vectors_say_where_a_block_comes_from(tmp_path: Path) -> None:
    write_clip(tmp_path / "a.mkv")  # its upper half moves to the left by two pixels a frame
    samples = cut_clips([Clip(tmp_path / "a.mkv")], 4, most=400, seed=1)
    for number in range(len(samples)):
        upper = samples.vectors[number, :, :3].reshape(-1, 2)
        assert np.median(upper[:, 0]) == 0
        assert np.median(upper[:, 1]) in (8, 16, 24)  # quarter pixels, by the gap between frames


def test_a_pack_holds_the_first_frames_as_they_were(config: TrainConfig, tmp_path: Path) -> None:
    made = pack(config.model_copy(update={"clip_frames": 20}), tmp_path / "pack", limit=1 << 24)
    assert (made.clips, made.frames, made.photos, made.left_out, made.scale) == (2, 20, 2, 0, 1.0)
    assert made.size == sum(p.stat().st_size for p in (tmp_path / "pack").rglob("*") if p.is_file())
    whole, packed = read_clip(config.clips / "a.mkv"), read_clip(tmp_path / "pack" / "clips" / "a.mkv")
    assert len(packed) == 20
    assert all(np.array_equal(a, b) for x, y in zip(packed, whole, strict=False) for a, b in zip(x, y, strict=True))
    assert (tmp_path / "pack/images/one.jpg").read_bytes() == (config.images / "one.jpg").read_bytes()
    with pytest.raises(UsageError, match="is not empty"):
        pack(config, tmp_path / "pack", limit=1 << 24)


def test_a_pack_keeps_to_its_size(config: TrainConfig, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for number in range(6):
        write_photo(images / f"{number}.png", seed=number, width=480, height=400)
    whole = config.model_copy(update={"images": images})
    clips = sum(p.stat().st_size for p in config.clips.iterdir())
    shrunk = pack(whole, tmp_path / "shrunk", limit=2 * clips)
    photos = sum(p.stat().st_size for p in images.iterdir())
    assert photos + clips > 2 * clips >= shrunk.size
    assert (shrunk.photos, shrunk.scale < 1) == (6, True)
    assert min(cv2.imread(str(p)).shape[0] for p in (tmp_path / "shrunk/images").iterdir()) >= footage.CELL * 11
    cut = pack(whole, tmp_path / "cut", limit=clips * 13 // 10)
    assert cut.size <= clips * 13 // 10
    assert 20 <= cut.frames < 25
    with pytest.raises(UsageError, match="do not fit"):
        pack(whole, tmp_path / "none", limit=clips // 4)


def test_training_from_a_pack_needs_no_pyav(material: Path, tmp_path: Path) -> None:
    assert call(["train", str(material), "--pack", str(tmp_path / "pack"), "--pack-mib", "16"]) == 0
    own = weights.available()[weights.newest()]
    arguments = [str(path) for path in (material, tmp_path / "pack", tmp_path / "run", own)]
    code = [sys.executable, "-W", "ignore", "-c", WITHOUT_PYAV]
    done = subprocess.run(code + arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert State.load(tmp_path / "run" / "inter.pt", torch.device("cpu")).step == 1


def test_vectors_are_the_same_from_several_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    wide = cv2.resize(np.random.default_rng(0).integers(0, 256, (30, 40), np.uint8), (data.CROP + 8, data.CROP))
    luma = np.stack([wide[None, :, k : k + data.CROP] for k in range(3)]).repeat(2, axis=1)
    luma[:, 1] = np.stack([wide[:, k + 3 : k + 3 + data.CROP] for k in range(3)])
    monkeypatch.setattr(data, "_PART", 2)
    found = data._vectors(luma)
    assert np.array_equal(found, data._vectors_of(luma))
    assert (found[..., 1] == 12).mean() > 0.9  # three pixels
