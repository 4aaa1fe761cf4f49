"""One layer of one frame, as a section of its mini-GOP's stream, and back. FORMAT.md, "Bodies", says the same:

quality, against what is expected; whether the map is the last frame's, else the map; whether all cells are predicted in
place, else modes, sides (of a frame between others) and vectors; coded block flags; symbols in the order of
`entropy.steps`.

A position without symbols keeps its prediction as it is, and the nets never see it: work follows what changes, and what
stays does not drift.
"""

from __future__ import annotations

from dataclasses import dataclass

import google_crc32c
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.codec.blocks import SAMPLES, Positions, window_blocks
from pipeline.codec.brain import Brain
from pipeline.codec.decisions import read_bits
from pipeline.codec.effort import BEST, Effort
from pipeline.codec.flags import read_flags, write_flags
from pipeline.codec.maps import read_map, write_map
from pipeline.codec.model import LEAST_BITS, Kind, LayerInput, Modes, guessed_loss, loss_weight, saving
from pipeline.codec.modes import (
    AFTER,
    BEFORE,
    BOTH,
    MOVED,
    PLATE,
    SPLIT,
    Vectors,
    places_of,
    read_modes,
    read_sides,
    write_modes,
    write_sides,
)
from pipeline.codec.motion import fetch
from pipeline.codec.nets import QUALITIES, step_size
from pipeline.codec.past import Moment
from pipeline.codec.rans import Section, SymbolReader, SymbolWriter
from pipeline.codec.state import Cells, LayerState, Planes, Window, cell_tensor
from pipeline.codec.symbols import Attempt, code_latents, latents, read_symbols, synthesise
from pipeline.codec.tables import ALL_STILL, QUALITY, SAME_MAP
from pipeline.codec.vectors import read_vectors, write_vectors
from pipeline.errors import StreamError
from pipeline.types import Layer

_HEAD, _SIDE = 3, 21  # symbols that stand before the map, and of side information a cell
_STILL, _SAME = 1, 2  # bits of what the checksum covers

Ints = npt.NDArray[np.int64]
Side = tuple[Vectors, Tensor]  # of all cells; the coded block flag of each of their positions


@dataclass(frozen=True, slots=True)
class Coded:
    """A layer's frame, None where nothing was coded, and the checksum of what a decoder must find in it."""

    section: Section | None
    checksum: int


NOTHING = Coded(None, 0)


@dataclass(frozen=True, slots=True)
class Job:
    """What to encode: `picture` padded planes; `importance` (rows,cols) float32 0..1 over the cells; quality 0..63.
    `thrift` scales how eagerly the quantiser trades error for bits."""

    picture: Planes
    cells: Cells
    vectors: Vectors
    importance: npt.NDArray[np.float32]
    q: int
    thrift: float = 1.0
    effort: Effort = BEST


def _position_modes(vectors: Vectors, cells: Cells, state: LayerState, window: Window, at: Positions) -> Modes:
    """The cells' modes at their positions, as tensors."""
    cells, last = cells[window.cells], state.past.coded[window.positions]
    rows, cols = cells.shape
    fine_vector = np.zeros((rows, cols, 4, 2), np.int64)
    fine_vector[cells] = vectors.vector
    fine_vector = fine_vector.reshape(rows, cols, 2, 2, 2).transpose(0, 2, 1, 3, 4).reshape(rows * 2, cols * 2, 2)
    coarse = np.zeros((rows, cols), np.int64)
    coarse[cells] = vectors.mode
    both = np.stack((coarse.repeat(2, 0).repeat(2, 1), last.astype(np.int64)), -1)
    place = at.index
    fields = torch.from_numpy(both).to(place.device).view(-1, 2)[place]
    vector = torch.from_numpy(fine_vector).to(place.device).view(-1, 2)[place]
    split = (fields[:, 0] == SPLIT).long()
    mode = torch.where(fields[:, 0] == SPLIT, MOVED, fields[:, 0])
    return Modes(mode, vector, split, fields[:, 1], torch.full_like(mode, state.age))


def _blocks(planes: Planes, window: Window, at: Positions) -> Tensor:
    """(N,96): planes at the positions of a window."""
    return window_blocks(planes, at, 2 * window.top, 2 * window.left)


def predict(
    state: LayerState, plate: Planes, modes: Modes, window: Window, at: Positions, side: Tensor | None = None
) -> Tensor:
    """(N,96): the layer's plane in place or moved, or the plate. Of a frame between two others, where `side` (N,) is
    given, what moves is the one before, the one after, or the mean of both."""
    prediction = _blocks(state.plane, window, at)
    row, col = at.row + 2 * window.top, at.col + 2 * window.left

    def put(chosen: Tensor, planes: Planes, vector: Tensor) -> None:
        where = chosen.nonzero().squeeze(1)
        if where.numel():
            picture = torch.zeros_like(where)
            prediction[where] = fetch(planes, picture, row[where], col[where], vector[where])

    put(modes.mode == PLATE, plate, modes.vector)
    moved, sides = modes.mode == MOVED, state.sides
    if sides is None or side is None:
        put(moved, state.plane, modes.vector)
    else:
        put(moved & (side == BEFORE), sides.before, modes.vector)
        put(moved & (side == AFTER), sides.after, sides.mirrored(modes.vector))
        both = (moved & (side == BOTH)).nonzero().squeeze(1)
        if both.numel():
            prediction[both] = sides.mean(row[both], col[both], modes.vector[both])
    return prediction


def _sides(vectors: Vectors, cells: Cells, state: LayerState, window: Window, at: Positions) -> Tensor | None:
    """Which side moves, at each position (N,), of a frame that has sides."""
    if state.sides is None:
        return None
    side = np.zeros(cells.shape, np.int64)
    side[cells] = vectors.side
    fine = side[window.cells].repeat(2, 0).repeat(2, 1)
    return torch.from_numpy(fine).to(at.index.device).view(-1)[at.index]


def _kind(layer: Layer) -> Kind:
    return "foreground" if layer is Layer.FOREGROUND else "background"


def most_symbols(cells: int) -> int:
    """Of a frame of so many cells, at most."""
    return _HEAD + cells * (4 * SAMPLES + _SIDE)


def layer_checksum(head: bytes, cells: Cells, side: Side | None, symbols: Tensor, *, between: bool = False) -> int:
    """Low 16 bits of a CRC32C over flags and quality, map bits, modes, vectors, which side moves in a frame `between`
    two others, coded block flags and symbols, numbers as little-endian 16-bit integers. A plate has no `side`."""
    parts = [head, np.packbits(cells).tobytes()]
    if side is not None:
        vectors, flags = side
        told = (vectors.mode, vectors.vector, vectors.side) if between else (vectors.mode, vectors.vector)
        parts += [each.astype("<i2").tobytes() for each in told]
        parts += [np.packbits(flags.cpu().numpy()).tobytes()]
    crc = 0
    for part in (*parts, symbols.cpu().numpy().astype("<i2").tobytes()):
        crc = google_crc32c.extend(crc, part)
    return int(crc) & 0xFFFF


def encode_layer(brain: Brain, state: LayerState, plate: Planes, job: Job) -> Coded:
    """Encode one inter layer and commit it to the state.

    Positions are tried where a cheap estimate says that symbols pay; those whose symbols then took more bits than the
    error that they removed is worth go without, and the rest is coded anew, from the same latents. With less effort a
    closer estimate has to do.
    """
    kind, window = _kind(state.layer), brain.window(job.cells)
    at = Positions.of_cells(cell_tensor(job.cells[window.cells], brain.device))
    modes = _position_modes(job.vectors, job.cells, state, window, at)
    pictures = predict(state, plate, modes, window, at, _sides(job.vectors, job.cells, state, window, at))
    source, around = _blocks(job.picture, window, at), importance_of(job, window, brain.device)
    importance = at.pick(around)[:, 0]

    def attempt(chosen: Tensor, coded: Positions, latent: Tensor) -> Attempt:
        return code_latents(
            brain,
            kind,
            coded,
            latent,
            pictures[chosen],
            state.symbols_at(window, coded),
            modes.select(chosen),
            job.q,
            job.thrift,
        )

    effort = job.effort
    savings, least = _savings(brain, kind, source - pictures, importance, job.q, exact=not effort.recode)
    chosen = savings > least
    coded = at.select(chosen)
    with brain.sharing(len(coded)):
        latent = latents(brain, kind, coded, source[chosen], pictures[chosen], around, job.q, effort=effort)
        tried = attempt(chosen, coded, latent)
    if effort.recode:
        paid = tried.paid(state.tables, source[chosen], pictures[chosen], importance[chosen], job.q)
        if not bool(paid.all()):
            chosen = chosen.masked_scatter(chosen, paid)
            coded = at.select(chosen)
            with brain.sharing(len(coded)):
                tried = attempt(chosen, coded, latent[paid])
    if brain.watch is not None and len(coded):
        before, quality = state.symbols_at(window, coded), torch.full((len(coded),), float(job.q), device=brain.device)
        parts = source[chosen], pictures[chosen]
        brain.watch(LayerInput(kind, coded, *parts, around, before, modes.select(chosen), quality))
    writer = SymbolWriter(state.tables, brain.counts)
    now = np.zeros_like(state.past.coded)
    now[window.positions] = coded.chosen[0].cpu().numpy()
    flags = _write_side(writer, state, job, now)
    writer.add(tried.rows, tried.coded)
    symbols, pictures[chosen] = tried.symbols, tried.pictures
    section = _learnt(brain, writer, state, job.q)
    told = job.vectors
    state.commit(
        job.cells, window, at=at, blocks=pictures, coded=coded, symbols=symbols, mode=told.mode, vector=told.vector,
        side=told.side, q=job.q,
    )  # fmt: skip
    between, head = state.sides is not None, bytes((flags, job.q))
    return Coded(section, layer_checksum(head, job.cells, (job.vectors, chosen), symbols, between=between))


def encode_still(brain: Brain, state: LayerState, job: Job) -> Coded:
    """Encode a layer whose cells all stay as they are, and commit it to the state."""
    writer = SymbolWriter(state.tables, brain.counts)
    flags = _write_side(writer, state, job, np.zeros_like(state.past.coded))
    section = _learnt(brain, writer, state, job.q)
    state.commit_still(job.cells, job.q)
    none = torch.zeros(4 * len(job.vectors.places), dtype=torch.bool)
    between, head = state.sides is not None, bytes((flags, job.q))
    return Coded(
        section, layer_checksum(head, job.cells, (job.vectors, none), torch.zeros(0, SAMPLES), between=between)
    )


def _learnt(brain: Brain, writer: SymbolWriter, state: LayerState, q: int) -> Section:
    """What was written, which the layer's tables follow from here on."""
    section, found = writer.section(), writer.collected()
    if brain.counts is not None:
        brain.counts.add(*(part.tolist() for part in found))
    state.tables.learn(*found)
    state.note_quality(q)
    return section


def _savings(
    brain: Brain, kind: Kind, residual: Tensor, importance: Tensor, q: int, *, exact: bool = False
) -> tuple[Tensor, float]:
    """What symbols are expected to save in bits, (N,), of (N,96) residuals; `importance` (N,). And how much that has to
    be: an estimate that is not `exact` lets pass what has a chance, for a layer is then coded twice."""
    step = step_size(torch.full((len(residual),), float(q), device=residual.device))
    basis, weight = brain.nets.analysis_of(kind).basis, loss_weight(importance)
    if exact:
        return -guessed_loss(residual, basis, step, weight), 0.0
    return saving(residual, basis, step, weight), LEAST_BITS


def cells_worth_coding(
    brain: Brain,
    state: LayerState,
    picture: Planes,
    cells: Cells,
    *,
    q: int,
    importance: npt.NDArray[np.float32],
    least_bits: float = LEAST_BITS,
    exact: bool = False,
) -> tuple[Cells, float]:
    """Of some cells (rows, cols) those in which at least one position would save more than `least_bits` by symbols if
    it were predicted in place; and how many bits all that save some would save. `exact`: by the closer estimate."""
    kept, promised = np.zeros_like(cells), 0.0
    if cells.any():
        window = brain.window(cells)
        at = Positions.of_cells(cell_tensor(cells[window.cells], brain.device))
        residual = _blocks(picture, window, at) - _blocks(state.plane, window, at)
        counts = importance[window.cells].repeat(2, 0).repeat(2, 1)[at.chosen[0].cpu().numpy()]
        weight = torch.from_numpy(counts).to(brain.device)
        savings = _savings(brain, _kind(state.layer), residual, weight, q, exact=exact)[0]
        rows, cols = cells[window.cells].shape
        best = at.spread(savings[:, None]).cpu().numpy().reshape(rows, 2, cols, 2).max((1, 3))
        kept[window.cells] = best > least_bits
        promised = float(savings.clamp(min=0).sum())
    return kept, promised


def _write_side(writer: SymbolWriter, state: LayerState, job: Job, coded: Cells) -> int:
    """All but symbols, with the block flags `coded` (2 rows, 2 cols); returns what of it is flags."""
    past, moment = state.past, Moment(state.layer, job.q, state.age)
    same, still = np.array_equal(job.cells, past.cells), not job.vectors.mode.any()
    writer.add(np.array((QUALITY, SAME_MAP)), np.array((job.q - state.expected_quality, same), np.int64))
    if not same:
        write_map(writer, moment, job.cells, past)
    writer.add(np.array((ALL_STILL,)), np.array((still,), np.int64))
    if not still:
        write_modes(writer, moment, job.cells, job.vectors.mode, past)
        if state.sides is not None:
            write_sides(writer, job.vectors)
        write_vectors(writer, moment, job.vectors, past)
    write_flags(writer, moment, coded, job.cells, job.vectors, past)
    return _STILL * still | _SAME * same


def _flags_of(at: Positions, coded: Positions) -> Tensor:
    """The coded block flag of each position of a layer's cells, (N,)."""
    return at.pick(coded.chosen[..., None])[:, 0]


def decode_layer(brain: Brain, state: LayerState, plate: Planes, reader: SymbolReader) -> int:
    """Decode one inter layer, the next section, into the state; returns the checksum of what was found. Raises
    StreamError."""
    past = state.past
    reader.begin(state.tables)
    q = state.expected_quality + int(reader.read(np.array((QUALITY,)))[0])
    if not 0 <= q < QUALITIES:
        raise StreamError(f"a layer has quality step {q}")
    moment = Moment(state.layer, q, state.age)
    same = bool(read_bits(reader, np.array((SAME_MAP,)))[0])
    cells = past.cells if same else read_map(reader, moment, past)
    if not cells.any():
        raise StreamError("a layer codes no cell")
    places = places_of(cells)
    still = bool(read_bits(reader, np.array((ALL_STILL,)))[0])
    if still:
        vectors = Vectors.still(places)
    else:
        mode = read_modes(reader, moment, cells, past)
        told = read_sides(reader, mode) if state.sides is not None else None
        vectors = read_vectors(reader, moment, places, mode, past, told)
    now = read_flags(reader, moment, cells, vectors, past)
    kind, window = _kind(state.layer), brain.window(cells)
    at = Positions.of_cells(cell_tensor(cells[window.cells], brain.device))
    coded = Positions(cell_tensor(np.ascontiguousarray(now[window.positions]), brain.device))
    modes, chosen = _position_modes(vectors, cells, state, window, at), _flags_of(at, coded)
    before, side = state.symbols_at(window, coded), _sides(vectors, cells, state, window, at)
    pictures = predict(state, plate, modes, window, at, side)
    with brain.sharing(len(coded)):
        symbols = read_symbols(brain, kind, coded, before, modes.select(chosen), q, reader)
        state.tables.learn(*reader.end())
        state.note_quality(q)
        pictures[chosen] = synthesise(brain, kind, coded, symbols, pictures[chosen], q)
    state.commit(
        cells, window, at=at, blocks=pictures, coded=coded, symbols=symbols, mode=vectors.mode, vector=vectors.vector,
        side=vectors.side, q=q,
    )  # fmt: skip
    between, head = state.sides is not None, bytes((_STILL * still | _SAME * same, q))
    return layer_checksum(head, cells, (vectors, chosen), symbols, between=between)


def importance_of(job: Job, window: Window, device: torch.device) -> Tensor:
    """What the analysis sees of the importance in a window, (1,rows,cols,1) at positions. Cells that are not coded take
    the mean importance of those that are, for the analysis would fade out towards a border of unimportant cells."""
    cells, importance = job.cells[window.cells], job.importance[window.cells]
    filled = np.where(cells, importance, importance[cells].mean(dtype=np.float32))
    return torch.from_numpy(filled).to(device).repeat_interleave(2, 0).repeat_interleave(2, 1)[None, ..., None]
