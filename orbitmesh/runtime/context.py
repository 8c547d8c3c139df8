"""What a handler may know about the call it serves."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from orbitmesh.wire.envelopes import Origin

if TYPE_CHECKING:
    from orbitmesh.runtime.client import Mesh

State = TypeVar("State", default=Any)

_log = logging.getLogger("orbitmesh.handlers")


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who calls, proven by certificate; in a nested call whoever made the first one, as the calling node states it.

    Attributes:
        name: Name of the calling node.
        device: Name of its device.
        roles: What it may do; in a nested call what both the first caller and the calling node may.
    """

    name: str
    device: str
    roles: frozenset[str]

    @property
    def origin(self) -> Origin:
        """The statement that travels with a nested call."""
        return Origin(self.name, self.device, sorted(self.roles))


class Context(Generic[State]):
    """One call as its handler sees it. A handler asks for it by annotating any parameter with this class.

    Attributes:
        command: Name of the command that runs.
        caller: Who calls.
        headers: User headers that came with the call.
        deadline: When the call has to be over, in monotonic seconds of the node's clock; None for never.
        state: What the agent's ``lifespan`` yielded; None without one.
    """

    __slots__ = ("_client", "_loop", "_withdrawn", "caller", "command", "deadline", "headers", "state")

    def __init__(
        self,
        *,
        command: str,
        caller: Caller,
        headers: Mapping[str, str],
        deadline: float,
        state: State,
        client: Mesh | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.command = command
        self.caller = caller
        self.headers = headers
        self.deadline: float | None = None if deadline == inf else deadline
        self.state = state
        self._client = client
        self._loop = loop
        self._withdrawn: asyncio.Event | None = None

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger whose lines carry the command and its caller."""
        return logging.LoggerAdapter(
            _log, {"command": self.command, "peer": f"{self.caller.device}/{self.caller.name}"}
        )

    @property
    def mesh(self) -> Mesh:
        """Calls others: what is left of this call's time, its headers' trace and its caller's identity travel on."""
        assert self._client is not None  # every call that a node serves has one
        return self._client.bound_to(self)

    @property
    def remaining(self) -> float | None:
        """Seconds that are left, never below 0; None when the call has no deadline."""
        return None if self.deadline is None else max(0.0, self.deadline - self._loop.time())

    @property
    def cancelled(self) -> bool:
        """Whether nobody waits for the result any more: the caller cancelled, is gone, or the deadline passed.

        A coroutine is cancelled then; a ``def`` handler, which nothing can stop, looks here.
        """
        if self._withdrawn is not None and self._withdrawn.is_set():
            return True
        return self.deadline is not None and self._loop.time() >= self.deadline

    async def until_cancelled(self) -> None:
        """Wait until nobody waits for the result any more."""
        await self._event().wait()

    def withdraw(self) -> None:
        """Nobody waits any more; called by the node."""
        self._event().set()

    def _event(self) -> asyncio.Event:
        if self._withdrawn is None:
            self._withdrawn = asyncio.Event()
        return self._withdrawn
