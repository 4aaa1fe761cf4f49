"""`fovea train`: the codec's training, from photos and clips to a weights file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipeline.cli.output import DEVICES, Device, Json, Threads, choice, emit, say, show_bytes
from pipeline.errors import UsageError

if TYPE_CHECKING:
    from pipeline.training.config import TrainConfig

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="Such as configs/train/base.yaml.")]
FAMILY = "intra (plates), inter (foreground and background), both, or auto: both where there are photos."
EXPORT = "Train nothing: write --weights from the run in --out."
PACK = "Train nothing: write the data into this folder, to carry to another machine."


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
    family: Annotated[str, typer.Option(help=FAMILY)] = "auto",
    export_only: Annotated[bool, typer.Option("--export-only", help=EXPORT)] = False,
    pack: Annotated[Path | None, typer.Option(help=PACK)] = None,
    pack_mib: Annotated[float, typer.Option(min=0.1, help="Its largest size, with --pack.")] = 34.0,
    device: Device = "auto",
    threads: Threads = None,
    as_json: Json = False,
) -> int:
    """Train the codec on photos and clips. Can be stopped and gone on with at any time."""
    choice(device, DEVICES, "--device")
    choice(family, ("auto", "intra", "inter", "both"), "--family")
    if export_only and weights is None:
        raise UsageError("--export-only needs --weights FILE")
    import torch

    from pipeline.training.config import load_train
    from pipeline.training.losses import FAMILIES
    from pipeline.training.run import export_weights, training_device
    from pipeline.training.run import train as run

    if threads is not None:
        torch.set_num_threads(threads)
    given = {"from_weights": from_weights, "images": images, "clips": clips, "steps": steps, "minutes": minutes}
    changes: dict[str, object] = {key: value for key, value in given.items() if value is not None}
    settings = load_train(config, changes | {"device": training_device(device)})
    if pack is not None:
        return _pack(settings, pack, pack_mib, as_json=as_json)
    if not export_only:
        families = {"auto": None, "both": FAMILIES}.get(family, (family,))
        run(settings, out, families=families, report=say)
    mark = None if weights is None else export_weights(settings, out, weights, report=say)
    text = f"{out}: trained" if weights is None else f"{weights}: fingerprint {mark}"
    emit(
        {"out": str(out), "weights": None if weights is None else str(weights), "fingerprint": mark},
        as_json=as_json,
        text=text,
    )
    return 0


def _pack(settings: TrainConfig, out: Path, mib: float, *, as_json: bool) -> int:
    from pipeline.training.pack import pack

    made = pack(settings, out, limit=int(mib * (1 << 20)))
    left = f", {made.left_out} left out" if made.left_out else ""
    text = (
        f"{out}: {show_bytes(made.size)}: the first {made.frames} frames of {made.clips} clips, "
        f"{made.photos} photos at {made.scale:.0%}{left}"
    )
    emit({"pack": str(out), **{name: getattr(made, name) for name in made.__slots__}}, as_json=as_json, text=text)
    return 0
