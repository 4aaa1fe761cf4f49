"""A photo to bytes with a variant's nets, and what that cost: bits a pixel, PSNR inside and outside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.bench.allocation.photos import Scene
from pipeline.bench.allocation.variants import Variant, layer_input, region_map
from pipeline.bench.quality import psnr
from pipeline.codec.blocks import CHROMA, LUMA
from pipeline.codec.entropy import steps, table_scale
from pipeline.codec.maps import write_map
from pipeline.codec.model import CodecNets, LayerInput, quantise, side_features
from pipeline.codec.nets import step_size
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolWriter
from pipeline.codec.state import Cells
from pipeline.codec.symbols import SYMBOL_LIMIT
from pipeline.codec.tables import Tables
from pipeline.types import Layer

HEADER_BYTES = 2  # quality, state bytes left out, and the importance outside for those whose decoder needs it


@dataclass(frozen=True, slots=True)
class Point:
    """All photos at a quality and an importance outside, one value a photo."""

    q: int
    outside: float
    bpp: tuple[float, ...]
    inside_psnr: tuple[float, ...]
    outside_psnr: tuple[float, ...]

    def mean(self) -> dict[str, float]:
        """The setting, and means over the photos."""
        values = {"bpp": self.bpp, "inside_psnr": self.inside_psnr, "outside_psnr": self.outside_psnr}
        means = {name: round(float(np.mean(each)), 4) for name, each in values.items()}
        return {"q": self.q, "outside": round(self.outside, 4), **means}


def measure(variant: Variant, nets: CodecNets, tables: Tables, scenes: list[Scene], q: int, outside: float) -> Point:
    """Code every photo for real, map of the region included."""
    found = [_photo(variant, nets, tables, scene, q, outside) for scene in scenes]
    bpp, inside, rest = zip(*found, strict=True)
    return Point(q, outside, bpp, inside, rest)


def _photo(
    variant: Variant, nets: CodecNets, tables: Tables, scene: Scene, q: int, outside: float
) -> tuple[float, float, float]:
    """Bits a pixel, PSNR inside, PSNR outside."""
    x = layer_input(variant, scene.blocks, scene.region, torch.tensor([outside]), torch.tensor([float(q)]))
    data, _, pictures = encode(nets, tables, x, region_map(scene.region, fine=variant.fine)[0].numpy())
    squared = (pictures.round().clamp(0, 255) - x.blocks).square()
    mask = scene.region.flatten(0, 2).float()
    bits = 8 * (len(data) + HEADER_BYTES)
    return bits / scene.pixels, psnr(_mse(squared, mask)), psnr(_mse(squared, 1 - mask))


def _mse(squared: Tensor, mask: Tensor) -> float:
    """The 6:1:1 mean of squared errors (N,96) where `mask` is 1."""
    planes = slice(LUMA), slice(LUMA, LUMA + CHROMA), slice(LUMA + CHROMA, None)
    y, u, v = (float((squared * mask)[:, plane].sum() / mask[:, plane].sum()) for plane in planes)
    return (6 * y + u + v) / 8


@torch.no_grad()
def encode(nets: CodecNets, tables: Tables, x: LayerInput, region: Cells) -> tuple[bytes, int, Tensor]:
    """As `codec.layer` does it, but for a quality at each position, and a map that may be of finer cells: what
    `SymbolReader` takes, and the picture blocks (N,96)."""
    writer = SymbolWriter(tables)
    write_map(writer, Moment(Layer.FOREGROUND, 0, 0), region, Past.none((region.shape[0], region.shape[1])))
    latent = nets.analysis_of(x.kind)(x.blocks - x.prediction, x.prediction, x.importance, x.q, x.at)
    entropy, scale = nets.entropy_of(x.kind), step_size(x.q).unsqueeze(1) / 16
    shared = entropy.index.begin(x.before, side_features(x.kind, x.q, x.modes, x.at))
    symbols, values = torch.zeros_like(latent), torch.zeros_like(latent)
    for step in steps(x.at):
        rows, index = step.selection, entropy.index(shared, symbols, step)
        mean = entropy.mean(values, scale, step)
        coded = quantise(latent[rows, step.start : step.end] - mean, table_scale(index))
        coded = torch.where(index < 1, 0.0, coded.clamp(-SYMBOL_LIMIT, SYMBOL_LIMIT))
        symbols[rows, step.start : step.end] = coded
        values[rows, step.start : step.end] = coded + mean
        kept = index >= 1
        writer.add(index[kept].numpy().astype(np.int64), coded[kept].numpy().astype(np.int64))
    pictures: Tensor = nets.synthesis_of(x.kind)(values, x.prediction, x.q, x.at)
    return *writer.finish(), pictures
