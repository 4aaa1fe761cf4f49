"""Site files: what loads, and how what is wrong is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import BaseModel

from pipeline.config import CameraConfig, RayConfig, RetentionConfig, SiteConfig, SourceConfig, load_site
from pipeline.errors import ConfigError

CONFIGS = Path(__file__).parent.parent / "configs"
SITE = "store: archive\ncameras:\n  yard:\n    source: {url: 'demo://street'}\n"


def load(tmp_path: Path, text: str) -> SiteConfig:
    path = tmp_path / "site.yaml"
    path.write_text(text)
    return load_site(path)


def keys(model: type[BaseModel]) -> Iterator[str]:
    """Every key of a model and of those inside it."""
    for name, field in model.model_fields.items():
        yield name
        for inner in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                yield from keys(inner)


@pytest.mark.parametrize("name", ["demo.yaml", "site.example.yaml"])
def test_the_files_that_come_along_load(name: str) -> None:
    assert load_site(CONFIGS / name).cameras


def test_the_example_shows_every_key() -> None:
    text = (CONFIGS / "site.example.yaml").read_text()
    expected = set(keys(SiteConfig))
    assert {"url", "classes", "dilate", "gop_s", "object_store_mb"} <= expected
    assert [key for key in sorted(expected) if not re.search(rf"^\s*(# )?{key}:", text, re.MULTILINE)] == []


def test_the_example_shows_the_defaults() -> None:
    site = load_site(CONFIGS / "site.example.yaml")
    yard = site.cameras["yard"]
    assert yard == CameraConfig(source=SourceConfig(url=yard.source.url))
    assert site.ray == RayConfig()
    assert site.retention == RetentionConfig()
    assert site.keep_free_gb == SiteConfig.model_fields["keep_free_gb"].default


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SITE + "colour: red\n", "colour: unknown key"),
        (SITE + "    codec: {qualty: 3}\n", "cameras.yard.codec.qualty: unknown key"),
        (SITE + "    codec: {quality: 101}\n", "cameras.yard.codec.quality: Input should be less than or equal to 100"),
        (
            SITE + "retention: {background: {days: 9}, remove: {days: 3}}\n",
            "retention: Value error, days of background",
        ),
        ("store: archive\n", "cameras: Field required"),
        ("store: archive\ncameras: {}\n", "cameras: "),
        ("store: archive\ncameras: {Yard: {source: {url: x}}}\n", "camera id 'Yard'"),
        ("- 1\n", "expected a mapping"),
        ("store: [\n", "not valid YAML"),
        (SITE.replace("street'", "street', start_time: 2026-01-31T12:00:00"), "needs a time zone"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "site.yaml"))


def test_every_fault_has_a_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, SITE + "a: 1\nb: 2\n")
    assert len(str(caught.value).splitlines()) == 2


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        load_site(tmp_path / "none.yaml")


def test_times_keep_their_zone(tmp_path: Path) -> None:
    site = load(tmp_path, SITE.replace("street'", "street', start_time: 2026-01-31T12:00:00Z"))
    assert site.cameras["yard"].source.start_time == datetime(2026, 1, 31, 12, tzinfo=UTC)
