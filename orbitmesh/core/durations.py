"""Durations as people write them: seconds as a number, or text such as ``"100ms"`` and ``"2h"``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, TypeAlias

from orbitmesh.core.errors import ConfigError

Duration: TypeAlias = float | int | str
"""Seconds, or a number with a unit: ``ms``, ``s``, ``m``, ``h``, ``d``."""

_SECONDS: Final[Mapping[str, float]] = MappingProxyType({"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0})
_TEXT: Final = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|m|h|d)?\s*")
LONGEST: Final = 100 * 365 * 86400.0
"""A hundred years, in seconds: what is longer is a mistake, and would overflow the wire's milliseconds."""


def seconds(value: Duration, *, what: str = "duration") -> float:
    """Read a duration.

    Args:
        value: Seconds as a number, or text with a unit; text without one is seconds.
        what: How the value is called in the error.

    Returns:
        Seconds, never negative, finite.

    Raises:
        ConfigError: It is no duration: negative, not finite, longer than a hundred years, or of another form.
    """
    if isinstance(value, str):
        match = _TEXT.fullmatch(value)
        if match is None:
            raise ConfigError(f"{what} {value!r} is no duration: write seconds, or a text such as '100ms', '30s', '2h'")
        result = float(match[1]) * _SECONDS[match[2] or "s"]
    elif isinstance(value, int | float) and not isinstance(value, bool):
        result = value if 0 <= value <= LONGEST else -1.0  # before `float`, which cannot hold every int
    else:
        raise ConfigError(f"{what} {value!r} is no duration: write seconds, or a text such as '100ms', '30s', '2h'")
    if not 0 <= result <= LONGEST:  # also false for NaN
        raise ConfigError(f"{what} {value!r} is out of range: take 0 to 100 years")
    return float(result)
