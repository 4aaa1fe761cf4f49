"""`fovea node`: one machine of a cluster."""

from __future__ import annotations

from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    app.command("node")(node)


def node(
    address: Annotated[str, typer.Option(help="This machine's IP address, on which the others reach it.")],
    join: Annotated[str, typer.Option(help="The head, host:port; without it this is the head.")] = "",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of the head.")] = 6379,
    cpus: Annotated[float | None, typer.Option(min=0, help="To offer; all by default.")] = None,
    gpus: Annotated[float | None, typer.Option(min=0, help="To offer; all by default.")] = None,
    store_mb: Annotated[int, typer.Option(min=80, help="Shared memory for frames under way.")] = 512,
) -> None:
    """Be a node of a cluster until the process is ended; `ray.address` of the site file names its head. Asks for a
    token: docs/operations.md."""
    from workers.node import node_command, run_node

    run_node(node_command(address=address, head=join or None, port=port, cpus=cpus, gpus=gpus, store_mb=store_mb))
