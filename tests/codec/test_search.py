"""The encoder's motion search finds what a scene really does, and pays for what it takes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.codec.blocks import weighted
from pipeline.codec.match import match
from pipeline.codec.model import LAMBDA, LEAST_BITS, guessed_loss, saving
from pipeline.codec.modes import AFTER, BEFORE, BOTH, MOVED, PLATE, SPLIT, STILL, Vectors, places_of
from pipeline.codec.motion import MAX_VECTOR, fetch_by_tensors, host_planes, window
from pipeline.codec.past import Moment, Past
from pipeline.codec.prices import FROM_PLATE, Scene, load, priced, scratch_space
from pipeline.codec.rans import SymbolWriter
from pipeline.codec.search import MotionSearch, _Rules, _split
from pipeline.codec.state import Geometry, LayerState, Sides
from pipeline.codec.tables import initial_tables
from pipeline.codec.vectors import VectorField, first_guess, inner_guess, vector_bits, write_vectors
from pipeline.types import Layer
from tests.codec.clips import frame_of, small_brain, texture

HEIGHT, WIDTH = 96, 128
ROWS, COLS = HEIGHT // 16, WIDTH // 16
INNER = (slice(2, 4), slice(2, 6))  # cells that no border comes near


def moved(wide: np.ndarray, dy: float, dx: float) -> np.ndarray:
    """A window of a larger picture; its content lies (dy, dx) pixels further down and right in the one unmoved."""
    grid = torch.stack(
        torch.meshgrid(torch.arange(HEIGHT) + 48 + dy, torch.arange(WIDTH) + 48 + dx, indexing="ij"), -1
    ).flip(-1)
    size = torch.tensor([wide.shape[1] - 1, wide.shape[0] - 1])
    sampled = torch.nn.functional.grid_sample(
        torch.from_numpy(wide)[None, None].double(), (grid / size * 2 - 1)[None].double(), "bicubic", align_corners=True
    )
    return sampled[0, 0].round().clamp(0, 255).byte().numpy()


@pytest.mark.parametrize("shift", [(0.0, 0.0), (3.0, -2.0), (-7.25, 5.5), (0.75, 0.25), (28.0, -31.0)])
def test_a_shift_is_found_to_the_quarter_pixel(shift):
    wide = texture(HEIGHT + 96, WIDTH + 96, 3)
    places = np.argwhere(np.ones((ROWS, COLS), np.bool_))
    found = match(moved(wide, *shift), moved(wide, 0.0, 0.0), places, np.zeros_like(places), price=1.0)
    whole = found.whole.reshape(ROWS, COLS, 2)[INNER]
    assert (whole == [round(4 * s) for s in shift]).all()
    own = found.own.reshape(ROWS, COLS, 4, 2)[INNER]
    assert np.median(np.abs(own - np.array(shift) * 4)) <= 1


def test_every_block_of_a_cell_finds_its_own():
    wide = texture(HEIGHT + 96, WIDTH + 96, 4)
    left, right, before = moved(wide, 0, 3), moved(wide, 2, -1), moved(wide, 0, 0)
    now = left.copy()
    now[:, 3 * 16 + 8 :] = right[:, 3 * 16 + 8 :]
    places = np.argwhere(np.ones((ROWS, COLS), np.bool_))
    found = match(now, before, places, np.zeros_like(places), price=1.0)
    assert found.own[2 * COLS + 3].tolist() == [[0, 12], [8, -4], [0, 12], [8, -4]]


@pytest.mark.parametrize(("distance", "found"), [(1, False), (3, False), (4, True), (16, True)])
def test_what_is_some_frames_away_is_looked_for_farther_off(distance, found):
    """A square that has moved by 100 pixels, over a wall."""
    before, now = texture(160, 320, 1), texture(160, 320, 1)
    before[64:112, 48:96] = now[56:104, 148:196] = texture(48, 48, 2)
    places = np.array([(4, 10)])
    whole = match(now, before, places, np.zeros_like(places), price=1.0, distance=distance).whole
    assert (whole[0].tolist() == [4 * 8, 4 * -100]) == found


def choose(now: np.ndarray, before: np.ndarray, plate: np.ndarray, *, move: bool = True, q: int = 40) -> Vectors:
    """What the search chooses for all cells of a picture, from random nets' principal components."""
    geometry, cpu, cells = Geometry(HEIGHT, WIDTH), torch.device("cpu"), np.ones((ROWS, COLS), np.bool_)
    picture, reference, behind = (geometry.pad(frame_of(luma, 0), cpu) for luma in (now, before, plate))
    brain = small_brain()
    state = LayerState(Layer.FOREGROUND, geometry, cpu, brain.tables)
    state.reset(reference)
    search = MotionSearch(brain.nets.analysis_of("foreground").basis)
    return search.choose(
        picture, state, behind, cells, lively=cells, importance=np.ones(cells.shape, np.float32), q=q, move=move
    )


def test_each_mode_is_chosen_where_it_is_right():
    wide, other = texture(HEIGHT + 96, WIDTH + 96, 5), texture(HEIGHT, WIDTH, 6)
    before, plate = moved(wide, 0, 0), other
    now = before.copy()
    now[:, 32:64] = moved(wide, 3, -2)[:, 32:64]
    now[:, 64:96] = plate[:, 64:96]
    now[:, 104:112] = moved(wide, -4, 0)[:, 104:112]
    found = choose(now, before, plate)
    mode = found.mode.reshape(ROWS, COLS)
    assert (mode[:, :2] == STILL).all()
    assert (mode[1:-1, 2:4] == MOVED).all()
    assert (mode[:, 4:6] == PLATE).all()
    assert (mode[1:-1, 6] == SPLIT).all()  # its left half stands still
    vector = found.vector.reshape(ROWS, COLS, 4, 2)
    assert (vector[1:-1, 2:4] == (12, -8)).all()
    assert (vector[1:-1, 6] == ((0, 0), (-16, 0), (0, 0), (-16, 0))).all()


def test_nothing_moves_unless_asked():
    wide = texture(HEIGHT + 96, WIDTH + 96, 7)
    found = choose(moved(wide, 2, 2), moved(wide, 0, 0), texture(HEIGHT, WIDTH, 8), move=False)
    assert set(found.mode.tolist()) <= {STILL, PLATE}
    assert not found.vector.any()


def test_noise_moves_nothing():
    rng = np.random.default_rng(0)
    flat = np.full((HEIGHT, WIDTH), 120.0)
    now, before = ((flat + rng.normal(scale=2.0, size=flat.shape)).round().astype(np.uint8) for _ in range(2))
    assert (choose(now, before, before, q=20).mode == STILL).all()


SOURCES = {"plane": BOTH, "both": BOTH, "plate": FROM_PLATE, "before": BEFORE, "after": AFTER}


def scene_of(planes: list, basis: torch.Tensor, step: float, sides: Sides | None = None) -> Scene:
    """Of a picture, what is before it, the plate."""
    after, near, far = (sides.after, sides.near, sides.far) if sides else (planes[1], 1, 1)
    picture, before, plate = (host_planes(each) for each in planes[:3])
    columns = weighted(basis).T.contiguous().numpy()
    return Scene(picture, before, plate, columns, step, before, sides is not None, host_planes(after), near, far)


@pytest.mark.parametrize("lively", [np.ones((ROWS, COLS), np.bool_), np.eye(ROWS, COLS, dtype=np.bool_)])
@pytest.mark.parametrize("source", ["plane", "plate", "both", "before", "after"])
def test_a_candidate_costs_what_the_model_says(source, lively):
    """Compiled and by tensors, of vectors within the picture and beyond it, from one picture or between two."""
    rng = np.random.default_rng(9)
    basis = torch.linalg.qr(torch.randn(96, 96, generator=torch.Generator().manual_seed(1))).Q
    geometry, cpu = Geometry(HEIGHT, WIDTH), torch.device("cpu")
    planes = [geometry.pad(frame_of(texture(HEIGHT, WIDTH, seed), 0), cpu) for seed in (10, 11, 12, 13)]
    places, step = places_of(lively), 6.0
    vectors = rng.integers(-200, 200, (len(places), 4, 2))
    weight = rng.uniform(0.1, 1.0, len(places)).astype(np.float32)
    sides = Sides(planes[1], planes[3], 2, 3)
    scene = scene_of(planes, basis, step, sides if source in ("both", "before", "after") else None)
    found, scratch = [], scratch_space()
    for (row, col), vector, counts in zip(places, vectors, weight, strict=True):
        load(scene.picture, row, col, scratch)
        found.append(
            priced(scene, scratch, row, col, vector, SOURCES[source], counts * np.float32(LAMBDA), 7.0, np.inf)
        )
    inner = np.array([(0, 0), (0, 1), (1, 0), (1, 1)])
    row, col = torch.from_numpy((places[:, None] * 2 + inner).reshape(-1, 2)).unbind(1)
    still = torch.zeros(len(row), 2, dtype=torch.int64)
    by = torch.from_numpy(vectors.reshape(-1, 2))
    here, before, after, plate = (
        fetch_by_tensors(p, torch.zeros_like(row), row, col, each)
        for p, each in ((planes[0], still), (planes[1], by), (planes[3], sides.mirrored(by)), (planes[2], by))
    )
    both = torch.floor((before + after + 1) / 2)
    prediction = {"plane": before, "plate": plate, "both": both, "before": before, "after": after}[source]
    each = torch.from_numpy(weight).repeat_interleave(4)
    residual, unit = here - prediction, torch.full((len(row),), step)
    saved = saving(residual, basis, unit, each)
    with torch.inference_mode():
        assert torch.allclose(saving(residual, basis, unit, each), saved, rtol=1e-4)
    error = LAMBDA * each * (weighted(residual) / step).square().sum(1)
    wanted = error - torch.where(saved > LEAST_BITS, saved, 0.0)
    assert np.allclose(found, 7 + wanted.view(-1, 4).sum(1).numpy(), rtol=1e-4)


def test_what_pays_is_guessed_alike_compiled_and_by_tensors():
    generator = torch.Generator().manual_seed(2)
    basis = torch.linalg.qr(torch.randn(96, 96, generator=generator)).Q
    residual = torch.randn(400, 96, generator=generator) * torch.rand(400, 1, generator=generator) * 12
    step, weight = torch.full((400,), 9.0), 0.1 + 0.9 * torch.rand(400, generator=generator)
    by_tensors = guessed_loss(residual, basis, step, weight)
    with torch.inference_mode():
        compiled = guessed_loss(residual, basis, step, weight)
    assert 0.2 < float((by_tensors < 0).float().mean()) < 0.8
    assert torch.allclose(compiled.clamp(max=0), by_tensors.clamp(max=0), rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_a_split_cell_costs_what_coding_it_takes(seed):
    rng, geometry, cpu = np.random.default_rng(seed), Geometry(HEIGHT, WIDTH), torch.device("cpu")
    planes = [geometry.pad(frame_of(texture(HEIGHT, WIDTH, seed + k), 0), cpu) for k in range(3)]
    scene = scene_of(planes, torch.eye(96), 20.0)
    past, tables, scratch, row, col = Past.none((ROWS, COLS)), initial_tables(), scratch_space(), 2, 2
    field = VectorField(Moment(Layer.FOREGROUND, 40, 1), past)
    for near in (-2, 2):
        field.holds(np.array([row + near]), np.array([col + near]), rng.integers(-9, 9, (1, 2)))
    rules = _Rules(*tables.prices, 0, 1, field.vector, field.known, past.vector, field.moved)
    room, found_first = (scratch.candidates, scratch.there), (scratch.vectors, scratch.facts)
    first_guess(1, row, col, 0, field.vector, field.known, past.vector, field.moved, *room, *found_first)

    def taking(vector: np.ndarray) -> float:
        """What these blocks take, by the prices that code them."""
        bits = vector_bits(*tables.prices, *found_first, *vector[0])
        for block in (1, 2, 3):
            inner = scratch.inner_vectors, scratch.inner_facts
            inner_guess(block, row, col, vector, field.vector, field.known, *room, *inner)
            bits += vector_bits(*tables.prices, *inner, *vector[block])
        return priced(scene, scratch, row, col, vector, BOTH, 1.0, bits, np.inf)

    own, found = rng.integers(-12, 12, (4, 2)), np.zeros((4, 2), np.int64)
    load(scene.picture, row, col, scratch)
    cost = _split(scene, rules, scratch, row, col, own, BOTH, 1.0, 3.0, np.inf, found)
    assert cost == pytest.approx(3 + taking(found))
    assert cost < 3 + taking(own), "what neighbours do, or the cell's other blocks, is cheaper than anything at random"


def test_a_stretched_vector_that_cannot_be_coded_is_not_taken():
    """What moved fast is expected further away than a vector may point, where several frames are coded together."""
    geometry, cpu = Geometry(HEIGHT, WIDTH), torch.device("cpu")
    luma = texture(HEIGHT, WIDTH, 3)
    luma[:, -1] = 250
    planes = [geometry.pad(frame_of(y, 0), cpu) for y in (np.full_like(luma, 250), luma, luma)]
    state = LayerState(Layer.FOREGROUND, geometry, cpu, initial_tables())
    state.reset(planes[1])
    cells = np.zeros((ROWS, COLS), np.bool_)
    cells[2, 2] = True
    moved, vector, none = np.full((ROWS, COLS), -1), np.zeros((ROWS, COLS, 2), np.int64), state.past.total
    moved[2, 2], vector[2, 2] = MOVED, (0, 120)
    state.past, state.age = state.past.then(cells, moved, vector, none.astype(np.bool_), none, none), 1
    state.reach(8)
    assert state.past.vector[2, 2].tolist() == [0, 960]
    search = MotionSearch(torch.eye(96))
    found = search.choose(
        planes[0], state, planes[2], cells, lively=cells, importance=np.ones(cells.shape, np.float32), q=40, move=True
    )
    assert np.abs(found.vector).max() <= MAX_VECTOR
    writer = SymbolWriter(state.tables)
    write_vectors(writer, Moment(Layer.FOREGROUND, 40, 1), found, state.past)
    assert writer.finish()[0]


@pytest.mark.parametrize("reach", [0, 30])
@pytest.mark.parametrize("size", [8, 16, 40])
def test_windows_repeat_the_edge(size, reach):
    """Inside, across a border and beyond all of them, of a picture that may be smaller than a window."""
    plane = np.random.default_rng(size).integers(0, 256, (32, 48)).astype(np.uint8)
    rows, cols = (range(-reach, max(1, length - size + reach + 1), 3) for length in plane.shape)
    padded, found = np.pad(plane, 80, mode="edge"), np.empty((size, size), np.float32)
    for y in rows:
        for x in cols:
            window(plane, y, x, found)
            assert np.array_equal(found, padded[y + 80 : y + 80 + size, x + 80 : x + 80 + size])
