"""A client of the mesh for as long as one command runs, and the ways in which it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

from orbitmesh import Mesh
from orbitmesh.cli import statuses
from orbitmesh.runtime.logs import set_up_logging
from orbitmesh.runtime.running import loop_factory

T = TypeVar("T")

GRACE_SECONDS: Final = 2.0
"""How long a command waits, when it ends, for what is still to be sent."""


def run(work: Callable[[], Coroutine[Any, Any, T]], *, log: str = "warning") -> T:
    """Run a command's work in a loop of its own; SIGINT and SIGTERM cancel it, so that nothing is left behind.

    Args:
        work: Makes the coroutine.
        log: What is logged where nobody said otherwise.

    Raises:
        KeyboardInterrupt: SIGINT came; the work has ended.
        SystemExit: SIGTERM came; the work has ended.
    """
    set_up_logging(os.environ.get("ORBITMESH_LOG") or log)
    received: list[int] = []

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None
        if sys.platform != "win32":

            def end() -> None:
                received.append(signal.SIGTERM)
                task.cancel()

            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, end)
        return await work()

    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        try:
            return runner.run(main())
        except asyncio.CancelledError:
            if received:
                raise SystemExit(statuses.TERMINATED) from None
            raise


@asynccontextmanager
async def joined() -> AsyncIterator[Mesh]:
    """A nameless client of this user's mesh."""
    os.environ.pop("ORBITMESH_NAME", None)  # that names the agents of this environment; a client is no one of them
    mesh = Mesh()
    await mesh.start()
    try:
        yield mesh
    finally:
        await mesh.stop(grace=GRACE_SECONDS)
