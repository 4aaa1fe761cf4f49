"""What is minimised: both families' batches through the nets, as rate and distortion in one number.

A *family* is a set of nets that is trained on its own: intra (plates) or inter (foreground and background).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.codec.blocks import SAMPLES, Positions, to_blocks, to_planes, weighted
from pipeline.codec.layer import SYMBOL_LIMIT
from pipeline.codec.model import LAMBDA, CodecNets, Kind, LayerInput, LayerLoss, loss_weight, train_layer
from pipeline.codec.nets import Block, step_size
from pipeline.training.batches import (
    Batches,
    Last,
    Moving,
    Picture,
    Planes,
    core,
    degrade,
    moving_input,
    still_input,
    with_core,
)
from pipeline.training.data import CORE, Samples

FAMILIES = ("intra", "inter")
BASIS_SAMPLES = 512


def family_kinds(family: str) -> tuple[Kind, ...]:
    """The kinds of layer that a family reconstructs."""
    return ("plate",) if family == "intra" else ("foreground", "background")


def family_parameters(nets: CodecNets, family: str) -> list[nn.Parameter]:
    """The parameters that a family's training moves."""
    parts: list[nn.Module] = [nets.analysis[family], nets.entropy[family]]
    parts += [nets.synthesis[kind] for kind in family_kinds(family)]
    return [p for part in parts for p in part.parameters()]


def family_state(state: dict[str, Tensor], family: str) -> dict[str, Tensor]:
    """The entries of a state of CodecNets that belong to a family."""
    prefixes = [f"analysis.{family}.", f"entropy.{family}."] + [f"synthesis.{k}." for k in family_kinds(family)]
    return {name: value for name, value in state.items() if name.startswith(tuple(prefixes))}


def keep_within_stream(nets: CodecNets, family: str) -> None:
    """Cut latents at the largest symbol that a stream holds, as the encoder does.

    The gated blocks multiply activations with each other, so on a picture unlike all before the analysis can give any
    number. One that is not finite would otherwise end as a table's index out of range.
    """

    def cut(_module: nn.Module, _inputs: object, latent: Tensor) -> Tensor:
        return latent.nan_to_num(nan=0.0).clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT)

    nets.analysis[family].register_forward_hook(cut)


def compile_blocks(nets: CodecNets) -> None:
    """Fuse the transforms' pointwise operations. The index net stays as it is: its arithmetic is exact."""
    for module in nets.modules():
        if isinstance(module, Block):
            module.compile(dynamic=True)


def components(blocks: Tensor) -> Tensor:
    """Principal components of blocks (N,96) in the 6:1:1 measure, as rows (96,96), the largest first."""
    scaled = weighted(blocks).double()
    covariance = scaled.T @ scaled / len(scaled)
    return torch.linalg.eigh(covariance).eigenvectors.flip(1).T.float().contiguous()


def set_bases(nets: CodecNets, still: Samples, moving: Samples) -> None:
    """The linear paths: principal components of weighted blocks, of photos and of motion-compensated residuals."""
    n, cpu = BASIS_SAMPLES, torch.device("cpu")
    picture = Batches(still, batch=n, device=cpu, seed=0).draw()[0]
    intra = components((to_blocks(*core(picture.planes)) - 128).flatten(0, 2))
    first, second = Batches(moving, batch=n, device=cpu, seed=0).draw()[:2]
    at = Positions.of_cells(torch.ones(n, CORE // 16, CORE // 16, dtype=torch.bool))
    x = moving_input(
        "foreground", second, first.planes, first.planes, at=at, importance=torch.ones(n, CORE // 8, CORE // 8, 1),
        q=torch.full((n,), 40.0), last=Last.none(n, cpu), age=1, basis=torch.eye(SAMPLES), least_bits=10.0,
    ).layer  # fmt: skip
    inter = components(x.blocks - x.prediction)
    for family, basis in (("intra", intra), ("inter", inter)):
        for kind in family_kinds(family):
            nets.analysis_of(kind).basis.copy_(basis)
            nets.synthesis_of(kind).basis.copy_(basis)


def layer_cost(x: LayerInput, out: LayerLoss) -> tuple[Tensor, Tensor, Tensor]:
    """(loss, bits a position, squared error a position). The loss is rate + distortion in bits, evened over
    qualities."""
    squared = weighted(x.blocks - out.pictures).square().sum(1)
    weight = loss_weight(x.at.pick(x.importance)[:, 0])
    step = step_size(x.q)
    # Clipping is left to the pictures' use: a gradient beyond 0 and 255 is wanted. 1/sqrt(lambda) goes with the step.
    cost = (out.smooth_bits + weight * squared * (LAMBDA / step.square())) * (step / 16) + out.bits * (step / 16)
    return cost.mean(), out.bits.detach().mean(), squared.detach().mean()


def _plane_from(out: LayerLoss, x: Moving, reference: Planes) -> Planes:
    """The reference with the layer's cells replaced by what was decoded."""
    grid = x.prediction
    flat = grid.view(-1, grid.shape[-1]).index_copy(0, x.layer.at.index, out.pictures.detach().float())
    planes = to_planes(flat.view_as(grid).round().clamp(0, 255).to(torch.uint8))
    return with_core(reference, planes)


def family_losses(nets: CodecNets, family: str, batches: Batches, times: list[Picture], q: Tensor) -> Tensor:
    """(3,): loss, bits and squared error a position of one batch of a family, means over its time steps."""
    if family == "intra":
        return _intra_losses(nets, batches, times[0], q)
    kind: Kind = "foreground" if batches.rng.random() < 0.6 else "background"
    return torch.stack(_inter_losses(nets, batches, times, kind, q)).mean(0)


def _inter_losses(nets: CodecNets, batches: Batches, times: list[Picture], kind: Kind, q: Tensor) -> list[Tensor]:
    """Coded frames, each predicted from the last as decoded."""
    basis = nets.analysis_of("plate").basis
    reference = degrade(times[0].planes, (q + 4).clamp(max=63), basis)
    plate = degrade(times[0].planes, (q + 10).clamp(max=63), basis)
    at = Positions.of_cells(batches.cells(times[1], times[0].planes))
    importance = batches.importance(len(q), kind)
    last, losses = Last.none(len(q), q.device), []
    least_bits = float(batches.rng.uniform(4, 16))
    for age, now in enumerate(times[1:]):
        x = moving_input(
            kind, now, reference, plate, at=at, importance=importance, q=q, last=last, age=age,
            basis=nets.analysis_of(kind).basis, least_bits=least_bits,
        )  # fmt: skip
        out = train_layer(nets, x.layer)
        losses.append(torch.stack(layer_cost(x.layer, out)))
        reference = _plane_from(out, x, reference)
        last = Last.of(x.layer, out.symbols)
    return losses


def _intra_losses(nets: CodecNets, batches: Batches, now: Picture, q: Tensor) -> Tensor:
    """One plate, whole in most batches."""
    whole = batches.rng.random() < 0.7
    cells = batches.cells(now, tuple(torch.zeros_like(p) for p in now.planes))  # type: ignore[arg-type]
    if whole:
        cells = torch.ones_like(cells)
    x = still_input(now, cells=cells, importance=batches.importance(len(q), "plate"), q=q)
    return torch.stack(layer_cost(x, train_layer(nets, x)))
