"""Each kind of error ends a real process with its status, one line and a hint."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

Orbitmesh = Callable[..., Any]


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        (["call", "break-down"], 1, "error: KeyError: 'x'"),
        (["call", "add", "a"], 2, "error: 'a' is no parameter"),
        (["call", "add", "a=1", "--params", "{}"], 2, "error: parameters are given twice"),
        (["call", "add", "--params", "{"], 2, "error: --params is no JSON"),
        (["call", "add", "a=1", "--timeout", "soon"], 2, "error: Invalid value for '--timeout'"),
        (["ls", "--tag", "roof"], 2, "error: Invalid value for '--tag'"),
        (["call"], 2, "error: Missing argument 'COMMAND'"),
        (["call", "add", "a=1", "--on", "wroker", "--timeout", "500ms"], 3, "did you mean 'worker'?"),
        (["describe", "nobody", "--timeout", "500ms"], 3, "error: nobody is known by the name 'nobody'"),
        (["call", "ad", "a=1", "--timeout", "500ms"], 3, "did you mean add?"),
        (["stream", "ad", "--timeout", "500ms"], 3, "did you mean add?"),
        (["call", "ad", "a=1", "--on", "worker"], 5, "offers no 'ad'; it offers 'add' (call)"),
        (["call", "count", "to=1"], 5, "'count' is a stream"),
        (["stream", "add", "a=1"], 5, "'add' is a call"),
        (["call", "add", "a=x", "c=1"], 6, "error: a: expected int, got str; unknown parameter 'c'"),
        (["stream", "count"], 6, "error: missing parameter 'to'"),
        (["call", "mirror", "value=99999999999999999999"], 8, "error: "),
        (["call", "wait-for-ever", "key=late", "--on", "worker", "--timeout", "500ms"], 12, "error: "),
        (["stream", "one-and-hang", "key=late", "--timeout", "1"], 12, "error: "),
        (["call", "add", "a=1", "--on", "a b"], 22, "error: name 'a b' cannot be used"),
        (["run", "app_that_is_not_there:agent"], 22, "error: there is no module 'app_that_is_not_there'"),
    ],
)
def test_an_error_has_its_status(orbitmesh: Orbitmesh, served: object, line: list[str], status: int, said: str) -> None:
    done = orbitmesh(*line)
    assert done.status == status, done.err
    lines = done.err.splitlines()
    assert said in lines[0]
    assert lines[0].startswith("error: ")
    assert [each.partition(":")[0] for each in lines[1:]] in (["hint"], [])


def test_a_failure_on_purpose_tells_code_and_data(orbitmesh: Orbitmesh, served: object) -> None:
    status, out, err = orbitmesh("call", "refuse", "--json")
    assert (status, out) == (1, "")
    assert err.splitlines()[:2] == ['data: {"left":0}', "error: out-of-stock: none left"]


@pytest.mark.parametrize(
    ("variable", "value", "status", "said"),
    [
        ("ORBITMESH_TRANSPORT", "nats://hub:4222", 21, "there is no transport 'nats'"),
        ("ORBITMESH_TIMEOUT", "soon", 22, "timeout in the environment 'soon' is no duration"),
        ("ORBITMESH_LOG", "loud", 22, "log 'loud' is unknown"),
    ],
)
@pytest.mark.parametrize("line", [["ls"], ["call", "add", "a=1"], ["run", "app:agent"]], ids=lambda line: str(line[0]))
def test_settings_that_cannot_be_used_are_told_by_every_command(
    spawn: Callable[..., Any],
    environment: dict[str, str],
    line: list[str],
    variable: str,
    value: str,
    status: int,
    said: str,
) -> None:
    environment[variable] = value
    done = spawn(*line).until_ended()
    assert done.status == status, done.err
    assert said in done.err
    assert "Traceback" not in done.err


def test_what_is_too_large_is_told(orbitmesh: Orbitmesh, environment: dict[str, str], served: object) -> None:
    environment["ORBITMESH_MAX_BODY"] = "2048"
    status, _, err = orbitmesh("call", "size", "--params", f'{{"text": "{"x" * 5000}"}}')
    assert status == 17, err


def test_an_agent_without_room_is_told(spawn: Callable[..., Any], orbitmesh: Orbitmesh, served: object) -> None:
    first = spawn("call", "wait-for-ever", "key=only", "--on", "narrow")
    assert orbitmesh("call", "until-begun", "key=only").out == "1\n"
    status, _, err = orbitmesh("call", "wait-for-ever", "key=other", "--on", "narrow")
    assert status == 16, err
    assert first.end().status == 130
    assert orbitmesh("call", "until-ended", "key=only").out == "1\n"


def test_an_agent_that_dies_leaves_the_outcome_unknown(
    spawn: Callable[..., Any], orbitmesh: Orbitmesh, environment: dict[str, str], tmp_path: Any
) -> None:
    environment["ORBITMESH_HOME"] = str(tmp_path)
    agent = spawn("run", "app:agent")
    agent.until_said("is ready")
    call = spawn("call", "wait-for-ever", "key=death")
    assert orbitmesh("call", "until-begun", "key=death").out == "1\n"
    os.kill(agent.process.pid, signal.SIGKILL)
    done = call.until_ended()
    assert done.status == 14, done.err
    assert done.err.startswith("error: ")


def test_a_name_that_another_process_holds_is_told_with_the_mend(spawn: Callable[..., Any], served: object) -> None:
    done = spawn("run", "app:agent").until_ended()
    assert done.status == 22
    assert "instance=2" in done.err
    assert "Traceback" not in done.err
