"""What a decorator leaves on a function, so that the function may stand wherever its command's name may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from orbitmesh.core.errors import ConfigError
from orbitmesh.wire.envelopes import Kind

_ATTRIBUTE: Final = "__orbitmesh_commands__"


@dataclass(frozen=True, slots=True)
class Mark:
    """One command that a function is the handler of.

    Attributes:
        name: Name of the command.
        kind: How it runs.
        returns: Type of its result, or of each item of its stream.
    """

    name: str
    kind: Kind
    returns: Any


def mark(function: Callable[..., Any], name: str, *, kind: Kind, returns: Any) -> None:
    """Note that a function is the handler of a command; the function itself stays as it is.

    Bound methods and other objects that take no attributes stay unmarked: their commands are called by name.
    """
    made = Mark(name, kind, returns)
    known: tuple[Mark, ...] = getattr(function, _ATTRIBUTE, ())
    if made not in known:
        try:
            setattr(function, _ATTRIBUTE, (*known, made))
        except AttributeError:
            return


def marked(function: Callable[..., Any]) -> Mark:
    """The command that a decorated function stands for.

    Raises:
        ConfigError: It is the handler of no command, or of several; the command's name says which one is meant.
    """
    known: tuple[Mark, ...] = getattr(function, _ATTRIBUTE, ())
    called = getattr(function, "__qualname__", None) or repr(function)
    if not known:
        raise ConfigError(f"{called} is no decorated handler; give the command by its name, or the decorated function")
    if len({(each.name, each.kind) for each in known}) > 1:
        names = ", ".join(repr(each.name) for each in known)
        raise ConfigError(f"{called} is the handler of several commands, {names}; give the name of the one you mean")
    return known[-1]
