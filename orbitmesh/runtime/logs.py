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

# Control characters, of which escape sequences are made, and marks that turn the direction of text: a peer's words may
# hold them, and must neither paint on a terminal nor look like a record of their own.
_UNFIT: Final = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A))
}
_UNFIT_IN_LINES: Final = {code: text for code, text in _UNFIT.items() if chr(code) not in "\n\t"} | {0x0A: "\n    "}
_UNFIT_IN_JSON: Final = {code: f"\\u{code:04x}" for code in _UNFIT}

_SHOWN: Final = 500


def shown(text: str) -> str:
    """What somebody else wrote, fit for a log line: on one line, of bounded length, with nothing a terminal obeys."""
    cut = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return cut.translate(_UNFIT)


class Lines(logging.Formatter):
    """Time, level and message; what a record has beyond its first line is indented, so that it looks like no other."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", "%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        """Write a record, without what a terminal would obey instead of showing it."""
        return super().format(record).translate(_UNFIT_IN_LINES)


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
        return json.dumps(line, ensure_ascii=False, default=str).translate(_UNFIT_IN_JSON)


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
    handler.setFormatter(JsonLines() if "json" in parts else Lines())
    level = next((part for part in parts if part in _LEVELS), "info")
    root.addHandler(handler)
    root.setLevel(level.upper())
