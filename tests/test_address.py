from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.address import parse_address, redact_url
from pipeline.config import SourceConfig
from pipeline.errors import UsageError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:hunter2@10.0.0.5:554/live", "rtsp://admin:***@10.0.0.5:554/live"),
        ("rtsp://admin:hun/t@er2@cam/live", "rtsp://admin:***@cam/live"),
        ("rtsp://:hunter2@cam/live", "rtsp://:***@cam/live"),
        ("http://cam/video?user=bob&pwd=hunter2&channel=1", "http://cam/video?user=***&pwd=***&channel=1"),
        ("https://cam/x?access_token=hunter2", "https://cam/x?access_token=***"),
        ("rtsp://cam/live?channel=1", "rtsp://cam/live?channel=1"),
        ("cannot open rtsp://a:hunter2@cam/live: refused", "cannot open rtsp://a:***@cam/live: refused"),
    ],
)
def test_redaction(url: str, shown: str) -> None:
    assert redact_url(url) == shown


def test_no_representation_shows_a_password() -> None:
    url = "rtsp://admin:hunter2@10.0.0.5/live?token=hunter2"
    address = parse_address(url)
    assert address.target == url
    for text in (repr(address), address.name, repr(SourceConfig(url=url)), str(SourceConfig(url=url))):
        assert "hunter2" not in text


@pytest.mark.parametrize(
    "url",
    [
        "exec:ffmpeg", "concat:a|b", "pipe:0", "ftp://u:hunter2@host/a.mp4", "rtmp://host/live", "lavfi:testsrc", "",
        "subfile,,start,0,end,0,,:a.mp4", "rtsp://", "rtsp://host:99999/x", "http://ho st/a", "rtsp://cam/a\nb",
        "v4l2:///etc/passwd", "/dev/video77?size=1x", "/dev/videoX", "demo://beach", "demo://street?sed=1",
        "demo://street?size=9", "demo://street?seed=-1", "data:video/mp4;base64,AAAA", "nothing.mp4", "file:///nothing.mp4",
    ],
)  # fmt: skip
def test_what_is_refused(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_address(url)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_files(tmp_path: Path) -> None:
    odd = tmp_path / "12:30 100%.mp4"
    odd.touch()
    assert parse_address(str(odd)).target == f"file:{odd}"
    assert parse_address(f"file://{tmp_path}/12:30%20100%25.mp4").target == f"file:{odd}"
    with pytest.raises(UsageError, match="directory"):
        parse_address(str(tmp_path))
    with pytest.raises(UsageError, match="no such file"):
        parse_address(str(odd / "under"))
    with pytest.raises(UsageError):
        parse_address("x" * 5000)
