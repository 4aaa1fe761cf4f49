"""What routes ask of a request: who it is, which camera, what times; checked before anything else is done."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, HTTPException, Path, Query, Request

from pipeline.config import CAMERA_ID
from pipeline.serve.accounts import Account
from pipeline.serve.served import Served

US = 1_000_000
MOST_SECONDS = 1e11  # of Unix time; what is beyond has no microseconds in 64 bits


def served_of(request: Request) -> Served:
    served: Served = request.app.state.served
    return served


def account_of(request: Request) -> Account:
    """Who has signed in; the guard has seen to it that somebody has."""
    account: Account | None = request.scope.get("account")
    if account is None:
        raise HTTPException(401, "sign in first")
    return account


def admin_of(account: Annotated[Account, Depends(account_of)]) -> Account:
    if not account.is_admin:
        raise HTTPException(403, "this is for admins")
    return account


Here = Annotated[Served, Depends(served_of)]
Who = Annotated[Account, Depends(account_of)]
Admin = Annotated[Account, Depends(admin_of)]


def camera_of(here: Here, who: Who, camera: Annotated[str, Path(pattern=CAMERA_ID)]) -> str:
    """A camera that there is and that the user may see."""
    allow(here, who, camera)
    return camera


def allow(here: Served, who: Account, camera: str) -> None:
    """Refuse a camera that the user may not see, whether there is one or not, and one that there is not."""
    if not who.sees(camera):
        raise HTTPException(403, f"{who.name} may not see camera {camera}")
    if camera not in here.cameras(who):
        raise HTTPException(404, f"there is no camera {camera}")


Camera = Annotated[str, Depends(camera_of)]
Seconds = Annotated[float, Query(ge=0, le=MOST_SECONDS, allow_inf_nan=False)]
From = Annotated[float, Query(alias="from", ge=0, le=MOST_SECONDS, allow_inf_nan=False)]
To = Annotated[float, Query(alias="to", ge=0, le=MOST_SECONDS, allow_inf_nan=False)]
Width = Annotated[int | None, Query(ge=16, le=4096)]
Flag = Annotated[bool, Query()]


def span_us(begin_s: float, end_s: float) -> tuple[int, int]:
    """A range of seconds in microseconds."""
    from_us, to_us = round(begin_s * US), round(end_s * US)
    if to_us <= from_us:
        raise HTTPException(422, f"to: {end_s:g} is not after from: {begin_s:g}")
    return from_us, to_us
