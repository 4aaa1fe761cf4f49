"""What is minimised: both families' batches through the nets, as rate and distortion in one number.

A *family* is a set of nets that is trained on its own: intra (plates) or inter (foreground and background).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pipeline.codec.blocks import SAMPLES, PaddedPositions, Positions, to_blocks, to_planes, weighted
from pipeline.codec.model import LAMBDA, PROJECTED, CodecNets, Kind, LayerInput, LayerLoss, loss_weight, train_layer
from pipeline.codec.nets import Block, step_size
from pipeline.codec.symbols import SYMBOL_LIMIT
from pipeline.training.batches import (
    Batch,
    Batches,
    Last,
    Moving,
    MovingBatch,
    Planes,
    StillBatch,
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
    at, cells = everywhere(n, cpu, padded=False), torch.ones(n, CORE // 16, CORE // 16, dtype=torch.bool)
    x = moving_input(
        "foreground", second, first.planes, first.planes, at=at, cells=cells,
        importance=torch.ones(n, CORE // 8, CORE // 8, 1), q=torch.full((n,), 40.0), last=Last.none(n, cpu), age=1,
        basis=torch.eye(SAMPLES), least_bits=torch.tensor(10.0),
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
    return _mean(cost, x.at), _mean(out.bits.detach(), x.at), _mean(squared.detach(), x.at)


def _mean(values: Tensor, at: Positions) -> Tensor:
    """Of (N,) those positions that are there."""
    if not isinstance(at, PaddedPositions):
        return values.mean()
    there = at.there
    return torch.where(there, values, 0.0).sum() / there.sum().clamp(min=1)


def _plane_from(out: LayerLoss, x: Moving, reference: Planes) -> Planes:
    """The reference with the layer's cells replaced by what was decoded."""
    coded = x.layer.at.spread(out.pictures.detach().float())
    grid = torch.where(x.layer.at.chosen[..., None], coded, x.prediction)
    planes = to_planes(grid.round().clamp(0, 255).to(torch.uint8))
    return with_core(reference, planes)


def everywhere(count: int, device: torch.device, *, padded: bool) -> Positions:
    """All positions of `count` crops."""
    chosen = torch.ones(count, CORE // 8, CORE // 8, dtype=torch.bool, device=device)
    if padded:
        return PaddedPositions(chosen, torch.arange(chosen.numel(), device=device))
    return Positions(chosen)


def family_losses(nets: CodecNets, batch: Batch | LayerInput, *, most: int | None = None) -> Tensor:
    """(3,): loss, bits and squared error a position of one batch of a family, means over its time steps. With `most`
    nothing depends on data: so many positions a time step at most, see `moving_input`. A layer is trained as it is
    coded."""
    if isinstance(batch, LayerInput):
        return torch.stack(layer_cost(batch, train_layer(nets, batch, projected=PROJECTED[batch.kind])))
    at = everywhere(len(batch.q), batch.q.device, padded=most is not None)
    if isinstance(batch, StillBatch):
        x = still_input(batch.now, at=at, importance=batch.importance, q=batch.q)
        return torch.stack(layer_cost(x, train_layer(nets, x, projected=PROJECTED[x.kind])))
    return torch.stack(_moving_losses(nets, batch, at, most)).mean(0)


def _moving_losses(nets: CodecNets, batch: MovingBatch, at: Positions, most: int | None) -> list[Tensor]:
    """Coded frames, each predicted from the last as decoded."""
    first, q = batch.times[0].planes, batch.q
    reference, plate = (
        degrade(first, (q + better).clamp(max=63), nets.analysis_of("plate").basis) for better in (4, 10)
    )
    last, losses = Last.none(len(q), q.device), []
    for age, now in enumerate(batch.times[1:]):
        x = moving_input(
            batch.kind, now, reference, plate, at=at, cells=batch.cells, importance=batch.importance, q=q, last=last,
            age=age, basis=nets.analysis_of(batch.kind).basis, least_bits=batch.least_bits, most=most,
        )  # fmt: skip
        out = train_layer(nets, x.layer)
        losses.append(torch.stack(layer_cost(x.layer, out)))
        reference = _plane_from(out, x, reference)
        last = Last.of(x.layer, out.symbols)
    return losses
