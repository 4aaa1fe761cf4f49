"""The HTTP application: routes, errors as one line of JSON, the page. Decoding is injected."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.resources import files as package_files

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from pipeline import __version__
from pipeline.address import redact_url
from pipeline.errors import FoveaError, JobError, StreamError, UsageError
from pipeline.serve.accounts import AccountError
from pipeline.serve.guard import Guard
from pipeline.serve.metrics import ServerCollector, exposition
from pipeline.serve.routes import admin, cameras, jobs, media, people
from pipeline.serve.served import Served

log = logging.getLogger(__name__)


def make_app(served: Served) -> ASGIApp:
    """The application, guarded. Its lifespan begins and ends the workers of `served.pool`."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.door, app.state.tiles = people.Door(), media.Tiles()
        app.state.tests = asyncio.Semaphore(admin.MOST_TESTS)
        app.state.forecast = float("-inf"), {}
        async with served.pool, served.exports() as app.state.exports:
            yield

    app = FastAPI(
        title="Fovea", version=__version__, lifespan=lifespan, openapi_url="/api/openapi.json", docs_url=None,
        redoc_url=None,
    )  # fmt: skip
    app.state.served = served
    for routes in (people, cameras, media, jobs, admin):
        app.include_router(routes.router)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(FoveaError, _fovea_error)
    app.add_exception_handler(Exception, _unexpected)

    @app.get("/healthz", response_class=PlainTextResponse, include_in_schema=False)
    def healthz() -> str:
        return "ok\n"

    @app.get("/metrics", response_class=Response, include_in_schema=False)
    async def metrics() -> Response:
        collector = ServerCollector(served.pool, app.state.exports, lambda: app.state.door.refused)
        return Response(exposition(collector), media_type=CONTENT_TYPE_LATEST)

    @app.get("/api/{path:path}", include_in_schema=False)
    def nothing(path: str) -> Response:
        return _error(404, "there is no such route")

    page = str(package_files("pipeline.serve").joinpath("page"))
    app.mount("/", StaticFiles(directory=page, html=True), name="page")
    return Guard(
        app, accounts=served.accounts, secure=served.secure, open_metrics=served.site.now.serve.metrics == "loopback"
    )


def _error(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": reason}, status, headers)


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    reason = error.detail if isinstance(error.detail, str) else HTTPStatus(error.status_code).phrase
    return _error(error.status_code, reason.replace("\n", " "), dict(error.headers or {}))


async def _invalid(request: Request, error: Exception) -> Response:
    """Names what is wrong, never what was sent: it may be a password."""
    faults = error.errors() if isinstance(error, RequestValidationError) else ()
    told = [
        f"{'.'.join(str(part) for part in fault['loc'][1:]) or fault['loc'][0]}: {fault['msg']}" for fault in faults
    ]
    return _error(422, "; ".join(told[:5])[:500] or "not valid")


async def _fovea_error(request: Request, error: Exception) -> Response:
    text = redact_url(" ".join(str(error).split()))
    if isinstance(error, AccountError):
        return _error(409 if error.conflict else 400, text)
    if isinstance(error, UsageError):
        return _error(400, text)
    if isinstance(error, StreamError):
        return _error(404, text)
    if isinstance(error, JobError):
        return _error(503, text, {"Retry-After": "1"})
    return _error(500, "something went wrong")


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("%s %s: %s", request.method, request.url.path, type(error).__name__, exc_info=error)
    return _error(500, "something went wrong; the server's log says what")
