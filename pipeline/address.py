"""What may stand as a source's URL, and how it is shown without its passwords. Opens nothing.

| URL | |
|---|---|
| `clip.mp4`, `/footage/clip.mp4`, `file:///footage/clip.mp4` | a file |
| `rtsp://`, `rtsps://`, `http://`, `https://` | a camera or a file on a server |
| `/dev/video0`, `v4l2:///dev/video0?size=1280x720&fps=30` | a camera of this machine |
| `demo://street?seed=1&size=640x360&fps=10` | a made-up street; with `&live=1` as a camera gives it, by the clock |

Anything else is refused: FFmpeg knows protocols that run programs, join files or reach other machines.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pipeline.errors import UsageError

Kind = Literal["file", "network", "v4l2", "demo"]

NETWORK_SCHEMES = ("rtsp", "rtsps", "http", "https")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_SECRET = re.compile(r"(?i)([?&;][^=&;?#\s]*(?:pass|pwd|token|secret|auth|key|user|sig|cred)[^=&;?#\s]*=)[^&;#\s]*")
# Up to the very last @, for a password may hold a slash: too much is hidden rather than too little.
_USER = re.compile(r"(?i)([a-z][a-z0-9+.-]*://)([^\s:/@?#]*):?\S*@")


@dataclass(frozen=True, slots=True)
class Address:
    """A URL that was found fit. `target` is what FFmpeg gets (may hold a password: never show it), `options` its
    options; `name` is for people."""

    kind: Kind
    target: str
    name: str
    options: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Address({self.kind}, {self.name})"


def redact_url(text: str) -> str:
    """`text` (a URL, or a message with one in it) with passwords and tokens replaced by ***."""
    return _SECRET.sub(r"\1***", _USER.sub(r"\1\2:***@", text))


def parse_address(url: str) -> Address:
    """Sort a URL. Raises UsageError on anything outside the module's table, and for files that do not exist."""
    if not url or any(ord(character) < 32 for character in url):
        raise UsageError(f"not a source: {redact_url(url)!r}")
    scheme = url.split(":", 1)[0].lower() if _SCHEME.match(url) else ""
    if scheme == "demo":
        return _parse_demo(url)
    if scheme in NETWORK_SCHEMES:
        return _parse_network(url)
    if scheme == "v4l2" or url.startswith("/dev/video"):
        return _parse_v4l2(url)
    path = Path(unquote(urlsplit(url).path)) if scheme == "file" else Path(url)
    if scheme not in ("", "file") and not path.exists():
        known = ", ".join((*NETWORK_SCHEMES, "file", "v4l2", "demo"))
        raise UsageError(f"{redact_url(url)}: sources of scheme {scheme!r} are not supported (known: {known})")
    try:
        if path.is_dir():
            raise UsageError(f"{path}: is a directory, not a video")
        if not path.exists():
            raise UsageError(f"{path}: no such file")
    except OSError as error:
        raise UsageError(f"{path!s:.200}: {error.strerror or error}") from error
    return Address("file", f"file:{path.absolute()}", str(path))


def _parse_network(url: str) -> Address:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port  # the port is checked when it is read
    except ValueError as error:
        raise UsageError(f"{redact_url(url)}: not a valid URL") from error
    if not host or any(character.isspace() for character in url):
        raise UsageError(f"{redact_url(url)}: not a valid URL")
    return Address("network", url, redact_url(url))


def _parse_v4l2(url: str) -> Address:
    device, _, query = url.removeprefix("v4l2:").partition("?")
    device = "/" + device.lstrip("/")
    if not re.fullmatch(r"/dev/video\d+", device):
        raise UsageError(f"{url}: expected v4l2:///dev/videoN")
    options = []
    for key, value in _query(url, query, {"size": r"\d{2,4}x\d{2,4}", "fps": r"\d{1,3}(\.\d+)?"}).items():
        options.append(({"size": "video_size", "fps": "framerate"}[key], value))
    if not Path(device).exists():
        raise UsageError(f"{device}: no such device")
    return Address("v4l2", device, device, tuple(options))


def _parse_demo(url: str) -> Address:
    parts = urlsplit(url)
    if parts.netloc != "street" or parts.path not in ("", "/"):
        raise UsageError(f"{url}: the one demo scene is demo://street")
    patterns = {"seed": r"\d{1,9}", "size": r"\d{2,4}x\d{2,4}", "fps": r"\d{1,3}(\.\d+)?", "live": r"[01]"}
    return Address("demo", "street", url, tuple(_query(url, parts.query, patterns).items()))


def _query(url: str, query: str, patterns: dict[str, str]) -> dict[str, str]:
    """The options after the question mark; each must be known and match its pattern."""
    found = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in patterns:
            raise UsageError(f"{redact_url(url)}: unknown option {key!r} (known: {', '.join(patterns)})")
        if not re.fullmatch(patterns[key], value):
            raise UsageError(f"{redact_url(url)}: {key}={value!r} is not valid")
        found[key] = value
    return found
