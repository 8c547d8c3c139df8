"""Running agents as the main job of a process: a loop of its own, signals, a clean end."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import FrameType
from typing import TYPE_CHECKING, Final

from orbitmesh.core.errors import ConfigError

if TYPE_CHECKING:
    from orbitmesh.runtime.agent import Agent

INTERRUPTED: Final = 128 + signal.SIGINT
"""Exit status of a process that SIGINT has ended."""

_is_importing: Final[ContextVar[bool]] = ContextVar("orbitmesh_is_importing", default=False)


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around the import of a module whose agents somebody else will run: what it runs itself meanwhile is an error."""
    token = _is_importing.set(True)
    try:
        yield
    finally:
        _is_importing.reset(token)


def run_agents(agents: Sequence[Agent]) -> None:
    """Serve until SIGINT or SIGTERM comes; a second signal ends it at once.

    Raises:
        ConfigError: A loop runs here already, this is not the main thread, the module is only being imported, or an
            agent is set up wrongly.
        KeyboardInterrupt: SIGINT came; everything has been stopped.
    """
    if _is_importing.get():
        raise ConfigError(
            "run() was called while `orbitmesh run` imports this module, which runs its agents itself: "
            'put it under a guard, `if __name__ == "__main__": agent.run()`'
        )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        pass
    else:
        raise ConfigError("run() cannot be used inside a running loop: write `await agent.serve()`")
    if threading.current_thread() is not threading.main_thread():
        raise ConfigError("run() takes signals, which come to the main thread alone: write `await agent.serve()` here")
    from orbitmesh.runtime.logs import set_up_logging

    set_up_logging(next((log for agent in agents if (log := agent.log)), None))
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            received = runner.run(_serve(agents))
        except BaseExceptionGroup as failed:
            if len(failed.exceptions) > 1:
                raise
            raise failed.exceptions[0] from None  # a group of one says less than the one
    if received == signal.SIGINT:
        raise KeyboardInterrupt


def loop_factory() -> type[asyncio.AbstractEventLoop] | None:
    """The fastest loop that is installed; None for the platform's own."""
    if sys.platform == "win32":
        return asyncio.SelectorEventLoop  # the default one of Windows cannot watch a socket's descriptor
    try:
        import uvloop
    except ImportError:
        return None
    loop_type: type[asyncio.AbstractEventLoop] = uvloop.Loop
    return loop_type


async def _serve(agents: Sequence[Agent]) -> int | None:
    """Serve all agents; returns the signal that ended it, None where one ended by itself."""
    stopping = asyncio.Event()
    with _signals(stopping.set) as received:
        async with asyncio.TaskGroup() as group:
            serving = [group.create_task(agent.serve()) for agent in agents]
            stop = group.create_task(stopping.wait())
            await asyncio.wait([stop, *serving], return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            for task in serving:  # one that serves finishes what runs, one that still starts takes itself down
                task.cancel()
    return received[0] if received else None


@contextlib.contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[list[int]]:
    """Meanwhile the first SIGINT or SIGTERM stops, and a second one ends the process, whatever the loop does.

    So these are no handlers of the loop: it may be what hangs.
    """
    loop = asyncio.get_running_loop()
    received: list[int] = []

    def receive(number: int, _: FrameType | None) -> None:
        if received:  # somebody is in a hurry
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)
        received.append(number)
        loop.call_soon_threadsafe(stop)

    before = {number: signal.signal(number, receive) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)  # None: it was not made in Python
