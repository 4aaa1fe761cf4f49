"""`fovea cameras`: edits the cameras of a site file, which a running recorder follows (pipeline.follow)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli.output import Json, emit
from pipeline.errors import UsageError

Config = Annotated[Path, typer.Argument(help="The site file.")]
CameraName = Annotated[str, typer.Argument(help="The camera's id.")]
Settings = Annotated[
    list[str] | None, typer.Option("--set", help="KEY=VALUE as in the site file, e.g. codec.quality=60. Repeatable.")
]


def register(app: typer.Typer) -> None:
    group = typer.Typer(help="Add, change and remove cameras; a running recorder follows within seconds.")
    group.command("add")(add)
    group.command("set")(change)
    group.command("rm")(remove)
    app.add_typer(group, name="cameras")


def add(
    config: Config,
    camera: CameraName,
    url: Annotated[str, typer.Argument(help="Its address.")],
    settings: Settings = None,
    as_json: Json = False,
) -> None:
    """Add a camera."""
    from pipeline.sitefile import edit_cameras

    def edit(cameras: Any) -> None:
        if camera in cameras:
            raise UsageError(f"{config}: there is a camera {camera} already")
        cameras[camera] = {"source": {"url": url}}
        _assign(cameras[camera], settings or [])

    edit_cameras(config, edit)
    emit({"added": camera}, as_json=as_json, text=f"{camera} added")


def change(config: Config, camera: CameraName, settings: Settings = None, as_json: Json = False) -> None:
    """Change a camera's settings. It begins a new recording."""
    from pipeline.sitefile import edit_cameras, known_camera

    def edit(cameras: Any) -> None:
        _assign(known_camera(config, cameras, camera), settings or [])

    if not settings:
        raise UsageError("nothing to change: give --set KEY=VALUE")
    edit_cameras(config, edit)
    emit({"changed": camera}, as_json=as_json, text=f"{camera} changed")


def remove(config: Config, camera: CameraName, as_json: Json = False) -> None:
    """Remove a camera. Its footage stays in the archive."""
    from pipeline.sitefile import edit_cameras, known_camera

    def edit(cameras: Any) -> None:
        known_camera(config, cameras, camera)
        del cameras[camera]

    edit_cameras(config, edit)
    emit({"removed": camera}, as_json=as_json, text=f"{camera} removed; its footage stays")


def _assign(tree: Any, settings: list[str]) -> None:
    """`a.b=value` for each setting, the value read as YAML. Raises UsageError."""
    import yaml

    for setting in settings:
        path, equals, text = setting.partition("=")
        *parents, key = path.split(".")
        if not equals or not all((*parents, key)):
            raise UsageError(f"--set {setting}: expected KEY=VALUE, e.g. codec.quality=60")
        node = tree
        for name in parents:
            node = node.setdefault(name, {})
            if not isinstance(node, dict):
                raise UsageError(f"--set {setting}: {name} has no keys")
        node[key] = yaml.safe_load(text)
