"""JSON Schema of parameters and results, and the parts of a docstring that go into it."""

from __future__ import annotations

import re
from collections import ChainMap
from collections.abc import Mapping, Sequence
from inspect import cleandoc
from typing import Any, Final

import msgspec

from orbitmesh.runtime.conversion import Conversion, PydanticConversion, read_type
from orbitmesh.runtime.parameters import Parameter, Parameters

_REF: Final = "#/$defs/"
_SECTION: Final = re.compile(r"^(Args|Arguments|Parameters):\s*$")
_ENTRY: Final = re.compile(r"^\*{0,2}(?P<name>\w+)\s*(\([^)]*\))?:\s*(?P<text>.*)$")


def parameters_schema(parameters: Parameters) -> dict[str, Any]:
    """JSON Schema of what a caller gives: an object with a property for each parameter.

    Whatever it refers to is in it, under ``$defs``.
    """
    fields = parameters.fields
    schemas, definitions = _schemas([(field.name, field.conversion) for field in fields])
    if parameters.is_lone:
        schema = _inlined(schemas[0], definitions)
        if fields[0].description:
            schema.setdefault("description", fields[0].description)
    else:
        schema = {
            "type": "object",
            "properties": {field.name: _property(field, each) for field, each in zip(fields, schemas, strict=True)},
            "required": [field.name for field in fields if field.is_required],
            "additionalProperties": False,
        }
    return _with_definitions(schema, definitions)


def type_schema(annotation: Any) -> dict[str, Any] | None:
    """JSON Schema of a result; None where there is none to tell."""
    if annotation is Any:
        return None
    try:
        (schema,), definitions = _schemas([("result", read_type(annotation))])
    except TypeError:
        return None  # a handler may return what only its own caller understands
    return _with_definitions(_inlined(schema, definitions), definitions)


def first_paragraph(doc: str | None) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(cleandoc(doc or "").partition("\n\n")[0].split())


def argument_descriptions(doc: str | None) -> dict[str, str]:
    """What the ``Args`` section of a docstring says, by parameter."""
    descriptions: dict[str, str] = {}
    name = indent = None
    lines = iter(cleandoc(doc or "").splitlines())
    for line in lines:
        if _SECTION.match(line):
            break
    for line in lines:
        text = line.strip()
        if text and not line[0].isspace():
            break  # the next section
        depth = len(line) - len(line.lstrip())
        entry = _ENTRY.match(text)
        if entry and (indent is None or depth <= indent):
            name, indent = entry["name"], depth
            descriptions[name] = entry["text"]
        elif name and text:
            descriptions[name] = f"{descriptions[name]} {text}".strip()
    return descriptions


def _schemas(named: Sequence[tuple[str, Conversion]]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Schemas in order, and all definitions that they refer to."""
    native = [conversion.annotation for _, conversion in named if not isinstance(conversion, PydanticConversion)]
    found, definitions = _native_schemas(native)
    natives = iter(found)
    schemas: list[dict[str, Any]] = []
    for name, conversion in named:
        if isinstance(conversion, PydanticConversion):
            # Prefixed, as a model may be called like a struct, and mean something else.
            schema = conversion.json_schema(f"{_REF}{name}.{{model}}")
            inner = schema.pop("$defs", {})
            definitions |= {f"{name}.{model}": definition for model, definition in inner.items()}
        else:
            schema = next(natives)
        schemas.append(schema)
    return schemas, definitions


def _native_schemas(annotations: Sequence[Any]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """What msgspec says; a type with something in it that JSON Schema has no word for may be anything."""
    try:
        found, definitions = msgspec.json.schema_components(
            annotations, schema_hook=lambda _: {"description": "anything"}, ref_template=_REF + "{name}"
        )
    except TypeError:
        if len(annotations) == 1:
            return [{}], {}
        alone = [_native_schemas([annotation]) for annotation in annotations]
        return [schema for each, _ in alone for schema in each], dict(ChainMap(*(inner for _, inner in alone)))
    return list(found), definitions


def _property(parameter: Parameter, schema: Mapping[str, Any]) -> dict[str, Any]:
    made = dict(schema)
    if parameter.description:
        made.setdefault("description", parameter.description)
    if not parameter.is_required:
        try:
            made["default"] = msgspec.to_builtins(parameter.default)
        except (TypeError, ValueError):
            return made  # not a value that JSON can show
    return made


def _inlined(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """A schema that says at its top what it is, instead of where that stands."""
    name = schema.get("$ref", "").removeprefix(_REF)
    if name not in definitions:
        return dict(schema)
    rest = {key: value for key, value in schema.items() if key != "$ref"}
    return {**definitions[name], **rest}


def _with_definitions(schema: dict[str, Any], definitions: Mapping[str, Any]) -> dict[str, Any]:
    """Add the definitions that are referred to, by the schema or by one another."""
    needed: dict[str, Any] = {}
    waiting: list[Any] = [schema]
    while waiting:
        match waiting.pop():
            case {"$ref": str(ref), **rest}:
                name = ref.removeprefix(_REF)
                if name in definitions and name not in needed:
                    needed[name] = definitions[name]
                    waiting.append(definitions[name])
                waiting += rest.values()
            case dict(inner):
                waiting += inner.values()
            case list(items):
                waiting += items
            case _:
                pass
    return {**schema, "$defs": needed} if needed else schema
