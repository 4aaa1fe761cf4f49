"""`fovea serve`: the HTTP API and the page."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import say
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.replay import DecoderLike
    from pipeline.types import StreamInfo


_PLATES = 8  # minutes of footage that a viewer comes back to without delay


def register(app: typer.Typer) -> None:
    app.command("serve")(serve)


def serve(
    config: Annotated[Path, typer.Argument(help="A site file; its section `serve` says where to listen.")],
    reset_admin: Annotated[
        bool, typer.Option("--reset-admin", help="Give `admin` a new password, shown once.")
    ] = False,
) -> None:
    """Show a site's archive and live cameras over HTTP, to those who have signed in."""
    from pipeline.config import load_site

    settings = load_site(config).serve
    try:
        import pipeline.serve as server
    except ImportError as error:
        raise UsageError(f"{error.name} is missing: install fovea[serve]") from error
    make_decoder = partial(_decoder, device=settings.device, threads=settings.threads)
    server.serve(config, make_decoder, reset_admin=reset_admin, report=lambda line: say(f"fovea: {line}"))


def _decoder(info: StreamInfo, *, device: str, threads: int) -> DecoderLike:
    """In a worker process, which alone loads the codec."""
    from pipeline.codec import Decoder

    return Decoder(info, device=device, threads=threads, plates=_PLATES)
