"""``k=v`` is read as the command declares it."""

from __future__ import annotations

from enum import Enum
from typing import Any, Literal

import click
import msgspec
import pytest

from orbitmesh.cli.parameters import read_document, read_pairs, split_pairs


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Point(msgspec.Struct):
    x: int
    y: float = 0.0


class Line(msgspec.Struct):
    start: Point
    end: Point | None = None


def schema_of(annotation: Any) -> dict[str, Any]:
    """JSON Schema of a command with one parameter ``p``."""
    (schema,), definitions = msgspec.json.schema_components([annotation], ref_template="#/$defs/{name}")
    return {"type": "object", "properties": {"p": schema}, "additionalProperties": False, "$defs": definitions}


@pytest.mark.parametrize(
    ("annotation", "text", "value"),
    [
        (str, "007", "007"),
        (str, "null", "null"),
        (str, "", ""),
        (str, "[1]", "[1]"),
        (int, "7", 7),
        (int, "-07", -7),
        (int, "7.5", "7.5"),
        (int, "seven", "seven"),
        (int, "9" * 5000, "9" * 5000),
        (float, "7", 7),
        (float, ".5", 0.5),
        (float, "1e3", 1000.0),
        (float, "nan", "nan"),
        (bool, "true", True),
        (bool, "false", False),
        (bool, "yes", "yes"),
        (None, "null", None),
        (int | None, "null", None),
        (int | None, "7", 7),
        (str | None, "null", None),
        (str | None, "007", "007"),
        (int | str, "7", 7),
        (int | str, "7a", "7a"),
        (list[int], "[1, 2]", [1, 2]),
        (list[int], "1", "1"),
        (dict[str, int], '{"a": 1}', {"a": 1}),
        (bytes, "aGk=", b"hi"),
        (bytes, "no base64", "no base64"),
        (Colour, "red", "red"),
        (Literal[1, 2], "2", 2),
        (Literal["1", "2"], "2", "2"),
        (Any, "7", 7),
        (Any, "007", "007"),
        (Any, '{"a": null}', {"a": None}),
        (Point, '{"x": 1}', {"x": 1}),
        (Line | None, '{"start": {"x": 1}}', {"start": {"x": 1}}),
        (Line | None, "null", None),
    ],
)
def test_a_text_becomes_what_the_schema_says_or_stays_text(annotation: Any, text: str, value: Any) -> None:
    read = read_pairs({"p": text}, schema_of(annotation))["p"]
    assert read == value
    assert type(read) is type(value)


def test_a_command_that_takes_one_structure_reads_its_fields() -> None:
    schema = msgspec.json.schema(Point)  # its fields are behind a reference
    assert read_pairs({"x": "7", "y": "1"}, schema) == {"x": 7, "y": 1}


def test_a_mapping_of_any_names_reads_each_as_its_values() -> None:
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    assert read_pairs({"a": "1", "b": "true"}, schema) == {"a": "1", "b": "true"}


def test_a_choice_of_structures_reads_a_field_as_any_of_them_has_it() -> None:
    schema = {
        "anyOf": [
            {"type": "object", "properties": {"a": {"type": "integer"}}},
            {"type": "object", "properties": {"b": {"type": "string"}}},
        ]
    }
    assert read_pairs({"a": "1", "b": "1"}, schema) == {"a": 1, "b": "1"}


def test_without_a_schema_json_is_json_and_all_else_text() -> None:
    assert read_pairs({"a": "1", "b": "x", "c": "[true]"}, None) == {"a": 1, "b": "x", "c": [True]}


def test_an_unknown_name_is_handed_on_for_the_agent_to_refuse() -> None:
    assert read_pairs({"q": "1"}, schema_of(int)) == {"q": 1}


def test_references_in_a_circle_end() -> None:
    schema = {"properties": {"p": {"$ref": "#/$defs/A"}}, "$defs": {"A": {"$ref": "#/$defs/A"}}}
    assert read_pairs({"p": "1"}, schema) == {"p": 1}


def test_types_may_stand_in_a_list() -> None:
    assert read_pairs({"p": "null"}, {"properties": {"p": {"type": ["string", "null"]}}}) == {"p": None}


def test_a_value_may_hold_equals_signs() -> None:
    assert split_pairs(["a=b=c", "d="]) == {"a": "b=c", "d": ""}


@pytest.mark.parametrize("pairs", [["a"], ["=a"], ["a=1", "a=2"]])
def test_what_is_no_pair_or_comes_twice_is_wrong_usage(pairs: list[str]) -> None:
    with pytest.raises(click.UsageError):
        split_pairs(pairs)


@pytest.mark.parametrize("text", ["{", "", "[" * 100_000])
def test_params_that_are_no_json_are_wrong_usage(text: str) -> None:
    with pytest.raises(click.UsageError, match="no JSON"):
        read_document(text)
