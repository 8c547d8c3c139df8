"""Every value of the mesh has a form in JSON."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from orbitmesh.cli.documents import as_line, as_text
from orbitmesh.core.errors import Unserializable


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (b"hi", "aGk="),
        (datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), "2026-01-02T03:04:05Z"),
        (float("nan"), None),
        ([float("inf")], [None]),
        ({1: "a", None: {True: b"hi"}}, {"1": "a", "null": {"true": "aGk="}}),
        ({None: ["a", b"hi", {"b"}]}, {"null": ["a", "aGk=", ["b"]]}),
        ("ü\n", "ü\n"),
        (2**70, 2**70),
    ],
)
def test_a_value_has_its_nearest_form_in_json(value: Any, shown: Any) -> None:
    line = as_line(value)
    assert json.loads(line) == shown
    assert "\n" not in line


def test_for_people_it_is_indented() -> None:
    assert as_text({"a": [1]}) == '{\n  "a": [\n    1\n  ]\n}'


@pytest.mark.parametrize("value", [object(), {(1, 2): 3}, "\ud800"])
def test_what_has_no_form_is_an_error_of_ours(value: Any) -> None:
    with pytest.raises(Unserializable):
        as_line(value)


def test_what_is_nested_too_deep_is_an_error_of_ours() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(Unserializable):
        as_line(value)
    while value:  # taken apart one by one: the interpreter would do it in depth
        value = value.pop()
