"""From a client's call to its link: who is meant, how long it may take, what stands around it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import replace
from math import inf
from typing import Any, Final, TypeAlias

from orbitmesh.core.durations import Duration, seconds
from orbitmesh.membership.targets import On
from orbitmesh.runtime.calling import Command, Meant, checked_headers, named
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.context import Context
from orbitmesh.runtime.middleware import Around, Intercepted
from orbitmesh.runtime.node import RUNNING, Node
from orbitmesh.spi.middleware import InterceptedCall
from orbitmesh.wire.envelopes import Kind

CALL: Final = int(Kind.CALL)
"""Looked up in an enum it costs as much as all the rest of finding a pick."""

_NAMES: Final = 1024
"""Names of commands that need no second look."""

Put: TypeAlias = Callable[[Connection, Meant, Any], Coroutine[Any, Any, Any]]
"""Puts a call on a link: connection, what is meant, parameters."""


class Invoker:
    """How one client calls.

    Attributes:
        around: The compiled middleware around its calls.
        context: The served call that its calls are part of; None for a client's own.
    """

    def __init__(self, node: Node, *, timeout: float, settle: float, around: Around | None) -> None:
        """Make an invoker.

        Args:
            node: The running node.
            timeout: Seconds that a call may take where nothing else is said.
            settle: Seconds that the first use that needs everybody waits for discovery at most.
            around: Middleware around its calls.
        """
        self.around = around
        self.context: Context[Any] | None = None
        self.node = node
        self._timeout = timeout
        self._settle = settle
        self._names: set[Command] = set()

    def bound_to(self, context: Context[Any]) -> Invoker:
        """The same for calls that are part of a served one: its deadline and caller travel on."""
        bound = Invoker(self.node, timeout=self._timeout, settle=self._settle, around=self.around)
        bound.context = context
        return bound

    def quick(self, command: Command, on: On) -> Connection | None:
        """The connection for a call by name that has been made before and has nothing around it; else None."""
        if type(on) is not str or type(command) is not str or self.around is not None or self.context is not None:
            return None
        return self.node.directory.picks.get((on, command, CALL)) if self.node.state in RUNNING else None

    @property
    def is_settled(self) -> bool:
        """Whether the first use is over."""
        return self.node.finder.is_settled

    async def settle(self, *, until: float = inf) -> None:
        """On first use wait until discovery has answered and the dials it led to are done, or until that moment."""
        await self.node.finder.settle(self._settle, until=until)

    def meant(
        self,
        command: Command,
        kind: Kind,
        *,
        on: On,
        returns: Any = Any,
        timeout: Duration | None = None,
        headers: Mapping[str, str] | None = None,
        wait: bool = True,
        is_bounded: bool = True,
    ) -> Meant:
        """Put together what a caller said.

        Args:
            command: Name or decorated function.
            kind: How it shall run.
            on: Where.
            returns: Type of the result; ``Any`` for that of a decorated function.
            timeout: Most time that it may take.
            headers: User headers.
            wait: Whether to wait for somebody who is not there yet.
            is_bounded: Whether the usual timeout holds where none is given.

        Raises:
            ConfigError: A part is malformed.
        """
        if isinstance(command, str) and command in self._names:
            name, type_ = command, returns
        else:
            name, type_ = named(command, kind, returns)
            if isinstance(command, str) and len(self._names) < _NAMES:
                self._names.add(name)
        context = self.context
        if context is None and timeout is None:
            deadline = self.node.loop.time() + self._timeout if is_bounded else inf
            return Meant(name, on, type_, deadline, wait, None if headers is None else checked_headers(headers), None)
        return Meant(
            name,
            on,
            type_,
            self.deadline(timeout, is_bounded=is_bounded),
            wait,
            None if headers is None else checked_headers(headers),
            None if context is None else context.caller.origin,
        )

    def deadline(self, timeout: Duration | None, *, is_bounded: bool = True) -> float:
        """When work begun now has to be over: the earlier of its own time and that of the call it is part of."""
        if timeout is not None:
            deadline = self.node.loop.time() + seconds(timeout, what="timeout")
        else:
            deadline = self.node.loop.time() + self._timeout if is_bounded else inf
        context = self.context
        return deadline if context is None or context.deadline is None else min(deadline, context.deadline)

    async def run(self, put: Put, kind: Kind, meant: Meant, params: Any, *, shown: str, until: float) -> Any:
        """Find the agent, pass the middleware, put the call on the link.

        Args:
            put: What puts it there, and waits for what has to be waited for.
            kind: How the command runs.
            meant: What the caller means.
            params: Its parameters.
            shown: The kind as middleware sees it.
            until: How long an agent that fits is waited for, on the loop's clock.
        """
        finder = self.node.finder
        connection = finder.pick(meant.on, meant.name, kind)
        if connection is None:
            if not meant.wait and not finder.is_settled:
                await self.settle(until=until)
            connection = await finder.find(meant.on, meant.name, kind, until=until, wait=meant.wait)
        around = self.around
        if around is None:
            return await put(connection, meant, params)
        chosen = connection

        async def core(call: InterceptedCall) -> Any:
            return await put(chosen, replace(meant, headers=checked_headers(call.headers)), call.params)

        intercepted = Intercepted(
            name=meant.name,
            kind=shown,
            headers=dict(meant.headers or {}),
            params={} if params is None else params,
            peer=chosen.peer.name,
        )
        return await around(intercepted, core)
