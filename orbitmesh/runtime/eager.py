"""Tasks whose first step runs at once: a handler that never waits costs no turn of the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any


def start_tasks(
    loop: asyncio.AbstractEventLoop, coroutines: Sequence[Coroutine[Any, Any, None]]
) -> list[asyncio.Task[None]]:
    """Make a task of each coroutine and run their first steps now, each in a context of its own.

    The tasks are ordinary ones: ``current_task()``, timeouts, task groups and anyio work in them. Their first steps are
    taken from ``loop.call_soon`` while they are made. Where a task is current already, the loop runs them next turn, as
    a task's step cannot run inside another's. What a coroutine raises must be caught in it.
    """
    if asyncio.current_task(loop) is not None:
        return [loop.create_task(coroutine) for coroutine in coroutines]
    steps: list[tuple[Callable[..., Any], tuple[Any, ...], Context | None]] = []

    def keep(step: Callable[..., Any], *args: Any, context: Context | None = None) -> None:
        steps.append((step, args, context))

    task_type = asyncio.Task
    loop.call_soon = keep  # type: ignore[method-assign,assignment]  # shadows the method on this one object, for a moment
    try:
        tasks = [task_type(coroutine, loop=loop) for coroutine in coroutines]
    finally:
        del loop.call_soon
    for step, args, context in steps:
        if context is None:
            step(*args)
        else:
            context.run(step, *args)
    return tasks
