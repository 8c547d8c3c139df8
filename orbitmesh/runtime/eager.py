"""First steps at once: a handler that never waits costs no turn of the loop, and shares its task with others."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context, copy_context
from typing import Any, Generic, Protocol, TypeVar


class Job(Protocol):
    """Something that runs in a task.

    Attributes:
        task: What runs it, once it has had to wait.
    """

    task: asyncio.Task[None] | None


J = TypeVar("J", bound=Job)


class _Turn(Generic[J]):
    """What one task is at, and whether it has had to wait: then it goes on with that job alone."""

    __slots__ = ("has_waited", "job")

    def __init__(self, job: J) -> None:
        self.job = job
        self.has_waited = False


def start_all(
    loop: asyncio.AbstractEventLoop,
    jobs: Sequence[J],
    *,
    run: Callable[[J], Coroutine[Any, Any, None]],
    waits: Callable[[J], None],
) -> None:
    """Run the first steps of all jobs now, in order.

    Most jobs end with their first step. So one task takes one after the other until one of them has to wait; that task
    is then this job's alone to its end, and another one goes on with the rest. All are ordinary tasks: within a job
    ``current_task()`` is one object, and timeouts, task groups and anyio work. Whatever a job leaves behind in its
    context, or a cancellation that it asked of its task, ends the sharing, so no job sees anything of another.

    Where a task is current already no step can run inside of it: each job then gets a task of its own, next turn.

    Args:
        loop: The running loop.
        jobs: What to run.
        run: Makes the coroutine of a job, which must let no exception out.
        waits: Told of each job that did not end with its first step, once its ``task`` is set.
    """
    if asyncio.current_task(loop) is not None:
        for job in jobs:
            job.task = loop.create_task(_take_turns(deque([job]), run, _Turn(job)))
            waits(job)
        return
    waiting = deque(jobs)
    while waiting:
        turn = _Turn(waiting[0])
        task = _step(loop, _take_turns(waiting, run, turn))
        if not task.done():
            turn.has_waited = True
            turn.job.task = task
            waits(turn.job)


async def _take_turns(waiting: deque[J], run: Callable[[J], Coroutine[Any, Any, None]], turn: _Turn[J]) -> None:
    task = asyncio.current_task()
    assert task is not None
    context = copy_context()
    while waiting:
        turn.job = job = waiting.popleft()
        await run(job)
        if turn.has_waited or task.cancelling() or copy_context() != context:
            return


def _step(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    """Make a task and run its first step now, in a context of its own.

    The step is taken from ``loop.call_soon`` while the task is made.
    """
    steps: list[tuple[Callable[..., Any], tuple[Any, ...], Context | None]] = []

    def keep(step: Callable[..., Any], *args: Any, context: Context | None = None) -> None:
        steps.append((step, args, context))

    loop.call_soon = keep  # type: ignore[method-assign,assignment]  # shadows the method on this one object, for a moment
    try:
        task = asyncio.Task(coroutine, loop=loop)
    finally:
        del loop.call_soon
    for step, args, context in steps:
        if context is None:
            step(*args)
        else:
            context.run(step, *args)
    return task
