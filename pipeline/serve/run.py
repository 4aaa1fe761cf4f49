"""A server from a site file: made, begun and ended."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from pipeline.config import load_site
from pipeline.errors import JobError
from pipeline.replay import MakeDecoder
from pipeline.serve.accounts import ADMIN, Accounts
from pipeline.serve.app import make_app
from pipeline.serve.archive import Archive
from pipeline.serve.pool import Pool, Start, as_process
from pipeline.serve.served import Recorder, Served, SiteFile, beside
from pipeline.store import Store

_MOST_WORKERS = 8  # unless told
_GRACE_S = 3  # for answers under way when the server ends


def make_served(config: Path, make_decoder: MakeDecoder, *, start: Start = as_process) -> Served:
    """What a site file's server works on; an archive is made where there is none. Raises FoveaError."""
    site = SiteFile(config)
    settings = site.now.serve
    with Store(site.now.store):
        pass
    workers = settings.workers or max(1, min(_MOST_WORKERS, (os.cpu_count() or 2) // 2))
    return Served(
        site=site,
        archive=Archive(site.now.store),
        pool=Pool(
            site.now.store, make_decoder, workers=workers, threads=settings.threads, most=settings.streams, start=start
        ),
        accounts=Accounts(
            settings.users or beside(site.now.store, "users.sqlite"), session_s=settings.session_hours * 3600
        ),
        recorder=Recorder(site),
        secure=settings.certificate is not None or settings.plain_http,
    )


def serve(
    config: Path, make_decoder: MakeDecoder, *, reset_admin: bool = False, report: Callable[[str], None] = print
) -> None:
    """Serve until Ctrl-C. Raises FoveaError where it cannot begin."""
    site = load_site(config)
    settings = site.serve
    for name in (settings.certificate, settings.key):
        if name is not None and not os.access(name, os.R_OK):
            raise JobError(f"serve: {name} cannot be read")
    with listening(settings.listen) as taken:
        served = make_served(config, make_decoder)
        password = served.accounts.first_password(again=reset_admin)
        if password is not None:
            report(f"user {ADMIN}, password {password} (shown this once: change it after you have signed in)")
        server = uvicorn.Server(
            uvicorn.Config(
                make_app(served), log_level="warning", access_log=False, server_header=False,
                timeout_graceful_shutdown=_GRACE_S, ssl_certfile=settings.certificate, ssl_keyfile=settings.key,
                lifespan="on", h11_max_incomplete_event_size=32 << 10,
            )
        )  # fmt: skip
        report(f"http{'s' if settings.certificate else ''}://{settings.listen}/")
        try:
            server.run(sockets=[taken])
        finally:
            served.accounts.close()


@contextmanager
def listening(listen: str) -> Iterator[socket.socket]:
    """A socket at `host:port`, before anything else is begun. Raises JobError where it is taken."""
    host, _, port = listen.rpartition(":")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        taken = socket.create_server((host, int(port)), family=family, backlog=512)
    except (OSError, OverflowError) as error:
        raise JobError(f"serve.listen: {listen}: {getattr(error, 'strerror', None) or error}") from error
    with taken:
        yield taken
