"""Options that several commands have."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import click

from orbitmesh.core.durations import seconds
from orbitmesh.core.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])


class Whom(NamedTuple):
    """Whom a command line means.

    Attributes:
        name: A name, ``device/name`` or node id.
        group: A group that they are in.
        tags: Tags that they have.
        capability: A command or label that they have.
    """

    name: str | None
    group: str | None
    tags: dict[str, str]
    capability: str | None


def read_duration(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """Read seconds, or a text such as 500ms or 2m."""
    try:
        return None if value is None else seconds(value, what="the duration")
    except ConfigError as error:
        raise click.BadParameter(str(error), context, parameter) from error


def _read_tags(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    tags = {}
    for value in values:
        name, is_tag, content = value.partition("=")
        if not name or not is_tag:
            raise click.BadParameter(f"{value!r} is no tag: write name=value", context, parameter)
        tags[name] = content
    return tags


def as_json(command: F) -> F:
    """Give a command ``--json``, as the argument ``is_json``."""
    return click.option("--json", "is_json", is_flag=True, help="Print JSON, for programs.")(command)


def within(command: F) -> F:
    """Give a command ``--timeout``, in seconds or None."""
    return click.option(
        "--timeout",
        callback=read_duration,
        metavar="SECONDS",
        help="How long it may take, such as 5, 500ms or 2m; 30 s where ORBITMESH_TIMEOUT says nothing else.",
    )(command)


def labelled(command: F) -> F:
    """Give a command ``--group``, ``--tag`` and ``--capability``."""
    for option in (
        click.option("--capability", metavar="NAME", help="Only agents with this command or label."),
        click.option(
            "--tag", "tags", callback=_read_tags, multiple=True, metavar="NAME=VALUE", help="Only with this tag."
        ),
        click.option("--group", metavar="NAME", help="Only agents of this group."),
    ):
        command = option(command)
    return command


def aimed(command: F) -> F:
    """Give a command ``--on`` and the labels."""
    return click.option("--on", metavar="AGENT", help="Which agent: a name, device/name or node id; else any.")(
        labelled(command)
    )
