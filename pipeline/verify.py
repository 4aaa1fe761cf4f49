"""Whether a stream file or a whole store is sound, and which frames are lost where it is not. Changes nothing.

Without a decoder this verifies what the container and the index can tell; with one, every packet is decoded and its
symbols are compared with their checksums too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.bitstream import Fault, Loss, StreamReader
from pipeline.errors import StreamError, UsageError
from pipeline.replay import Decoders, MakeDecoder, decode_stream
from pipeline.store import Segment, Store, StoreFault, check, read_through
from pipeline.types import Layer


@dataclass(frozen=True, slots=True)
class FileLoss:
    """Frames that a file has lost. `path` as in StoreFault."""

    path: str
    loss: Loss


@dataclass(frozen=True, slots=True)
class Verdict:
    """Every fault, none means sound, and every loss. A background that is not there as it should not be is neither."""

    faults: tuple[StoreFault, ...]
    losses: tuple[FileLoss, ...]


def verify(path: Path, *, make_decoder: MakeDecoder | None = None) -> Verdict:
    """What is wrong with a stream file or a store directory. In the faults of a file `path` is its name. Raises
    UsageError if there is nothing at `path`, StoreError if a directory is no store, CodecError if a decoder cannot be
    made."""
    examine = _examiner(make_decoder)
    if path.is_dir():
        with Store(path, readonly=True) as store:
            return _verify_store(store, examine)
    if not path.is_file():
        raise UsageError(f"{path}: no such file or directory")
    with open(path, "rb") as file:
        try:
            reader = StreamReader(file)
        except StreamError as error:
            fault = Fault(-1, None, error.offset, str(error))
            return Verdict((StoreFault(path.name, fault),), (FileLoss(path.name, _all(fault)),))
        examine(reader)
    return Verdict(
        tuple(StoreFault(path.name, fault) for fault in reader.faults),
        tuple(FileLoss(path.name, loss) for loss in reader.losses),
    )


def _verify_store(store: Store, examine: Callable[[StreamReader], None]) -> Verdict:
    losses: dict[str, list[Loss]] = {}  # by stream

    def note(reader: StreamReader) -> None:
        examine(reader)
        losses.setdefault(reader.header.stream_id.hex(), reader.losses)

    faults = check(store, examine=note)
    found = (loss for segment in store.segments() for loss in _losses_of(store, segment, faults, losses))
    return Verdict(faults, tuple(found))


def _losses_of(
    store: Store, segment: Segment, faults: tuple[StoreFault, ...], losses: dict[str, list[Loss]]
) -> Iterator[FileLoss]:
    """What a segment has lost: all of it, if its foreground was not to be read."""
    paths = {layer: store.name(segment, layer) for layer in Layer}
    if segment.id not in losses:
        cause = next((item.fault for item in faults if item.path == paths[Layer.FOREGROUND]), None)
        if cause is not None:  # or it has come, or gone, since
            yield FileLoss(paths[Layer.FOREGROUND], _all(cause))
    for loss in losses.get(segment.id, []):
        if segment.has_background or loss.layer is Layer.FOREGROUND:
            yield FileLoss(paths[loss.layer], loss)


def _all(fault: Fault) -> Loss:
    return Loss(-1, -1, Layer.FOREGROUND, fault.offset, fault.reason)


def _examiner(make_decoder: MakeDecoder | None) -> Callable[[StreamReader], None]:
    if make_decoder is None:
        return read_through
    decoders = Decoders(make_decoder)

    def decode_through(reader: StreamReader) -> None:
        for _ in decode_stream(reader, decoders.get(reader.info)):
            pass
        reader.check_index()

    return decode_through
