"""The command line as a whole: what stands before any command."""

from __future__ import annotations

import os
import sys

import click

from orbitmesh.cli.group import LazyGroup
from orbitmesh.core.version import VERSION

_SETTINGS = {"help_option_names": ["-h", "--help"], "max_content_width": 100}


@click.group(cls=LazyGroup, context_settings=_SETTINGS, subcommand_metavar="COMMAND …")
@click.option("--home", metavar="PATH", help="Folder of state and keys; else ORBITMESH_HOME, else the user's own.")
@click.option("--log", metavar="LEVEL[,json]", help="What to log on stderr, such as debug,json; else ORBITMESH_LOG.")
@click.version_option(VERSION, prog_name="orbitmesh", message="%(prog)s %(version)s")
def app(home: str | None, log: str | None) -> None:
    """Distributed applications on a LAN: write handlers, start agents, call them. No broker.

    Every command has --help, and --json for programs. Exit statuses are listed in docs/cli.md.
    """
    # As environment, since what a command starts shall have them too: the user's agents, plugins, other processes.
    for variable, value in (("ORBITMESH_HOME", home), ("ORBITMESH_LOG", log)):
        if value is not None:
            os.environ[variable] = value
    if sys.stdout is not None and hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that the terminal has no letters for ends nothing
