"""What an agent has registered: its commands with their options, as one immutable row each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from orbitmesh.core.durations import Duration, seconds
from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import checked_command
from orbitmesh.runtime.context import Context
from orbitmesh.runtime.signature import HandlerSpec, read_signature
from orbitmesh.security.roles import checked_roles
from orbitmesh.spi.handlers import Handler
from orbitmesh.wire.envelopes import Kind, Offer

logger = logging.getLogger("orbitmesh.runtime")

RESERVED: Final = "orbitmesh."
"""Commands that begin like this belong to the node itself."""

MAX_ROLES: Final = 64
"""Roles of one command."""

KINDS: Final[Mapping[str, Kind]] = {"call": Kind.CALL, "stream": Kind.STREAM}
"""Kinds by the name that handler classes use."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Registration:
    """One command of an agent.

    Attributes:
        spec: What its signature says.
        timeout: Seconds that it may run at most; None for as long as the caller waits.
        concurrency: How many of it run at once; None for as many as the agent runs.
        roles: Who may call it, any one of them; empty: any member but observers.
        tags: Free labels, shown by ``describe``.
        description: Shown by ``describe``.
        is_idempotent: Whether running it twice does no harm.
    """

    spec: HandlerSpec
    timeout: float | None = None
    concurrency: int | None = None
    roles: frozenset[str] = frozenset()
    tags: Mapping[str, str]
    description: str = ""
    is_idempotent: bool = False

    @property
    def offer(self) -> Offer:
        """What other nodes are told about it."""
        return Offer(self.spec.name, int(self.spec.kind), sorted(self.roles), self.is_idempotent)


def register(
    function: Callable[..., Any],
    *,
    name: str | None,
    kind: Kind,
    timeout: Duration | None = None,
    concurrency: int | None = None,
    roles: Iterable[str] = (),
    tags: Mapping[str, str] | None = None,
    description: str | None = None,
    idempotent: bool = False,
    is_own: bool = False,
) -> Registration:
    """Check a handler and its options.

    Args:
        function: The handler.
        name: Name of its command; None for the function's, with ``-`` for ``_``.
        kind: How it runs.
        timeout: Most time that it may take.
        concurrency: How many of it run at once.
        roles: Who may call it.
        tags: Free labels.
        description: What it does; None for the first paragraph of its docstring.
        idempotent: Whether running it twice does no harm.
        is_own: Whether the node registers it for itself.

    Raises:
        ConfigError: Something about it cannot be used; the message says what, and how to mend it.
    """
    if name is None:
        name = getattr(function, "__name__", "").replace("_", "-")
    checked_command(name)
    if name.startswith(RESERVED) and not is_own:
        raise ConfigError(f"command {name!r} cannot be used: names that begin with {RESERVED!r} belong to the node")
    if concurrency is not None and (
        isinstance(concurrency, bool) or not isinstance(concurrency, int) or concurrency < 1
    ):
        raise ConfigError(
            f"command {name!r}: concurrency={concurrency!r} is no number of calls: take 1 or more, or None"
        )
    if not isinstance(idempotent, bool):
        raise ConfigError(f"command {name!r}: idempotent={idempotent!r} cannot be used: take True or False")
    if description is not None and not isinstance(description, str):
        raise ConfigError(f"command {name!r}: description={description!r} is no text")
    if tags is not None and not (
        isinstance(tags, Mapping) and all(isinstance(text, str) for pair in tags.items() for text in pair)
    ):
        raise ConfigError(f"command {name!r}: tags={tags!r} cannot be used: write tags={{'owner': 'billing'}}")
    needed = checked_roles(roles)
    if len(needed) > MAX_ROLES:
        raise ConfigError(f"command {name!r} asks for {len(needed)} roles: {MAX_ROLES} are what others can be told of")
    spec = read_signature(function, name=name, kind=kind, context_types=(Context,))
    return Registration(
        spec=spec,
        timeout=None if timeout is None else seconds(timeout, what=f"timeout of command {name!r}"),
        concurrency=concurrency,
        roles=needed,
        tags=dict(tags or {}),
        description=spec.description if description is None else description,
        is_idempotent=idempotent,
    )


def plugin_registrations(handlers: Iterable[Handler]) -> dict[str, Registration]:
    """Register the handlers that plugins offer; one that cannot be used is reported, and left out."""
    made: dict[str, Registration] = {}
    for handler in handlers:
        try:
            registration = register_handler(handler)
        except ConfigError as error:
            logger.warning("a plugin's handler is left out: %s", error, extra={"event": "plugin-broken"})
            continue
        name = registration.spec.name
        if name in made:
            logger.warning("two plugins offer %r: the first one is taken", name, extra={"event": "plugin-broken"})
        made.setdefault(name, registration)
    return made


def register_handler(handler: Handler, **options: Any) -> Registration:
    """Check an object with ``command``, ``kind`` and a method ``handle``.

    Args:
        handler: The object.
        options: As in ``register``.

    Raises:
        ConfigError: One of the three is missing or cannot be used.
    """
    missing = [part for part in ("command", "kind", "handle") if not hasattr(handler, part)]
    if missing:
        raise ConfigError(f"handler {handler!r} has no {' and no '.join(missing)}")
    kind = KINDS.get(handler.kind)
    if kind is None:
        raise ConfigError(f"handler {handler.command!r}: kind {handler.kind!r} is unknown: {' or '.join(KINDS)}")
    return register(handler.handle, name=handler.command, kind=kind, **options)
