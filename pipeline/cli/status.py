"""`fovea status`: what a running site does, from its monitor."""

from __future__ import annotations

import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import Json, emit, show_bytes, show_time
from pipeline.errors import JobError, UsageError

if TYPE_CHECKING:
    from rich.table import Table

TIMEOUT_S = 5.0
REFRESH_S = 1.0
COLUMNS = (
    "camera", "state", "in/s", "coded/s", "effort", "goes without", "dropped", "killed", "lost", "gaps", "restarts",
    "bits/px", "p99 s", "place",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    app.command("status")(status)


def status(
    config: Annotated[Path, typer.Argument(help="The site file of the running recorder.")],
    once: Annotated[bool, typer.Option("--once", help="Show it once, as where the output is no terminal.")] = False,
    as_json: Json = False,
) -> int:
    """Show a running site: a live table. Exit status 1 where a camera does not record."""
    from pipeline.config import load_site

    listen = load_site(config).monitor.listen
    if listen is None:
        raise UsageError(f"{config}: monitor.listen is not set, so the recorder cannot be asked")
    found = _fetch(listen)
    if as_json or once or not sys.stdout.isatty():
        emit(found, as_json=as_json, text=_text(found))
        return 0 if all(c["state"] in ("recording", "ended") for c in found["cameras"]) else 1
    _show(listen)
    return 0


def _fetch(listen: str) -> dict[str, Any]:
    """The recorder's state as its monitor gives it. Raises JobError."""
    host, _, port = listen.rpartition(":")
    host = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}.get(host, host)
    try:
        with urllib.request.urlopen(f"http://{host}:{port}/status", timeout=TIMEOUT_S) as answer:
            found: dict[str, Any] = json.load(answer)
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise JobError(f"no recorder answers at {listen}: {getattr(error, 'reason', error)}") from None
    return found


def _show(listen: str) -> None:
    """A table that follows the site until Ctrl-C."""
    from rich.console import Group
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        while True:
            found = _fetch(listen)
            live.update(Group(_table(found), _site(found)), refresh=True)
            time.sleep(REFRESH_S)


def _rows(found: dict[str, Any]) -> list[tuple[str, ...]]:
    rows = []
    for camera in found["cameras"]:
        counters, late = camera["counters"], camera["latency_p99_s"]
        state = f"{camera['state']}: {camera['trouble']}" if camera["trouble"] else camera["state"]
        counts = tuple(str(counters[name]) for name in ("dropped", "killed", "lost", "gaps", "restarts"))
        rates = f"{camera['fps_in']:.1f}", f"{camera['fps_coded']:.1f}"
        rows.append((
            camera["camera"], state, *rates, camera["effort"], camera["relief"], *counts,
            f"{camera['bits_a_pixel']:.4f}", "" if late is None else f"{late:.2f}", camera["place"],
        ))  # fmt: skip
    return rows


def _table(found: dict[str, Any]) -> Table:
    from rich.table import Table

    table = Table(*COLUMNS)
    for row in _rows(found):
        table.add_row(*row)
    return table


def _nodes(found: dict[str, Any]) -> list[str]:
    """A line for every node."""
    lines = []
    for node in found["nodes"]:
        parts = [f"{len(node['cameras'])} live cameras"]
        if node["load"] is not None:
            parts[0] += f" need {node['load']:.0%} of its time"
        if node["relief"]:
            parts.append(f"over its budget, so all go without: {node['relief']}")
        if node["cpu"] is not None:
            parts.append(f"CPU {node['cpu']:.0%}, memory {show_bytes(node['memory_used_bytes'])}")
        parts += [f"GPU {gpu['busy']:.0%}, {show_bytes(gpu['memory_used_bytes'])}" for gpu in node["gpus"]]
        lines.append(f"{node['node']}: " + "; ".join(parts))
    return lines


def _site(found: dict[str, Any]) -> str:
    store = found["store"]
    oldest = show_time(store["oldest_wall_us"]) if store["oldest_wall_us"] is not None else "nothing yet"
    line = (
        f"{found['seconds']:.0f} s; memory {show_bytes(found['memory_bytes'])}; archive "
        f"{show_bytes(store['used_bytes'])}, {show_bytes(store['free_bytes'])} free, from {oldest}"
    )
    return "\n".join([*_nodes(found), line])


def _text(found: dict[str, Any]) -> str:
    rows = [COLUMNS, *_rows(found)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, _site(found)])
