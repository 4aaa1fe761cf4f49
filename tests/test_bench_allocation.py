"""Ways to allocate bits: they begin alike, their bytes decode, and a known saving is found."""

from __future__ import annotations

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.bench.allocation.coding import Point, encode
from pipeline.bench.allocation.exhibit import as_text, common_level, nearest, picture
from pipeline.bench.allocation.photos import cut_crops, read_scenes
from pipeline.bench.allocation.run import OUTSIDE, QUALITIES, Comparison, Measured, compare, savings_of
from pipeline.bench.allocation.surface import saving
from pipeline.bench.allocation.training import Plan, cost, train
from pipeline.bench.allocation.variants import VARIANTS, build, layer_input, open_channels
from pipeline.cli import call
from pipeline.codec.entropy import steps
from pipeline.codec.maps import read_map
from pipeline.codec.model import CodecNets, LayerInput, side_features, train_layer
from pipeline.codec.nets import step_size
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader
from pipeline.codec.tables import initial_tables
from pipeline.errors import UsageError
from pipeline.types import Layer
from tests.training_material import write_photo

TINY = Plan(steps=3, batch=2, crops=8, width=8, depth=1)
PHOTOS = 3


def tiny(name: str) -> CodecNets:
    return build(VARIANTS[name], width=8, depth=1, basis=torch.eye(96), seed=1).eval()


def photo(name: str, outside: float, *, q: float = 36.0) -> LayerInput:
    """A noisy gradient with a region in its middle."""
    torch.manual_seed(5)
    blocks = torch.linspace(60, 190, 8)[None, :, None, None] + 20 * torch.randn(1, 8, 12, 96)
    return layer_input(VARIANTS[name], blocks, region()[None], torch.tensor([outside]), torch.tensor([q]))


def region() -> torch.Tensor:
    cells = torch.zeros(4, 6, dtype=torch.bool)
    cells[1:3, 2:4] = True
    return cells


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Photos to train on, and others with a square each as an instance; one has none."""
    for name in ("train", "coco"):
        (tmp_path / name).mkdir()
    for seed in range(2):
        write_photo(tmp_path / "train" / f"{seed}.png", seed=seed)
    images = [{"id": k, "file_name": f"{k}.png"} for k in range(PHOTOS + 1)]
    for k, image in enumerate(images):
        write_photo(tmp_path / "coco" / str(image["file_name"]), seed=10 + k)
    square = [64, 64, 130, 64, 130, 130, 64, 130]
    found = [{"image_id": k, "segmentation": [square]} for k in range(PHOTOS)]
    found.append({"image_id": PHOTOS, "segmentation": {"counts": [1], "size": [1, 1]}})
    (tmp_path / "coco" / "instances.json").write_text(json.dumps({"images": images, "annotations": found}))
    return tmp_path


@pytest.mark.parametrize("name", VARIANTS)
def test_untrained_all_are_one_codec_where_all_is_important(name: str) -> None:
    x, reference = photo(name, 1.0), photo("loss", 1.0)
    nets, plain = tiny(name), tiny("loss")
    with torch.no_grad():
        torch.manual_seed(0)
        out = train_layer(nets, x)
        torch.manual_seed(0)
        expected = train_layer(plain, reference)
    torch.testing.assert_close(out.pictures, expected.pictures)
    torch.testing.assert_close(cost(x, out, torch.tensor([36.0])), cost(reference, expected, torch.tensor([36.0])))


@pytest.mark.parametrize(("name", "seen"), [(n, not v.blind) for n, v in VARIANTS.items()])
def test_what_the_encoder_sees(name: str, seen: bool) -> None:
    nets = tiny(name)
    torch.manual_seed(3)
    for parameter in nets.parameters():  # gates begin open: anything else shows what they see
        parameter.data += 0.1 * torch.randn_like(parameter)
    with torch.no_grad():
        inputs = [photo(name, outside) for outside in (0.2, 1.0)]
        latents = [nets.analysis_of("plate")(x.blocks - 128, x.prediction, x.importance, x.q, x.at) for x in inputs]
    assert torch.equal(*latents) is not seen


def test_the_hard_gate_closes_channels() -> None:
    passed = open_channels(torch.tensor([[0.0], [0.5], [1.0]])).sum(1)
    assert passed.tolist() == [1, 10, 96]


def test_what_the_decoder_knows() -> None:
    known = {name: (photo(name, 0.2), photo(name, 0.8)) for name in VARIANTS}
    differing = {
        name
        for name, (a, b) in known.items()
        if not torch.equal(side_features("plate", a.q, a.modes, a.at), side_features("plate", b.q, b.modes, b.at))
    }
    assert differing == {"gain", "mgfe-gain", "mgfe-told"}
    nets, x = tiny("mgfe-told"), known["mgfe-told"]
    decoders = nets.synthesis["plate"]
    decoders.gain.knots.data[0] = 1.0  # at importance 0, and less of it up to 1/8
    latent = torch.ones(len(x[0].at), 96)
    low, high = (decoders(latent, each.prediction, each.q, each.at) for each in (photo("mgfe-told", 0.0), x[1]))
    assert not torch.equal(low[~x[0].at.inside], high[~x[0].at.inside])
    assert torch.equal(low[x[0].at.inside], high[x[0].at.inside])


def test_the_gain_takes_larger_steps_outside() -> None:
    x = photo("gain", 0.0)
    assert x.q.view(8, 12)[3, 5] == 36
    assert x.q.view(8, 12)[0, 0] == 6


@pytest.mark.parametrize("name", ["mgfe", "gain", "hard", "mgfe-single", "mgfe-told"])
def test_bytes_decode_to_the_picture_that_was_measured(name: str) -> None:
    nets, tables, x = tiny(name), initial_tables(), photo(name, 0.4)
    data, zeros, pictures = encode(nets, tables, x, region().numpy())
    reader = SymbolReader(tables, data, zeros, most=100_000)
    cells = read_map(reader, Moment(Layer.FOREGROUND, 0, 0), Past.none((4, 6)))
    # From here on all that a decoder knows: the cells, and two numbers.
    blank = torch.zeros(1, 8, 12, 96)
    known = layer_input(VARIANTS[name], blank, torch.from_numpy(cells)[None], torch.tensor([0.4]), torch.tensor([36.0]))
    entropy, at = nets.entropy_of("plate"), known.at
    with torch.no_grad():
        shared = entropy.index.begin(known.before, side_features("plate", known.q, known.modes, at))
        symbols, values = torch.zeros(len(at), 96), torch.zeros(len(at), 96)
        for step in steps(at):
            rows, index = step.selection, entropy.index(shared, symbols, step, at).numpy().astype(np.int64)
            found = np.zeros(index.shape, np.float32)
            found[index >= 1] = reader.read(index[index >= 1])
            mean = entropy.mean(values, step_size(known.q).unsqueeze(1) / 16, step, at)
            symbols[rows, step.start : step.end] = torch.from_numpy(found)
            values[rows, step.start : step.end] = torch.from_numpy(found) + mean
        reader.finish()
        assert torch.equal(nets.synthesis_of("plate")(values, known.prediction, known.q, at), pictures)
    assert symbols.any()


def test_training_repeats_and_moves_what_sees_the_mask(folder: Path) -> None:
    crops = cut_crops(folder / "train", TINY.crops, seed=1)
    assert crops.shape == (8, 12, 12, 96)
    first, again = (train(VARIANTS["mgfe"], crops, TINY, torch.eye(96), lambda _: None) for _ in range(2))
    assert first.loss == again.loss
    before, after = tiny("mgfe").state_dict(), first.nets.state_dict()
    assert all(torch.equal(value, again.nets.state_dict()[name]) for name, value in after.items())
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert "analysis.intra.analysis.linear_region.second.weight" in moved
    assert "synthesis.plate.inside.leave.weight" in moved


def test_scenes_are_halved_and_need_both_inside_and_outside(folder: Path) -> None:
    scenes = read_scenes(folder / "coco", 100)
    assert [scene.name for scene in scenes] == ["0.png", "1.png", "2.png"]
    assert scenes[0].blocks.shape == (1, 12, 14, 96)  # 240x200: 112x96 in whole cells
    assert scenes[0].pixels == 112 * 96
    rows, cols = np.nonzero(scenes[0].cells)
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (2, 4, 2, 4)
    assert 0 < scenes[0].inside.mean() < 0.2
    with pytest.raises(UsageError, match="instances"):
        read_scenes(folder / "train", 100)


def points(times: float = 1.0, *, outside: tuple[float, ...] = OUTSIDE) -> list[Point]:
    """Rate grows with the quality inside and outside; two photos that differ by a factor."""
    found = []
    for weight in outside:
        for q in QUALITIES:
            inside, rest = 25 + q / 4, 25 + q / 4 - 6 * (1 - weight)
            bpp = times * math.exp((inside + rest - 60) / 8)
            found.append(Point(q, weight, (bpp, 2 * bpp), (inside, inside), (rest, rest)))
    return found


def test_a_known_saving_is_found() -> None:
    found = saving("a", points(0.9), "b", points(), resamples=20)
    assert found.percent == pytest.approx(-10)
    assert (found.low, found.high) == (pytest.approx(-10), pytest.approx(-10))
    assert found.level_low is not None
    assert found.level_low <= 25
    assert found.levels > 30


def test_a_blind_variant_is_compared_where_its_curve_lies() -> None:
    blind = points(1.2, outside=(0.5,))
    assert saving("a", blind, "b", points(), resamples=0).percent == pytest.approx(20, abs=0.5)
    assert saving("b", points(), "a", blind, resamples=0).percent == pytest.approx(-16.7, abs=0.5)


def test_surfaces_that_do_not_meet_say_nothing() -> None:
    far = [Point(p.q, p.outside, p.bpp, p.inside_psnr, tuple(v - 40 for v in p.outside_psnr)) for p in points()]
    assert saving("a", far, "b", points(), resamples=5).percent is None
    assert common_level([saving("a", far, "b", points(), resamples=0)]) is None


def test_the_best_of_each_kind_are_compared() -> None:
    rates = {"mgfe": 1.0, "raa": 0.9, "gain": 1.1, "soft": 0.8}
    found = savings_of({name: Measured(1.0, 1.0, tuple(points(times))) for name, times in rates.items()}, resamples=2)
    assert [(each.name, each.anchor) for each in found[:3]] == [(name, "mgfe") for name in ("raa", "gain", "soft")]
    assert (found[3].name, found[3].anchor) == ("raa", "soft")
    assert found[3].percent == pytest.approx(12.5)
    assert common_level(found) == pytest.approx(30, abs=2)


def test_compare_keeps_what_is_measured(folder: Path) -> None:
    said: list[str] = []

    def go(plan: Plan, *names: str) -> Comparison:
        train, coco, out = (folder / name for name in ("train", "coco", "out"))
        return compare(train, coco, out, plan=plan, photos=2, names=names, report=said.append)

    made = go(TINY, "mgfe", "gain")
    assert [(s.name, s.anchor) for s in made.savings] == [("gain", "mgfe")]  # untrained, their surfaces do not meet
    assert len(made.measured["gain"].points) == len(QUALITIES) * len(OUTSIDE)
    assert [p.outside for p in nearest(made.measured["gain"].points, 0.3)] == [1 / 3] * len(QUALITIES)
    assert any(row[0] == "gain" for row in as_text(made))
    assert picture(made).startswith(b"\x89PNG")
    said.clear()
    go(TINY, "mgfe", "gain", "loss")
    assert not any(line.startswith(("mgfe", "gain")) for line in said)
    assert any(line.startswith("loss") for line in said)
    kept = json.loads((folder / "out" / "allocation.json").read_text())
    assert kept["plan"]["steps"] == 3
    assert set(kept["variants"]) == {"mgfe", "gain", "loss"}
    assert [each["q"] for each in kept["variants"]["loss"]["points"]] == list(QUALITIES)
    with pytest.raises(UsageError, match="another plan"):
        go(Plan(steps=4), "mgfe")


def test_the_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*options: object) -> int:
        folders = "--images", folder / "train", "--coco", folder / "coco", "--out", folder / "out"
        return call(["bench", "allocation", *map(str, folders + options)])

    assert run("--variants", "mgfe,loss", "--steps", 1, "--photos", 1, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["photos"] == 1
    assert [each["name"] for each in found["savings"]] == ["loss"]
    assert cv2.imread(str(folder / "out" / "allocation.png")) is not None
    assert run("--variants", "horse") == 2
