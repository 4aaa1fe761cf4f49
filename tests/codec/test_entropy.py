"""The index net is made of integers: the same on every thread count, kernel, precision and order. And the parse order.

Exactness cannot be seen from one machine alone; what is tested is what it follows from: integers in, integer weights,
and sums that float32 holds whatever the order.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pipeline.codec import entropy, weights
from pipeline.codec.blocks import Positions
from pipeline.codec.entropy import (
    GROUPS,
    PHASES,
    SIDE,
    TABLES,
    IndexNet,
    IntegerLinear,
    logistic_bits,
    steps,
    table_scale,
)
from pipeline.codec.model import CodecNets, Modes, quantise, side_features
from pipeline.codec.nets import LATENT
from pipeline.codec.symbols import _Quantised


@pytest.fixture(scope="module")
def nets() -> list[IndexNet]:
    """The shipped index nets, and one of random weights that reach their limits."""
    shipped = weights.load(weights.newest(), "cpu").nets
    torch.manual_seed(3)
    rough = CodecNets(inter_channels=8, intra_channels=8, depth=(1, 1)).entropy_of("foreground").index
    for parameter in rough.parameters():
        parameter.data += torch.randn_like(parameter) * 0.3
    return [shipped.entropy_of("foreground").index, shipped.entropy_of("plate").index, rough]


def grid(rows: int = 3, cols: int = 5, batch: int = 1) -> Positions:
    chosen = torch.rand(batch, 2 * rows, 2 * cols, generator=torch.Generator().manual_seed(1)) < 0.6
    chosen[:, 0, 0] = True
    return Positions(chosen)


def inputs(at: Positions, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(symbols, symbols before, side features), of all magnitudes."""
    rng = np.random.default_rng(seed)
    symbols, before = (
        torch.from_numpy(np.trunc(rng.standard_t(1.2, (len(at), LATENT)) * 2).clip(-2047, 2047)).float()
        for _ in range(2)
    )
    return symbols, before, torch.from_numpy(rng.integers(0, 256, (len(at), SIDE))).float()


@torch.inference_mode()
def indices(net: IndexNet, at: Positions, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """(N,96): every step's indices, in the order of decoding."""
    symbols, before, side = (x.to(dtype) for x in inputs(at, seed))
    shared = net.begin(before, side)
    known = torch.zeros_like(symbols)
    found = torch.full_like(symbols, -1)
    for step in steps(at):
        rows = slice(None) if step.rows is None else step.rows
        found[rows, step.start : step.end] = net(shared, known, step)
        known[rows, step.start : step.end] = symbols[rows, step.start : step.end]
    return found


def test_steps_code_every_symbol_once_and_see_only_what_is_decoded():
    at = grid(5, 7)
    count = torch.zeros(len(at), LATENT)
    order = torch.full((len(at),), -1)
    for number, step in enumerate(steps(at)):
        assert step.number == number
        rows = slice(None) if step.rows is None else step.rows
        count[rows, step.start : step.end] += 1
        if step.rows is not None:
            place = {(int(at.row[i]), int(at.col[i])): int(order[i]) for i in range(len(at))}
            for i in step.rows.tolist() if number else []:
                for dy, dx in PHASES[number][1]:
                    there = (int(at.row[i]) + dy, int(at.col[i]) + dx)
                    assert there not in place or place[there] in range(number)
            order[step.rows] = number
    assert (count == 1).all()
    assert number == len(PHASES) + len(GROUPS) - 2


def test_outputs_are_table_indices(nets):
    at = grid(batch=2)
    for net in nets:
        found = indices(net, at)
        assert torch.equal(found, found.round())
        assert found.min() >= 0
        assert found.max() <= TABLES - 1
        assert len(found.unique()) > 3, "or nothing was tested"


def test_same_with_two_threads_without_onednn_and_in_double(nets):
    at = grid(6, 9)
    for net in nets:
        expected = indices(net, at)
        torch.set_num_threads(2)
        assert torch.equal(indices(net, at), expected)
        torch.set_num_threads(1)
        torch.backends.mkldnn.set_flags(False)
        try:
            assert torch.equal(indices(net, at), expected)
        finally:
            torch.backends.mkldnn.set_flags(True)
        # Parameters are rounded in float32, then everything is computed in doubles.
        double = IndexNet().double()
        for own, other in zip(double.modules(), net.modules(), strict=True):
            if isinstance(own, IntegerLinear):
                own.integer_weight = lambda other=other: other.integer_weight().double()
                own.integer_bias = lambda other=other: other.integer_bias().double()
        double.magnitude = net.magnitude.double()
        assert torch.equal(indices(double, at, dtype=torch.float64), expected.double())


def test_same_in_integers_in_any_order(nets):
    """Each layer against int64 arithmetic on permuted inputs."""
    rng = np.random.default_rng(0)
    for net in nets:
        for layer in net.modules():
            if not isinstance(layer, IntegerLinear):
                continue
            weight, bias = layer.integer_weight().long().numpy(), layer.integer_bias().long().numpy()
            x = rng.integers(0, 256, (50, weight.shape[1]))
            shift = int(np.log2(layer.unit))
            expected = np.clip((x @ weight.T + bias) >> shift, 0, int(layer.ceiling))
            with torch.inference_mode():
                assert np.array_equal(layer(torch.from_numpy(x).float()).numpy(), expected)
                with torch.enable_grad():  # as in training
                    assert np.array_equal(layer(torch.from_numpy(x).float()).detach().numpy(), expected)
                # The order of the sum: what another device's kernel would do.
                order = torch.from_numpy(rng.permutation(weight.shape[1]))
                scaled = layer.integer_weight() / layer.unit
                total = torch.from_numpy(x).float()[:, order] @ scaled[:, order].T + layer.integer_bias() / layer.unit
                assert np.array_equal(total.floor().clamp(0, layer.ceiling).numpy(), expected)


def test_every_sum_stays_below_two_to_the_24(nets):
    for net in nets:
        for layer in net.modules():
            if isinstance(layer, IntegerLinear):
                weight, bias = layer.integer_weight(), layer.integer_bias()
                assert torch.equal(weight, weight.round())
                assert torch.equal(bias, bias.round())
                assert weight.abs().max() <= 127
                assert (weight.abs().double().sum(1) * 255 + bias.abs()).max() < 2**24
    # And whatever the training makes of them.
    for layer in CodecNets().entropy_of("plate").index.modules():
        if isinstance(layer, IntegerLinear):
            assert layer.weight.shape[1] * 127 * 255 + 2**20 < 2**24
    with pytest.raises(ValueError, match="inputs"):
        IntegerLinear(513, 4, shift=7)


def test_same_whatever_else_is_in_the_batch(nets):
    cells = torch.zeros(2, 3, 4, dtype=torch.bool)
    cells[0, 0, 1] = cells[0, 2, 2] = cells[1] = True
    both, one = Positions(cells), Positions(cells[:1])
    symbols, before, side = inputs(both)
    net = nets[0]
    with torch.inference_mode():
        every = {step.number: step for step in steps(both)}
        for alone in steps(one):
            step = every[alone.number]
            many = net(net.begin(before, side), symbols, step)
            few = net(net.begin(before[: len(one)], side[: len(one)]), symbols[: len(one)], alone)
            assert torch.equal(many[: len(few)], few)
            order = torch.randperm(len(both))
            assert torch.equal(net.begin(before, side)[order], net.begin(before[order], side[order]))


def test_one_step_of_one_weight_changes_the_indices(nets):
    """The tests above can fail."""
    at = grid(6, 9)
    net = IndexNet()
    net.load_state_dict(nets[2].state_dict())
    expected = indices(net, at)
    rng = np.random.default_rng(0)
    changed = 0
    for layer in [net.shared] * 8 + [*net.hidden] + [*net.out]:
        place = tuple(int(rng.integers(n)) for n in layer.weight.shape)
        before = layer.weight.data[place].clone()
        layer.weight.data[place] = (before * 127).round() / 127 + (1 if before < 0 else -1) / 127
        changed += not torch.equal(indices(net, at), expected)
        layer.weight.data[place] = before
    assert changed >= 4, changed
    assert torch.equal(indices(net, at), expected)


def test_side_features_are_bytes():
    at = grid(batch=2)
    n = len(at)
    rng = torch.Generator().manual_seed(0)

    def some(high: int) -> torch.Tensor:
        return torch.randint(0, high, (n,), generator=rng)

    vector = torch.randint(-511, 512, (n, 2), generator=rng)
    modes = Modes(some(3), vector, some(2), some(2), some(100))
    side = side_features("background", some(64), modes, at)
    assert side.shape == (n, SIDE)
    assert torch.equal(side, side.round())
    assert side.min() >= 0
    assert side.max() <= 255
    neighbours = side[:, 9] / 31
    chosen = at.chosen.numpy()
    for i in range(n):
        batch = int(at.index[i]) // (at.rows * at.cols)
        row, col = int(at.row[i]), int(at.col[i])
        around = np.pad(chosen[batch], 1)[row : row + 3, col : col + 3].sum() - 1
        assert int(neighbours[i]) == around
    with torch.inference_mode():
        compiled = side_features("background", torch.tensor([11.0]), modes, at)
    assert torch.equal(compiled, side_features("background", torch.full((len(at),), 11.0), modes, at))


def test_quantiser_prefers_cheap_symbols():
    scale = torch.full((5,), 0.3)
    values = torch.tensor([0.1, 0.55, 0.95, -0.55, -1.9])
    assert quantise(values, scale).tolist() == [0, 0, 1, 0, -2]
    assert quantise(values, torch.full((5,), 30.0), 0.0).tolist() == [0, 1, 1, -1, -2]


def test_bits_of_all_symbols_are_a_distribution():
    symbols = torch.arange(-200.0, 201.0)
    for scale in (0.1, 1.0, 5.0):
        shares = torch.exp2(-logistic_bits(symbols, torch.tensor(scale)))
        assert float(shares[shares > 2**-15].sum()) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("share", [0.6, 1.0])
def test_compiled_loops_gather_what_tensors_do(nets, share, monkeypatch):
    """The inputs of both nets of every step, and the symbols that come of them."""
    brain = weights.load(weights.newest(), "cpu")
    model, at = brain.nets.entropy_of("foreground"), grid()
    if share == 1:
        at = Positions(torch.ones_like(at.chosen))
    symbols, before, side = inputs(at, 5)
    latent, scale = symbols + torch.rand_like(symbols) - 0.5, torch.full((1, 1), 0.7)
    found = []
    for compiled in (True, False):
        monkeypatch.setattr(entropy, "on_host", lambda _, compiled=compiled: compiled)
        with torch.inference_mode():
            shared = model.index.begin(before, side)
            found.append([(model.index(shared, symbols, s), model.mean(latent, scale, s)) for s in steps(at)])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours[0], theirs[0])
        assert torch.equal(ours[1], theirs[1])


def test_compiled_quantiser_rounds_as_tensors_do():
    """What it chooses between two that cost the same to the last bit is nobody's promise; there are none here."""
    at, rng = grid(), torch.Generator().manual_seed(7)
    latent = 3 * torch.randn(len(at), LATENT, generator=rng)
    with torch.inference_mode():
        quantised = _Quantised(at, latent, 1.3)
        for step in steps(at):
            shape = len(step.neighbours), step.end - step.start
            index = torch.randint(0, TABLES, shape, generator=rng).float()
            mean = torch.randn(shape, generator=rng)
            quantised.add(step, index, mean)
            channels = slice(step.start, step.end)
            wanted = quantise(latent[step.selection, channels] - mean, table_scale(index), 1.3)
            wanted = torch.where(index < 1, 0.0, wanted)
            assert torch.equal(quantised.symbols[step.selection, channels], wanted)
            assert torch.equal(quantised.values[step.selection, channels], wanted + mean)
    places, rows, symbols = quantised.written()
    assert len(places) == len(rows) == len(symbols) == int((rows >= 1).sum())
    assert symbols.sum() == quantised.symbols.sum()
