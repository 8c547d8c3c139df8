"""What serializers built on msgspec share: values it does not know, and a good word about those nobody can write."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any, Final, TypeAlias

import msgspec

from orbitmesh.core.errors import Unserializable

Encode: TypeAlias = Callable[[Any], bytes]
Decode: TypeAlias = Callable[[Any], Any]

MAX_DECODERS: Final = 1024
"""Types that a serializer remembers how to decode: far more than a program has, fewer than one that makes types anew
for each call could fill memory with."""

_MAX_STEPS: Final = 64
"""How far down a path is followed: deeper ones say little, and a value may hold itself."""

_MAX_QUOTED: Final = 64

# Exactly what the built-in type itself makes of one of a class derived from it, such as numpy.float64 or a str-like
# class of a YAML reader. Enums that derive from these are known to msgspec and never come here.
_PLAIN: Final[tuple[tuple[type, Callable[[Any], Any]], ...]] = (
    (str, str.__str__),
    (int, int.__int__),
    (float, float.__float__),
    (bytes, lambda value: memoryview(value).tobytes()),
)


class Decoders(dict[Any, Decode]):
    """How bodies are decoded, by type; each is made when it is first asked for."""

    def __init__(self, make: Callable[[Any], Decode]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, type_: Any) -> Decode:
        made = self._make(type_)
        if len(self) >= MAX_DECODERS:
            self.clear()
        self[type_] = made
        return made

    def decode_anew(self, body: Any, type_: Any) -> Any:
        """Find out, after a failure that was no ValueError, whether the type or the body is to blame.

        Raises:
            ValueError: The body is nested too deeply, or the type's own check failed on it.
            TypeError: No value of the type can be made from plain values.
        """
        decode = self._make(type_)
        try:
            return decode(body)  # the type could not be a key
        except ValueError:
            raise
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error
        except Exception as error:  # a dataclass' own __post_init__ may raise anything
            raise ValueError(f"{type(error).__name__}: {error}") from error


def as_plain(value: Any) -> Any:
    """Turn a value that msgspec does not know into one that it does: the ``enc_hook`` of an encoder.

    Taken are classes derived from scalars, what has ``__index__`` (numpy's integers), and mappings of all kinds.

    Raises:
        NotImplementedError: It is none of these.
    """
    if isinstance(value, bool):
        raise NotImplementedError  # as a key, where the form has none of this type; 1 and 0 would be other keys
    for cls, convert in _PLAIN:
        if isinstance(value, cls):
            return convert(value)
    if isinstance(value, Mapping):
        return dict(value)
    if hasattr(type(value), "__index__"):
        return operator.index(value)
    raise NotImplementedError


def is_pydantic(value: Any) -> bool:
    """Whether it is a pydantic model; there can only be one where the program has imported pydantic."""
    return hasattr(type(value), "__pydantic_serializer__") and hasattr(value, "model_dump")


def unserializable(value: Any, error: Exception, *, encode: Encode, form: str) -> Unserializable:
    """Say which part of a value cannot be written. Costs as much as encoding it again for each step of the path.

    Args:
        value: What could not be encoded.
        error: What ``encode`` raised for it.
        encode: The encoder.
        form: Name of the form, such as ``msgpack``.
    """
    if isinstance(error, RecursionError):
        return Unserializable(f"the value is nested too deeply for {form}, or holds itself")
    path, is_key = "$", False
    for _ in range(_MAX_STEPS):
        found = next(_failing_parts(value, encode), None)
        if found is None:
            break
        step, value, error, is_key = found
        path += step
        if is_key:
            break
    what = f"{'a key' if is_key else 'a value'} of type {_name(type(value))}{'' if path == '$' else f' at {path}'}"
    return Unserializable(f"{what} cannot be written as {form}: {_reason(value, error)}")


def _failing_parts(value: Any, encode: Encode) -> Iterator[tuple[str, Any, Exception, bool]]:
    try:
        parts = list(_parts(value))
    except Exception:  # what it is made of cannot even be looked at: then it is to blame itself
        return
    for step, part, is_key in parts:
        try:
            encode({part: None} if is_key else part)
        except Exception as error:  # whatever it is, it is the cause
            yield step, part, error, is_key


def _parts(value: Any) -> Iterator[tuple[str, Any, bool]]:
    """What a value is made of, each with its step of the path and whether it is a key."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            step = f".{key}" if isinstance(key, str) and key.isidentifier() else f"[{_quoted(key)}]"
            yield "", key, True
            yield step, part, False
    elif isinstance(value, list | tuple):
        yield from ((f"[{index}]", part, False) for index, part in enumerate(value))
    elif isinstance(value, set | frozenset):
        yield from (("[…]", part, False) for part in value)
    elif isinstance(value, msgspec.Struct):
        yield from ((f".{name}", getattr(value, name, msgspec.UNSET), False) for name in value.__struct_fields__)
    elif is_dataclass(value) and not isinstance(value, type):
        yield from ((f".{f.name}", getattr(value, f.name), False) for f in fields(value) if hasattr(value, f.name))
    elif isinstance(value, Enum):
        yield ".value", value.value, False


def _reason(value: Any, error: Exception) -> str:
    match error:
        case OverflowError() if isinstance(value, int):
            return "it is beyond 64 bits; send it as text"
        case UnicodeEncodeError():
            return "it has lone surrogates, which UTF-8 has no bytes for"
        case NotImplementedError():
            return "use dicts, lists, scalars, dataclasses, Structs"
    text = f"{type(error).__name__}: {error}"
    return text if len(text) <= 4 * _MAX_QUOTED else text[: 4 * _MAX_QUOTED - 1] + "…"


def _quoted(key: Any) -> str:
    text = repr(key)
    return text if len(text) <= _MAX_QUOTED else text[: _MAX_QUOTED - 1] + "…"


def _name(cls: type) -> str:
    return cls.__qualname__ if cls.__module__ == "builtins" else f"{cls.__module__}.{cls.__qualname__}"
