"""Synthetic scenes for the codec's tests: a textured wall, a textured square that walks over it, and its mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import numpy.typing as npt
import torch

from pipeline.codec import Decoder, Encoder
from pipeline.codec.brain import Brain
from pipeline.codec.model import CodecNets
from pipeline.codec.state import cell_tensor, mix
from pipeline.codec.tables import initial_tables
from pipeline.types import CELL, Frame, Layer, LayerName, Packet, RoiMask, cell_grid

FRAME_US = 40_000
Plane = npt.NDArray[np.uint8]


def small_brain(seed: int = 0) -> Brain:
    """Untrained nets, small and quick: the codec's machinery does not depend on what was learned."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        nets = CodecNets(inter_channels=16, intra_channels=16, depth=(1, 1))
    return Brain(nets.eval().requires_grad_(False), initial_tables(), torch.device("cpu"))


def sizes(packets: Sequence[Packet], layer: Layer) -> list[int]:
    """How many frames each packet's payload opens a mini-GOP of; 0 where it is empty."""
    payloads = [packet.foreground if layer is Layer.FOREGROUND else packet.background for packet in packets]
    return [1 + (payload[0] & 15) if payload else 0 for payload in payloads]


def texture(height: int, width: int, seed: int, *, contrast: float = 60.0) -> Plane:
    """Smooth noise with some detail, uint8."""
    rng = np.random.default_rng(seed)
    coarse = cv2.resize(rng.normal(size=(height // 8 + 2, width // 8 + 2)), (width, height))
    fine = cv2.GaussianBlur(rng.normal(size=(height, width)), (0, 0), 1.0)
    return np.clip(128 + contrast * (0.6 * coarse + fine), 0, 255).astype(np.uint8)


def frame_of(y: Plane, index: int, *, tint: int = 0, frame_us: int = FRAME_US) -> Frame:
    """A frame with this luma; chroma follows it."""
    half = cv2.resize(y, (-(-y.shape[1] // 2), -(-y.shape[0] // 2)), interpolation=cv2.INTER_AREA)
    u = np.clip(128 + tint + (half.astype(int) - 128) // 4, 0, 255).astype(np.uint8)
    v = np.clip(128 - tint - (half.astype(int) - 128) // 3, 0, 255).astype(np.uint8)
    pts_us = index * frame_us
    return Frame(y, u, v, index, pts_us, 1_700_000_000_000_000 + pts_us)


def mask_of(height: int, width: int, boxes: tuple[tuple[int, int, int, int], ...]) -> RoiMask:
    """Cells that boxes (x0, y0, x1, y1) touch; importance 255 in the first box, less in those that follow."""
    cells = np.zeros(cell_grid(height, width), np.bool_)
    importance = np.zeros(cells.shape, np.uint8)
    for k, (x0, y0, x1, y1) in enumerate(boxes):
        place = slice(max(0, y0 // CELL), -(-y1 // CELL)), slice(max(0, x0 // CELL), -(-x1 // CELL))
        cells[place] = True
        importance[place] = 255 - 60 * k
    return RoiMask(cells, importance)


def full_mask(height: int, width: int) -> RoiMask:
    """Everything is foreground."""
    grid = cell_grid(height, width)
    return RoiMask(np.ones(grid, np.bool_), np.full(grid, 255, np.uint8))


def walk(
    count: int, height: int, width: int, *, seed: int = 1, noise: float = 0.0, first: int = 0
) -> Iterator[tuple[Frame, RoiMask]]:
    """A square of 28 pixels walks 3 pixels a frame to the right and 1 down, with its mask."""
    wall, thing = texture(height, width, seed), texture(28, 28, seed + 100, contrast=90.0)
    rng = np.random.default_rng(seed)
    for n in range(first, first + count):
        y = wall.copy()
        top, left = (8 + n) % (height - 28), (4 + 3 * n) % (width - 28)
        y[top : top + 28, left : left + 28] = thing
        if noise:
            y = np.clip(y + rng.normal(scale=noise, size=y.shape), 0, 255).round().astype(np.uint8)
        yield frame_of(y, n), mask_of(height, width, ((left, top, left + 28, top + 28),))


def meeting(count: int, height: int, width: int) -> Iterator[tuple[Frame, RoiMask]]:
    """A camera that moves a little; two squares that come from the sides, meet, and are gone after nine frames; a light
    that is on in the fifth and sixth."""
    wide, things = texture(height, width + 2 * count, 7), [texture(24, 24, seed, contrast=90.0) for seed in (3, 4)]
    for n in range(count):
        y, boxes = np.ascontiguousarray(wide[:, 2 * n : 2 * n + width]), []
        for thing, left in zip(things, (4 + 5 * n, width - 30 - 4 * n), strict=True):
            if n < 9:
                y[20:44, left : left + 24] = thing
                boxes.append((left, 20, left + 24, 44))
        if n in (4, 5):
            y[:16, :32] = np.clip(y[:16, :32].astype(int) + 60, 0, 255)
        yield frame_of(y, n), mask_of(height, width, tuple(boxes))


def encoder_picture(encoder: Encoder, cells: npt.NDArray[np.bool_]) -> tuple[Plane, ...]:
    """What the encoder believes that a decoder shows: the foreground's cells over the background."""
    foreground, background = encoder._foreground.plane, encoder._background.plane
    return encoder._geometry.crop(mix(cell_tensor(cells, torch.device("cpu")), foreground, background))


def planes(frame: Frame) -> tuple[Plane, Plane, Plane]:
    return frame.y, frame.u, frame.v


def same(a: tuple[Plane, ...], b: tuple[Plane, ...]) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def encode_and_check(encoder: Encoder, clip: list[tuple[Frame, RoiMask]], brain: Brain | None = None) -> list[Packet]:
    """Encode a clip; decode beside it; the two must agree in every sample of every frame."""
    decoder = Decoder(encoder.info, device="cpu", brain=brain)
    packets = []
    for frame, mask in clip:
        packet = encoder.encode(frame, mask)
        shown = decoder.decode(packet)
        assert same(planes(shown), encoder_picture(encoder, mask.cells)), f"frame {frame.index} differs"
        assert (shown.index, shown.pts_us, shown.wall_us) == (frame.index, frame.pts_us, frame.wall_us)
        packets.append(packet)
    return packets


def decode_all(encoder: Encoder, packets: list[Packet], layer: LayerName = "full", brain: Brain | None = None):
    """Frames of packets, decoded from the start."""
    decoder = Decoder(encoder.info, device="cpu", brain=brain)
    return [decoder.decode(packet, layer) for packet in packets]


def in_cells(plane: Plane, cells: npt.NDArray[np.bool_], size: int) -> npt.NDArray[np.uint8]:
    """The samples of a plane that lie in these cells."""
    whole = cells.repeat(size, 0).repeat(size, 1)[: plane.shape[0], : plane.shape[1]]
    return plane[whole]


def error(frame: Frame, shown: Frame) -> float:
    """Mean squared error of luma."""
    return float(np.square(frame.y.astype(float) - shown.y).mean())
