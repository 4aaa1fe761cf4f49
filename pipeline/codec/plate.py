"""The plate: a clean picture of the scene, coded at the head of every segment in the foreground layer.

byte 0   bits 1-3: state bytes left out; the rest zero
byte 1   quality 0..63
2..3     checksum of what a decoder must find, little-endian
rest     one entropy-coded stream: the map of cells never yet seen empty, then the symbols of all cells
"""

from __future__ import annotations

import numpy as np
import torch

from pipeline.codec.blocks import SAMPLES, Positions, blocks_at, to_planes
from pipeline.codec.brain import Brain
from pipeline.codec.effort import BEST, Effort
from pipeline.codec.layer import Job, importance_of, layer_checksum
from pipeline.codec.maps import read_map, write_map
from pipeline.codec.model import Modes
from pipeline.codec.modes import Vectors, places_of
from pipeline.codec.nets import QUALITIES
from pipeline.codec.past import Moment, Past
from pipeline.codec.rans import SymbolReader, SymbolWriter
from pipeline.codec.state import Cells, Geometry, Planes, Window, cell_tensor
from pipeline.codec.symbols import code_latents, latents, read_symbols, synthesise
from pipeline.errors import StreamError
from pipeline.types import Layer

_HEADER, _CHECKSUM = 2, 2


def _whole(geometry: Geometry, device: torch.device) -> tuple[Cells, Positions]:
    cells = np.ones(geometry.cells, np.bool_)
    return cells, Positions.of_cells(cell_tensor(cells, device))


def _picture(blocks: torch.Tensor, at: Positions) -> Planes:
    return to_planes(at.spread(blocks).round().clamp(0, 255).to(torch.uint8))


def encode_plate(
    brain: Brain, geometry: Geometry, picture: Planes, *, unclean: Cells, q: int, effort: Effort = BEST
) -> tuple[bytes, Planes]:
    """(payload, the plate as a decoder will have it). `unclean` marks cells never yet seen without an object."""
    cells, at = _whole(geometry, brain.device)
    job = Job(picture, cells, Vectors.still(places_of(cells)), np.ones(cells.shape, np.float32), q)
    writer = SymbolWriter(brain.tables, brain.counts)
    write_map(writer, Moment(Layer.FOREGROUND, q, 0), unclean, Past.none(geometry.cells))
    grey = torch.full((len(at), SAMPLES), 128.0, device=brain.device)
    before = torch.zeros_like(grey)
    importance = importance_of(job, Window.around(cells), brain.device)
    with brain.sharing(len(at)):
        source = blocks_at(picture, at)
        latent = latents(brain, "plate", at, source, grey, importance, q, effort=effort)
        coded = code_latents(brain, "plate", at, latent, grey, before, Modes.still(at), q, job.thrift)
    writer.add(coded.rows, coded.coded)
    if brain.counts is not None:
        brain.counts.add(*(part.tolist() for part in writer.collected()))
    data, zeros = writer.finish()
    head = bytes((zeros << 1, q))
    checksum = layer_checksum(head, unclean, None, coded.symbols).to_bytes(_CHECKSUM, "little")
    return head + checksum + data, _picture(coded.pictures, at)


def decode_plate(brain: Brain, geometry: Geometry, payload: bytes) -> tuple[Planes, Cells]:
    """(the plate, its unclean cells). Raises StreamError, also when the decoded symbols are not those that were
    coded."""
    if len(payload) < _HEADER + _CHECKSUM:
        raise StreamError(f"plate of {len(payload)} bytes")
    head, data = payload[:_HEADER], payload[_HEADER + _CHECKSUM :]
    flags, q = head
    if flags & ~0x0E or q >= QUALITIES:
        raise StreamError(f"plate header {head.hex()} is not valid")
    cells, at = _whole(geometry, brain.device)
    reader = SymbolReader(brain.tables, data, flags >> 1, most=cells.size * (4 * SAMPLES + 1))
    unclean = read_map(reader, Moment(Layer.FOREGROUND, q, 0), Past.none(geometry.cells))
    grey = torch.full((len(at), SAMPLES), 128.0, device=brain.device)
    with brain.sharing(len(at)):
        symbols = read_symbols(brain, "plate", at, torch.zeros_like(grey), Modes.still(at), q, reader)
    reader.finish()
    found = layer_checksum(head, unclean, None, symbols)
    if found != int.from_bytes(payload[_HEADER : _HEADER + _CHECKSUM], "little"):
        raise StreamError("the plate's symbols do not match their checksum")
    with brain.sharing(len(at)):
        return _picture(synthesise(brain, "plate", at, symbols, grey, q), at), unclean
