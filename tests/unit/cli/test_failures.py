"""Whatever ends a command is told in a line or two, with a status."""

from __future__ import annotations

import os
from typing import NoReturn

import click
import pytest

from orbitmesh.cli import app as application
from orbitmesh.cli import statuses
from orbitmesh.cli.failures import OutputFailed, tell
from orbitmesh.cli.main import main
from orbitmesh.core.errors import ConfigError, NoAgent, RemoteError


def told(error: BaseException, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    status = tell(error)
    out, err = capsys.readouterr()
    assert not out
    return status, err.splitlines()


def test_an_error_is_one_line_and_its_hint_another(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(NoAgent("nobody\nfits"), capsys) == (
        3,
        ["error: nobody fits", "hint: `orbitmesh ls` shows who is there"],
    )


def test_an_error_whose_message_says_what_to_do_has_no_hint(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(ConfigError("write this"), capsys) == (22, ["error: write this"])


def test_an_error_without_a_message_says_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert told(ConfigError(), capsys) == (22, ["error: something on this side is set up wrongly"])


def test_what_escaped_a_handler_is_told_with_its_type(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = told(RemoteError("'x'", type="KeyError", traceback="Traceback\n  there"), capsys)
    assert (status, lines[:3]) == (1, ["Traceback", "  there", "error: KeyError: 'x'"])


def test_what_a_handler_raised_on_purpose_is_told_with_code_and_data(capsys: pytest.CaptureFixture[str]) -> None:
    error = RemoteError("none left", type="CommandError", code="out-of-stock", data={"left": 0})
    status, lines = told(error, capsys)
    assert (status, lines[:2]) == (1, ['data: {"left":0}', "error: out-of-stock: none left"])


def test_a_peer_cannot_paint_on_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    _, lines = told(RemoteError("\x1b[2Jgone\x07 \u202egnorw", type="E"), capsys)
    assert lines[0] == "error: E: �[2Jgone� �gnorw"


def test_a_group_of_errors_tells_each_and_ends_as_the_first(capsys: pytest.CaptureFixture[str]) -> None:
    group = ExceptionGroup("tasks", [ConfigError("one"), ExceptionGroup("more", [NoAgent("two")])])
    status, lines = told(group, capsys)
    assert (status, lines[:2]) == (22, ["error: one", "error: two"])


def test_an_interrupt_among_others_is_an_interrupt(capsys: pytest.CaptureFixture[str]) -> None:
    group = BaseExceptionGroup("tasks", [ConfigError("one"), KeyboardInterrupt()])
    assert told(group, capsys) == (130, [])
    assert told(click.Abort(), capsys) == (130, [])


def test_wrong_usage_names_the_help_of_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    context = click.Context(click.Command("call"), info_name="orbitmesh call")
    status, lines = told(click.UsageError("no", context), capsys)
    assert (status, lines) == (2, ["error: no", "hint: `orbitmesh call --help` shows how it is used"])


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (OutputFailed("full"), 74, "error: full"),
        (click.ClickException("no"), 1, "error: no"),
        (SystemExit("no"), 1, "error: no"),
        (SystemExit(7), 7, None),
        (SystemExit(None), 0, None),
    ],
)
def test_other_ends_have_their_status(
    capsys: pytest.CaptureFixture[str], error: BaseException, status: int, line: str | None
) -> None:
    assert told(error, capsys) == (status, [] if line is None else [line])


def test_what_nobody_foresaw_shows_its_traceback_and_asks_for_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    status, lines = told(ZeroDivisionError("no"), capsys)
    assert status == statuses.BUG
    assert lines[0] == "ZeroDivisionError: no"
    assert lines[-2:] == [
        "error: ZeroDivisionError: no",
        "hint: nobody foresaw this: please report it, with the lines above",
    ]


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (NoAgent("no"), 3), (SystemExit(143), 143)])
def test_the_entry_point_lets_nothing_escape(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    def fail(_: list[str]) -> NoReturn:
        raise error

    monkeypatch.setattr(application, "carry_out", fail)
    assert main([]) == status


def test_an_interrupt_while_an_error_is_told_is_an_interrupt(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    monkeypatch.setattr("orbitmesh.cli.failures.tell", fail)
    assert main(["nothing-of-this-name"]) == statuses.INTERRUPTED


def test_output_that_nobody_reads_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: list[str]) -> NoReturn:
        raise BrokenPipeError

    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        monkeypatch.setattr("sys.stdout", pipe)
        monkeypatch.setattr(application, "carry_out", fail)
        print("never read")  # left in the buffer for the interpreter's last flush
        assert main([]) == statuses.PIPE_CLOSED
    assert capfd.readouterr().err == ""
