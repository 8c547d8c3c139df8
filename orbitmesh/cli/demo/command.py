"""``orbitmesh demo``: what the user asks for, and what it ends with."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orbitmesh.cli.options import as_json
from orbitmesh.cli.output import is_terminal, write

if TYPE_CHECKING:
    from orbitmesh.cli.demo.screen import Screen


@click.command()
@click.argument("path", required=False, type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--agents", type=click.IntRange(1, 64), default=3, show_default=True, help="How many agents.")
@click.option("--keep", "is_kept", is_flag=True, help="Leave the agents running at the end, to play with.")
@as_json
@click.pass_context
def demo(context: click.Context, path: Path | None, agents: int, is_kept: bool, is_json: bool) -> None:
    """See it work: three agents index the files of a folder, and one of them is killed half-way.

    The agents are processes of their own, found by mDNS on the loopback interface, which nothing leaves. Calls are
    spread over them by load, findings come back as streams, progress as events, metrics with heartbeats. The result
    is compared with what one process computes: the exit status is 1 when anything at all is off.

    PATH is any folder; without it, the installed package's own.
    """
    if not is_json:
        write(f"demo of {_shown(path)}")  # at once: what follows has much to import
    from orbitmesh.cli.demo.report import as_json as as_document
    from orbitmesh.cli.demo.report import as_lines
    from orbitmesh.cli.demo.run import Demo, Order
    from orbitmesh.cli.session import run

    os.environ.pop("ORBITMESH_NAME", None)  # that names the agents of this environment, and this is a client
    folder, leave_out = (path, frozenset[bytes]()) if path is not None else (_package(), frozenset({b"__pycache__"}))
    order = Order(os.fsencode(folder), leave_out, agents, is_kept)
    screen = _screen(is_json)
    try:
        report = run(lambda: Demo(order, screen).run())
    except BaseExceptionGroup as errors:  # what a task raises comes in a group
        if errors.subgroup(BrokenPipeError) is not None:
            raise BrokenPipeError("nobody reads the output any more") from errors
        raise
    finally:
        screen.close()
    if is_json:
        write(as_document(report))
        for problem in report.board.problems:
            click.echo(f"off: {problem}", err=True)
    else:
        for line in as_lines(report):
            write(line)
    context.exit(0 if report.is_fine else 1)


def _package() -> Path:
    import orbitmesh

    return Path(orbitmesh.__file__).parent


def _shown(path: Path | None) -> str:
    from orbitmesh.cli.demo.plan import shown

    return shown(os.fsencode(path if path is not None else _package()))


def _screen(is_json: bool) -> Screen:
    """Where it is shown: what is watched by somebody changes in place; beside JSON that is stderr."""
    from orbitmesh.cli.demo.screen import Lines, LiveTable, NoScreen

    if is_json:
        if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
            return NoScreen()
    elif not is_terminal():
        return Lines(write)
    from rich.console import Console

    return LiveTable(Console(stderr=is_json))
