"""Edits the cameras of a site file: its comments and its order stay, and what would not be valid is not written."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.config import load_site
from pipeline.errors import ConfigError, UsageError
from pipeline.replacing import replacing


def edit_cameras(config: Path, edit: Callable[[Any], None]) -> None:
    """Let `edit` change the mapping of the file's cameras, then check and replace the file. Raises ConfigError and
    UsageError."""
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    load_site(config)  # says well what is wrong with the file as it is
    editor = YAML()
    editor.preserve_quotes, editor.width = True, 10_000
    try:
        tree = editor.load(config.read_text(encoding="utf-8"))
    except YAMLError as error:
        raise ConfigError(f"{config}: not valid YAML: {str(error).splitlines()[0]}") from error
    edit(tree["cameras"])
    text = io.StringIO()
    editor.dump(tree, text)
    with replacing(config) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
        part.chmod(config.stat().st_mode & 0o777)  # it may hold passwords
        try:
            load_site(part)
        except ConfigError as error:
            raise ConfigError(str(error).replace(str(part), str(config))) from None


def known_camera(config: Path, cameras: Any, camera: str) -> Any:
    """A camera's part of the file. Raises UsageError."""
    if camera not in cameras:
        raise UsageError(f"{config}: there is no camera {camera}")
    return cameras[camera]


def merge(node: Any, wanted: dict[str, Any]) -> None:
    """Make a mapping of the file equal to `wanted`; what is equal already keeps its place and its comments."""
    for key in [key for key in node if key not in wanted]:
        del node[key]
    for key, value in wanted.items():
        if isinstance(value, dict) and isinstance(node.get(key), dict):
            merge(node[key], value)
        elif key not in node or node[key] != value:
            node[key] = value
