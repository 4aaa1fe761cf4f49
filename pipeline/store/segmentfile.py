"""A segment's two files as streams: opened for reading, surveyed, written anew. Knows no index.

What is written here is not yet anybody's: `upkeep` says how it becomes a segment.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from pipeline.bitstream import HEADER_BYTES, StreamReader, StreamWriter
from pipeline.bitstream.chunks import walk
from pipeline.errors import StreamError
from pipeline.store.files import SUFFIX, as_store_error, create_durable, segment_of, sync, sync_directory
from pipeline.store.rows import GAP_US
from pipeline.types import Layer, Packet, StreamInfo


@dataclass(frozen=True, slots=True)
class Survey:
    """What the files of a segment hold: what its row should say. `bytes_background` is None without a background file;
    bytes end with the last whole chunk. `closed`: both files end as they should. `damaged`: something in between is
    not to be read."""

    first_wall_us: int
    last_wall_us: int
    first_pts_us: int
    last_pts_us: int
    frames: int
    bytes_foreground: int
    bytes_background: int | None
    closed: bool
    damaged: bool
    gaps: tuple[tuple[int, int], ...]


def open_files(foreground: Path, background: Path | None, stack: ExitStack, *, open_ended: bool) -> StreamReader:
    """A recovering reader of a segment's files, which the stack closes. A background file that is not there is none.
    Raises OSError, or StreamError if the foreground is no stream at all."""
    front = stack.enter_context(foreground.open("rb"))
    back = None
    if background is not None:
        with suppress(FileNotFoundError):  # aging unlinks it while readers are at work; its frames are marked
            back = stack.enter_context(background.open("rb"))
    return StreamReader(front, back, open_ended=open_ended)


def survey(foreground: Path) -> Survey:
    """Read a segment's foreground, and the sizes of its background beside it. Raises OSError, or StreamError if there
    is no frame to be had or the file is another segment's."""
    with ExitStack() as stack:
        background = foreground.with_suffix(SUFFIX[Layer.BACKGROUND])
        reader = open_files(foreground, background, stack, open_ended=True)
        named = segment_of(foreground)
        if named is None or reader.header.stream_id.hex() != named[0]:
            raise StreamError(f"the file holds stream {reader.header.stream_id.hex()}")
        packets = [item.packet for item in reader.packets(layer="foreground")]
        if not packets:
            raise StreamError("there is no whole frame in it")
        behind = stack.enter_context(background.open("rb")) if background.exists() else None
        walls = [packet.wall_us for packet in packets]
        return Survey(
            first_wall_us=min(walls), last_wall_us=max(walls), first_pts_us=packets[0].pts_us,
            last_pts_us=packets[-1].pts_us, frames=len(packets),
            bytes_foreground=_whole_bytes(stack.enter_context(foreground.open("rb"))),
            bytes_background=_whole_bytes(behind) if behind is not None else None,
            closed=reader.closed and (behind is None or _ends(behind)), damaged=bool(reader.faults),
            gaps=tuple((a, b) for a, b in pairwise(walls) if b - a > GAP_US),
        )  # fmt: skip


def write_files(
    paths: dict[Layer, Path], info: StreamInfo, stream_id: bytes, packets: Iterable[Packet]
) -> dict[Layer, int]:
    """Write packets as a closed segment into new files, durable when this returns; the first has a plate. Without a
    path for the background only the foreground is kept. Returns the bytes of each layer. Raises StoreError."""
    with as_store_error(paths[Layer.FOREGROUND]), ExitStack() as stack:
        files = {layer: stack.enter_context(create_durable(path)) for layer, path in paths.items()}
        background = files.get(Layer.BACKGROUND) or stack.enter_context(open(os.devnull, "wb", buffering=0))
        writer = StreamWriter(info, stream_id, foreground=files[Layer.FOREGROUND], background=background)
        for packet in packets:
            writer.append(packet)
        writer.close()
        for file in files.values():
            sync(file)
        sync_directory(paths[Layer.FOREGROUND].parent)
        return {layer: writer.layer_bytes[layer] for layer in files}


def segment_id(wall_us: int) -> bytes:
    """16 bytes that sort by time, unique: a UUID of version 7 on the footage's clock."""
    stamp = max(0, wall_us // 1000).to_bytes(8, "big")[2:]
    rest = bytearray(os.urandom(10))
    rest[0] = rest[0] & 0x0F | 0x70
    rest[2] = rest[2] & 0x3F | 0x80
    return stamp + bytes(rest)


def _whole_bytes(file: BinaryIO) -> int:
    """Where the last whole chunk ends."""
    return max(
        (head.end for head in walk(file, HEADER_BYTES, lambda fault: None, open_ended=True)), default=HEADER_BYTES
    )


def _ends(background: BinaryIO) -> bool:
    from pipeline.bitstream.keyindex import read_end

    try:
        read_end(background)
    except StreamError:
        return False
    return True
