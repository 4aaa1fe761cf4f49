"""`fovea train`: the codec's training, from photos and clips to a weights file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.cli.output import DEVICES, Device, Json, choice, emit, say

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="Such as configs/train/base.yaml.")]


def register(app: typer.Typer) -> None:
    app.command()(train)


def train(
    config: Config,
    out: Annotated[Path, typer.Option(help="Samples, state, curves; a run found there goes on.")] = Path("runs/train"),
    weights: Annotated[Path | None, typer.Option(help="Then export to this safetensors file.")] = None,
    from_weights: Annotated[Path | None, typer.Option(help="Begin with these weights: fine-tuning.")] = None,
    images: Annotated[Path | None, typer.Option(help="A folder of photos, in place of the configuration's.")] = None,
    clips: Annotated[Path | None, typer.Option(help="A folder of clips, in place of the configuration's.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Of each family.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="Stop each family after this long.")] = None,
    family: Annotated[str, typer.Option(help="intra (plates), inter (foreground and background) or both.")] = "both",
    device: Device = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="Of torch, on a CPU.")] = None,
    as_json: Json = False,
) -> int:
    """Train the codec on photos and clips. Can be stopped and gone on with at any time."""
    choice(device, DEVICES, "--device")
    choice(family, ("intra", "inter", "both"), "--family")
    from pipeline.codec.encoder import choose_device
    from pipeline.training.loop import FAMILIES
    from pipeline.training.run import train as run

    given = {"from_weights": from_weights, "images": images, "clips": clips, "steps": steps, "minutes": minutes}
    changes: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    changes["device"] = choose_device(device)
    families = FAMILIES if family == "both" else (family,)
    mark = run(config, out, changes=changes, families=families, threads=threads, weights=weights, report=say)
    text = f"{out}: trained" if weights is None else f"{weights}: fingerprint {mark}"
    emit(
        {"out": str(out), "weights": None if weights is None else str(weights), "fingerprint": mark},
        as_json=as_json,
        text=text,
    )
    return 0
