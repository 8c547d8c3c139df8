"""Logging of whoever runs agents: set up once, readable, and nothing that a terminal obeys."""

from __future__ import annotations

import json
import logging

import pytest
from hypothesis import given, strategies

from orbitmesh.core.errors import ConfigError
from orbitmesh.runtime.logs import JsonLines, Lines, set_up_logging, shown


class Fresh:
    """A root logger as a fresh process has it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = logging.Logger("root", logging.WARNING)
        self._monkeypatch = monkeypatch

    def set_up(self, wanted: str | None = None) -> None:
        with self._monkeypatch.context() as patch:
            patch.setattr(logging, "getLogger", lambda: self.root)
            set_up_logging(wanted)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Fresh:
    monkeypatch.delenv("ORBITMESH_LOG", raising=False)
    return Fresh(monkeypatch)


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("orbitmesh.runtime", logging.WARNING, __file__, 1, message, (), None)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


@given(strategies.text())
def test_no_text_of_others_can_paint_on_a_terminal_or_look_like_another_record(text: str) -> None:
    line = Lines().format(record(text))
    first, *rest = line.split("\n")
    assert " WARNING " in first
    assert all(more.startswith("    ") for more in rest)
    for character in "\x1b\x9b\x07\x00\x7f\r\u202e\u2066\u2028":
        assert character not in line
        assert character not in shown(text)
        assert character not in JsonLines().format(record(text))
    assert "\n" not in shown(text)
    assert "\n" not in JsonLines().format(record(text))
    assert json.loads(JsonLines().format(record(text)))["message"] == text


def test_long_texts_of_others_are_cut() -> None:
    assert shown("x" * 500) == "x" * 500
    assert shown("x" * 501) == "x" * 499 + "…"


def test_json_lines_have_the_fixed_fields_that_are_there_and_the_exception() -> None:
    try:
        raise ValueError("bad\x1b[31m")
    except ValueError as error:
        made = record("it failed", event="node-fault", peer="", code=None, other="x")
        made.exc_info = (type(error), error, error.__traceback__)
    line = json.loads(JsonLines().format(made))
    assert line["event"] == "node-fault"
    assert line["level"] == "warning"
    assert set(line) == {"time", "level", "logger", "message", "event", "exception"}
    assert "ValueError: bad" in line["exception"]
    assert "\x1b" not in Lines().format(made)


@pytest.mark.parametrize(
    ("wanted", "level", "formatter"),
    [
        (None, "INFO", Lines),
        ("debug", "DEBUG", Lines),
        ("json", "INFO", JsonLines),
        (" Error , JSON ", "ERROR", JsonLines),
        ("warning,,", "WARNING", Lines),
    ],
)
def test_level_and_form_are_as_wanted(
    wanted: str | None, level: str, formatter: type[logging.Formatter], fresh: Fresh
) -> None:
    fresh.set_up(wanted)
    (handler,) = fresh.root.handlers
    assert logging.getLevelName(fresh.root.level) == level
    assert type(handler.formatter) is formatter
    fresh.set_up("critical")
    assert fresh.root.handlers == [handler]  # whoever came first has set it up
    assert logging.getLevelName(fresh.root.level) == level


def test_the_environment_counts_where_nothing_is_said(fresh: Fresh, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBITMESH_LOG", "error,json")
    fresh.set_up()
    assert fresh.root.level == logging.ERROR


def test_an_unknown_word_is_told_with_the_known_ones(fresh: Fresh) -> None:
    with pytest.raises(ConfigError, match="'loud' is unknown: take one of debug, info"):
        fresh.set_up("loud,json")
    assert fresh.root.handlers == []
