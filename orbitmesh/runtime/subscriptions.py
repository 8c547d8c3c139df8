"""Who hears events on this node: a subscription that is iterated, and a handler that runs for each."""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, get_args, get_origin

from orbitmesh.core.errors import ConfigError, InvalidResult
from orbitmesh.link.outbox import EVENT_BYTES, EVENTS
from orbitmesh.runtime.annotations import home_of, names_in_reach, resolve
from orbitmesh.runtime.conversion import fault_of
from orbitmesh.runtime.events import Arrived, Event
from orbitmesh.runtime.threads import HandlerThreads

T = TypeVar("T")

logger = logging.getLogger("orbitmesh.handlers")


class Backlog:
    """Events that wait for one reader: bounded, the oldest are dropped and counted by publisher.

    Attributes:
        dropped: Events dropped since the start.
    """

    __slots__ = ("_events", "_missed", "_size", "dropped")

    def __init__(self) -> None:
        self.dropped = 0
        self._events: deque[Arrived] = deque()
        self._size = 0
        self._missed: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Arrived) -> None:
        """Add an event."""
        self._events.append(event)
        self._size += event.size
        while len(self._events) > EVENTS or (self._size > EVENT_BYTES and len(self._events) > 1):
            lost = self._events.popleft()
            self._size -= lost.size
            self._missed[lost.publisher] += 1 + lost.envelope.missed
            self.dropped += 1

    def take(self) -> tuple[Arrived, int]:
        """The oldest event, and how many of its publisher's were dropped before it."""
        event = self._events.popleft()
        self._size -= event.size
        return event, self._missed.pop(event.publisher, 0)


class Subscription(AsyncIterator[Event[T]], Generic[T]):
    """Events of one pattern, as they come: an async iterator and an async context manager.

    Entering it waits until those present have confirmed, so that nothing they publish afterwards is missed. What comes
    while nobody reads waits, 10,000 events or 8 MiB at most; ``missed`` of the next event tells what was dropped.

    Raises:
        InvalidResult: Data of an event does not fit ``returns``; iterating may go on after it.
    """

    def __init__(
        self,
        pattern: str,
        *,
        type_: Any,
        enter: Callable[[Subscription[T]], Awaitable[None]],
        leave: Callable[[Subscription[T]], None],
    ) -> None:
        self.pattern: Final = pattern
        self._type = type_
        self._enter = enter
        self._leave = leave
        self._backlog = Backlog()
        self._waiter: asyncio.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_entered = False
        self._is_closed = False

    async def __aenter__(self) -> Self:
        """Begin to hear; returns when those present have confirmed."""
        if not self._is_entered:
            self._is_entered = True
            self._loop = asyncio.get_running_loop()
            await self._enter(self)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hear no more."""
        await self.aclose()

    async def __anext__(self) -> Event[T]:
        """The next event; waits for it."""
        if not self._is_entered:
            await self.__aenter__()
        while not self._backlog:
            if self._is_closed:
                raise StopAsyncIteration
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        arrived, missed = self._backlog.take()
        try:
            return arrived.decode(self._type, missed=missed)
        except ValueError as error:
            raise InvalidResult(f"event {arrived.envelope.topic!r}: {fault_of(error).under('')}") from error

    async def aclose(self) -> None:
        """Hear no more. Calling it again is harmless."""
        if self._is_entered and not self._is_closed:
            self._leave(self)
        self.closed()

    def __del__(self) -> None:
        """A subscription that was dropped while open is closed, with a warning: its publishers would go on sending."""
        loop = self._loop
        if loop is None or self._is_closed or loop.is_closed():
            return
        loop.call_soon_threadsafe(self._leave, self)
        warnings.warn(f"a subscription to {self.pattern!r} was dropped open: use `async with`", ResourceWarning, 2)

    # Listener

    def arrived(self, event: Arrived) -> None:
        """An event came."""
        self._backlog.put(event)
        self._wake()

    def closed(self) -> None:
        """The node stops, or the subscription is closed."""
        self._is_closed = True
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class EventHandler:
    """A function that runs for each event of a pattern: in order for each publisher, publishers side by side.

    Attributes:
        pattern: What it hears.
        counts: ``handled``, ``failed``, ``unfit`` (data that does not fit its annotation), ``dropped``.
    """

    def __init__(self, pattern: str, function: Callable[..., Any], threads: HandlerThreads) -> None:
        self.pattern = pattern
        self.counts: Counter[str] = Counter()
        self._function = function
        self._is_async = inspect.iscoroutinefunction(inspect.unwrap(home_of(function)))
        self._type = event_type(function)
        self._name = getattr(function, "__qualname__", repr(function))
        self._threads = threads
        self._backlogs: dict[str, Backlog] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_closed = False

    def arrived(self, event: Arrived) -> None:
        """An event came: it waits for those of its publisher before it."""
        if self._is_closed:
            return
        backlog = self._backlogs.get(event.publisher)
        if backlog is None:
            backlog = self._backlogs[event.publisher] = Backlog()
            backlog.put(event)
            task = asyncio.get_running_loop().create_task(
                self._drain(event.publisher, backlog), name=f"orbitmesh event handler {self._name}"
            )
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            before = backlog.dropped
            backlog.put(event)
            self.counts["dropped"] += backlog.dropped - before

    def closed(self) -> None:
        """Take nothing more; ``stop`` ends what runs."""
        self._is_closed = True

    async def stop(self, grace: float) -> None:
        """Let what is under way end, for at most ``grace`` seconds."""
        self._is_closed = True
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _drain(self, publisher: str, backlog: Backlog) -> None:
        try:
            while backlog:
                arrived, missed = backlog.take()
                await self._handle(arrived, missed)
        finally:
            del self._backlogs[publisher]

    async def _handle(self, arrived: Arrived, missed: int) -> None:
        try:
            event = arrived.decode(self._type, missed=missed)
        except ValueError as error:
            self._failed("unfit", arrived, fault_of(error).under(""))
            return
        try:
            if self._is_async:
                await self._function(event)
            else:
                await self._threads.run(self._function, event, command=self._name)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # SystemExit too: an event must not end its node
            self._failed("failed", arrived, f"{type(error).__name__}: {error}", error)
        else:
            self.counts["handled"] += 1

    def _failed(self, what: str, arrived: Arrived, reason: str, error: BaseException | None = None) -> None:
        self.counts[what] += 1
        logger.warning(
            "the handler %s of event %r by %s %s: %s",
            self._name,
            arrived.envelope.topic,
            arrived.publisher,
            "failed" if what == "failed" else "was not run, its data does not fit",
            reason,
            exc_info=error,
            extra={"event": f"event-{what}", "peer": arrived.publisher},
        )


def event_type(function: Callable[..., Any]) -> Any:
    """What the data of an event has to be for a handler, by the annotation of its one parameter.

    Raises:
        ConfigError: It does not take exactly one parameter, or its annotation is no ``Event``.
    """
    home = home_of(function)
    where = f"event handler {getattr(home, '__qualname__', home)}"
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: it has no signature to read ({error})") from error
    if len(parameters) != 1:
        raise ConfigError(f"{where}: it takes one parameter, the event: write `async def name(event: Event[T])`")
    annotation = getattr(home, "__annotations__", {}).get(parameters[0].name, Any)
    try:
        annotation = resolve(annotation, names_in_reach(home))
    except Exception as error:
        raise ConfigError(f"{where}: the annotation {annotation!r} cannot be resolved ({error})") from error
    if annotation is Any or annotation is Event:
        return Any
    if get_origin(annotation) is not Event:
        raise ConfigError(f"{where}: its parameter is annotated {annotation!r}: write Event, or Event[T]")
    return get_args(annotation)[0]
