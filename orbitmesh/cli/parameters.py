"""Parameters as a command line gives them: ``k=v`` read by the command's JSON Schema, or one JSON document."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import click

_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
_MAX_DIGITS: Final = 4000  # Python refuses to read longer ones
_REF: Final = "#/$defs/"
_NOTHING: Final = object()


def split_pairs(pairs: Sequence[str]) -> dict[str, str]:
    """Part ``k=v`` into names and texts.

    Raises:
        click.UsageError: One has no ``=``, or a name comes twice.
    """
    texts: dict[str, str] = {}
    for pair in pairs:
        name, is_pair, text = pair.partition("=")
        if not is_pair or not name:
            raise click.UsageError(f"{pair!r} is no parameter: write name=value, or --params '{{…}}' for JSON")
        if name in texts:
            raise click.UsageError(f"parameter {name!r} is given twice: write a list as {name}='[1, 2]'")
        texts[name] = text
    return texts


def read_document(text: str) -> Any:
    """Read the JSON of ``--params``.

    Raises:
        click.UsageError: It is no JSON.
    """
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise click.UsageError(f"--params is no JSON: {error}") from error


def read_pairs(texts: Mapping[str, str], schema: Mapping[str, Any] | None) -> dict[str, Any]:
    """Read texts as the parameters that a command takes.

    A text is read as the first of null, boolean, integer, number, list and object that the schema allows and the text
    can be; where the schema allows text, what is none of these stays as it was typed, so ``007`` of a text is ``007``.
    What fits nothing is handed on as text: the agent says what is wrong with it, and with all others, at once.

    Args:
        texts: Texts by name.
        schema: What the command takes; None where it is not known: then JSON is read as JSON, all else as text.
    """
    return {name: _read(text, list(_of_property(name, schema or {}, schema or {}))) for name, text in texts.items()}


def _read(text: str, schemas: Sequence[Mapping[str, Any]]) -> Any:
    """Read one text as one of these; no schema, or one that says nothing, allows anything."""
    for schema in schemas:
        for value in _choices(schema):
            if _matches(text, value):
                return value
    kinds = {kind for schema in schemas for kind in _kinds(schema)}
    if not schemas or any(not schema.keys() & {"type", "enum", "const"} for schema in schemas):
        return _json_or_text(text)
    for kind, read in _READERS.items():
        if kind in kinds:
            value = read(text)
            if value is not _NOTHING:
                return value
    if kinds == {"string"} and all(schema.get("contentEncoding") == "base64" for schema in schemas):
        return _bytes_or_text(text)
    return text


def _of_property(name: str, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What is said of one property; several where one of several forms may be taken."""
    for form in _forms(schema, root):
        found = form.get("properties", {}).get(name, form.get("additionalProperties"))
        if isinstance(found, Mapping):
            yield from _forms(found, root)


def _forms(
    schema: Mapping[str, Any], root: Mapping[str, Any], seen: frozenset[str] = frozenset()
) -> Iterator[Mapping[str, Any]]:
    """The schema, references followed; each of the forms where there are several."""
    reference = schema.get("$ref")
    if isinstance(reference, str):
        definition = root.get("$defs", {}).get(reference.removeprefix(_REF))
        if definition is not None and reference not in seen:  # one that goes in a circle says nothing
            yield from _forms(definition, root, seen | {reference})
        return
    alternatives = [*schema.get("anyOf", ()), *schema.get("oneOf", ())]
    if not alternatives:
        yield schema
    for alternative in alternatives:
        yield from _forms(alternative, root, seen)


def _kinds(schema: Mapping[str, Any]) -> list[str]:
    kind = schema.get("type", [])
    return [kind] if isinstance(kind, str) else list(kind)


def _choices(schema: Mapping[str, Any]) -> list[Any]:
    return [*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])]


def _matches(text: str, value: Any) -> bool:
    return text == value if isinstance(value, str) else text == json.dumps(value)


def _null(text: str) -> Any:
    return None if text == "null" else _NOTHING


def _boolean(text: str) -> Any:
    return {"true": True, "false": False}.get(text, _NOTHING)


def _integer(text: str) -> Any:
    return int(text) if _INTEGER.fullmatch(text) and len(text) < _MAX_DIGITS else _NOTHING


def _number(text: str) -> Any:
    whole = _integer(text)
    if whole is not _NOTHING:
        return whole
    return float(text) if _NUMBER.fullmatch(text) else _NOTHING


def _json_of(type_: type) -> Any:
    def read(text: str) -> Any:
        value = _json_or_text(text)
        return value if isinstance(value, type_) else _NOTHING

    return read


_READERS: Final = {
    "null": _null,
    "boolean": _boolean,
    "integer": _integer,
    "number": _number,
    "array": _json_of(list),
    "object": _json_of(dict),
}


def _json_or_text(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _bytes_or_text(text: str) -> Any:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return text
