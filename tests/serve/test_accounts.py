"""Users, sessions, tokens: who gets in, who no longer does, and what the file keeps."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import StoreError
from pipeline.serve.accounts import AccountError, Accounts

PASSWORD = "correct horse"


class Clock:
    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(tmp_path: Path, clock: Clock) -> Accounts:
    accounts = Accounts(tmp_path / "users.sqlite", session_s=3600, now=clock)
    accounts.add("anna", PASSWORD, "viewer", ["gate"])
    accounts.add("bert", PASSWORD, "admin", None)
    return accounts


def test_the_first_start_makes_an_admin_whose_password_is_told_once(tmp_path: Path) -> None:
    accounts = Accounts(tmp_path / "users.sqlite")
    password = accounts.first_password()
    assert password is not None
    assert accounts.first_password() is None
    found = accounts.check("admin", password)
    assert found is not None
    assert found.is_admin
    again = accounts.first_password(again=True)
    assert again not in (None, password)
    assert accounts.check("admin", password) is None


def test_a_password_is_checked_and_never_kept(accounts: Accounts, tmp_path: Path) -> None:
    found = accounts.check("anna", PASSWORD)
    assert found is not None
    assert (found.role, found.sees("gate"), found.sees("yard")) == ("viewer", True, False)
    assert accounts.check("anna", PASSWORD + "x") is None
    assert accounts.check("nobody", PASSWORD) is None
    secret = accounts.begin_session("anna")
    _, token = accounts.make_token("anna", "script")
    accounts.close()
    kept = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    assert b"$argon2id$" in kept
    for text in (PASSWORD, secret, token):
        assert text.encode() not in kept
    assert (tmp_path / "users.sqlite").stat().st_mode & 0o077 == 0, "others of this machine may not read it"


def test_a_session_ends_when_it_is_idle_and_when_rights_change(accounts: Accounts, clock: Clock) -> None:
    secret = accounts.begin_session("anna")
    clock.now += 3000
    assert accounts.of_session(secret) is not None
    clock.now += 3000
    assert accounts.of_session(secret) is not None, "it was in use"
    clock.now += 3601
    assert accounts.of_session(secret) is None
    secret = accounts.begin_session("anna")
    accounts.change("anna", cameras=["yard"])
    assert accounts.of_session(secret) is None
    other = accounts.begin_session("anna")
    accounts.end_session(other)
    assert accounts.of_session(other) is None


def test_tokens_have_their_users_rights_as_they_are_now(accounts: Accounts) -> None:
    token, secret = accounts.make_token("anna", "script")
    assert accounts.of_token(secret) is not None
    accounts.change("anna", cameras=[])
    found = accounts.of_token(secret)
    assert found is not None
    assert not found.sees("gate")
    assert not accounts.remove_token(token.id, user="bert")
    assert accounts.remove_token(token.id, user="anna")
    assert accounts.of_token(secret) is None
    _, secret = accounts.make_token("anna", "script")
    accounts.remove("anna")
    assert accounts.of_token(secret) is None


def test_one_admin_stays(accounts: Accounts) -> None:
    for change in (lambda: accounts.remove("bert"), lambda: accounts.change("bert", role="viewer")):
        with pytest.raises(AccountError, match="only admin"):
            change()
    with pytest.raises(AccountError, match="already"):
        accounts.add("anna", PASSWORD, "viewer", None)
    with pytest.raises(AccountError, match="10 to 256"):
        accounts.add("carl", "short", "viewer", None)


def test_the_audit_log_keeps_the_newest(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.serve.accounts.MOST_AUDIT", 3)
    for number in range(5):
        accounts.note("anna", "192.0.2.1", f"deed {number}")
    assert [deed.action for deed in accounts.audit(10)] == ["deed 4", "deed 3", "deed 2"]


def test_a_file_that_is_no_database_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "users.sqlite").write_text("not a database, though it is as long as one would be" * 100)
    with pytest.raises(StoreError, match="not a database"):
        Accounts(tmp_path / "users.sqlite")


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    Accounts(tmp_path / "users.sqlite").close()
    with sqlite3.connect(tmp_path / "users.sqlite") as database:
        database.execute("PRAGMA user_version = 2")
    database.close()
    with pytest.raises(StoreError, match="version 2, this program knows 1"):
        Accounts(tmp_path / "users.sqlite")
