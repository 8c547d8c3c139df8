"""The commands there are: names, help and places, so that none is imported unless it is used."""

from __future__ import annotations

from typing import Final, NamedTuple


class Entry(NamedTuple):
    """A command as the help shows it.

    Attributes:
        help: One line.
        target: ``module:attribute`` of a click command.
    """

    help: str
    target: str


COMMANDS: Final = {
    "demo": Entry("See it work: agents index your files, one is killed.", "orbitmesh.cli.demo.command:demo"),
    "run": Entry("Serve agents of a Python module.", "orbitmesh.cli.commands.run:run"),
    "ls": Entry("List the agents of the mesh.", "orbitmesh.cli.commands.ls:ls"),
    "describe": Entry("Show what an agent offers.", "orbitmesh.cli.commands.describe:describe"),
    "call": Entry("Call a command and print its result.", "orbitmesh.cli.commands.call:call"),
    "stream": Entry("Run a command and print its results as they come.", "orbitmesh.cli.commands.stream:stream"),
    "plugins": Entry("List what is plugged in.", "orbitmesh.cli.commands.plugins:plugins"),
}
"""In the order in which a newcomer meets them."""
