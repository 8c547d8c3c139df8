"""Handlers and command-line commands that a plugin offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol


class Handler(Protocol):
    """A handler as an object, registered by ``orbitmesh_handlers`` or ``agent.add_handler``.

    Its ``handle`` method is what a decorated function would be: parameters by annotation, ``Context`` where it wants
    one. For ``kind = "stream"`` it is an async generator.
    """

    @property
    def command(self) -> str:
        """Name of the command."""
        ...

    @property
    def kind(self) -> str:
        """``call`` or ``stream``."""
        ...

    @property
    def handle(self) -> Any:
        """The function to run."""
        ...


@dataclass(frozen=True, slots=True)
class CliCommand:
    """A command of the command line, registered by ``orbitmesh_cli``.

    Attributes:
        name: What the user types after ``orbitmesh``.
        help: One line.
        target: ``module:attribute`` of a click command, imported only when it is used.
    """

    name: str
    help: str
    target: str
