"""Users, sign-in, sessions, tokens and the audit log, in an SQLite file of their own. Knows no HTTP.

Nothing that lets anybody in can be read back from the file. Whoever changes a password or loses a right loses every
session with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files as package_files
from pathlib import Path
from typing import Literal

from pwdlib import PasswordHash

from pipeline.errors import StoreError, UsageError

Role = Literal["admin", "viewer"]

ADMIN = "admin"
SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 256
VERSION = 1  # of users.sql
MOST_AUDIT = 100_000
MOST_TOKENS = 100  # a user
MOST_SESSIONS = 50  # a user; the oldest goes
_TOUCH_S = 60.0  # `used` is exact to this


class AccountError(UsageError):
    """What was asked of the accounts cannot be. `conflict`: it stands against what is there."""

    def __init__(self, message: str, *, conflict: bool = False) -> None:
        super().__init__(message)
        self.conflict = conflict


@dataclass(frozen=True, slots=True)
class Account:
    """Who is asking. `cameras`: those that may be seen, None for all. `viewer` tells one sign-in from another without
    giving it away."""

    name: str
    role: Role
    cameras: frozenset[str] | None
    viewer: str = ""

    @property
    def is_admin(self) -> bool:
        return self.role == "admin"

    def sees(self, camera: str) -> bool:
        return self.is_admin or self.cameras is None or camera in self.cameras


@dataclass(frozen=True, slots=True)
class Token:
    """`used` is None until it was."""

    id: int
    user: str
    name: str
    made: float
    used: float | None


@dataclass(frozen=True, slots=True)
class Deed:
    """A line of the audit log."""

    at: float
    user: str
    address: str
    action: str
    detail: str


class Accounts:
    """An open file of users, made where there is none. Safe to share between threads. Raises StoreError."""

    def __init__(self, path: Path, *, session_s: float = 86_400.0, now: Callable[[], float] = time.time) -> None:
        self._path, self._session_s, self._now = path, session_s, now
        self._hasher = PasswordHash.recommended()
        self._nobody = self._hasher.hash(secrets.token_urlsafe())
        self._mutex = threading.RLock()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self._database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10.0)
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA foreign_keys = ON")
        except (OSError, sqlite3.Error) as error:
            raise StoreError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        with self._writing() as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'users'").fetchone():
                text = package_files("pipeline.serve").joinpath("users.sql").read_text(encoding="utf-8")
                bare = "\n".join(line.split("--")[0] for line in text.splitlines())
                for statement in bare.split(";"):
                    database.execute(statement)
            ((version,),) = database.execute("PRAGMA user_version")
            if version > VERSION:
                raise StoreError(f"{path}: users of version {version}, this program knows {VERSION}")
            database.execute(f"PRAGMA user_version = {VERSION}")

    def close(self) -> None:
        with self._mutex:
            self._database.close()

    # -- users

    def first_password(self, *, again: bool = False) -> str | None:
        """Make the admin where there is no user at all, or give it a new password; returns that password, once."""
        if self.users() and not again:
            return None
        password = secrets.token_urlsafe(12)
        if any(user.name == ADMIN for user in self.users()):
            self.change(ADMIN, password=password, role="admin")
        else:
            self.add(ADMIN, password, "admin", None)
        return password

    def users(self) -> tuple[Account, ...]:
        with self._reading() as database:
            rows = database.execute("SELECT name, role, cameras FROM users ORDER BY name").fetchall()
        return tuple(_account(*row) for row in rows)

    def add(self, name: str, password: str, role: Role, cameras: Sequence[str] | None) -> None:
        """Raises AccountError for a name that is taken and a password that is too short."""
        made = self._hash(password)
        with self._writing() as database:
            if database.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
                raise AccountError(f"there is a user {name} already", conflict=True)
            database.execute(
                "INSERT INTO users (name, hash, role, cameras, made) VALUES (?, ?, ?, ?, ?)",
                (name, made, role, _listed(cameras), self._now()),
            )

    def change(
        self,
        name: str,
        *,
        password: str | None = None,
        role: Role | None = None,
        cameras: Sequence[str] | Literal["same"] | None = "same",
    ) -> None:
        """Change what is given. Ends the user's sessions. Raises AccountError; one admin always stays."""
        made = self._hash(password) if password is not None else None
        with self._writing() as database:
            self._require(database, name)
            if role == "viewer":
                self._keep_an_admin(database, name)
            database.execute(
                "UPDATE users SET hash = coalesce(?, hash), role = coalesce(?, role) WHERE name = ?",
                (made, role, name),
            )
            if cameras != "same":
                database.execute("UPDATE users SET cameras = ? WHERE name = ?", (_listed(cameras), name))
            database.execute("DELETE FROM sessions WHERE user = ?", (name,))

    def remove(self, name: str) -> None:
        """With sessions and tokens. Raises AccountError; one admin always stays."""
        with self._writing() as database:
            self._require(database, name)
            self._keep_an_admin(database, name)
            database.execute("DELETE FROM users WHERE name = ?", (name,))

    # -- getting in

    def check(self, name: str, password: str) -> Account | None:
        """The user with this password. Takes about a tenth of a second, whether there is such a user or not."""
        with self._reading() as database:
            row = database.execute("SELECT name, role, cameras, hash FROM users WHERE name = ?", (name,)).fetchone()
        known = row[3] if row is not None else self._nobody
        fits = self._hasher.verify(password[:LONGEST_PASSWORD], known)
        return _account(*row[:3]) if row is not None and fits else None

    def begin_session(self, name: str) -> str:
        """A secret that `of_session` knows."""
        secret = secrets.token_urlsafe(32)
        with self._writing() as database:
            database.execute("DELETE FROM sessions WHERE used < ?", (self._now() - self._session_s,))
            database.execute("INSERT INTO sessions VALUES (?, ?, ?)", (_digest(secret), name, self._now()))
            database.execute(
                """DELETE FROM sessions WHERE user = :user AND hash NOT IN
                (SELECT hash FROM sessions WHERE user = :user ORDER BY used DESC LIMIT :most)""",
                {"user": name, "most": MOST_SESSIONS},
            )
        return secret

    def of_session(self, secret: str) -> Account | None:
        """Whose session it is, while it is not idle for too long."""
        mark, now = _digest(secret), self._now()
        with self._reading() as database:
            row = database.execute(
                """SELECT u.name, u.role, u.cameras, s.used FROM sessions s JOIN users u ON u.name = s.user
                WHERE s.hash = ? AND s.used >= ?""",
                (mark, now - self._session_s),
            ).fetchone()
            if row is not None and now - row[3] > _TOUCH_S:
                database.execute("UPDATE sessions SET used = ? WHERE hash = ?", (now, mark))
        return _account(row[0], row[1], row[2], f"s{mark.hex()[:16]}") if row is not None else None

    def end_session(self, secret: str) -> None:
        with self._writing() as database:
            database.execute("DELETE FROM sessions WHERE hash = ?", (_digest(secret),))

    # -- tokens

    def tokens(self, user: str | None = None) -> tuple[Token, ...]:
        with self._reading() as database:
            rows = database.execute(
                "SELECT id, user, name, made, used FROM tokens WHERE ?1 IS NULL OR user = ?1 ORDER BY id", (user,)
            ).fetchall()
        return tuple(Token(*row) for row in rows)

    def make_token(self, user: str, name: str) -> tuple[Token, str]:
        """A token with the user's rights, and its secret, which nobody can show again. Raises AccountError."""
        secret = f"fovea_{secrets.token_urlsafe(32)}"
        with self._writing() as database:
            (held,) = database.execute("SELECT count(*) FROM tokens WHERE user = ?", (user,)).fetchone()
            if held >= MOST_TOKENS:
                raise AccountError(f"{user} has {held} tokens: remove one first", conflict=True)
            row = database.execute(
                "INSERT INTO tokens (hash, user, name, made) VALUES (?, ?, ?, ?) RETURNING id, user, name, made, used",
                (_digest(secret), user, name, self._now()),
            ).fetchone()
        return Token(*row), secret

    def of_token(self, secret: str) -> Account | None:
        mark, now = _digest(secret), self._now()
        with self._reading() as database:
            row = database.execute(
                """SELECT u.name, u.role, u.cameras, t.id, t.used FROM tokens t JOIN users u ON u.name = t.user
                WHERE t.hash = ?""",
                (mark,),
            ).fetchone()
            if row is not None and now - (row[4] or 0.0) > _TOUCH_S:
                database.execute("UPDATE tokens SET used = ? WHERE id = ?", (now, row[3]))
        return _account(row[0], row[1], row[2], f"t{row[3]}") if row is not None else None

    def remove_token(self, number: int, *, user: str | None = None) -> bool:
        """Remove a token, of this user if one is given; whether there was one."""
        with self._writing() as database:
            query = "DELETE FROM tokens WHERE id = ?1 AND (?2 IS NULL OR user = ?2)"
            return database.execute(query, (number, user)).rowcount > 0

    # -- the audit log

    def note(self, user: str, address: str, action: str, detail: str = "") -> None:
        """Add a line; of the oldest, those beyond MOST_AUDIT go."""
        with self._writing() as database:
            (number,) = database.execute(
                "INSERT INTO audit (at, user, address, action, detail) VALUES (?, ?, ?, ?, ?) RETURNING number",
                (self._now(), user[:64], address, action, detail[:500]),
            ).fetchone()
            database.execute("DELETE FROM audit WHERE number <= ?", (number - MOST_AUDIT,))

    def audit(self, limit: int) -> tuple[Deed, ...]:
        """The newest lines first."""
        with self._reading() as database:
            rows = database.execute(
                "SELECT at, user, address, action, detail FROM audit ORDER BY number DESC LIMIT ?", (limit,)
            ).fetchall()
        return tuple(Deed(*row) for row in rows)

    # -- inside

    def _hash(self, password: str) -> str:
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            raise AccountError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
        return self._hasher.hash(password)

    @staticmethod
    def _require(database: sqlite3.Connection, name: str) -> None:
        if not database.execute("SELECT 1 FROM users WHERE name = ?", (name,)).fetchone():
            raise AccountError(f"there is no user {name}")

    @staticmethod
    def _keep_an_admin(database: sqlite3.Connection, name: str) -> None:
        query = "SELECT 1 FROM users WHERE role = 'admin' AND name != ? LIMIT 1"
        if not database.execute(query, (name,)).fetchone():
            raise AccountError(f"{name} is the only admin", conflict=True)

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            try:
                yield self._database
            except sqlite3.Error as error:
                raise StoreError(f"{self._path}: {error}") from error

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as database, database:
            database.execute("BEGIN IMMEDIATE")
            yield database


def _account(name: str, role: Role, cameras: str | None, viewer: str = "") -> Account:
    return Account(name, role, None if cameras is None else frozenset(json.loads(cameras)), viewer)


def _listed(cameras: Sequence[str] | None) -> str | None:
    return None if cameras is None else json.dumps(sorted(set(cameras)))


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()
