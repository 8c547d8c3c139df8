"""Plain values to values of one annotation, and what is wrong with those that do not fit.

Everything goes through msgspec but what holds a pydantic type, which pydantic converts. Pydantic is never imported from
here: a class of it can only be met where the user's program has imported it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, is_dataclass, replace
from typing import Annotated, Any, Final, NamedTuple, Protocol, get_args, get_origin

import msgspec
from msgspec import inspect
from typing_extensions import is_typeddict

from orbitmesh.runtime.annotations import without_none

# What a binary serializer writes as bytes is not written as text; text for bytes is then a fault, not base64.
_BINARY: Final = (bytes, bytearray)

_WHERE: Final = re.compile(r"^(?P<text>.*?)(?: - at (?P<key>`key` in )?`\$(?P<path>.*)`)?$", re.DOTALL)
_MAX_TEXT: Final = 300
"""Longest description of one fault, in characters: it may quote what the caller sent."""

# The words of JSON, as Python has them.
_WORDS: Final[Mapping[str, str]] = {"object": "mapping", "array": "list", "null": "None"}


class Fault(NamedTuple):
    """One thing that is wrong with a value.

    Attributes:
        path: Where within the value, such as ``.rows[1]``; empty for the value itself.
        text: What is wrong there.
    """

    path: str
    text: str

    def under(self, name: str) -> str:
        """The fault as a phrase, its path starting with a name."""
        path = (name + self.path).removeprefix(".")
        return f"{path}: {self.text}" if path else self.text


class Misfit(ValueError):
    """A value does not fit the annotation.

    Attributes:
        faults: At least one.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("; ".join(fault.under("") for fault in faults))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Structure:
    """The fields of a type that is written as a mapping.

    Attributes:
        names: All field names as they are written.
        required: Those that must be there and are not missed by the type in its own words, in order.
        is_closed: Whether decoding into the type refuses other names by itself.
        is_open: Whether the type's author has said what becomes of other names.
        is_optional: Whether None is a value too.
    """

    names: frozenset[str]
    required: tuple[str, ...] = ()
    is_closed: bool = False
    is_open: bool = False
    is_optional: bool = False


class Conversion(Protocol):
    """How plain values become values of one annotation.

    Attributes:
        annotation: The type as the user wrote it.
        decode_type: What a serializer is asked to decode to.
        is_direct: Whether what it then gives is the value; else it is a plain one, for ``convert``.
        structure: Its fields, for a type that is written as a mapping.
    """

    @property
    def annotation(self) -> Any: ...  # noqa: D102 - see above
    @property
    def decode_type(self) -> Any: ...  # noqa: D102 - see above
    @property
    def is_direct(self) -> bool: ...  # noqa: D102 - see above
    @property
    def structure(self) -> Structure | None: ...  # noqa: D102 - see above

    def convert(self, plain: Any, *, is_binary: bool = True) -> Any:
        """Turn what a serializer gave for ``Any`` into the value.

        Args:
            plain: Made of dicts, lists and scalars; values of the type itself pass.
            is_binary: Whether the serializer writes bytes as bytes; else text that stands for bytes is base64.

        Raises:
            Misfit: It does not fit. Nothing else escapes.
        """
        ...


def read_type(annotation: Any) -> Conversion:
    """Find out how values of an annotation are made.

    Raises:
        TypeError: No value can be converted to it; the message says what about it.
    """
    if _speaks_pydantic(annotation):
        return PydanticConversion(annotation)
    info = inspect.type_info(annotation)
    foreign = list(_foreign_classes(info))
    if any(_is_pydantic(cls) for cls in foreign):  # within a dataclass or TypedDict
        return PydanticConversion(annotation)
    if foreign:
        raise TypeError(f"{_name(foreign[0])} is not a type that plain values can be converted to")
    return NativeConversion(annotation, info)


class NativeConversion:
    """What msgspec converts."""

    __slots__ = ("annotation", "decode_type", "is_direct", "structure")

    def __init__(self, annotation: Any, info: inspect.Type) -> None:
        self.annotation = self.decode_type = annotation
        self.is_direct = True
        self.structure = _native_structure(info)

    def convert(self, plain: Any, *, is_binary: bool = True) -> Any:
        """See ``Conversion``."""
        return convert_native(plain, self.annotation, is_binary=is_binary)


class PydanticConversion:
    """What pydantic converts, by its own rules."""

    __slots__ = ("_adapter", "annotation", "decode_type", "is_direct", "structure")

    def __init__(self, annotation: Any) -> None:
        pydantic: Any = sys.modules.get("pydantic")
        if pydantic is None:
            raise TypeError("it has constraints for pydantic, which is not installed; write them with msgspec.Meta")
        try:
            self._adapter = pydantic.TypeAdapter(annotation)
            # Models with forward references build themselves late: now is when to learn that they cannot.
            self._adapter.json_schema(mode="validation")
        except Exception as error:  # pydantic has many, without a base in common
            raise TypeError(f"pydantic cannot build a validator for it: {error}") from error
        self.annotation = annotation
        self.decode_type: Any = Any
        self.is_direct = False
        self.structure = _pydantic_structure(annotation)

    def convert(self, plain: Any, *, is_binary: bool = True) -> Any:
        """See ``Conversion``."""
        try:
            return self._adapter.validate_python(plain)
        except sys.modules["pydantic"].ValidationError as error:
            raise Misfit([_pydantic_fault(detail) for detail in _details(error)]) from error
        except Exception as error:  # a validator of the user's
            raise Misfit([fault_of(error)]) from error

    def json_schema(self, ref_template: str) -> dict[str, Any]:
        """The JSON Schema that pydantic gives, definitions under ``$defs``."""
        schema: dict[str, Any] = self._adapter.json_schema(ref_template=ref_template)
        return schema


def convert_native(plain: Any, type_: Any, *, is_binary: bool) -> Any:
    """Turn a plain value into one of a type that msgspec knows.

    Raises:
        Misfit: It does not fit. Nothing else escapes.
    """
    try:
        return msgspec.convert(plain, type_, builtin_types=_BINARY if is_binary else None, str_keys=not is_binary)
    except Exception as error:  # msgspec lets pass what a dataclass' own __post_init__ raises
        raise Misfit([fault_of(error)]) from error


def fault_of(error: Exception) -> Fault:
    """What a serializer or a type's own check has found, in the words of Python and apart from its path."""
    if not isinstance(error, ValueError):
        return Fault("", _short(f"{type(error).__name__}: {error}"))
    match = _WHERE.match(str(error))
    assert match is not None  # every part of the pattern may be missing
    text = re.sub(r"`([^`]*)`", lambda quoted: _WORDS.get(quoted[1], quoted[1]), match["text"])
    if match["key"]:
        text = f"in a key, {text[:1].lower()}{text[1:]}"
    return Fault(match["path"] or "", _short(text[:1].lower() + text[1:]))


def _short(text: str) -> str:
    return text if len(text) <= _MAX_TEXT else text[: _MAX_TEXT - 1] + "…"


def _details(error: Any) -> list[Mapping[str, Any]]:
    details: list[Mapping[str, Any]] = error.errors(include_url=False, include_context=False, include_input=False)
    return details


def _pydantic_fault(detail: Mapping[str, Any]) -> Fault:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in detail["loc"])
    message: str = detail["msg"]
    return Fault(path, _short(message[:1].lower() + message[1:]))


def _foreign_classes(info: inspect.Type) -> Iterator[type]:
    """All classes within a type that msgspec does not convert by itself, or not by their own rules."""
    seen: set[int] = set()
    waiting: list[Any] = [info]
    while waiting:
        node = waiting.pop()
        if id(node) in seen:
            continue
        seen.add(id(node))
        if isinstance(node, inspect.CustomType):
            if node.cls is not object:
                yield node.cls
        elif isinstance(node, inspect.DataclassType) and _is_pydantic(node.cls):
            yield node.cls
        for value in msgspec.structs.astuple(node):
            parts = value if isinstance(value, tuple) else (value,)
            waiting += [part for part in parts if isinstance(part, inspect.Type | inspect.Field)]


def _is_pydantic(cls: Any) -> bool:
    return hasattr(cls, "__pydantic_validator__")


def _speaks_pydantic(annotation: Any) -> bool:
    """Whether pydantic is meant: by a class of its, or by constraints that msgspec would pass over without a word."""
    if get_origin(annotation) is Annotated:
        rooms = {type(metadata).__module__.partition(".")[0] for metadata in annotation.__metadata__}
        if not rooms.isdisjoint(("pydantic", "annotated_types")):
            return True
    return _is_pydantic(annotation) or any(_speaks_pydantic(argument) for argument in get_args(annotation))


def _native_structure(info: inspect.Type) -> Structure | None:
    while isinstance(info, inspect.Metadata):
        info = info.type
    match info:
        case inspect.UnionType(types=(one, inspect.NoneType())) | inspect.UnionType(types=(inspect.NoneType(), one)):
            inner = _native_structure(one)
            return None if inner is None else replace(inner, is_optional=True)
        case inspect.StructType(array_like=False):
            tag = () if info.tag_field is None else (info.tag_field,)
            is_closed = info.forbid_unknown_fields
        case inspect.DataclassType() | inspect.TypedDictType():
            tag = ()
            is_closed = False
        case _:
            return None
    names = frozenset((*tag, *(field.encode_name for field in info.fields)))
    required = tuple(field.encode_name for field in info.fields if field.required)
    return Structure(names, required, is_closed=is_closed)


def _pydantic_structure(annotation: Any) -> Structure | None:
    """The fields of a model; or of a dataclass or TypedDict that holds some. Pydantic itself tells which it misses."""
    cls, is_optional = without_none(annotation)
    if not _is_pydantic(cls):
        is_mapping = is_dataclass(cls) or is_typeddict(cls)
        structure = _native_structure(inspect.type_info(cls)) if is_mapping else None
        return None if structure is None else replace(structure, required=(), is_optional=is_optional)
    if getattr(cls, "__pydantic_root_model__", False):
        return None
    config: Mapping[str, Any] = getattr(cls, "model_config", None) or getattr(cls, "__pydantic_config__", None) or {}
    names = frozenset(_pydantic_names(cls.__pydantic_fields__))
    return Structure(names, is_open="extra" in config, is_optional=is_optional)


def _pydantic_names(fields: Mapping[str, Any]) -> Iterator[str]:
    for name, field in fields.items():
        yield name
        alias = field.validation_alias
        for choice in getattr(alias, "choices", (alias,)):
            first = getattr(choice, "path", (choice,))[0]
            if isinstance(first, str):
                yield first


def _name(cls: Any) -> str:
    return getattr(cls, "__qualname__", None) or str(cls)
