"""Who hears events on this node: a subscription that is iterated, and a handler that runs for each."""

from __future__ import annotations

import asyncio
import inspect
import logging
import warnings
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, get_args, get_origin

from orbitmesh.core.errors import ConfigError, InvalidResult
from orbitmesh.runtime.annotations import home_of, names_in_reach, resolve
from orbitmesh.runtime.backlog import Backlog
from orbitmesh.runtime.conversion import fault_of
from orbitmesh.runtime.events import Arrived, Event
from orbitmesh.runtime.tasks import cancelled
from orbitmesh.runtime.threads import HandlerThreads

T = TypeVar("T")

logger = logging.getLogger("orbitmesh.handlers")

_FAILING: Final = 1024
"""Publishers whose events fail that are remembered, so that each is told of once."""


class Inbox:
    """What the node knows of a subscription: the events that wait for it.

    Apart from ``Subscription``, so that one which its user has dropped is noticed.

    Attributes:
        is_closed: Whether nothing more comes.
    """

    def __init__(self) -> None:
        self.is_closed = False
        self._backlog = Backlog()
        self._waiters: list[asyncio.Future[None]] = []

    def arrived(self, event: Arrived) -> None:
        """An event came."""
        self._backlog.put(event)
        self._wake()

    def closed(self) -> None:
        """Nothing more comes; what is there can still be taken."""
        self.is_closed = True
        self._wake()

    def clear(self) -> None:
        """Let go of what waits."""
        self._backlog.clear()

    async def next(self) -> tuple[Arrived, int] | None:
        """The oldest event, and how many were dropped before it; waits for it. None: there are no more."""
        while not self._backlog:
            if self.is_closed:
                return None
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._waiters:
                    self._waiters.remove(waiter)
        return self._backlog.take()

    def _wake(self) -> None:
        """Let all readers look: whoever comes first takes it."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)


class Subscription(AsyncIterator[Event[T]], Generic[T]):
    """Events of one pattern, as they come: an async iterator and an async context manager.

    Entering it waits until those present have confirmed, so that nothing they publish afterwards is missed. What comes
    while nobody reads waits, 10,000 events or 8 MiB at most; ``missed`` of the next event tells what was dropped.
    Several tasks may read it: each event goes to one of them.

    Raises:
        InvalidResult: Data of an event does not fit ``returns``; iterating may go on after it.
    """

    def __init__(
        self,
        pattern: str,
        *,
        type_: Any,
        enter: Callable[[Inbox], Awaitable[None]],
        leave: Callable[[Inbox], None],
    ) -> None:
        self.pattern: Final = pattern
        self._type = type_
        self._enter = enter
        self._leave = leave
        self._inbox = Inbox()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entering: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        """Begin to hear; returns when those present have confirmed."""
        if self._entering is None:
            self._loop = asyncio.get_running_loop()
            self._entering = self._loop.create_future()
            try:
                await self._enter(self._inbox)
            except BaseException:
                await self.aclose()
                raise
            finally:
                self._entering.set_result(None)
        elif not self._entering.done():
            await asyncio.shield(self._entering)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hear no more."""
        await self.aclose()

    async def __anext__(self) -> Event[T]:
        """The next event; waits for it."""
        if self._entering is None or not self._entering.done():
            await self.__aenter__()
        taken = await self._inbox.next()
        if taken is None:
            raise StopAsyncIteration
        arrived, missed = taken
        try:
            return arrived.decode(self._type, missed=missed)
        except Exception as error:  # a dataclass' own __post_init__ may raise anything
            raise InvalidResult(f"event {arrived.envelope.topic!r}: {fault_of(error).under('')}") from error

    async def aclose(self) -> None:
        """Hear no more. Calling it again is harmless."""
        if self._loop is not None and not self._inbox.is_closed:
            self._leave(self._inbox)
        self._inbox.closed()
        self._inbox.clear()

    def __del__(self) -> None:
        """A subscription that was dropped while open is closed, with a warning: its publishers would go on sending."""
        loop, inbox = self._loop, self._inbox
        if loop is None or inbox.is_closed or loop.is_closed():
            return
        loop.call_soon_threadsafe(self._leave, inbox)
        warnings.warn(f"a subscription to {self.pattern!r} was dropped open: use `async with`", ResourceWarning, 2)


class EventHandler:
    """A function that runs for each event of a pattern: in order for each publisher, publishers side by side.

    Attributes:
        pattern: What it hears.
        counts: ``handled``, ``failed``, ``unfit`` (data that does not fit its annotation), ``dropped`` (it was too slow
            for them, or stopped before them).
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
        self._failing: set[str] = set()
        self._is_closed = False

    def arrived(self, event: Arrived) -> None:
        """An event came: it waits for those of its publisher before it."""
        if self._is_closed:
            self.counts["dropped"] += 1
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
        """Let what is under way end, for at most ``grace`` seconds; then it is cancelled."""
        self._is_closed = True
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=grace)
            stubborn = await cancelled(late)
            if stubborn:
                logger.warning(
                    "%d runs of the handler %s go on, though they were cancelled",
                    len(stubborn),
                    self._name,
                    extra={"event": "handler-stubborn"},
                )

    async def _drain(self, publisher: str, backlog: Backlog) -> None:
        try:
            while backlog:
                arrived, missed = backlog.take()
                await self._handle(arrived, missed)
        finally:
            self.counts["dropped"] += backlog.clear()
            del self._backlogs[publisher]

    async def _handle(self, arrived: Arrived, missed: int) -> None:
        try:
            event = arrived.decode(self._type, missed=missed)
        except Exception as error:  # a dataclass' own __post_init__ may raise anything
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
            self._failing.discard(arrived.publisher)

    def _failed(self, what: str, arrived: Arrived, reason: str, error: BaseException | None = None) -> None:
        """Count it; of a row of failures by one publisher the first is told, the counter has them all."""
        self.counts[what] += 1
        if arrived.publisher in self._failing:
            return
        if len(self._failing) >= _FAILING:
            self._failing.clear()
        self._failing.add(arrived.publisher)
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
