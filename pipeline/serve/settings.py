"""A camera's part of the site file as somebody far away may see and change it: without passwords, and without what
would let them reach the server's files or load something from them.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from pipeline.address import NETWORK_SCHEMES, redact_url
from pipeline.errors import ConfigError, FoveaError, UsageError
from pipeline.sitefile import edit_cameras, known_camera, merge

HIDDEN = "***"
_DEPTH = 8
_EDITING = threading.Lock()

# What may be changed over HTTP. Weights and files of boxes are not among it: they are opened on the server.
_OPEN = (
    "source.url", "source.fps", "source.halve", "source.rtsp_transport", "source.timeout_s", "source.reconnect",
    "source.retry_s", "detector.kind", "detector.every", "detector.size", "detector.confidence", "detector.classes",
    "mask", "codec.quality", "codec.bitrate_bps", "codec.gop_s", "codec.segment_s", "retention", "masks",
)  # fmt: skip

Tree = dict[str, Any]


def settings_of(config: Path, camera: str) -> Tree | None:
    """A camera's part of the file, with passwords hidden; None where there is no such camera. Raises ConfigError."""
    found = _read(config).get(camera)
    return _shown(found) if isinstance(found, dict) else None


def put_settings(config: Path, camera: str, wanted: Tree) -> bool:
    """Make a camera's part of the file equal to `wanted`, in which a hidden password stands for the one that is there;
    returns whether the camera is new. Raises UsageError for what may not be changed, and ConfigError."""
    _require_shallow(wanted)
    with _EDITING:
        before = _read(config).get(camera)
        known: Tree = before if isinstance(before, dict) else {}
        wanted = _restored(wanted, known)
        for path in _changed(known, wanted):
            if not any(path == one or path.startswith(f"{one}.") for one in _OPEN):
                raise UsageError(f"{path} can only be changed in the site file itself")
        url = _url(wanted)
        if url != _url(known):
            _require_remote(url)
        _edit(config, lambda cameras: _put(cameras, camera, wanted))
        return not known


def put_masks(config: Path, camera: str, masks: list[list[list[float]]]) -> None:
    """Raises UsageError where there is no such camera, and ConfigError."""

    def edit(cameras: Any) -> None:
        found = known_camera(config, cameras, camera)
        if masks:
            found["masks"] = masks
        else:
            found.pop("masks", None)

    with _EDITING:
        _edit(config, edit)


def remove_camera(config: Path, camera: str) -> None:
    """Its footage stays. Raises UsageError where there is no such camera, and ConfigError."""

    def edit(cameras: Any) -> None:
        known_camera(config, cameras, camera)
        del cameras[camera]

    with _EDITING:
        _edit(config, edit)


def url_to_test(config: Path, camera: str, url: str | None) -> str:
    """The address that is meant: the camera's own where none is given, with its password where that is hidden. Raises
    UsageError."""
    found = _read(config).get(camera)
    known = found if isinstance(found, dict) else {}
    wanted = url if url is not None else _url(known)
    if not wanted:
        raise UsageError(f"there is no camera {camera}: give a url")
    whole = _restored({"source": {"url": wanted}}, known)["source"]["url"]
    if whole != _url(known):
        _require_remote(whole)
    return str(whole)


def _read(config: Path) -> Tree:
    try:
        tree = yaml.safe_load(config.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{config.name} cannot be read") from error
    cameras = tree.get("cameras") if isinstance(tree, dict) else None
    return cameras if isinstance(cameras, dict) else {}


def _edit(config: Path, edit: Any) -> None:
    try:
        edit_cameras(config, edit)
    except ConfigError as error:  # names no directory of the server
        raise ConfigError(str(error).replace(str(config), config.name)) from None
    except OSError as error:
        raise ConfigError(f"{config.name} cannot be written: {error.strerror or error}") from error


def _put(cameras: Any, camera: str, wanted: Tree) -> None:
    if camera in cameras:
        merge(cameras[camera], wanted)
    else:
        cameras[camera] = wanted


def _shown(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _shown(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shown(inner) for inner in value]
    if isinstance(value, date):
        return value.isoformat()
    return redact_url(value) if isinstance(value, str) else value


def _restored(wanted: Tree, known: Tree) -> Tree:
    """`wanted` with what is as it was shown as it is in the file. Raises UsageError for a password that is hidden and
    would go to another host: it is not to be had that way."""
    if (url := _url(wanted)) and url != _url(known) and HIDDEN in url:
        old = _url(known)
        if not old or redact_url(old) != url:
            raise UsageError("source.url: give the password again, for the address is another")
    return {key: _same(value, known.get(key)) for key, value in wanted.items()}


def _same(value: Any, known: Any) -> Any:
    if known is not None and value == _shown(known):
        return known
    if isinstance(value, dict):
        inside = known if isinstance(known, dict) else {}
        return {key: _same(inner, inside.get(key)) for key, inner in value.items()}
    return value


def _changed(before: Any, after: Any, path: str = "") -> Iterator[str]:
    """The paths of what differs."""
    if isinstance(before, dict | None) and isinstance(after, dict | None) and path.count(".") < _DEPTH:
        for key in {*(before or {}), *(after or {})}:
            yield from _changed((before or {}).get(key), (after or {}).get(key), f"{path}.{key}" if path else str(key))
    elif before != after:
        yield path


def _require_shallow(tree: Tree) -> None:
    level: list[Any] = [tree]
    for _ in range(_DEPTH):
        level = [item for node in level for item in _inside(node)]
    if level:
        raise UsageError("settings nested too deep")


def _inside(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _url(tree: Tree) -> str:
    source = tree.get("source")
    url = source.get("url") if isinstance(source, dict) else None
    return url if isinstance(url, str) else ""


def _require_remote(url: str) -> None:
    """From afar only cameras are added, not files of the server."""
    try:
        scheme = urlsplit(url).scheme.lower()
    except ValueError:
        scheme = ""
    if scheme not in (*NETWORK_SCHEMES, "demo", "v4l2"):
        raise UsageError(f"source.url: one of {', '.join(NETWORK_SCHEMES)}, v4l2 or demo")


def tested(url: str, timeout_s: float) -> dict[str, object]:
    """What a camera at this address offers, or why it does not; without its password."""
    from pipeline.source import probe

    try:
        found = probe(url, timeout_s=timeout_s)
    except FoveaError as error:
        reason = redact_url(" ".join(str(error).split()))
        return {"ok": False, "codec": None, "width": None, "height": None, "fps": None, "error": reason}
    return {
        "ok": True, "codec": found.codec, "width": found.width, "height": found.height, "fps": found.fps, "error": None
    }  # fmt: skip
