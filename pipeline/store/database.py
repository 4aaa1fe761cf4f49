"""The index as an SQLite file: opened, brought to the version of schema.sql, and shared between threads.

Knows nothing of what the tables mean.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files as package_files
from pathlib import Path

from pipeline.errors import StoreError, UsageError
from pipeline.store.files import INDEX, MARKER

SCHEMA_VERSION = 3
PATIENCE_S = 10.0  # for another process's transaction


class Database:
    """One connection. Safe to share between threads: each transaction has it alone. Every failure is a StoreError of
    one line."""

    def __init__(self, root: Path, uuid: str, *, write: bool) -> None:
        """Open the index of the store `uuid`; if `write`, make it where there is none and bring an older one to
        SCHEMA_VERSION. The caller then holds the store's lock."""
        self._root = root
        self._write = write
        self._mutex = threading.Lock()
        self._connection = _connect(root / INDEX, write=write)
        try:
            if write:
                self._migrate(uuid)
            self._verify(uuid)
            self._connection.execute("PRAGMA foreign_keys = ON")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        self._connection.close()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, for statements that only read. Fetch all rows inside the block: others wait for it."""
        with self._mutex:
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise StoreError(f"{self._root / INDEX}: {error}") from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, durable when the block ends well and undone otherwise. Keep it short: other writers of the
        store wait for it."""
        if not self._write:
            raise UsageError(f"{self._root} is open for reading")
        with self.reading() as database, database:
            database.execute("BEGIN IMMEDIATE")
            yield database

    def check(self) -> str | None:
        """What SQLite finds wrong with its file, None if nothing."""
        with self.reading() as database:
            found = str(database.execute("PRAGMA quick_check(1)").fetchone()[0])
        return None if found == "ok" else found

    def _migrate(self, uuid: str) -> None:
        with self.writing() as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'store'").fetchone():
                for statement in statements("schema.sql"):
                    database.execute(statement)
                database.execute("INSERT INTO store (uuid, schema_version) VALUES (?, ?)", (uuid, SCHEMA_VERSION))
            ((owner, version),) = database.execute("SELECT uuid, schema_version FROM store")
            for step in range(version + 1, SCHEMA_VERSION + 1) if owner == uuid else ():
                for statement in statements(f"migrations/{step}.sql"):
                    database.execute(statement)
                database.execute("UPDATE store SET schema_version = ?", (step,))

    def _verify(self, uuid: str) -> None:
        with self.reading() as database:
            row = database.execute("SELECT uuid, schema_version FROM store").fetchone()
        if row is None or row[0] != uuid:
            raise StoreError(f"{self._root}: {INDEX} belongs to another store than {MARKER}")
        if row[1] < SCHEMA_VERSION:
            raise StoreError(
                f"{self._root}: index version {row[1]}; the next `fovea run` brings it to {SCHEMA_VERSION}"
            )
        if row[1] > SCHEMA_VERSION:
            raise StoreError(f"{self._root}: index version {row[1]}, this program knows {SCHEMA_VERSION}")


def statements(name: str) -> Sequence[str]:
    """The statements of an SQL file of this package, without its comments."""
    text = package_files("pipeline.store").joinpath(name).read_text(encoding="utf-8")
    bare = "\n".join(line.split("--")[0] for line in text.splitlines())
    return [statement for statement in bare.split(";") if statement.strip()]


def _connect(path: Path, *, write: bool) -> sqlite3.Connection:
    try:
        database = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={'rwc' if write else 'ro'}",
            uri=True, timeout=PATIENCE_S, isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        if write:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = FULL")
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    return database
