"""How an error ends the process: a line that says what happened, a line that says what to do, and a status."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from typing import Final

import click

from orbitmesh.cli import statuses
from orbitmesh.cli.text import one_line, printable
from orbitmesh.core.errors import OrbitMeshError, RemoteError

_COLOURS: Final = {"error": "red", "hint": "cyan"}


class OutputFailed(Exception):
    """The output cannot be written."""


def tell(error: BaseException) -> int:
    """Say on stderr what went wrong, and give the status it ends with."""
    causes = list(_leaves(error))
    for cause in causes:
        if isinstance(cause, KeyboardInterrupt | click.Abort):
            return statuses.INTERRUPTED
    numbers = [_tell_one(cause) for cause in causes]
    return numbers[0]


def _leaves(error: BaseException) -> Iterator[BaseException]:
    """What a group of errors is made of; tasks fail in groups, also where there is only one."""
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _tell_one(error: BaseException) -> int:
    match error:
        case SystemExit(code=int(number)):
            return number
        case SystemExit(code=None):
            return statuses.DONE
        case SystemExit():  # `sys.exit("text")` of a plugin's command
            _say(str(error.code))
            return statuses.REMOTE_FAILED
        case click.exceptions.NoArgsIsHelpError():
            tell_line(error.format_message())
            return statuses.USAGE
        case click.UsageError():
            _say(error.format_message(), hint=_usage_hint(error))
            return statuses.USAGE
        case click.ClickException():
            _say(error.format_message())
            return error.exit_code
        case OutputFailed():
            _say(str(error))
            return statuses.OUTPUT
        case OrbitMeshError():
            return _tell_ours(error)
        case _:
            traceback.print_exception(error)
            _say(
                f"{type(error).__name__}: {error}",
                hint="nobody foresaw this: please report it, with the lines above",
            )
            return statuses.BUG


def _tell_ours(error: OrbitMeshError) -> int:
    row = statuses.status_of(error)
    if isinstance(error, RemoteError):
        if error.traceback:
            tell_line(printable(error.traceback).rstrip())
        if error.data is not None:
            from orbitmesh.cli.documents import as_line

            tell_line(f"data: {as_line(error.data)}")
    _say(_text(error) or row.meaning, hint=row.hint)
    return row.number


def _text(error: OrbitMeshError) -> str:
    """What an error says; one that a handler raised on purpose with its code, as that is what it is known by."""
    if isinstance(error, RemoteError) and error.code != RemoteError.code:
        return f"{error.code}: {error.message}" if error.message else error.code
    return str(error)


def _usage_hint(error: click.UsageError) -> str:
    path = "orbitmesh" if error.ctx is None else error.ctx.command_path
    return f"`{path} --help` shows how it is used"


def _say(text: str, *, hint: str = "") -> None:
    tell_line(one_line(text), kind="error")
    if hint:
        tell_line(one_line(hint), kind="hint")


def tell_line(text: str, *, kind: str = "") -> None:
    """Write a line on stderr; where that is closed there is nobody to tell.

    Args:
        text: The line.
        kind: ``error`` or ``hint``, to be put before it.
    """
    is_plain = "NO_COLOR" in os.environ or os.environ.get("TERM") == "dumb"
    head = click.style(f"{kind}:", fg=_COLOURS[kind], bold=True) + " " if kind else ""
    if sys.stderr is not None:
        try:
            click.echo(head + text, err=True, color=False if is_plain else None)
        except OSError:
            return  # the status still says it
