"""What a candidate of the motion search costs in bits without side information: the prices of residuals.

Compiled loops on the host. A cell is loaded once, and each of its blocks is priced once with each prediction.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from pipeline.codec.blocks import SAMPLES, copy_block
from pipeline.codec.model import LEAST_BITS, error_and_saving
from pipeline.codec.modes import AFTER, BOTH, SIDES
from pipeline.codec.motion import HostPlanes, fetch_block, mirrored
from pipeline.codec.native import compiled
from pipeline.codec.tables import TAKEN
from pipeline.codec.vectors import FACTS

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Cells = npt.NDArray[np.bool_]

# What a block is predicted from: what moves, BOTH, BEFORE or AFTER (BOTH where a frame is not between two others); the
# plate; the layer as it is where nothing is said. Plain numbers would be compiled in.
FROM_PLATE, AS_IT_IS = np.int64(SIDES), np.int64(SIDES + 1)
_PRICED = 100  # predictions that one block is priced with, at most


class Scene(NamedTuple):
    """What residuals are made of and priced by: planes (H,W) of the `picture`, of the layer `before` it and of the
    `plate`; `basis` (96,96), of which each row takes a sample to the principal components; the quantiser's `step`;
    `still`: the layer as it is where nothing is said. Of a frame with `sides` also the layer `after` it, and how far it
    is to either, `near` and `far`."""

    picture: HostPlanes
    before: HostPlanes
    plate: HostPlanes
    basis: Floats
    step: float
    still: HostPlanes
    sides: bool
    after: HostPlanes
    near: int
    far: int


class Scratch(NamedTuple):
    area: Floats
    small: Floats
    lines: Floats
    block: Floats
    found: Floats
    parts: Floats
    keys: Ints  # (4,_PRICED,3) which plane and vector each block was priced with
    bits: Floats
    known: Ints  # (4,) how many those are
    candidates: Ints
    there: Cells
    vectors: Ints
    facts: Ints
    inner_vectors: Ints
    inner_facts: Ints


def scratch_space() -> Scratch:
    return Scratch(
        area=_floats(15, 15), small=_floats(7, 7), lines=_floats(15, 8),
        block=_floats(4, SAMPLES), found=_floats(SAMPLES), parts=_floats(SAMPLES),
        keys=_ints(4, _PRICED, 3), bits=_floats(4, _PRICED), known=_ints(4),
        candidates=_ints(TAKEN, 2), there=np.zeros(TAKEN, np.bool_),
        vectors=_ints(TAKEN, 2), facts=_ints(FACTS), inner_vectors=_ints(TAKEN, 2), inner_facts=_ints(FACTS),
    )  # fmt: skip


def _floats(*shape: int) -> Floats:
    return np.zeros(shape, np.float32)


def _ints(*shape: int) -> Ints:
    return np.zeros(shape, np.int64)


@compiled
def load(picture: HostPlanes, row: int, col: int, scratch: Scratch) -> None:
    """The blocks of a cell, of which nothing is priced yet."""
    luma, u, v = picture
    for k in range(4):
        scratch.known[k] = 0
        copy_block(luma, u, v, 2 * row + k // 2, 2 * col + k % 2, scratch.block[k])


@compiled
def priced(
    scene: Scene, scratch: Scratch, row: int, col: int, vector: Ints, source: int | np.int64, weight: float,
    bits: float, most: float,
) -> float:  # fmt: skip
    """What a cell costs, `bits` of side information included, with its blocks predicted by `vector` (4,2); beyond
    `most` it may be anything beyond it."""
    for k in range(4):
        if bits >= most:
            break
        bits += block_cost(scene, scratch, k, row, col, vector[k, 0], vector[k, 1], source, weight)
    return bits


@compiled
def block_cost(
    scene: Scene, scratch: Scratch, k: int, row: int, col: int, y: int, x: int, source: int | np.int64, weight: float
) -> float:
    """`_residual_cost`, worked out once."""
    keys, place = scratch.keys[k], 0
    while place < scratch.known[k] and (keys[place, 0] != source or keys[place, 1] != y or keys[place, 2] != x):
        place += 1
    if place == scratch.known[k]:
        keys[place, 0], keys[place, 1], keys[place, 2] = source, y, x
        scratch.bits[k, place] = _residual_cost(scene, scratch, k, row, col, y, x, source, weight)
        scratch.known[k] += 1
    return float(scratch.bits[k, place])


@compiled
def _residual_cost(
    scene: Scene, scratch: Scratch, k: int, row: int, col: int, y: int, x: int, source: int | np.int64, weight: float
) -> float:
    """What block k of a cell costs without side information: its error, or if that is less the symbols that take it
    away and what error they leave."""
    found, parts, wanted = scratch.found, scratch.parts, scratch.block[k]
    down, across = 2 * row + k // 2, 2 * col + k % 2
    area, small, lines = scratch.area, scratch.small, scratch.lines
    if source != AFTER:
        luma, u, v = scene.before
        if source == FROM_PLATE:
            luma, u, v = scene.plate
        elif source == AS_IT_IS:
            luma, u, v = scene.still
        fetch_block(luma, u, v, down, across, y, x, area, small, lines, found)
    if source == AFTER or (source == BOTH and scene.sides):
        luma, u, v = scene.after
        y, x = mirrored(y, scene.near, scene.far), mirrored(x, scene.near, scene.far)
        fetch_block(luma, u, v, down, across, y, x, area, small, lines, parts)
        for j in range(SAMPLES):
            one = parts[j] if source == AFTER else found[j]
            found[j] = np.floor((one + parts[j] + np.float32(1)) * np.float32(0.5))
    for j in range(SAMPLES):
        parts[j] = 0
    basis = scene.basis
    for i in range(0, SAMPLES, 4):  # four at a time, for the sums are read and written each time
        a, b, c, d = (
            wanted[i] - found[i],
            wanted[i + 1] - found[i + 1],
            wanted[i + 2] - found[i + 2],
            wanted[i + 3] - found[i + 3],
        )
        for j in range(SAMPLES):
            parts[j] += a * basis[i, j] + b * basis[i + 1, j] + c * basis[i + 2, j] + d * basis[i + 3, j]
    error, saved = error_and_saving(parts, scene.step, weight)
    return float(error - (saved if saved > LEAST_BITS else 0))
