"""``call`` and ``stream`` over real processes."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

Orbitmesh = Callable[..., Any]


@pytest.mark.parametrize(
    ("line", "out"),
    [
        (["add", "a=2"], "3\n"),
        (["add", "a=2", "b=40", "--json"], "42\n"),
        (["add", "--params", '{"a": 2}'], "3\n"),
        (["add", "a=2", "--on", "worker"], "3\n"),
        (["add", "a=2", "--group", "workers", "--tag", "site=roof", "--capability", "gpu"], "3\n"),
        (["echo", "text=007"], "007\n"),
        (["echo", "text=007", "--json"], '"007"\n'),
        (["echo", "text=ü=1"], "ü=1\n"),
        (["mirror", "value=007"], "007\n"),
        (["mirror", "value=7"], "7\n"),
        (["mirror", "value=null"], ""),
        (["mirror", "value=null", "--json"], "null\n"),
        (["mirror", 'value={"a": [1]}', "--json"], '{"a":[1]}\n'),
        (["mirror", 'value={"a": [1]}'], '{\n  "a": [\n    1\n  ]\n}\n'),
        (["sample", "--json"], '{"data":"aGk=","at":"2026-01-02T00:00:00Z","rows":[1,null,true]}\n'),
        (["blob", "--json"], None),
        (["paint"], "\x1b[31mred\n"),
    ],
)
def test_a_call_prints_its_result(orbitmesh: Orbitmesh, served: object, line: list[str], out: str | None) -> None:
    done = orbitmesh("call", *line)
    assert (done.status, done.err) == (0, "")
    if out is None:
        assert isinstance(json.loads(done.out), str)
    else:
        assert done.out == out


def test_parameters_come_from_stdin(orbitmesh: Orbitmesh, served: object) -> None:
    assert orbitmesh("call", "add", "--params", "-", given='{"a": 5}').out == "6\n"


def test_bytes_go_into_a_pipe_as_they_are(environment: dict[str, str], served: object) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orbitmesh", "call", "blob"],
        env=environment,
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == bytes(range(256))


@pytest.mark.parametrize(
    ("line", "out"),
    [
        (["count", "to=3"], "0\n1\n2\n"),
        (["count", "to=3", "--json"], "0\n1\n2\n"),
        (["count", "to=0"], ""),
        (["words"], "one\ntwo\n"),
        (["words", "--json"], '"one"\n"two"\n'),
    ],
)
def test_a_stream_prints_a_line_for_each_result(
    orbitmesh: Orbitmesh, served: object, line: list[str], out: str
) -> None:
    assert orbitmesh("stream", *line) == (0, out, "")


def test_a_long_stream_comes_whole(orbitmesh: Orbitmesh, served: object) -> None:
    done = orbitmesh("stream", "count", "to=20000")
    assert (done.status, done.err) == (0, "")
    assert done.out.split() == [str(number) for number in range(20000)]


def test_a_stream_that_fails_has_printed_what_came_before(orbitmesh: Orbitmesh, served: object) -> None:
    status, out, err = orbitmesh("stream", "one-and-fail")
    assert (status, out) == (1, "1\n")
    assert err.splitlines()[0] == "error: ValueError: then no more"


def test_a_reader_that_goes_ends_the_stream_quietly_on_both_sides(
    spawn: Callable[..., Any], orbitmesh: Orbitmesh, served: object
) -> None:
    running = spawn("stream", "endless", "key=reader-gone")
    assert running.next_line() == "x" * 1000
    running.process.stdout.close()
    assert running.process.wait(60) == 141
    assert running.until_ended().err == ""
    assert orbitmesh("call", "until-ended", "key=reader-gone").out == "1\n"


def test_a_full_disk_is_an_error_of_the_output(environment: dict[str, str], served: object) -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("this platform has no device that is full")
    for line in (["ls"], ["call", "add", "a=1"], ["stream", "count", "to=3"]):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [sys.executable, "-m", "orbitmesh", *line],
                env=environment,
                stdout=full,
                stderr=subprocess.PIPE,
                text=True,
                timeout=60,
                check=False,
            )
        assert (done.returncode, done.stderr) == (
            74,
            "error: the output cannot be written: No space left on device\n",
        )


def on_terminal(environment: dict[str, str], *arguments: str) -> str:
    """What a command prints on a terminal."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "orbitmesh", *arguments],
        env={**environment, "TERM": "xterm", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    try:
        while chunk := os.read(ours, 1 << 16):
            shown += chunk
    except OSError:  # how a terminal says that its other side is closed
        pass
    finally:
        os.close(ours)
        process.wait(60)
    return shown.decode()


def test_a_terminal_gets_tables_with_styles(environment: dict[str, str], served: object) -> None:
    shown = on_terminal(environment, "ls")
    assert "\x1b[1m" in shown
    assert "─" in shown
    assert "worker" in shown


def test_errors_on_a_terminal_have_colours_unless_they_are_not_wanted(environment: dict[str, str]) -> None:
    assert "\x1b[31m" in on_terminal(environment, "ls", "--tag", "roof")
    assert "\x1b" not in on_terminal({**environment, "NO_COLOR": "1"}, "ls", "--tag", "roof")


def test_a_terminal_is_not_painted_on_by_agents(environment: dict[str, str], served: object) -> None:
    assert on_terminal(environment, "call", "paint") == "�[31mred\r\n"


def test_json_is_the_same_on_a_terminal(environment: dict[str, str], served: object) -> None:
    assert on_terminal(environment, "call", "sample", "--json").startswith('{"data":"aGk=",')
