"""The log of a run on stderr: lines for people, or one JSON object a line with camera and frame as fields."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime

from pipeline.cli.output import say

STYLES = ("text", "json")
_FIELDS = ("camera", "frame", "from_us", "to_us")


class _ToUser(logging.Handler):
    """By way of `say`, so that lines stand above the progress display and not within it."""

    def emit(self, record: logging.LogRecord) -> None:
        say(self.format(record))


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        camera = getattr(record, "camera", None)
        return f"{camera}: {record.getMessage()}" if camera else record.getMessage()


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        line: dict[str, object] = {"time": moment, "level": record.levelname.lower(), "message": record.getMessage()}
        line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        return json.dumps(line, ensure_ascii=False)


def set_up(style: str) -> None:
    """Show what Fovea's own modules log: as JSON everything, as text what needs attention."""
    handler = _ToUser()
    handler.setFormatter(_Json() if style == "json" else _Text())
    for name in ("pipeline", "workers"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO if style == "json" else logging.WARNING)
