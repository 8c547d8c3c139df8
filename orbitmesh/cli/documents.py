"""Values as JSON: bytes as base64, times as ISO 8601, whatever JSON has no word for as the nearest that it has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Any

import msgspec

from orbitmesh.core.errors import Unserializable


def as_line(value: Any) -> str:
    """A value as one JSON document on one line. NaN and infinity become null, which is all that JSON has for them.

    Raises:
        Unserializable: It holds what has no form in JSON.
    """
    try:
        return _encoded(value).decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise Unserializable(f"the value cannot be written as JSON: {error}") from error


def as_text(value: Any) -> str:
    """A value as JSON for people: indented.

    Raises:
        Unserializable: As in ``as_line``.
    """
    return msgspec.json.format(as_line(value), indent=2)


def _encoded(value: Any) -> bytes:
    try:
        return msgspec.json.encode(value)
    except TypeError:
        return msgspec.json.encode(_with_text_keys(value))


def _with_text_keys(value: Any) -> Any:
    """The same with keys as text: JSON has no others, while msgpack takes None, true and false too."""
    match value:
        case Mapping():
            return {_key(key): _with_text_keys(inner) for key, inner in value.items()}
        case str() | bytes() | bytearray() | memoryview():
            return value
        case Sequence() | Set():
            return [_with_text_keys(inner) for inner in value]
        case _:
            return value


def _key(key: Any) -> Any:
    return _encoded(key).decode() if key is None or isinstance(key, bool) else key
