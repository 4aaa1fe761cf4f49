"""Files that are whole or not there at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import UsageError


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A path to write to, which becomes `out` when the block ends well. Otherwise it is removed and an `out` that was
    there before stays as it was. Raises UsageError where nothing can be written."""
    if out.is_dir():
        raise UsageError(f"{out}: is a directory")
    if not out.parent.is_dir():
        raise UsageError(f"{out}: there is no directory {out.parent}")
    if not os.access(out.parent, os.W_OK):
        raise UsageError(f"{out}: {out.parent} is not writable")
    part = out.with_name(f".{out.stem}.{os.getpid()}.part{out.suffix}")
    try:
        yield part
        with part.open("rb") as done:
            os.fsync(done.fileno())
        os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
