"""Where a store keeps what, and how bytes become durable. Knows paths, nothing of SQL or of streams.

DIR/fovea-store            the marker: format and UUID; only a directory with it, or an empty one, is written to
DIR/lock                   held while the store is made and its tables are
DIR/ballast                takes room, so that there is some to let go of where the disk is full
DIR/upkeep.lock            held by whoever ages, repairs, copies or moves
DIR/index.sqlite           the index
DIR/segments/CAMERA/lock   held by the one sink that writes this camera
DIR/segments/CAMERA/ID.fg  plate and foreground
DIR/segments/CAMERA/ID.bg  background
DIR/quarantine/            what a repair took out of the way, and `log`, which says why
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from pipeline.config import CAMERA_ID
from pipeline.errors import StoreError, UsageError
from pipeline.types import Layer

MARKER, LOCK, INDEX, SEGMENTS = "fovea-store", "lock", "index.sqlite", "segments"
UPKEEP_LOCK, QUARANTINE = "upkeep.lock", "quarantine"
BALLAST, BALLAST_BYTES = "ballast", 4 << 20
_NEW_MARKER = "fovea-store.new"
SUFFIX = {Layer.FOREGROUND: ".fg", Layer.BACKGROUND: ".bg"}

_MARKER_TEXT = re.compile(r"fovea store 1\n([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\n")
_SEGMENT_ID = re.compile(r"[0-9a-f]{32}")


@contextmanager
def as_store_error(what: str | Path) -> Iterator[None]:
    """An operating system's refusal as one line of StoreError."""
    try:
        yield
    except OSError as error:
        raise StoreError(f"{what}: {error.strerror or error}") from error


def segment_path(root: Path, camera: str, segment_id: str, layer: Layer) -> Path:
    """Raises UsageError for what is no id: nothing else may become part of a path."""
    if not re.fullmatch(CAMERA_ID, camera):
        raise UsageError(f"camera id {camera!r}: lower-case letters, digits, '-' and '_', at most 64")
    if not _SEGMENT_ID.fullmatch(segment_id):
        raise UsageError(f"segment id {segment_id!r}: expected 32 hexadecimal digits")
    return root / SEGMENTS / camera / (segment_id + SUFFIX[layer])


def read_marker(root: Path) -> str:
    """The store's UUID. Raises StoreError if the directory is no store."""
    path = root / MARKER
    try:
        found = _MARKER_TEXT.fullmatch(path.read_text(encoding="ascii"))
    except FileNotFoundError as error:
        raise StoreError(f"{root}: not a Fovea store (no file {MARKER})") from error
    except OSError as error:
        raise StoreError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        found = None
    if found is None:
        raise StoreError(f"{path}: damaged, or of a later version")
    return found[1]


def refuse_foreign(root: Path) -> None:
    """Raises StoreError if `root` has no marker and holds anything else, or is no directory."""
    with as_store_error(root):
        names = sorted(entry.name for entry in root.iterdir())
    strange = [name for name in names if name not in (LOCK, _NEW_MARKER)]  # which a making that died has left
    if MARKER not in names and strange:
        raise StoreError(f"{root}: not empty and not a Fovea store ({strange[0]} is there)")


def create_marker(root: Path) -> str:
    """Make `root`, which must be there, a store and return its UUID. Raises StoreError if it holds anything else."""
    refuse_foreign(root)
    with as_store_error(root):
        name = str(uuid.uuid4())
        restore_marker(root, name)
        return name


def restore_marker(root: Path, name: str) -> None:
    """Write the marker of the store `name` again; a damaged one goes to quarantine."""
    path = root / MARKER
    if path.exists():
        quarantine(root, path, "damaged")
    new = root / _NEW_MARKER
    with as_store_error(path):
        new.unlink(missing_ok=True)
        with create_durable(new) as file:
            file.write(f"fovea store 1\n{name}\n".encode("ascii"))
            sync(file)
        os.rename(new, path)
        sync_directory(root)


def settle_ballast(root: Path) -> None:
    """Hold some of the disk back, and let go of it where there is no other room: on a full disk even what frees it, a
    purge, has to write to the index first."""
    path = root / BALLAST
    with suppress(OSError):  # no room to hold back, or none to let go of: what follows says so
        free = shutil.disk_usage(root).free
        held = path.stat().st_size if path.exists() else 0
        if free < BALLAST_BYTES // 2 and held:
            path.unlink()
        elif free > 2 * BALLAST_BYTES and held < BALLAST_BYTES:
            with open(path, "ab") as file:
                os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)


def lock(directory: Path, *, wait: bool, name: str = LOCK, patience_s: float = 0.0) -> BinaryIO:
    """The lock of a directory, held until the file is closed or the process ends. Raises StoreError if another has it
    and `wait` is false: at once, or after `patience_s`, for one that is about to end."""
    until_s = time.monotonic() + patience_s
    with as_store_error(directory / name):
        file = open(directory / name, "ab")  # noqa: SIM115 - the open file is the lock
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
                return file
            except BlockingIOError as error:
                if time.monotonic() >= until_s:
                    file.close()
                    raise StoreError(f"{directory}: another writer is at work here") from error
            time.sleep(0.05)


def is_locked(directory: Path) -> bool:
    """Whether someone holds the lock of a directory."""
    try:
        with open(directory / LOCK, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def segment_of(path: Path) -> tuple[str, Layer] | None:
    """Segment id and layer of a file's name, None if it is no segment's."""
    layer = next((layer for layer in Layer if path.suffix == SUFFIX[layer]), None)
    return (path.stem, layer) if layer is not None and _SEGMENT_ID.fullmatch(path.stem) else None


def quarantine(root: Path, path: Path, reason: str) -> None:
    """Move a file out of the store's way, and note why. Nothing that is there already is replaced."""
    with as_store_error(path):
        target = root / QUARANTINE / path.relative_to(root)
        target.parent.mkdir(parents=True, exist_ok=True)
        number = 0
        while target.exists():
            number += 1
            target = target.with_name(f"{path.name}.{number}")
        os.rename(path, target)
        sync_directory(target.parent)
        with open(root / QUARANTINE / "log", "a", encoding="utf-8") as log:
            log.write(f"{target.relative_to(root)}: {reason}\n")


def create_durable(path: Path) -> BinaryIO:
    """A new file to write; fails if it exists. Unbuffered: a chunk is one write."""
    return open(path, "xb", buffering=0)


def sync(file: BinaryIO) -> None:
    os.fsync(file.fileno())


def sync_directory(path: Path) -> None:
    """Make names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
