"""What stands before every route: who is asking, whether the request may come from another site, how large it is; and
the headers of every answer. An ASGI middleware, so that no route can be forgotten.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serve.accounts import Account, Accounts

log = logging.getLogger(__name__)

OPEN_PATHS = ("/api/login",)  # of /api, all else is for those who have signed in
COOKIE, SECURE_COOKIE = "fovea_session", "__Host-fovea_session"
MOST_BODY_BYTES = 256 << 10
_SAFE = ("GET", "HEAD", "OPTIONS")
_CSP = (
    "default-src 'self'; media-src 'self' blob:; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Guard:
    """Wraps an app. What it finds of the asker stands in `scope["account"]`."""

    def __init__(self, app: ASGIApp, *, accounts: Accounts, secure: bool, open_metrics: bool) -> None:
        self._app, self._accounts, self._secure, self._open_metrics = app, accounts, secure, open_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def dressed(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._dress(MutableHeaders(scope=message), scope["path"])
            await send(message)

        refused = self._refusal(scope, Headers(scope=scope))
        if refused is not None:
            await answer_error(dressed, *refused)
            return
        await self._app(scope, bounded(receive), dressed)

    def _dress(self, headers: MutableHeaders, path: str) -> None:
        for name, value in _HEADERS.items():
            headers[name] = value
        if self._secure:
            headers["Strict-Transport-Security"] = "max-age=31536000"
        headers.setdefault("Cache-Control", "no-store" if path.startswith("/api/") else "no-cache")

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        """Status and reason; None where the request may pass."""
        path = scope["path"]
        account = scope["account"] = self._who(headers)
        closed = path.startswith("/api") and path not in OPEN_PATHS
        if path == "/metrics":
            closed = not (self._open_metrics and (scope.get("client") or ("",))[0] in ("127.0.0.1", "::1"))
        if closed and account is None:
            return 401, "sign in first"
        if scope["method"] not in _SAFE:
            if headers.get("x-fovea") != "1":
                return 403, "the header X-Fovea: 1 is missing"
            if (origin := headers.get("origin")) is not None and not same_origin(origin, headers.get("host", "")):
                return 403, "this request comes from another site"
            length = headers.get("content-length", "0")
            if not length.isdigit() or int(length) > MOST_BODY_BYTES:
                return 413, f"at most {MOST_BODY_BYTES} bytes may be sent"
        if closed and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            return 403, "this request comes from another site"
        return None

    def _who(self, headers: Headers) -> Account | None:
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer":
            return self._accounts.of_token(token.strip())
        secret = session_of(headers, secure=self._secure)
        return self._accounts.of_session(secret) if secret else None


def bounded(receive: Receive) -> Receive:
    """The same, up to MOST_BODY_BYTES, whatever was said of its length. Raises HTTPException."""
    size = 0

    async def next_message() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > MOST_BODY_BYTES:
            raise HTTPException(413, f"at most {MOST_BODY_BYTES} bytes may be sent")
        return message

    return next_message


def session_of(headers: Headers, *, secure: bool) -> str:
    """The session's secret in the cookie, empty if there is none."""
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    found = cookies.get(SECURE_COOKIE if secure else COOKIE)
    return found.value if found is not None else ""


def same_origin(origin: str, host: str) -> bool:
    """Whether a page of this host sent it. A proxy that speaks TLS hides the scheme, so host and port must do."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(host) and parts.netloc.lower() == host.lower()


async def answer_error(send: Send, status: int, reason: str) -> None:
    body = json.dumps({"error": reason}).encode()
    kind = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if status == 401:
        kind.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": kind})
    await send({"type": "http.response.body", "body": body})


class Attempts:
    """Counts what went wrong lately, by name: an address, an address and user. Bounded."""

    def __init__(self, most: int, window_s: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._window_s, self._clock = most, window_s, clock
        self._failed: dict[str, list[float]] = {}

    def wait_s(self, name: str) -> float:
        """How long until another attempt is heard; 0 for now."""
        now = self._clock()
        failed = self._failed[name] = [at for at in self._failed.get(name, []) if now - at < self._window_s]
        if not failed:
            del self._failed[name]
        return failed[-self._most] + self._window_s - now if len(failed) >= self._most else 0.0

    def fail(self, name: str) -> None:
        if len(self._failed) >= 10_000:  # a flood of names: those that are over go first, then the oldest
            for other in tuple(self._failed):
                self.wait_s(other)
            while len(self._failed) >= 10_000:
                del self._failed[next(iter(self._failed))]
        self._failed.setdefault(name, []).append(self._clock())

    def forget(self, name: str) -> None:
        self._failed.pop(name, None)
