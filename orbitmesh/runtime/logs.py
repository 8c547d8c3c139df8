"""Logging for whoever runs agents as the main job of a process; a library never configures it."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime
from typing import Final

from orbitmesh.core.errors import ConfigError

_FIELDS: Final = ("event", "node", "peer", "link", "command", "state", "code")
_LEVELS: Final = ("debug", "info", "warning", "error", "critical")


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the fixed fields that the record has."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in _FIELDS if (value := getattr(record, name, None)) not in (None, "")}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def set_up_logging(wanted: str | None = None) -> None:
    """Log to stderr, unless the application has set up logging itself.

    Args:
        wanted: Level, and ``json`` for lines as JSON, such as ``debug,json``; None for ``ORBITMESH_LOG``, else info.

    Raises:
        ConfigError: It is neither.
    """
    root = logging.getLogger()
    if root.handlers:
        return
    parts = [part.strip().lower() for part in (wanted or os.environ.get("ORBITMESH_LOG") or "info").split(",")]
    unknown = [part for part in parts if part not in (*_LEVELS, "json", "")]
    if unknown:
        raise ConfigError(
            f"log {', '.join(unknown)!r} is unknown: take one of {', '.join(_LEVELS)}, and json if wanted"
        )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonLines() if "json" in parts else logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")
    )
    level = next((part for part in parts if part in _LEVELS), "info")
    root.addHandler(handler)
    root.setLevel(level.upper())
