"""Ctrl-C and SIGTERM end every command cleanly, on both sides."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals cannot be sent to a process there")

Spawn = Callable[..., Any]
Orbitmesh = Callable[..., Any]


def test_ctrl_c_ends_a_call_here_and_there(spawn: Spawn, orbitmesh: Orbitmesh, served: object) -> None:
    call = spawn("call", "wait-for-ever", "key=call", "--on", "worker")
    assert orbitmesh("call", "until-begun", "key=call").out == "1\n"
    assert call.end() == (130, "", "")
    assert orbitmesh("call", "until-ended", "key=call").out == "1\n"


def test_ctrl_c_ends_a_stream_here_and_there(spawn: Spawn, orbitmesh: Orbitmesh, served: object) -> None:
    stream = spawn("stream", "one-and-hang", "key=stream")
    assert stream.next_line() == "stream"
    assert stream.end() == (130, "", "")
    assert orbitmesh("call", "until-ended", "key=stream").out == "1\n"


def test_ctrl_c_ends_a_stream_whose_reader_has_stopped(spawn: Spawn, orbitmesh: Orbitmesh, served: object) -> None:
    stream = spawn("stream", "endless", "key=stopped")
    assert stream.next_line() == "x" * 1000
    stream.process.send_signal(signal.SIGINT)  # while nobody reads: the pipe is full, or about to be
    assert stream.process.wait(60) == 130
    assert orbitmesh("call", "until-ended", "key=stopped").out == "1\n"


def test_sigterm_ends_a_stream_here_and_there(spawn: Spawn, orbitmesh: Orbitmesh, served: object) -> None:
    stream = spawn("stream", "one-and-hang", "key=term")
    assert stream.next_line() == "term"
    assert stream.end(signal.SIGTERM) == (143, "", "")
    assert orbitmesh("call", "until-ended", "key=term").out == "1\n"


@pytest.mark.parametrize("line", [["describe", "nobody"], ["call", "nothing"], ["stream", "nothing"]])
def test_ctrl_c_ends_the_waiting_for_an_agent(spawn: Spawn, line: list[str], served: object) -> None:
    waiting = spawn("--log", "info", *line)
    waiting.until_said("is ready")
    done = waiting.end()
    assert (done.status, done.out) == (130, "")
    assert "Traceback" not in done.err
    assert "has stopped" in done.err


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 0)])
def test_run_ends_cleanly(
    spawn: Spawn, environment: dict[str, str], tmp_path: Any, number: signal.Signals, status: int
) -> None:
    environment["ORBITMESH_HOME"] = str(tmp_path)
    agents = spawn("run", "app:agent", "app:narrow")
    agents.until_said("is ready", times=2)
    done = agents.end(number)
    assert (done.status, done.out) == (status, "")
    assert done.err.count("has stopped") == 2
    assert "Traceback" not in done.err


def test_ctrl_c_while_a_module_is_imported_shows_no_traceback(
    spawn: Spawn, environment: dict[str, str], tmp_path: Any
) -> None:
    (tmp_path / "slow_to_import.py").write_text("import sys, time\nprint('here', flush=True)\ntime.sleep(600)\n")
    environment["PYTHONPATH"] = str(tmp_path)
    running = spawn("run", "slow_to_import:agent")
    assert running.next_line() == "here"
    assert running.end() == (130, "", "")


def test_a_client_leaves_nothing_in_the_home(
    orbitmesh: Orbitmesh, environment: dict[str, str], home: Any, served: object
) -> None:
    def files() -> set[str]:
        return {os.path.join(folder, name) for folder, _, names in os.walk(home) for name in names}

    assert orbitmesh("ls").status == 0
    before = files()
    assert orbitmesh("call", "add", "a=1").status == 0
    assert files() <= before
