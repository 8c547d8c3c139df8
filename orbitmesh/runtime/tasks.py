"""The node's own tasks: none outlives the node, none ends without somebody noticing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any


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
        """Cancel what runs, and wait until it has ended."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(task.get_name().removeprefix("orbitmesh "), error)
