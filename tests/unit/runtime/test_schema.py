"""What `describe` tells about a handler's parameters and result."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Annotated, Any

import pytest
from msgspec import Meta, Struct

from orbitmesh.runtime.schema import argument_descriptions, first_paragraph
from orbitmesh.runtime.signature import HandlerSpec, read_signature
from orbitmesh.wire.envelopes import Kind


class Tree(Struct):
    """Grows."""

    name: str
    branches: list[Tree] = []


@dataclass
class Point:
    x: int
    y: int = 0


def read(function: Any, kind: Kind = Kind.CALL) -> HandlerSpec:
    return read_signature(function, name="work", kind=kind, context_types=())


def test_parameters_are_an_object_with_defaults_and_descriptions() -> None:
    def f(
        rows: list[int],
        scale: Annotated[float, Meta(gt=0, description="Times this.")] = 1.0,
        at: object = object(),
    ) -> None:
        """Does it.

        Args:
            rows: What to sum,
                one by one.
            scale (float): Not told, as the annotation says it.

        Returns:
            nothing: at all.
        """

    assert read(f).parameters_schema() == {
        "type": "object",
        "properties": {
            "rows": {"type": "array", "items": {"type": "integer"}, "description": "What to sum, one by one."},
            "scale": {"type": "number", "exclusiveMinimum": 0, "description": "Times this.", "default": 1.0},
            "at": {"description": "anything"},
        },
        "required": ["rows"],
        "additionalProperties": False,
    }


def test_what_a_schema_refers_to_is_within_it() -> None:
    def f(tree: Tree, points: list[Point], again: Tree | None = None) -> None: ...

    schema = read(f).parameters_schema()
    assert schema["properties"]["tree"] == {"$ref": "#/$defs/Tree"}
    assert sorted(schema["$defs"]) == ["Point", "Tree"]
    assert schema["properties"]["again"]["default"] is None


def test_a_lone_parameter_is_the_schema_itself() -> None:
    def of_point(point: Point) -> None:
        """Moves.

        Args:
            point: Where to.
        """

    def of_tree(tree: Tree) -> None:
        """Climbs."""

    schema = read(of_point).parameters_schema()
    assert (schema["type"], schema["required"], schema["description"]) == ("object", ["x"], "Where to.")
    assert "$defs" not in schema
    schema = read(of_tree).parameters_schema()
    assert (schema["type"], sorted(schema["properties"]), schema["description"]) == (
        "object",
        ["branches", "name"],
        "Grows.",
    )
    assert list(schema["$defs"]) == ["Tree"]


def test_an_optional_lone_parameter_says_so() -> None:
    def f(point: Point | None) -> None: ...

    schema = read(f).parameters_schema()
    assert schema["anyOf"] == [{"$ref": "#/$defs/Point"}, {"type": "null"}]
    assert list(schema["$defs"]) == ["Point"]


def test_what_json_schema_has_no_word_for_may_be_anything() -> None:
    @dataclass
    class Odd:
        x: int = object()  # type: ignore[assignment]

    def f(odd: Any, point: Point, n: int) -> None: ...
    def lone(odd: Any) -> None: ...

    f.__annotations__["odd"] = lone.__annotations__["odd"] = Odd
    schema = read(f).parameters_schema()
    assert schema["properties"] == {"odd": {}, "point": {"$ref": "#/$defs/Point"}, "n": {"type": "integer"}}
    assert list(schema["$defs"]) == ["Point"]
    assert read(lone).parameters_schema() == {}


def test_results_have_a_schema_where_they_can() -> None:
    def of_point() -> Point: ...  # type: ignore[empty-body]
    def of_nothing() -> None: ...
    def of_anything() -> Any: ...
    def of_something_else() -> complex: ...  # type: ignore[empty-body]

    async def of_items() -> AsyncIterator[dict[str, int]]:
        yield {}

    schema = read(of_point).returns_schema()
    assert schema is not None
    assert sorted(schema["properties"]) == ["x", "y"]
    assert read(of_nothing).returns_schema() == {"type": "null"}
    assert read(of_anything).returns_schema() is None
    assert read(of_something_else).returns_schema() is None
    assert read(of_items, Kind.STREAM).returns_schema() == {
        "type": "object",
        "additionalProperties": {"type": "integer"},
    }


@pytest.mark.parametrize("doc", [None, "", "One line.", "One line.\n\nArgs:\n", "Args:\n    no entry here\n"])
def test_docstrings_without_arguments_have_none(doc: str | None) -> None:
    assert argument_descriptions(doc) == {}


def test_entries_of_arguments_end_with_their_section() -> None:
    doc = """Title: not an argument.

    Args:
        a: First.

            Its second part: still first.
        *rest: Any more.
        c:
            On a line of its own.

    Raises:
        ValueError: not an argument.
    """
    assert argument_descriptions(doc) == {
        "a": "First. Its second part: still first.",
        "rest": "Any more.",
        "c": "On a line of its own.",
    }


def test_the_first_paragraph_is_one_line() -> None:
    assert first_paragraph("\n    Does\n    it.\n\n    More.") == "Does it."
    assert first_paragraph(None) == ""
