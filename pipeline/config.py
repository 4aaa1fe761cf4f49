"""YAML files into validated models. An unknown key is an error that names the key and its path.

Knows nothing of what the settings do; each stage takes its own model. Every key is shown, with a comment, in
configs/site.example.yaml.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.errors import ConfigError

CameraId = str
CAMERA_ID = r"^[a-z0-9][a-z0-9_-]{0,63}$"
LINGER_S = 0.4  # that a live camera's batch waits for more frames
LISTEN = r"^[^:\s]+:\d{1,5}$|^\[[0-9a-fA-F:]+\]:\d{1,5}$"  # host:port

# COCO classes that a camera's owner usually cares for; what is not listed has importance 0 and is ignored.
DEFAULT_CLASSES = {
    "person": 1.0, "bicycle": 0.8, "car": 0.8, "motorcycle": 0.8, "bus": 0.8, "truck": 0.8, "train": 0.8,
    "bird": 0.5, "cat": 0.5, "dog": 0.5, "backpack": 0.6, "handbag": 0.6, "suitcase": 0.6, "motion": 1.0,
}  # fmt: skip


EffortName = Literal["best", "balanced", "fast"]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Polygon = Annotated[tuple[tuple[Share, Share], ...], Field(min_length=3, max_length=64)]  # of width and height


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SourceConfig(_Strict):
    """Where frames come from."""

    url: str = Field(repr=False)  # may hold a password
    start_time: datetime | None = None  # wall clock of a file's first frame; needs a zone
    frames: int | None = Field(default=None, ge=1)  # stop after this many
    fps: float | None = Field(default=None, gt=0, le=240)  # take at most this many frames a second
    halve: bool = False  # half width and height, by area
    rtsp_transport: Literal["tcp", "udp"] = "tcp"
    timeout_s: float = Field(default=10.0, gt=0)
    reconnect: bool = True  # open a camera again that breaks or falls silent
    retry_s: float = Field(default=2.5, gt=0, le=3600)  # longest pause between two attempts

    @model_validator(mode="after")
    def _zone(self) -> SourceConfig:
        if self.start_time is not None and self.start_time.tzinfo is None:
            raise ValueError("start_time needs a time zone, e.g. 2026-01-31T12:00:00Z")
        return self


class DetectorConfig(_Strict):
    """How objects are found and followed."""

    kind: Literal["auto", "yolo", "motion", "none", "boxes"] = "auto"
    weights: str = "yolo11n.pt"
    boxes: Path | None = None  # JSON lines, for kind: boxes
    every: int = Field(default=3, ge=1)  # detect on every n-th frame; tracks carry the boxes between
    gate: bool = True  # YOLO: and only where something has changed since
    idle_s: float = Field(default=10.0, ge=0)  # YOLO with a gate: look again after so long without change
    size: int = Field(default=640, ge=64, le=2048)  # longer side that YOLO sees
    confidence: float = Field(default=0.3, gt=0, lt=1)
    classes: dict[str, float] = Field(default_factory=lambda: dict(DEFAULT_CLASSES))
    device: str = "auto"
    allow_download: bool = False  # let ultralytics fetch missing weights


class MaskConfig(_Strict):
    """How boxes become a steady mask."""

    dilate: int = Field(default=8, ge=0, le=128)  # pixels around each box
    hold_s: float = Field(default=0.5, ge=0, le=10)  # a cell stays foreground this long after its last box


class CodecConfig(_Strict):
    """How frames become packets."""

    quality: float = Field(default=50.0, ge=0, le=100)
    bitrate_bps: int | None = Field(default=None, ge=1000)
    gop_s: float = Field(default=2.0, gt=0, le=60)
    segment_s: float = Field(default=60.0, gt=0, le=3600)
    mini_gop: int = Field(default=16, ge=1, le=16)  # frames that are coded together, of a batch: see RayConfig
    device: Literal["auto", "cpu", "cuda"] = "auto"
    threads: int | None = Field(default=None, ge=1)  # of torch, on a CPU; None leaves torch's own choice
    effort: EffortName = "best"  # of the encoder at most; a live camera goes below it where time is short


class AgeStep(_Strict):
    """When a step of aging is due: for footage older than so many days, and for what does not fit, the newest first,
    into this share of `max_gb`."""

    days: float | None = Field(default=None, ge=0)
    share: float | None = Field(default=None, ge=0, le=1)


class RetentionConfig(_Strict):
    """How a camera's footage ages: full, foreground over the plate, at a lower frame rate, gone. Without `max_gb` and
    days it stays."""

    max_gb: float | None = Field(default=None, gt=0)  # 10^9 bytes
    background: AgeStep = AgeStep(share=0.5)
    thin: AgeStep = AgeStep(share=0.8)
    thin_keep_s: float = Field(default=0.0, ge=0)  # of each GOP; 0: its key frame alone
    remove: AgeStep = AgeStep(share=1.0)

    @model_validator(mode="after")
    def _order(self) -> RetentionConfig:
        for unit in ("days", "share"):
            given = [v for step in (self.background, self.thin, self.remove) if (v := getattr(step, unit)) is not None]
            if given != sorted(given):
                raise ValueError(f"{unit} of background, thin and remove must not fall: {given}")
        return self


class CameraConfig(_Strict):
    """One camera: a source and, where they differ from the site's, the stages' settings."""

    source: SourceConfig
    detector: DetectorConfig = DetectorConfig()
    mask: MaskConfig = MaskConfig()
    codec: CodecConfig = CodecConfig()
    retention: RetentionConfig | None = None
    masks: tuple[Polygon, ...] = Field(default=(), max_length=32)  # privacy: black before anything looks at a frame


class RayConfig(_Strict):
    """How the chain is spread. Ray binds to loopback unless `address` names a running cluster."""

    address: str | None = None
    window: int = Field(default=3, ge=1, le=16)  # batches in flight between two actors
    batch: int = Field(default=16, ge=1, le=64)  # frames a call
    linger_s: float = Field(default=LINGER_S, ge=0, le=5)  # a live camera's batch waits so long for more frames
    group_gpus: float = Field(default=1 / 16, ge=0, le=8)  # what a group of cameras takes, where GPUs are there
    group_cpus: float = Field(default=1.0, ge=0)
    stall_s: float = Field(default=60.0, gt=0)  # a worker that says nothing for so long is taken for dead
    object_store_mb: int = Field(default=512, ge=80)


class MonitorConfig(_Strict):
    """Where a running site can be seen: metrics, health and state over HTTP. Without `listen` nowhere."""

    listen: str | None = Field(default=None, pattern=LISTEN)


class ServeConfig(_Strict):
    """`fovea serve CONFIG`: the HTTP API and the page. Paths that are not given lie beside the archive."""

    listen: str = Field(default="127.0.0.1:8780", pattern=LISTEN)
    certificate: Path | None = None  # PEM; with it the server speaks TLS
    key: Path | None = None
    plain_http: bool = False  # answer others than this machine without TLS, behind a proxy that speaks it
    users: Path | None = None  # an SQLite file of users, sessions, tokens and the audit log
    exports: Path | None = None  # a directory for finished clips
    export_days: float = Field(default=7.0, gt=0)  # so long they are kept
    session_hours: float = Field(default=24.0, gt=0, le=24 * 366)  # without use
    workers: int | None = Field(default=None, ge=1, le=64)  # processes that decode; half the cores unless told
    threads: int = Field(default=1, ge=1, le=64)  # of torch in each
    device: Literal["auto", "cpu", "cuda"] = "auto"
    streams: int = Field(default=64, ge=1, le=4096)  # pictures and clips under way at once
    metrics: Literal["token", "loopback"] = "token"  # who may read /metrics

    @model_validator(mode="after")
    def _whole(self) -> ServeConfig:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key go together")
        host = self.listen.rpartition(":")[0].strip("[]")
        if (
            self.certificate is None
            and not self.plain_http
            and not (host in ("localhost", "::1") or host[:4] == "127.")
        ):
            raise ValueError(f"{self.listen} can be reached by others: give certificate and key, or set plain_http")
        return self


class SiteConfig(_Strict):
    """A whole site: `fovea run CONFIG`."""

    store: Path
    cameras: dict[CameraId, CameraConfig] = Field(min_length=1)
    ray: RayConfig = RayConfig()
    retention: RetentionConfig = RetentionConfig()  # of each camera that has none of its own
    keep_free_gb: float = Field(default=1.0, ge=0)
    budget: float = Field(default=0.85, gt=0, le=1)  # of a codec's or detector's time, for live cameras
    monitor: MonitorConfig = MonitorConfig()
    serve: ServeConfig = ServeConfig()

    @property
    def retentions(self) -> dict[str, RetentionConfig]:
        """By camera."""
        return {name: camera.retention or self.retention for name, camera in self.cameras.items()}

    @model_validator(mode="after")
    def _ids(self) -> SiteConfig:
        import re

        for name in self.cameras:
            if not re.match(CAMERA_ID, name):
                raise ValueError(f"camera id {name!r}: lower-case letters, digits, '-' and '_', at most 64")
        return self


Model = TypeVar("Model", bound=BaseModel)


def load_site(path: Path) -> SiteConfig:
    """Read and validate a site file. Relative paths in it (store, boxes, file sources) stay relative to the working
    directory. Raises ConfigError with one line a fault, each naming the key's path."""
    return validate(path, SiteConfig, {})


def validate(path: Path, model: type[Model], changes: Mapping[str, object]) -> Model:
    """Read a YAML mapping, replace its keys by `changes`, and validate it. Raises ConfigError as `load_site` does."""
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: expected a mapping at the top, found {type(data).__name__}")
    try:
        return model.model_validate(data | dict(changes))
    except ValidationError as error:
        faults = []
        for item in error.errors():
            where = ".".join(str(part) for part in item["loc"]) or "(top)"
            why = "unknown key" if item["type"] == "extra_forbidden" else item["msg"]
            faults.append(f"{path}: {where}: {why}")
        raise ConfigError("\n".join(faults)) from error
