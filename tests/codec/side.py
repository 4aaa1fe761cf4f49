"""Random side information for tests."""

from __future__ import annotations

import numpy as np

from pipeline.codec.layer import Coded
from pipeline.codec.modes import MOVED, SPLIT, Vectors
from pipeline.codec.past import Past
from pipeline.codec.rans import SymbolReader, SymbolWriter, joined
from pipeline.codec.tables import CodingTables


def reader_of(writer: SymbolWriter, most: int = 100_000) -> SymbolReader:
    data, zeros = writer.finish()
    return SymbolReader(writer.tables, data, zeros, most=most)


def reader_of_layers(tables: CodingTables, *coded: Coded) -> SymbolReader:
    """Of layers that are not empty, one after the other."""
    data, zeros = joined([one.section for one in coded if one.section is not None])
    return SymbolReader(tables, data, zeros, most=1_000_000)


def random_vectors(rng: np.random.Generator, cells: np.ndarray, limit: int) -> Vectors:
    """Many of them alike, so that some are taken from others."""
    places = np.argwhere(cells).astype(np.int64)
    mode = rng.integers(0, 4, len(places))
    vector = np.zeros((len(places), 4, 2), np.int64)
    few = rng.integers(-limit, limit + 1, (3, 2))
    one = np.where(rng.random((len(places), 1, 1)) < 0.5, few[rng.integers(0, 3, (len(places), 1))],
                   rng.integers(-limit, limit + 1, (len(places), 1, 2)))  # fmt: skip
    vector[mode == MOVED] = one[mode == MOVED]
    own = rng.integers(-limit, limit + 1, (len(places), 4, 2))
    own[rng.random((len(places), 4)) < 0.4] = 0
    vector[mode == SPLIT] = own[mode == SPLIT]
    return Vectors(places, mode, vector)


def random_past(rng: np.random.Generator, shape: tuple[int, int], frames: int = 3) -> Past:
    """After some frames of nonsense."""
    past = Past.none(shape)
    for _ in range(frames):
        cells = rng.random(shape) < 0.5
        mode, vector = np.full(shape, -1, np.int64), np.zeros((*shape, 2), np.int64)
        found = random_vectors(rng, cells, 60)
        mode[cells], vector[cells] = found.mode, found.vector[:, 0]
        coded = cells.repeat(2, 0).repeat(2, 1) & (rng.random((shape[0] * 2, shape[1] * 2)) < 0.4)
        total = np.where(coded, rng.integers(0, 256, coded.shape), 0).astype(np.uint8)
        past = past.then(cells, mode, vector, coded, total, np.minimum(total, 96).astype(np.uint8))
    return past
