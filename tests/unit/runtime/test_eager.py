"""Jobs whose first step runs at once, some of which share a task: none of them can tell."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import anyio
import pytest
import uvloop

from orbitmesh.runtime.eager import start_all

Work = Callable[[], Coroutine[Any, Any, None]]
LOOPS = [asyncio.SelectorEventLoop, uvloop.new_event_loop]

who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")


class Job:
    """Something to run, with what it saw."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.task: asyncio.Task[None] | None = None


class Stage:
    """A loop on which jobs are started from a callback, as a transport's reader starts them."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.waiting: list[Job] = []
        self.failures: list[dict[str, Any]] = []
        runner.get_loop().set_exception_handler(lambda loop, context: self.failures.append(context))

    def start(self, jobs: Sequence[Job], *, before_return: Callable[[], None] = lambda: None) -> None:
        """Start jobs in one go and run the loop until those that had to wait are done."""

        async def main() -> None:
            loop = asyncio.get_running_loop()
            started = loop.create_future()

            def begin() -> None:
                try:
                    start_all(loop, jobs, run=lambda job: job.work(), waits=self._waits)
                    before_return()
                except BaseException as error:
                    started.set_exception(error)
                else:
                    started.set_result(None)

            loop.call_soon(begin)
            await started
            tasks = [job.task for job in self.waiting if job.task is not None]
            if tasks:
                await asyncio.wait(tasks, timeout=10)
                assert all(task.done() for task in tasks)

        self.runner.run(main())
        assert self.failures == []

    def _waits(self, job: Job) -> None:
        assert job.task is not None
        assert not job.task.done()
        self.waiting.append(job)


@pytest.fixture(params=LOOPS, ids=["asyncio", "uvloop"])
def stage(request: pytest.FixtureRequest) -> Any:
    """A stage on each kind of loop."""
    with asyncio.Runner(loop_factory=request.param) as runner:
        yield Stage(runner)


def test_first_steps_run_in_order_before_the_start_returns(stage: Stage) -> None:
    ran: list[int] = []

    def job(number: int) -> Job:
        async def work() -> None:
            ran.append(number)
            if number % 3 == 0:
                await asyncio.sleep(0)
                ran.append(100 + number)

        return Job(work)

    stage.start([job(n) for n in range(7)], before_return=lambda: ran.append(-1))
    assert ran == [0, 1, 2, 3, 4, 5, 6, -1, 100, 103, 106]
    assert len(stage.waiting) == 3


def test_a_job_sees_one_task_from_its_first_step_to_its_last(stage: Stage) -> None:
    seen: list[list[Any]] = []

    def job(number: int) -> Job:
        async def work() -> None:
            tasks: list[Any] = [asyncio.current_task()]
            seen.append(tasks)
            for _ in range(number % 4):
                await asyncio.sleep(0)
                tasks.append(asyncio.current_task())

        return Job(work)

    stage.start([job(n) for n in range(40)])
    assert all(len(set(tasks)) == 1 and tasks[0] is not None for tasks in seen)
    waited = [tasks[0] for tasks in seen if len(tasks) > 1]
    assert len(set(waited)) == len(waited) == len(stage.waiting)
    assert {job.task for job in stage.waiting} == set(waited)


def test_jobs_that_never_wait_share_one_task_and_none_that_waits_does(stage: Stage) -> None:
    tasks: list[Any] = []

    async def work() -> None:
        tasks.append(asyncio.current_task())

    stage.start([Job(work) for _ in range(100)])
    assert len(set(tasks)) == 1
    assert stage.waiting == []


def test_what_a_job_leaves_in_its_context_no_other_sees(stage: Stage) -> None:
    seen: list[str] = []

    def job(name: str, *, waits: bool) -> Job:
        async def work() -> None:
            seen.append(who.get())
            who.set(name)
            if waits:
                await asyncio.sleep(0)
                assert who.get() == name

        return Job(work)

    stage.start([job(f"{n}", waits=n % 2 == 0) for n in range(20)])
    assert seen == ["nobody"] * 20
    assert who.get() == "nobody"


def test_a_job_that_cancels_its_own_task_cancels_no_other(stage: Stage) -> None:
    ended: list[str] = []

    async def cancels() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        ended.append("cancels")

    async def waits() -> None:
        await asyncio.sleep(0)
        ended.append("waits")

    stage.start([Job(cancels), Job(waits), Job(cancels), Job(waits)])
    assert ended == ["cancels", "cancels", "waits", "waits"]


def test_a_job_that_is_cancelled_while_it_waits_is_the_only_one(stage: Stage) -> None:
    ended: list[str] = []

    async def doze() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")  # lets nothing out, as `start_all` asks for

    async def last() -> None:
        await asyncio.sleep(0.01)
        ended.append("last")

    def cancel() -> None:
        assert stage.waiting[0].task is not None
        stage.waiting[0].task.cancel()

    stage.start([Job(doze), Job(last)], before_return=cancel)
    assert ended == ["cancelled", "last"]


def test_timeouts_task_groups_and_anyio_work_from_the_first_step(stage: Stage) -> None:
    outcomes: list[str] = []

    async def timeout() -> None:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            outcomes.append("timeout")

    async def group() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(asyncio.sleep(0))
        outcomes.append("group")

    async def failing_group() -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(asyncio.sleep(60))
                raise ValueError
        except* ValueError:
            outcomes.append("failing group")

    async def scope() -> None:
        with anyio.move_on_after(0.01) as cancelling:
            await anyio.sleep(60)
        assert cancelling.cancelled_caught
        outcomes.append("scope")

    async def empty_scope() -> None:
        async with anyio.create_task_group():
            outcomes.append("empty scope")

    works = [timeout, group, failing_group, scope, empty_scope]
    stage.start([Job(work) for work in works * 4])
    assert sorted(outcomes) == sorted(["timeout", "group", "failing group", "scope", "empty scope"] * 4)


def test_a_job_within_a_job_starts_in_the_next_turn_with_a_task_of_its_own(stage: Stage) -> None:
    order: list[str] = []
    inner_tasks: list[Any] = []

    async def inner() -> None:
        order.append("inner")
        inner_tasks.append(asyncio.current_task())

    async def outer() -> None:
        loop = asyncio.get_running_loop()
        jobs = [Job(inner), Job(inner)]
        start_all(loop, jobs, run=lambda job: job.work(), waits=stage.waiting.append)
        order.append("outer")

    stage.start([Job(outer)])
    assert order == ["outer", "inner", "inner"]
    assert inner_tasks == [job.task for job in stage.waiting]
    assert len(set(inner_tasks)) == 2


def test_the_loop_is_as_before_also_when_a_job_cannot_be_made(stage: Stage) -> None:
    loop = stage.runner.get_loop()
    before = loop.call_soon

    def broken(job: Job) -> Coroutine[Any, Any, None]:
        raise RuntimeError("no coroutine")

    async def main() -> None:
        done = loop.create_future()

        def begin() -> None:
            start_all(loop, [Job(_nothing)], run=broken, waits=stage.waiting.append)
            done.set_result(None)

        loop.call_soon(begin)
        await done

    stage.runner.run(main())
    assert loop.call_soon == before
    assert "call_soon" not in getattr(loop, "__dict__", {})
    # It is the run's duty to raise nothing; where it does, that is told and nothing hangs.
    gc.collect()
    assert ["no coroutine" in str(context.get("exception")) for context in stage.failures] == [True]


async def _nothing() -> None:
    """Never run."""


def test_a_job_that_waits_keeps_nothing_of_those_before_it_alive(stage: Stage) -> None:
    class Body:
        """A large parameter."""

    references: list[weakref.ref[Body]] = []

    async def takes() -> None:
        body = Body()
        references.append(weakref.ref(body))

    async def waits() -> None:
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
        references.append(references[0])
        assert references[0]() is None

    stage.start([Job(takes), Job(waits)])
    assert len(references) == 2
