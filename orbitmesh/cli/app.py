"""The command line as a whole: what stands before any command."""

from __future__ import annotations

import os
import sys
from typing import Final

import click

from orbitmesh.cli.group import LazyGroup
from orbitmesh.cli.statuses import DONE
from orbitmesh.core.version import VERSION

_COMPLETE: Final = "_ORBITMESH_COMPLETE"
_SETTINGS: Final = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


def _export(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """Put an option where whatever the command starts sees it too: the user's agents, plugins, other processes."""
    if value is not None:
        os.environ[f"ORBITMESH_{parameter.name}".upper()] = value


@click.group(cls=LazyGroup, context_settings=_SETTINGS, subcommand_metavar="COMMAND …")
@click.option(
    "--home",
    metavar="PATH",
    help="Folder of state and keys; else ORBITMESH_HOME, else the user's own.",
    callback=_export,
    is_eager=True,
    expose_value=False,
)
@click.option(
    "--log",
    metavar="LEVEL[,json]",
    help="What to log on stderr, such as debug,json; else ORBITMESH_LOG.",
    callback=_export,
    is_eager=True,
    expose_value=False,
)
@click.version_option(VERSION, prog_name="orbitmesh", message="%(prog)s %(version)s")
def app() -> None:
    """Distributed applications on a LAN: write handlers, start agents, call them. No broker.

    Every command has --help, and --json for programs. Exit statuses are listed in docs/cli.md.
    """


def carry_out(arguments: list[str]) -> int:
    """Run a command line; gives the status it asks for, and lets every exception out.

    Not by ``app.main``, which ends the process with a status of its own where nobody reads the output any more.
    """
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal has no letters for ends nothing
    instruction = os.environ.get(_COMPLETE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(app, {}, "orbitmesh", _COMPLETE, instruction)
    try:
        with app.make_context("orbitmesh", arguments) as context:
            app.invoke(context)
    except click.exceptions.Exit as end:
        return end.exit_code
    return DONE
