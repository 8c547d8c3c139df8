"""What commands print where nobody looks; a terminal is tried with real processes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from orbitmesh.cli.commands.describe import as_lines, type_text
from orbitmesh.cli.commands.ls import ago, as_document, as_row
from orbitmesh.cli.output import write_table, write_value
from orbitmesh.core.ids import NodeId
from orbitmesh.membership.info import AgentInfo, AgentState
from orbitmesh.runtime.description import AgentDescription, CommandDescription

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def agent(**different: Any) -> AgentInfo:
    usual: dict[str, Any] = {
        "name": "w",
        "id": NodeId("0" * 32),
        "device": "d",
        "roles": frozenset({"b", "a"}),
        "groups": frozenset({"y", "x"}),
        "tags": {"k": "v"},
        "capabilities": frozenset({"c", "b"}),
        "metrics": {"m": 0.123456},
        "state": AgentState.CONNECTED,
        "version": "1",
        "last_heard": NOW,
    }
    return AgentInfo(**(usual | different))


def test_an_agent_is_shown_with_its_sets_in_order() -> None:
    assert as_document(agent()) == {
        "name": "w",
        "id": "0" * 32,
        "device": "d",
        "roles": ["a", "b"],
        "groups": ["x", "y"],
        "tags": {"k": "v"},
        "capabilities": ["b", "c"],
        "metrics": {"m": 0.123456},
        "state": "connected",
        "version": "1",
        "last_heard": NOW,
    }
    row = as_row(agent(), NOW + timedelta(seconds=3.4))
    assert row == ("w", "d", "connected", "x y", "k=v", "b c", "m=0.1235", "3 s ago")
    assert as_row(agent(last_heard=None), NOW)[-1] == "never"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-1, "0 s ago"), (89.9, "89 s ago"), (90, "1 min ago"), (5400, "1 h ago"), (172800, "2 days ago")],
)
def test_ages_are_told_as_people_say_them(seconds: float, said: str) -> None:
    assert ago(seconds) == said


def test_a_table_in_a_pipe_has_columns_and_nothing_to_paint(capsys: pytest.CaptureFixture[str]) -> None:
    write_table(["name", "x"], [["a\x1b[1m\nb", ""], ["c", "d"]])
    assert capsys.readouterr().out == "name     x\na�[1m b  -\nc        d\n"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        ("a\nb", "a\nb\n"),
        (True, "true\n"),
        (1.5, "1.5\n"),
        ([1], "[\n  1\n]\n"),
        ({}, "{}\n"),
    ],
)
def test_a_result_in_a_pipe_is_plain(capsys: pytest.CaptureFixture[str], value: Any, shown: str) -> None:
    write_value(value)
    assert capsys.readouterr().out == shown


def test_bytes_go_into_a_pipe_as_they_are(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    write_value(b"\x00\xff")
    assert capfdbinary.readouterr().out == b"\x00\xff"


def test_a_description_says_what_a_command_takes_and_gives() -> None:
    command = CommandDescription(
        name="sum",
        kind="call",
        description="Adds.",
        parameters={
            "type": "object",
            "properties": {
                "rows": {"type": "array", "items": {"type": "integer"}, "description": "What to add."},
                "scale": {"type": "number", "default": 1.0},
                "at": {"description": "anything"},
            },
            "required": ["rows"],
        },
        returns={"type": "number"},
        roles=["operator"],
        tags={"a": "b"},
        timeout=2.5,
        idempotent=True,
    )
    description = AgentDescription(
        name="w", device="d", id="0", version="1", groups=["g"], commands=[command], counters={"calls": 3}
    )
    assert list(as_lines(description, with_counters=True)) == [
        "d/w",
        "  id       0",
        "  version  1",
        "  groups   g",
        "",
        "sum (call) -> number",
        "  Adds.",
        "  roles       operator",
        "  tags        a=b",
        "  timeout     2.5 s",
        "  idempotent  yes",
        "    rows: array of integer  What to add.",
        "    scale: number = 1.0",
        "    at: anything (optional)  anything",
        "",
        "counters",
        "  calls  3",
    ]
    bare = AgentDescription(name="w", device="d", id="0", version="1")
    assert list(as_lines(bare, with_counters=False))[-1] == "no commands"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#/$defs/Point"}, "Point"),
        ({"enum": ["a", 1]}, '"a" | 1'),
        ({"const": "a"}, '"a"'),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "integer | null"),
        ({"oneOf": [{"type": "integer"}]}, "integer"),
        ({"type": "array", "items": {"$ref": "#/$defs/Point"}}, "array of Point"),
        ({"type": "array", "items": {}}, "array"),
        ({"type": "array"}, "array"),
        ({"type": "object", "title": "Point"}, "Point"),
        ({"type": "string", "contentEncoding": "base64"}, "bytes"),
        ({"type": "string", "format": "date-time"}, "date-time"),
        ({"type": ["string", "null"]}, "string | null"),
        ({}, "anything"),
    ],
)
def test_a_schema_is_told_in_a_few_words(schema: dict[str, Any], said: str) -> None:
    assert type_text(schema) == said
