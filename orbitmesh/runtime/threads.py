"""A bounded pool of threads for handlers that are plain ``def``: they may block, the loop may not."""

from __future__ import annotations

import asyncio
import contextvars
import logging
import threading
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Generator
from queue import SimpleQueue
from typing import Any, Final

from orbitmesh.core.errors import Cancelled

_IDLE: Final = "orbitmesh idle"

_log = logging.getLogger("orbitmesh.runtime")


class HandlerThreads:
    """Threads of one node, made when they are needed and kept for the next call.

    A thread cannot be killed. Whoever stops waiting for one is free at once, and the thread goes on, for nobody, until
    the handler returns: it counts against the limit until then. The threads are daemons, so that none of them can keep
    a process from ending. All that decides runs on the loop, so there are no locks.
    """

    def __init__(self, limit: int) -> None:
        """Make an empty pool.

        Args:
            limit: How many threads there may be, at least 1. Calls beyond it wait, in order, for one to be free.
        """
        self._limit = limit
        self._workers: set[_Worker] = set()
        self._idle: list[_Worker] = []
        self._waiting: dict[Work, None] = {}
        self._is_closed = False
        self._ended: asyncio.Future[None] | None = None

    @property
    def running(self) -> int:
        """How many threads run a handler now."""
        return len(self._workers) - len(self._idle)

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread."""
        return len(self._waiting)

    @property
    def abandoned(self) -> int:
        """How many threads run a handler that nobody waits for any more."""
        return sum(worker.work is not None and worker.work.outcome.done() for worker in self._workers)

    async def run(self, function: Callable[..., Any], *args: Any, command: str) -> Any:
        """Call a function in a thread, with a copy of the caller's context variables.

        Args:
            function: What to call.
            args: Its arguments.
            command: What the thread is named after meanwhile.

        Returns:
            What it returns. What it raises is raised here.

        Cancellation: at once. A call that still waited never runs; one that runs goes on for nobody.

        Raises:
            Cancelled: The pool was closed and the thread did not end in time, or never began.
        """
        work = Work(function, args, command)
        self.submit(work)
        try:
            value, error = await work.outcome
        finally:
            self.withdraw(work)
        if error is not None:
            try:
                raise error
            finally:
                del error  # its traceback holds this frame
        return value

    def iterate(self, function: Callable[..., Any], *args: Any, command: str) -> Items:
        """Drive a generator in a thread, one item for each that is asked for.

        The generator keeps one thread from its first item until it ends or is closed, asked or not: much of what it may
        hold, such as a database connection, belongs to the thread that made it.

        Args:
            function: What gives the generator; called in the thread too.
            args: Its arguments.
            command: What the thread is named after meanwhile.
        """
        return Items(self, function, args, command)

    async def close(self, grace: float) -> int:
        """Start nothing more, and wait for what runs; threads that wait for work end at once.

        Generators are closed where they wait for somebody to ask. Calls that still run after the grace end with
        ``Cancelled`` for whoever waits for them.

        Args:
            grace: Seconds.

        Returns:
            How many threads are left behind, each until its handler returns.

        Cancellation: ends the wait; the pool stays closed.
        """
        self._is_closed = True
        threads = {worker: worker.thread for worker in self._workers}
        for work in list(self._waiting):
            work.give_up("the node stopped before a thread was free for this call")
        self._waiting.clear()
        for work in [worker.work for worker in self._workers if worker.work is not None]:
            work.interrupt()
        while self._idle:
            self._dismiss(self._idle.pop())
        if self._workers:
            self._ended = asyncio.get_running_loop().create_future()
            await asyncio.wait([self._ended], timeout=grace)
        left = [worker.work for worker in self._workers if worker.work is not None]
        for work in left:
            work.give_up("the node stopped, and the handler did not return in time")
        for command, count in Counter(work.command for work in left).items():
            _log.warning(
                "a thread that runs %r is left behind: it cannot be stopped%s",
                command,
                f", and {count - 1} more of these" if count > 1 else "",
                extra={"event": "thread-left-behind"},
            )
        ending = [thread for worker, thread in threads.items() if worker not in self._workers]
        while any(thread.is_alive() for thread in ending):  # noqa: ASYNC110 - all that they still do is to end
            await asyncio.sleep(0)
        return len(left)

    def submit(self, work: Work) -> None:
        """Start work in a thread, or let it wait for one.

        Raises:
            Cancelled: The pool is closed.
        """
        if self._is_closed:
            raise Cancelled("the node stopped; nothing runs on it any more")
        if self._idle:
            self._idle.pop().start(work)  # the one that was busy last; so those that are not needed stay asleep
        elif len(self._workers) < self._limit:
            worker = _Worker(asyncio.get_running_loop(), self._finished)
            self._workers.add(worker)
            worker.start(work)
        else:
            self._waiting[work] = None

    def withdraw(self, work: Work) -> bool:
        """Take back work that waits for a thread; say whether it did."""
        is_waiting = work in self._waiting
        if is_waiting:
            del self._waiting[work]
        return is_waiting

    def _finished(self, worker: _Worker) -> None:
        """A thread is free."""
        if self._waiting:
            work = next(iter(self._waiting))
            del self._waiting[work]
            worker.start(work)
        elif self._is_closed:
            self._dismiss(worker)
        else:
            self._idle.append(worker)

    def _dismiss(self, worker: _Worker) -> None:
        worker.end()
        self._workers.discard(worker)
        if not self._workers and self._ended is not None and not self._ended.done():
            self._ended.set_result(None)


class Work:
    """One call for a thread.

    Attributes:
        interrupt: Asks it to end where it can.
        outcome: What it returned and what it raised, one of them None; done without either when nobody waits any more.
    """

    def __init__(self, function: Callable[..., Any], args: tuple[Any, ...], command: str) -> None:
        self.function = function
        self.args = args
        self.command = command
        self.context = contextvars.copy_context()
        self.outcome: asyncio.Future[tuple[Any, BaseException | None]] = asyncio.get_running_loop().create_future()
        self.interrupt: Callable[[], None] = _go_on

    def settle(self, value: Any, error: BaseException | None) -> None:
        """The thread is done with it."""
        if not self.outcome.done():
            self.outcome.set_result((value, error))
        elif error is not None:
            _log.warning(
                "%r failed with %s in a thread after its caller was gone",
                self.command,
                type(error).__name__,
                extra={"event": "late-failure"},
            )

    def give_up(self, why: str) -> None:
        """Nobody will wait any longer."""
        if not self.outcome.done():
            self.outcome.set_result((None, Cancelled(why)))


def _go_on() -> None:
    """A function cannot be interrupted."""


class _Worker:
    """One thread. Everything but ``_run`` happens on the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, finished: Callable[[_Worker], None]) -> None:
        self.work: Work | None = None
        self._loop = loop
        self._report = finished
        self._inbox: SimpleQueue[Work | None] = SimpleQueue()
        self.thread = threading.Thread(target=self._run, name=_IDLE, daemon=True)
        self.thread.start()

    def start(self, work: Work) -> None:
        self.work = work
        self._inbox.put(work)

    def end(self) -> None:
        self._inbox.put(None)

    def _finished(self, work: Work, value: Any, error: BaseException | None) -> None:
        self.work = None
        work.settle(value, error)
        self._report(self)

    def _run(self) -> None:
        while (work := self._inbox.get()) is not None:
            self.thread.name = f"orbitmesh {work.command}"
            value = error = None
            try:
                value = work.context.run(work.function, *work.args)
            except BaseException as raised:  # SystemExit too: it belongs to whoever called
                error = raised
            self.thread.name = _IDLE
            try:
                self._loop.call_soon_threadsafe(self._finished, work, value, error)
            except RuntimeError:
                _log.warning(
                    "%r returned in a thread after its node was gone",
                    work.command,
                    extra={"event": "late-return"},
                )
                return
            del work, value, error  # an idle thread keeps nothing alive


class Items(AsyncIterator[Any]):
    """The items of a generator that runs in a thread.

    Attributes:
        is_done: Whether there are no more.
    """

    def __init__(
        self, threads: HandlerThreads, function: Callable[..., Any], args: tuple[Any, ...], command: str
    ) -> None:
        self.is_done = False
        self._threads = threads
        self._loop = asyncio.get_running_loop()
        self._work = Work(self._drive, (function, args), command)
        self._work.interrupt = self._stop
        self._work.outcome.add_done_callback(lambda _: self._changed.set())
        self._asked: SimpleQueue[bool] = SimpleQueue()
        self._items: deque[Any] = deque()
        self._is_begun = False
        self._is_asking = False
        self._changed = asyncio.Event()

    async def __anext__(self) -> Any:
        """The next item.

        Cancellation: the item that was asked for is kept for the next call.

        Raises:
            Cancelled: The pool was closed.
        """
        if not self._items and not self.is_done:
            self._ask()
            await self._until(self._has_news)
        if self._items:
            return self._items.popleft()
        if not self.is_done:
            self.is_done = True
            is_exhausted, error = self._work.outcome.result()
            if error is not None:
                raise error
            if not is_exhausted:
                raise Cancelled("the node stopped before the handler had yielded all")
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Close the generator in its thread, and wait until it has run its ``finally``.

        Where it is at work on an item, that has to end first. What closing raises is raised here.

        Cancellation: ends the wait; the generator is closed when it can be.
        """
        if self.is_done:
            return
        self.is_done = True
        self._items.clear()
        if not self._is_begun:
            return
        if self._threads.withdraw(self._work):
            self._work.settle(None, None)
            return
        self._stop()
        await self._until(self._work.outcome.done)
        _, error = self._work.outcome.result()
        if error is not None:
            raise error

    def _has_news(self) -> bool:
        return bool(self._items) or self._work.outcome.done()

    def _ask(self) -> None:
        if not self._is_begun:
            self._threads.submit(self._work)
            self._is_begun = True
        if not self._is_asking:
            self._is_asking = True
            self._asked.put(True)

    def _stop(self) -> None:
        self._asked.put(False)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._changed.clear()
            await self._changed.wait()

    def _arrived(self, item: Any) -> None:
        self._is_asking = False
        if not self.is_done:
            self._items.append(item)
        self._changed.set()

    def _drive(self, function: Callable[..., Generator[Any, Any, Any]], args: tuple[Any, ...]) -> bool:
        """Runs in the thread; says whether the generator came to its end."""
        generator = function(*args)
        try:
            while self._asked.get():
                try:
                    item = next(generator)
                except StopIteration:
                    return True
                self._loop.call_soon_threadsafe(self._arrived, item)
            return False
        finally:
            generator.close()
