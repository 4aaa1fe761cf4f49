"""`fovea cameras`: edits the cameras of a site file, which a running recorder follows; and the following itself."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline.cli.output import Json, emit
from pipeline.errors import FoveaError, UsageError

if TYPE_CHECKING:
    from pipeline.config import SiteConfig
    from pipeline.local import SiteRun

log = logging.getLogger(__name__)

POLL_S = 1.0
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


class Follower:
    """Applies what changes in a site file to the running job, in a thread, for the length of a `with`. A file that is
    wrong changes nothing and is told of once."""

    def __init__(self, config: Path, job: SiteRun, *, frames: int | None = None, poll_s: float = POLL_S) -> None:
        self._config, self._job, self._frames, self._poll_s = config, job, frames, poll_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="follow-config", daemon=True)
        self._stamp = self._stat()

    def __enter__(self) -> Follower:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _stat(self) -> tuple[int, int, int] | None:
        try:
            found = self._config.stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size, found.st_ino

    def _run(self) -> None:
        from pipeline.config import load_site

        while not self._stop.wait(self._poll_s):
            stamp = self._stat()
            if stamp is None or stamp == self._stamp:
                continue
            self._stamp = stamp
            try:
                self._apply(load_site(self._config))
            except FoveaError as error:
                log.warning("nothing changed: %s", error)

    def _apply(self, site: SiteConfig) -> None:
        from pipeline.recording import plan_site

        names = zip(("added", "changed", "removed"), self._job.apply(plan_site(site, frames=self._frames)), strict=True)
        for verb, cameras in names:
            for camera in cameras:
                log.warning("%s", verb, extra={"camera": camera})
