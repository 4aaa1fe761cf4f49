"""Sign-in, users, tokens and the audit log."""

from __future__ import annotations

import asyncio
import re
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, HTTPException, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from pipeline import __version__
from pipeline.config import CAMERA_ID
from pipeline.serve.accounts import LONGEST_PASSWORD, Account, Role
from pipeline.serve.guard import COOKIE, SECURE_COOKIE, Attempts, session_of
from pipeline.serve.routes.asked import Admin, Here, Who
from pipeline.serve.served import Served

router = APIRouter(prefix="/api")

USER_NAME = r"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"
MOST_CHECKS = 2  # of passwords at once: each takes 64 MiB
MOST_WAITING = 16

Name = Annotated[str, Path(pattern=USER_NAME)]
Password = Annotated[str, Field(min_length=1, max_length=LONGEST_PASSWORD)]
Listed = Annotated[str, Field(pattern=CAMERA_ID)]
Cameras = Annotated[list[Listed], Field(max_length=10_000)]
Number = Annotated[int, Path(ge=1, lt=1 << 62)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class SignIn(_Body):
    user: str = Field(min_length=1, max_length=64)
    password: Password


class NewPassword(_Body):
    old: Password
    new: Password


class NewUser(_Body):
    name: str = Field(pattern=USER_NAME)
    password: Password
    role: Role = "viewer"
    cameras: Cameras | None = None


class UserChange(_Body):
    password: Password | None = None
    role: Role | None = None
    cameras: Cameras | None = None  # null: every camera; not given: as it is


class NewToken(_Body):
    name: str = Field(min_length=1, max_length=64)


class Door:
    """How often somebody may try to sign in. `closed_s`: how long they must wait now."""

    def __init__(self) -> None:
        self._by_pair, self._by_address = Attempts(5, 300.0), Attempts(30, 300.0)
        self._checks = asyncio.Semaphore(MOST_CHECKS)
        self._waiting = 0
        self.refused = 0

    def closed_s(self, address: str, user: str) -> float:
        return max(self._by_pair.wait_s(f"{address} {user}"), self._by_address.wait_s(address))

    async def check(self, here: Served, address: str, user: str, password: str) -> Account | None:
        """Whether the password fits. Raises HTTPException where too many try."""
        if (closed_s := self.closed_s(address, user)) > 0 or self._waiting >= MOST_WAITING:
            headers = {"Retry-After": str(max(1, round(closed_s)))}
            raise HTTPException(429, "too many attempts: wait a few minutes", headers)
        self._waiting += 1
        try:
            async with self._checks:
                if self.closed_s(address, user) > 0:  # others were ahead
                    raise HTTPException(429, "too many attempts: wait a few minutes")
                account = await asyncio.to_thread(here.accounts.check, user, password)
                self.refused += account is None
                for attempts, name in ((self._by_pair, f"{address} {user}"), (self._by_address, address)):
                    if account is None:
                        attempts.fail(name)
                    else:
                        attempts.forget(name)
        finally:
            self._waiting -= 1
        return account


def address_of(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _door(request: Request) -> Door:
    door: Door = request.app.state.door
    return door


@router.post("/login")
async def login(request: Request, response: Response, here: Here, body: SignIn) -> dict[str, object]:
    """Sign in: sets the session's cookie."""
    address = address_of(request)
    account = await _door(request).check(here, address, body.user, body.password)
    shown = body.user if re.match(USER_NAME, body.user) else "?"  # somebody may type a password there
    if account is None:
        await asyncio.to_thread(here.accounts.note, shown, address, "sign-in refused")
        raise HTTPException(401, "wrong user or password")
    await asyncio.to_thread(here.accounts.note, account.name, address, "sign-in")
    await _begin(here, response, account.name)
    return _me(account)


async def _begin(here: Served, response: Response, user: str) -> None:
    secret = await asyncio.to_thread(here.accounts.begin_session, user)
    response.set_cookie(
        SECURE_COOKIE if here.secure else COOKIE, secret, path="/", httponly=True, samesite="strict",
        secure=here.secure, max_age=round(here.site.now.serve.session_hours * 3600),
    )  # fmt: skip


@router.post("/logout")
def logout(request: Request, response: Response, here: Here, who: Who) -> dict[str, bool]:
    secret = session_of(request.headers, secure=here.secure)
    if secret:
        here.accounts.end_session(secret)
        here.accounts.note(who.name, address_of(request), "sign-out")
    response.delete_cookie(SECURE_COOKIE if here.secure else COOKIE, path="/", secure=here.secure, httponly=True)
    return {"ok": True}


@router.get("/me")
def me(who: Who) -> dict[str, object]:
    return _me(who) | {"version": __version__}


@router.post("/me/password")
async def change_password(
    request: Request, response: Response, here: Here, who: Who, body: NewPassword
) -> dict[str, bool]:
    """Ends every other session of the user."""
    address = address_of(request)
    if await _door(request).check(here, address, who.name, body.old) is None:
        raise HTTPException(403, "the old password is wrong")
    await asyncio.to_thread(here.accounts.change, who.name, password=body.new)
    await asyncio.to_thread(here.accounts.note, who.name, address, "password changed")
    await _begin(here, response, who.name)
    return {"ok": True}


def _me(account: Account) -> dict[str, object]:
    cameras = None if account.cameras is None or account.is_admin else sorted(account.cameras)
    return {"user": account.name, "role": account.role, "cameras": cameras}


@router.get("/users")
def users(here: Here, who: Admin) -> list[dict[str, object]]:
    return [_me(user) for user in here.accounts.users()]


@router.post("/users")
def add_user(request: Request, here: Here, who: Admin, body: NewUser) -> dict[str, bool]:
    here.accounts.add(body.name, body.password, body.role, body.cameras)
    here.accounts.note(who.name, address_of(request), "user added", f"{body.name} {body.role}")
    return {"ok": True}


@router.patch("/users/{name}")
def change_user(request: Request, here: Here, who: Admin, name: Name, body: UserChange) -> dict[str, bool]:
    _require_user(here, name)
    changed = [field for field in ("password", "role", "cameras") if field in body.model_fields_set]
    cameras = body.cameras if "cameras" in changed else "same"
    here.accounts.change(name, password=body.password, role=body.role, cameras=cameras)
    here.accounts.note(who.name, address_of(request), "user changed", f"{name}: {', '.join(changed)}")
    return {"ok": True}


@router.delete("/users/{name}")
def remove_user(request: Request, here: Here, who: Admin, name: Name) -> dict[str, bool]:
    _require_user(here, name)
    here.accounts.remove(name)
    here.accounts.note(who.name, address_of(request), "user removed", name)
    return {"ok": True}


def _require_user(here: Served, name: str) -> None:
    if all(user.name != name for user in here.accounts.users()):
        raise HTTPException(404, f"there is no user {name}")


@router.get("/tokens")
def tokens(here: Here, who: Who) -> list[dict[str, object]]:
    """One's own; an admin sees all."""
    return [asdict(token) for token in here.accounts.tokens(None if who.is_admin else who.name)]


@router.post("/tokens")
def make_token(request: Request, here: Here, who: Who, body: NewToken) -> dict[str, object]:
    """A token with one's own rights; `token` is shown this once."""
    token, secret = here.accounts.make_token(who.name, body.name)
    here.accounts.note(who.name, address_of(request), "token made", f"{token.id}: {body.name}")
    return asdict(token) | {"token": secret}


@router.delete("/tokens/{number}")
def remove_token(request: Request, here: Here, who: Who, number: Number) -> dict[str, bool]:
    if not here.accounts.remove_token(number, user=None if who.is_admin else who.name):
        raise HTTPException(404, f"there is no token {number}")
    here.accounts.note(who.name, address_of(request), "token removed", str(number))
    return {"ok": True}


@router.get("/audit")
def audit(here: Here, who: Admin, limit: Annotated[int, Query(ge=1, le=10_000)] = 200) -> list[dict[str, object]]:
    """The newest first."""
    return [asdict(deed) for deed in here.accounts.audit(limit)]
