"""The calling side of a stream."""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar

from orbitmesh.core.errors import InvalidResult, OrbitMeshError
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.conversion import fault_of
from orbitmesh.spi.transport import Frame
from orbitmesh.wire.envelopes import Error, Item

T = TypeVar("T")

_TOLD_ITEMS: Final = 16
_TOLD_BYTES: Final = 128 * 1024
"""Taken items are told in lots of this size: each lot costs a look at the credit."""


class RemoteItems(AsyncIterator[Any]):
    """Items of one stream as they come over its link, decoded as they are taken.

    Attributes:
        agent: ``device/name`` of who sends them.
    """

    __slots__ = ("_connection", "_decode", "_end", "_id", "_is_over", "_items", "_size", "_taken", "_type", "_waiter")

    def __init__(self, connection: Connection, id_: int, type_: Any) -> None:
        assert connection.payload is not None  # work is put on greeted links only
        self._connection = connection
        self._id = id_
        self._type = type_
        self._decode = connection.payload.decode_answer
        self._items: deque[Frame] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._is_over = False
        self._end: OrbitMeshError | None = None
        self._taken = 0
        self._size = 0
        connection.exchanges[id_] = self

    @property
    def agent(self) -> str:
        """``device/name`` of who sends."""
        return f"{self._connection.peer.device}/{self._connection.peer.name}"

    async def __anext__(self) -> Any:
        """The next item; waits for it.

        Raises:
            OrbitMeshError: What ended the stream before its time, after all items that came before it.
            InvalidResult: The item does not fit; the stream is closed.
        """
        items = self._items
        while not items:
            if self._is_over:
                end, self._end = self._end, None
                if end is not None:
                    raise end
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self.take()

    @property
    def is_ready(self) -> bool:
        """Whether an item is there already."""
        return bool(self._items)

    def take(self) -> Any:
        """The next item, which is there already.

        Raises:
            InvalidResult: The item does not fit; the stream is closed.
        """
        body = self._items.popleft()
        self._taken += 1
        self._size += len(body)
        if self._taken >= _TOLD_ITEMS or self._size >= _TOLD_BYTES:
            self._tell()
        try:
            return self._decode(body, self._type)
        except Exception as error:  # a dataclass' own __post_init__ may raise anything
            self.close()
            raise InvalidResult(f"an item of the stream does not fit: {fault_of(error).under('')}") from error

    def close(self) -> None:
        """Want no more: the work on the other side is cancelled. Calling it again is harmless."""
        self._items.clear()
        if not self._is_over:
            self._is_over = True
            self._connection.exchanges.pop(self._id, None)
            self._connection.traffic.cancel(self._id)
            self._connection.queued()
        self._wake()

    def _tell(self) -> None:
        connection = self._connection
        connection.traffic.took(self._id, self._taken, self._size)
        self._taken = self._size = 0
        connection.queued()

    # Exchange

    def on_item(self, item: Item) -> None:
        """One item came."""
        body = item.body
        assert not isinstance(body, int)
        self._items.append(body)
        self._wake()

    def on_end(self, error: OrbitMeshError | Error | None) -> None:
        """The stream is over."""
        self._is_over = True
        if error is not None:
            self._end = self._connection.as_exception(error)
        self._wake()

    def on_granted(self) -> None:
        """Nothing is sent from this side."""

    def _wake(self) -> None:
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)


class Stream(AsyncIterator[T], Generic[T]):
    """Results of a command as they come: an async iterator and an async context manager.

    Leaving it, or cancelling the task that reads it, cancels the work on the other side. Items that nobody has read
    yet wait, 512 or 1 MiB at most: then the producer waits.
    """

    def __init__(self, command: str, begin: Callable[[list[RemoteItems]], Awaitable[AsyncIterator[Any]]]) -> None:
        """Make a stream that has not begun.

        Args:
            command: Name of its command.
            begin: Opens it; adds what it opened on a link to the list, which middleware may wrap or leave aside.
        """
        self._command = command
        self._begin = begin
        self._items: AsyncIterator[Any] | None = None
        self._opened: list[RemoteItems] = []
        self._beginning: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_reading = False
        self._is_closed = False

    async def __aenter__(self) -> Self:
        """Find the agent and start the command."""
        if self._beginning is None and not self._is_closed:
            self._loop = asyncio.get_running_loop()
            self._beginning = self._loop.create_future()
            try:
                self._items = await self._begin(self._opened)
            except BaseException:
                await self.aclose()
                raise
            finally:
                self._beginning.set_result(None)
            if self._is_closed:  # meanwhile, by another task
                await self.aclose()
        elif self._beginning is not None and not self._beginning.done():
            await asyncio.shield(self._beginning)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Want no more."""
        await self.aclose()

    async def __anext__(self) -> T:
        """The next item.

        Raises:
            OrbitMeshError: As in ``Mesh.invoke``.
            RuntimeError: Another task waits for the next item already.
        """
        if self._items is None:
            if not self._is_closed:
                await self.__aenter__()
            if self._items is None:
                raise StopAsyncIteration
        if self._is_reading:
            raise RuntimeError("another task waits for the next item of this stream: let one task read it")
        opened = self._items
        self._is_reading = True
        try:
            # Most items have come before they are asked for: to wait for them would cost a coroutine each.
            item: T = opened.take() if type(opened) is RemoteItems and opened.is_ready else await anext(opened)
        except BaseException:
            self._is_reading = False
            await self.aclose()
            raise
        self._is_reading = False
        return item

    async def aclose(self) -> None:
        """Want no more; the work on the other side is cancelled. Calling it again is harmless."""
        self._is_closed = True
        items, self._items = self._items, None
        try:
            # What another task reads ends with what it reads from.
            if not self._is_reading and (close := getattr(items, "aclose", None)) is not None:
                await close()
        finally:
            for opened in self._opened:
                opened.close()
            self._opened.clear()

    def __del__(self) -> None:
        """A stream that was dropped while open is closed, with a warning: its producer would wait for ever."""
        loop, opened = self._loop, self._opened
        if loop is None or self._is_closed or loop.is_closed() or not opened:
            return
        for items in opened:
            loop.call_soon_threadsafe(items.close)
        warnings.warn(f"a stream of {self._command!r} was dropped open: use `async with`", ResourceWarning, 2)
