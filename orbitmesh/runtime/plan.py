"""What a node shall be, before it runs: put together by an Agent or a Mesh."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from orbitmesh.core.settings import Settings
from orbitmesh.runtime.access import Access
from orbitmesh.runtime.metrics import Metric
from orbitmesh.runtime.registry import Registration
from orbitmesh.spi.middleware import MiddlewareFunction

EventFunction: TypeAlias = tuple[str, Callable[..., Any]]
"""A pattern, and what handles its events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A node to be.

    Attributes:
        settings: What was told from outside.
        name: Its name; None for none given.
        instance: Which of several replicas it is, from 1.
        is_agent: Whether it offers commands.
        groups: Its groups.
        tags: Its tags.
        labels: Bare capabilities.
        registrations: Its commands, by name.
        event_functions: What it does with events.
        metrics: What it measures.
        middleware: Around what it serves, the first outermost.
        middleware_names: Plugins' middleware around what it serves, outside of the others.
        codecs: Names of codecs for its links.
        concurrency: How many calls run at once.
        queue: How many calls wait beyond that.
        with_traceback: Whether callers see tracebacks of what escapes its handlers.
        access: The mesh to be part of; None for that of the settings.
    """

    settings: Settings
    name: str | None = None
    instance: int = 1
    is_agent: bool = False
    groups: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    labels: Sequence[str] = ()
    registrations: Mapping[str, Registration] = field(default_factory=dict)
    event_functions: Sequence[EventFunction] = ()
    metrics: Sequence[Metric] = ()
    middleware: Sequence[MiddlewareFunction] = ()
    middleware_names: Sequence[str] = ()
    codecs: Sequence[str] = ()
    concurrency: int = 256
    queue: int = 256
    with_traceback: bool = False
    access: Access | None = None
