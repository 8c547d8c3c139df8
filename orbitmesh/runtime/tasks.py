"""The node's own tasks: none outlives the node, none ends without somebody noticing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from typing import Any, Final

logger = logging.getLogger("orbitmesh.runtime")

TRIES: Final = 3
TRY_SECONDS: Final = 1.0
"""How often, and how far apart, a task is cancelled that does not end; users' code may catch what it should not."""


async def cancelled(tasks: Collection[asyncio.Task[Any]]) -> set[asyncio.Task[Any]]:
    """Cancel tasks and wait until they have ended; returns those that do not, after ``TRIES`` tries."""
    left = set(tasks)
    for _ in range(TRIES):
        if not left:
            break
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=TRY_SECONDS)
    return left


class Tasks:
    """Long-running tasks of one node."""

    def __init__(self, failed: Callable[[str, BaseException], None]) -> None:
        """Make an empty group.

        Args:
            failed: Told of a task that ended by an exception: its name, and what it raised.
        """
        self._failed = failed
        self._tasks: set[asyncio.Task[Any]] = set()

    def spawn(self, coroutine: Coroutine[Any, Any, Any], name: str) -> asyncio.Task[Any]:
        """Start a task that ends with the node at the latest."""
        task = asyncio.get_running_loop().create_task(coroutine, name=f"orbitmesh {name}")
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel what runs, and wait until it has ended; what does not end is told and left behind."""
        for task in await cancelled(self._tasks):
            logger.warning("%s goes on, though it was cancelled", task.get_name(), extra={"event": "task-stubborn"})

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(task.get_name().removeprefix("orbitmesh "), error)
