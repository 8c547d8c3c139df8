"""A loop whose time passes only while nothing is left to do: an hour's wait takes no time, and always the same way."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

T = TypeVar("T")


class _Jump(selectors.DefaultSelector):
    """Never waits: jumps to the moment that the loop would wait for."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if ready:
            return ready
        if timeout is None:
            raise RuntimeError("nothing is scheduled: this would wait for ever")
        self.loop.advance(max(timeout, 0.0))
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop on virtual time. What would wait for ever fails at once instead.

    What comes from outside of its time, such as a real socket or a thread of one's own, is not waited for: use it with
    the memory transport and ``async def`` handlers. What is given to the loop's executor is waited for at once.
    """

    def __init__(self) -> None:
        self._virtual_now = 1000.0
        selector = _Jump()
        super().__init__(selector)
        selector.loop = self
        self._clock_resolution = 1e-9

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._virtual_now

    def run_in_executor(self, executor: Any, function: Callable[..., T], *args: Any) -> asyncio.Future[T]:  # type: ignore[override]  # the answer is there at once
        """Run a function to its end in a thread: while it ran beside the loop, time would not know whether to pass."""
        future: asyncio.Future[T] = self.create_future()
        with ThreadPoolExecutor(1, thread_name_prefix="orbitmesh virtual") as pool:
            outcome = pool.submit(function, *args)
        error = outcome.exception()
        if error is None:
            future.set_result(outcome.result())
        else:
            future.set_exception(error)
        return future

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._virtual_now += seconds


def run_virtually(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end on a loop of its own with virtual time.

    Raises:
        RuntimeError: It would wait for ever.
    """
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(coroutine)
