"""Ways to allocate bits: they begin alike, their bytes decode, and a known saving is found."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from pipeline.bench.allocation.coding import Point, encode
from pipeline.bench.allocation.exhibit import as_text, common_level, nearest, picture
from pipeline.bench.allocation.parallel import fitting, train_apart
from pipeline.bench.allocation.photos import cut_crops, read_scenes, samples_of
from pipeline.bench.allocation.run import OUTSIDE, QUALITIES, Comparison, Measured, compare, savings_of
from pipeline.bench.allocation.surface import saving
from pipeline.bench.allocation.training import Plan, Training, basis_of, cost, data_mark, train
from pipeline.bench.allocation.variants import (
    VARIANTS,
    RegionSynthesis,
    build,
    fill_in,
    layer_input,
    open_channels,
    region_map,
)
from pipeline.cli import call
from pipeline.codec.blocks import weighted
from pipeline.codec.entropy import steps
from pipeline.codec.maps import read_map
from pipeline.codec.model import CodecNets, LayerInput, side_features, train_layer
from pipeline.codec.nets import step_size
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader
from pipeline.codec.tables import initial_tables
from pipeline.errors import CodecError, UsageError
from pipeline.types import Layer
from tests.training_material import write_photo

# A machine that is lent for training may lack these; the package compressai is there, but not loaded.
BARE = """
import sys
for name in ("av", "ultralytics", "lap", "ray", "openvino", "rich", "psutil", "matplotlib", "ruamel", "pytest"):
    sys.modules[name] = None
from pipeline.cli import call
folder = sys.argv[1]
where = "--images", folder + "/train", "--out", folder + "/out"
status = call(["bench", "allocation", *where, "--train-only", "--variants", "mgfe", "--steps", "1"])
assert not {"scipy.stats", "pandas", "torchvision"} & set(sys.modules)
sys.exit(status)
"""
TINY = Plan(steps=3, batch=2, crops=8, width=8, depth=1)
PHOTOS = 3
MGFE = VARIANTS["mgfe"]


def quiet(_line: str) -> None:
    """A report that nobody reads."""


def tiny(name: str) -> CodecNets:
    return build(VARIANTS[name], width=8, depth=1, basis=torch.eye(96), seed=1).eval()


def photo(name: str, outside: float, *, q: float = 36.0) -> LayerInput:
    """A noisy gradient with a region in its middle."""
    torch.manual_seed(5)
    blocks = torch.linspace(60, 190, 8)[None, :, None, None] + 20 * torch.randn(1, 8, 12, 96)
    return layer_input(VARIANTS[name], blocks, region(), torch.tensor([outside]), torch.tensor([q]))


def region(*, bottom: int = 48, right: int = 64) -> torch.Tensor:
    """From row 16 and column 32 of 64x96 pixels."""
    mask = np.zeros((1, 64, 96), np.bool_)
    mask[:, 16:bottom, 32:right] = True
    return samples_of(mask)


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


@pytest.mark.parametrize("name", ["mgfe", "mgfe-mirror"])
def test_a_decoder_by_padded_positions_is_one_by_lists(name: str) -> None:
    x, decoders = photo(name, 0.3), tiny(name).synthesis["plate"]
    for parameter in decoders.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    torch.manual_seed(3)
    latent = torch.randn_like(x.blocks)
    for decoder, chosen in ((decoders.inside, x.at.inside), (decoders.outside, ~x.at.inside)):
        given = decoder, latent, x.prediction, x.q, x.at, chosen
        torch.testing.assert_close(RegionSynthesis.padded(*given), RegionSynthesis.listed(*given))


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


@pytest.mark.parametrize("name", ["mgfe-outside", "mgfe-mirror"])
def test_raa_outside_alone_leaves_the_region_as_it_is(name: str) -> None:
    nets, x, at_one = tiny(name), photo(name, 0.2), photo(name, 1.0)
    encoder = nets.analysis["intra"]
    gates = [encoder.analysis.linear_region, *encoder.analysis.regions]
    for gate in gates:
        torch.nn.init.normal_(gate.second.weight)
        assert torch.equal(
            gate(x.importance, x.at)[x.at.inside], torch.ones(x.at.inside.sum(), gate.second.out_channels)
        )
        assert (gate(x.importance, x.at)[~x.at.inside] != 1).any()
        assert (gate(at_one.importance, at_one.at) == 1).all()


def test_the_mirror_undoes_an_equal_gate() -> None:
    nets, x = tiny("mgfe-mirror"), photo("mgfe-mirror", 0.2)
    encoder, decoders = nets.analysis["intra"], nets.synthesis["plate"]
    torch.nn.init.normal_(encoder.analysis.linear_region.second.weight)
    decoders.mirror.load_state_dict(encoder.analysis.linear_region.state_dict())
    with torch.no_grad():
        latent = encoder(x.blocks - 128, x.prediction, x.importance, x.q, x.at)
        torch.testing.assert_close(decoders(latent, x.prediction, x.q, x.at), x.blocks, atol=1e-2, rtol=0)


def test_the_map_is_of_cells_or_finer() -> None:
    some = region(bottom=33, right=56)
    assert region_map(some, fine=False).nonzero().tolist() == [[0, r, c] for r in (1, 2) for c in (2, 3)]
    assert region_map(some, fine=True).nonzero().tolist() == [[0, r, c] for r in (2, 3, 4) for c in (4, 5, 6)]
    assert some.sum() == 17 * 24 + 2 * 9 * 12  # chroma of which half is in the region is too


def test_filling_in_keeps_what_counts_and_spends_less_on_the_rest() -> None:
    torch.manual_seed(2)
    residual, basis = 30 * torch.randn(5, 96), torch.linalg.qr(torch.randn(96, 96)).Q
    step, share = torch.full((5,), 20.0), (torch.rand(5, 96) < 0.5).float()
    torch.testing.assert_close(fill_in(residual, torch.ones(5, 96), basis, step), residual)
    filled = fill_in(residual, share, basis, step)
    torch.testing.assert_close(filled[share == 1], residual[share == 1])
    before, after = ((weighted(each) @ basis.T).abs().sum() for each in (residual, filled))
    assert after < 0.8 * before


@pytest.mark.parametrize("name", ["mgfe", "mgfe-fill", "mgfe-mirror", "mirror-fill", "gain", "gain-fill"])
def test_only_an_encoder_that_fills_in_sees_finer_than_the_map(name: str) -> None:
    nets, whole = tiny(name), photo(name, 0.2)
    blocks = whole.blocks.view(1, 8, 12, 96)
    part = layer_input(VARIANTS[name], blocks, region(bottom=40, right=60), torch.tensor([0.2]), torch.tensor([36.0]))
    assert torch.equal(part.at.inside, whole.at.inside)
    latents = [nets.analysis_of("plate")(x.blocks - 128, x.prediction, x.importance, x.q, x.at) for x in (whole, part)]
    assert torch.equal(*latents) is not VARIANTS[name].fills
    assert torch.equal(whole.q, part.q)


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
    assert differing == {"gain", "gain-fine", "gain-fill", "mgfe-gain", "mgfe-told", "mgfe-mirror", "mirror-fill"}
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


@pytest.mark.parametrize(
    "name", ["mgfe", "gain", "gain-fine", "hard", "mgfe-single", "mgfe-told", "mgfe-mirror", "mgfe-fill", "mirror-fill"]
)
def test_bytes_decode_to_the_picture_that_was_measured(name: str) -> None:
    variant, tables, nets = VARIANTS[name], initial_tables(), tiny(name)
    given, blocks = (torch.tensor([0.4]), torch.tensor([36.0])), photo(name, 0.4).blocks.view(1, 8, 12, 96)
    x = layer_input(variant, blocks, region(bottom=40, right=60), *given)
    told = region_map(region(bottom=40, right=60), fine=variant.fine)[0].numpy()
    data, zeros, pictures = encode(nets, tables, x, told)
    reader = SymbolReader(tables, data, zeros, most=100_000)
    found = read_map(reader, Moment(Layer.FOREGROUND, 0, 0), Past.none((told.shape[0], told.shape[1])))
    # From here on all that a decoder knows: the map, and two numbers.
    touched = torch.from_numpy(found if variant.fine else found.repeat(2, 0).repeat(2, 1))
    known = layer_input(variant, torch.zeros(1, 8, 12, 96), touched[None, ..., None].expand(-1, -1, -1, 96), *given)
    entropy, at = nets.entropy_of("plate"), known.at
    with torch.no_grad():
        shared = entropy.index.begin(known.before, side_features("plate", known.q, known.modes, at))
        symbols, values = torch.zeros(len(at), 96), torch.zeros(len(at), 96)
        for step in steps(at):
            rows, index = step.selection, entropy.index(shared, symbols, step).numpy().astype(np.int64)
            read = np.zeros(index.shape, np.float32)
            read[index >= 1] = reader.read(index[index >= 1])
            mean = entropy.mean(values, step_size(known.q).unsqueeze(1) / 16, step)
            symbols[rows, step.start : step.end] = torch.from_numpy(read)
            values[rows, step.start : step.end] = torch.from_numpy(read) + mean
        reader.finish()
        assert torch.equal(nets.synthesis_of("plate")(values, known.prediction, known.q, at), pictures)
    assert symbols.any()


def test_training_repeats_and_moves_what_sees_the_mask(folder: Path) -> None:
    crops = cut_crops(folder / "train", TINY.crops, seed=1)
    assert crops.shape == (8, 12, 12, 96)
    first, again = (train(MGFE, crops, TINY, folder / f"{k}.pt", report=quiet).trained() for k in range(2))
    assert first.loss == again.loss
    before, after = tiny("mgfe").state_dict(), first.nets.state_dict()
    assert all(torch.equal(value, again.nets.state_dict()[name]) for name, value in after.items())
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert "analysis.intra.analysis.linear_region.second.weight" in moved
    assert "synthesis.plate.inside.leave.weight" in moved


def test_stopped_training_ends_in_the_same_weights(folder: Path) -> None:
    crops = cut_crops(folder / "train", TINY.crops, seed=1)
    path = folder / "stopped.pt"
    begun = Training(MGFE, TINY, basis=basis_of(crops), data=data_mark(crops))
    begun.advance(crops)
    begun.save(path)
    assert train(MGFE, crops, TINY, path, until=0.0, report=quiet).step == 1
    resumed, whole = (train(MGFE, crops, TINY, each, report=quiet) for each in (path, folder / "whole.pt"))
    assert resumed.done
    assert resumed.usual_loss == whole.usual_loss
    assert all(torch.equal(*pair) for pair in zip(resumed.parameters, whole.parameters, strict=True))
    assert path.stat().st_size < 0.5 * (folder / "whole.pt").stat().st_size + 1e6  # the optimiser's part is gone


def test_a_kept_training_must_be_the_same(folder: Path) -> None:
    crops = cut_crops(folder / "train", TINY.crops, seed=1)
    path = folder / "mgfe.pt"
    train(MGFE, crops, TINY, path, report=quiet)
    with pytest.raises(UsageError, match="other photos"):
        train(MGFE, 255 - crops, TINY, path, report=quiet)
    with pytest.raises(UsageError, match="another plan"):
        train(MGFE, crops, replace(TINY, steps=4), path, report=quiet)
    with pytest.raises(CodecError, match="not the training of gain"):
        train(VARIANTS["gain"], crops, TINY, path, report=quiet)
    path.write_bytes(b"no training")
    with pytest.raises(CodecError, match=r"mgfe\.pt"):
        train(MGFE, crops, TINY, path, report=quiet)


def test_trained_apart_all_have_the_same_steps_and_are_only_measured_then(folder: Path) -> None:
    said: list[str] = []
    names = ("mgfe", "gain", "loss")
    out = folder / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.bench.allocation.parallel.PACE_S", 0.1)
        patch.setattr("pipeline.bench.allocation.parallel.SHARE", 0.001)
        fleet = train_apart(folder / "train", out, plan=TINY, names=names, jobs=2, minutes=2, fit=True, report=quiet)
    assert set(fleet.steps) == set(names)
    assert len(set(fleet.steps.values())) == 1
    assert fleet.plan.steps == fleet.steps["mgfe"]
    assert sorted(path.name for path in out.iterdir()) == ["gain.pt", "loss.pt", "mgfe.pt"]
    made = compare(folder / "none", folder / "coco", out, plan=fleet.plan, photos=1, names=names, report=said.append)
    assert not any("step" in line for line in said)
    assert set(made.measured) == set(names)


def test_what_was_trained_on_other_photos_is_not_compared(folder: Path) -> None:
    crops = cut_crops(folder / "train", TINY.crops, seed=1)
    out = folder / "out"
    out.mkdir()
    for name, each in (("mgfe", crops), ("gain", 255 - crops)):
        train(VARIANTS[name], each, TINY, out / f"{name}.pt", report=quiet)
    with pytest.raises(UsageError, match="same photos"):
        compare(folder / "none", folder / "coco", out, plan=TINY, photos=1, names=("mgfe", "gain"), report=quiet)


def test_the_steps_fit_into_the_time() -> None:
    assert fitting(0.1, 400, waves=1) == 3500
    assert fitting(0.1, 400, waves=2) == 1750
    assert fitting(10, 60, waves=1) == 5
    assert fitting(10, -1, waves=1) == 1


def test_a_bare_machine_can_train(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BARE, folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (folder / "out" / "mgfe.pt").exists()


def test_scenes_are_halved_and_need_both_inside_and_outside(folder: Path) -> None:
    scenes = read_scenes(folder / "coco", 100)
    assert [scene.name for scene in scenes] == ["0.png", "1.png", "2.png"]
    assert scenes[0].blocks.shape == (1, 12, 14, 96)  # 240x200: 112x96 in whole cells
    assert scenes[0].pixels == 112 * 96
    rows, cols = np.nonzero(region_map(scenes[0].region, fine=False)[0].numpy())
    assert (rows.min(), rows.max(), cols.min(), cols.max()) == (2, 4, 2, 4)
    assert 0 < scenes[0].region.float().mean() < 0.2
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
    rates = {"mgfe": 1.0, "raa": 0.9, "gain": 1.1, "soft": 0.8, "mgfe-mirror": 0.7, "mgfe-told": 0.75}
    found = savings_of(
        {name: Measured(1.0, 1.0, 0, tuple(points(times))) for name, times in rates.items()}, resamples=2
    )
    assert [(each.name, each.anchor) for each in found[:5]] == [(name, "mgfe") for name in list(rates)[1:]]
    assert [(each.name, each.anchor) for each in found[5:]] == [("raa", "soft"), ("mgfe-mirror", "soft")]
    assert found[5].percent == pytest.approx(12.5)
    assert found[6].percent == pytest.approx(-12.5)
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
    assert run("--train-only") == 2
    assert run("--jobs", 2) == 2
