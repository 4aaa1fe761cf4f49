"""Whether a stream file or a whole store is sound. Changes nothing.

Without a decoder this verifies what the container and the index can tell; with one, every packet is decoded and its
symbols are compared with their checksums too.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pipeline.bitstream import Fault, StreamReader
from pipeline.errors import StreamError, UsageError
from pipeline.replay import Decoders, MakeDecoder, decode_stream
from pipeline.store import Store, StoreFault, check, read_through


def verify(path: Path, *, make_decoder: MakeDecoder | None = None) -> tuple[StoreFault, ...]:
    """Every fault of a stream file or a store directory; none means sound. In the faults of a file `path` is its name.
    Raises UsageError if there is nothing at `path`, StoreError if a directory is no store, CodecError if a decoder
    cannot be made."""
    if path.is_dir():
        with Store(path, readonly=True) as store:
            return check(store, examine=_examiner(make_decoder))
    if not path.is_file():
        raise UsageError(f"{path}: no such file or directory")
    examine = _examiner(make_decoder)
    with open(path, "rb") as file:
        try:
            reader = StreamReader(file)
        except StreamError as error:
            return (StoreFault(path.name, Fault(-1, None, error.offset, str(error))),)
        examine(reader)
    return tuple(StoreFault(path.name, fault) for fault in reader.faults)


def _examiner(make_decoder: MakeDecoder | None) -> Callable[[StreamReader], None]:
    if make_decoder is None:
        return read_through
    decoders = Decoders(make_decoder)

    def decode_through(reader: StreamReader) -> None:
        for _ in decode_stream(reader, decoders.get(reader.info)):
            pass
        reader.check_index()

    return decode_through
