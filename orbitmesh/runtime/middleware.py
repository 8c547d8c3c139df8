"""Code around every call, compiled once into a chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

from orbitmesh.core.errors import ConfigError
from orbitmesh.spi.middleware import InterceptedCall, MiddlewareFunction, Proceed


@dataclass(slots=True, eq=False)
class Intercepted:
    """A call on its way through middleware; see ``InterceptedCall``."""

    name: str
    kind: str
    headers: dict[str, str]
    params: Any
    peer: str
    caller: Any = None


Around = Callable[[InterceptedCall, Proceed], Awaitable[Any]]
"""A compiled chain: the call, and what lies in its middle."""


def compile_chain(functions: Sequence[MiddlewareFunction]) -> Around | None:
    """Make one function of several, the first of them outermost; None where there is none."""
    if not functions:
        return None

    async def run(call: InterceptedCall, core: Proceed) -> Any:
        proceed = core
        for function in reversed(functions):
            proceed = _step(function, proceed)
        return await proceed(call)

    return run


def _step(function: MiddlewareFunction, inner: Proceed) -> Proceed:
    async def proceed(call: InterceptedCall) -> Any:
        result: Any = function(call, inner)
        if not isawaitable(result):
            raise ConfigError(
                f"middleware {getattr(function, '__qualname__', function)!r} returned {type(result).__name__}, nothing "
                "to await: write `async def m(call, proceed): return await proceed(call)`"
            )
        return await result

    return proceed


def checked_middleware(function: Any) -> MiddlewareFunction:
    """Return the middleware, or say why it cannot be one.

    Raises:
        ConfigError: It cannot be called.
    """
    if not callable(function):
        raise ConfigError(
            f"middleware {function!r} cannot be called: write `async def m(call, proceed): return await proceed(call)`"
        )
    checked: MiddlewareFunction = function
    return checked


async def items_of(result: Any, name: str) -> AsyncIterator[Any]:
    """What a chain around a stream returned, as the iterator that it has to be.

    Raises:
        TypeError: It is none; a middleware returned something else than what ``proceed`` gave it.
    """
    if isawaitable(result):
        result = await result
    if not hasattr(result, "__aiter__"):
        raise TypeError(f"middleware around the stream {name!r} returned {type(result).__name__}, no async iterator")
    iterator: AsyncIterator[Any] = aiter(result)
    return iterator
