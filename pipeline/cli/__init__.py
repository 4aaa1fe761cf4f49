"""The command `fovea`. Imports nothing heavy: torch, OpenCV, PyAV, Ray and the rest are loaded by what needs them.

`main` is the one place where an exception becomes a line and an exit status: 0 done, 1 the job failed, 2 wrong usage,
130 interrupted. FOVEA_DEBUG=1 shows the traceback as well.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import typer

from pipeline import __version__
from pipeline.cli import archive, bench, cameras, many, node, run, serve, status, stream, train
from pipeline.errors import FoveaError, UsageError

INTERRUPTED = 130
# What the parser raises for a wrong option. Newer typers carry a click of their own, so it is found where both have it.
_MISUSE: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")

_SETTINGS = {
    "YOLO_AUTOINSTALL": "false",
    "YOLO_VERBOSE": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Torch's threads would spin while they wait: on a busy machine decoding then takes 15 times as long.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Every count of coded cells is a new shape to oneDNN, which by default keeps code for the last thousand.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
}

app = typer.Typer(
    name="fovea",
    help="Records surveillance cameras sharp where it matters.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
run.register(app)
stream.register(app)
archive.register(app)
bench.register(app)
train.register(app)
status.register(app)
cameras.register(app)
node.register(app)
many.register(app)
serve.register(app)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"fovea {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Show it.")) -> None:
    """Records surveillance cameras sharp where it matters."""


def call(arguments: Sequence[str]) -> int:
    """Run one command line; returns the exit status. Prints errors, raises none."""
    return guarded(lambda: app(args=list(arguments) or ["--help"], prog_name="fovea", standalone_mode=False))


def guarded(command: Callable[[], object]) -> int:
    """Run a command; returns its exit status. Prints errors, raises none."""
    try:
        status = command()
    except (typer.Abort, KeyboardInterrupt) as error:
        return _fail(error, INTERRUPTED, "interrupted")
    except FoveaError as error:
        return _fail(error, error.exit_status, str(error))
    except BrokenPipeError:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - the reader is gone; the interpreter flushes at its end
        return 1
    except OSError as error:
        named = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
        return _fail(error, 1, named)
    except Exception as error:  # the outermost loop
        if isinstance(error, _MISUSE):
            return _fail(error, UsageError.exit_status, f"{error.format_message()} (see --help)")
        first = (str(error).splitlines() or ["no message"])[0]
        return _fail(error, 1, f"{type(error).__name__}: {first} (FOVEA_DEBUG=1 shows where)")
    return status if isinstance(status, int) else 0


def _fail(error: BaseException, status: int, message: str) -> int:
    if os.environ.get("FOVEA_DEBUG") == "1":
        traceback.print_exception(error)
    for line in message.splitlines():
        typer.echo(f"fovea: {line}", err=True)
    return status


def prepare() -> None:
    """Settings of libraries that must stand before they are imported: nothing is fetched, installed or reported behind
    the user's back, and their warnings are for whoever debugs."""
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if os.environ.get("FOVEA_DEBUG") != "1":
        warnings.simplefilter("ignore")
    # `docker stop` and the like end a run as Ctrl-C does: frames under way are stored.
    signal.signal(signal.SIGTERM, signal.default_int_handler)


def main() -> None:
    """The entry point."""
    prepare()
    sys.exit(call(sys.argv[1:]))
