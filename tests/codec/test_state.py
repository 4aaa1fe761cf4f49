"""What both ends keep: mixing of planes; the rest is tested with the layers that change it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.codec import between as between_module
from pipeline.codec.between import mean_of
from pipeline.codec.state import Geometry, LayerState, Planes, mix
from pipeline.codec.tables import initial_tables
from pipeline.types import Layer

GEOMETRY, CPU = Geometry(48, 80), torch.device("cpu")


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_mix_takes_whole_cells(share):
    torch.manual_seed(0)
    cells = torch.rand(1, 3, 5) < share
    sizes = (16, 8, 8)
    chosen, other = (
        tuple(torch.randint(0, 256, (1, 3 * n, 5 * n), dtype=torch.uint8) for n in sizes) for _ in range(2)
    )
    for size, mixed, a, b in zip(sizes, mix(cells, chosen, other), chosen, other, strict=True):
        for row in range(3):
            for col in range(5):
                place = (0, slice(row * size, row * size + size), slice(col * size, col * size + size))
                assert torch.equal(mixed[place], (a if cells[0, row, col] else b)[place])


def random_planes(seed: int) -> Planes:
    generator = torch.Generator().manual_seed(seed)
    y, u, v = (
        torch.randint(0, 256, (1, 3 * n, 5 * n), dtype=torch.uint8, generator=generator) for n in (16, 8, 8)
    )  # fmt: skip
    return y, u, v


@pytest.mark.parametrize("host", [False, True])
def test_a_mean_is_the_same_on_a_device(host, monkeypatch):
    """Of pictures that are alike but in some cells."""
    monkeypatch.setattr(between_module, "on_host", lambda _: host)
    before, cells = random_planes(0), np.random.default_rng(0).random((3, 5)) < 0.5
    after = mix(torch.from_numpy(cells)[None], random_planes(1), before)
    copies = [plane.clone() for plane in before]
    for a, b, mean in zip(before, after, mean_of(before, after, cells), strict=True):
        assert torch.equal(mean, ((a.int() + b.int() + 1) // 2).byte())
    assert all(torch.equal(a, b) for a, b in zip(before, copies, strict=True)), "what was there stays"


def moved_state(vector: tuple[int, int]) -> LayerState:
    """After a frame in which one cell moved, and was coded."""
    state = LayerState(Layer.FOREGROUND, GEOMETRY, CPU, initial_tables())
    state.reset(random_planes(2))
    cells, vectors = np.zeros((3, 5), np.bool_), np.zeros((1, 4, 2), np.int64)
    cells[1, 2], vectors[:] = True, vector
    none = np.zeros_like(state.past.coded)
    none[2, 4] = True
    state._remember(cells, none, torch.ones(1, 96), np.ones(1, np.int64), vectors)
    return state


def test_vectors_are_stretched_to_what_is_coded_next():
    state = moved_state((5, -3))
    state.reach(1)
    assert state.past.vector[1, 2].tolist() == [5, -3]
    state.reach(8)
    assert state.past.vector[1, 2].tolist() == [40, -24]
    state.reach(3)
    assert state.past.vector[1, 2].tolist() == [15, -9]
    state.reach(2)
    assert state.past.vector[1, 2].tolist() == [10, -6]
    state = moved_state((5, -3))
    state.span = 2
    state.reach(1)
    assert state.past.vector[1, 2].tolist() == [3, -1], "halves up"


def test_a_frame_between_others_begins_as_what_they_are():
    state = moved_state((9, -9))
    before, state.plane = state.shown, random_planes(3)
    state.reach(4)
    after, begun = state.shown, initial_tables().rows
    apart = np.ones((3, 5), np.bool_)
    between = state.between(before, after, (1, 3), apart)
    assert between.past.vector[1, 2].tolist() == [9, -9]
    assert after.past.vector[1, 2].tolist() == [36, -36]
    assert np.array_equal(between.past.since, after.past.since)
    assert torch.equal(between.symbols, after.symbols)
    assert (between.age, between.span, between.sides.near, between.sides.far) == (1, 1, 1, 3)
    assert torch.equal(between.plane[0], mean_of(before.plane, after.plane, apart)[0])
    between.tables.learn(np.full(9, 700), np.ones(9, np.int64))
    between.commit_empty()
    between.restore(np.zeros((3, 5), np.bool_), random_planes(2))
    assert (state.age, state.sides) == (1, None)
    assert state.past is after.past
    assert state.plane is after.plane
    assert state.tables.rows == begun
    again = state.between(before, after, (2, 2), apart)
    assert again.tables.rows != begun, "what it learned is for the next of them"
    state.reset(random_planes(2))
    assert state.between(before, after, (2, 2), apart).tables.rows == begun
