"""Code around every call that a node makes or serves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol, TypeAlias


class Caller(Protocol):
    """Who calls, proven by certificate."""

    @property
    def name(self) -> str:
        """Name of the calling node."""
        ...

    @property
    def device(self) -> str:
        """Name of its device."""
        ...

    @property
    def roles(self) -> frozenset[str]:
        """What it may do."""
        ...


class InterceptedCall(Protocol):
    """A call on its way; headers and params may be changed.

    Attributes:
        name: The command.
        kind: ``call``, ``stream``, ``channel`` or ``notify``.
        headers: User headers that travel with it.
        params: Parameters by name; what the caller gave, before conversion to the handler's types.
        peer: Name of the node at the other end.
        caller: Who calls, on the serving side; None where the call is made.
    """

    name: str
    kind: str
    headers: dict[str, str]
    params: Any
    peer: str
    caller: Caller | None


Proceed: TypeAlias = Callable[[InterceptedCall], Awaitable[Any]]
"""Goes on to the next middleware or to the handler; for stream and channel its result is an async iterator."""


class MiddlewareFunction(Protocol):
    """What ``agent.middleware`` and ``mesh.middleware`` take."""

    async def __call__(self, call: InterceptedCall, proceed: Proceed) -> Any:
        """Do something around ``await proceed(call)`` and return its result, or another, or raise."""
        ...


class Middleware(MiddlewareFunction, Protocol):
    """What a plugin registers by ``orbitmesh_middleware``: chosen by name in ``middleware=``."""

    @property
    def name(self) -> str:
        """Name for ``middleware=``."""
        ...
