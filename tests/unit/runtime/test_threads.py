"""Handlers that block, in threads of their own."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sqlite3
import threading
import weakref
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from orbitmesh.core.errors import Cancelled
from orbitmesh.runtime.threads import HandlerThreads

BOUND = 10.0
"""Seconds after which a condition that has not come true is a failure."""


class Gate:
    """A handler that blocks until it is let through."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.opened = threading.Event()
        self.threads: list[str] = []

    def __call__(self, result: Any = None) -> Any:
        self.threads.append(threading.current_thread().name)
        self.entered.release()
        assert self.opened.wait(BOUND)
        if isinstance(result, BaseException):
            raise result
        return result

    async def until_entered(self, times: int = 1) -> None:
        for _ in range(times):
            await until(lambda: self.entered.acquire(blocking=False))


@pytest.fixture
async def threads() -> AsyncIterator[HandlerThreads]:
    pool = HandlerThreads(2)
    yield pool
    assert await pool.close(BOUND) == 0


@pytest.fixture
async def gate(threads: HandlerThreads) -> AsyncIterator[Gate]:
    gate = Gate()
    yield gate
    gate.opened.set()


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not is_so():  # noqa: ASYNC110 - it comes true in another thread
            await asyncio.sleep(0)


async def test_a_function_runs_in_a_thread_named_after_its_command(threads: HandlerThreads) -> None:
    def name(prefix: str) -> str:
        return prefix + threading.current_thread().name

    assert await threads.run(name, ">", command="work") == ">orbitmesh work"
    assert threads.running == 0


async def test_a_function_sees_its_callers_context_and_cannot_change_it(threads: HandlerThreads) -> None:
    trace: contextvars.ContextVar[str] = contextvars.ContextVar("trace")
    trace.set("caller")

    def look() -> str:
        seen = trace.get()
        trace.set("handler")
        return seen

    assert await threads.run(look, command="work") == "caller"
    assert trace.get() == "caller"


@pytest.mark.parametrize("error", [KeyError("x"), StopIteration(3), SystemExit(2), KeyboardInterrupt()])
async def test_whatever_a_function_raises_reaches_its_caller(threads: HandlerThreads, error: BaseException) -> None:
    def fail() -> None:
        raise error

    with pytest.raises(RuntimeError if isinstance(error, StopIteration) else type(error)) as caught:
        await threads.run(fail, command="work")
    assert error in (caught.value, caught.value.__cause__)
    assert await threads.run(len, "abc", command="work") == 3


async def test_threads_are_made_when_needed_and_used_again(threads: HandlerThreads) -> None:
    first = await threads.run(threading.get_ident, command="work")
    assert [await threads.run(threading.get_ident, command="work") for _ in range(5)] == [first] * 5


async def test_calls_beyond_the_limit_wait_in_order_and_the_loop_goes_on(threads: HandlerThreads, gate: Gate) -> None:
    calls = [asyncio.create_task(threads.run(gate, number, command=f"work-{number}")) for number in range(5)]
    await gate.until_entered(2)
    assert (threads.running, threads.waiting, threads.abandoned) == (2, 3, 0)
    gate.opened.set()
    async with asyncio.timeout(BOUND):
        assert await asyncio.gather(*calls) == [0, 1, 2, 3, 4]
    assert sorted(gate.threads) == [f"orbitmesh work-{number}" for number in range(5)]
    assert (threads.running, threads.waiting) == (0, 0)


async def test_a_cancelled_call_that_waited_never_runs(threads: HandlerThreads, gate: Gate) -> None:
    running = [asyncio.create_task(threads.run(gate, command="work")) for _ in range(2)]
    await gate.until_entered(2)
    waiting = asyncio.create_task(threads.run(gate, command="late"))
    await until(lambda: threads.waiting == 1)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert threads.waiting == 0
    gate.opened.set()
    await asyncio.gather(*running)
    assert gate.threads == ["orbitmesh work"] * 2


async def test_a_cancelled_call_that_runs_keeps_its_thread_for_nobody(
    threads: HandlerThreads, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    calls = [asyncio.create_task(threads.run(gate, result, command="work")) for result in (1, ValueError("x"))]
    await gate.until_entered(2)
    for call in calls:
        call.cancel()
    assert all(isinstance(end, asyncio.CancelledError) for end in await asyncio.gather(*calls, return_exceptions=True))
    assert (threads.running, threads.abandoned) == (2, 2)
    gate.opened.set()
    await until(lambda: threads.running == 0)
    assert threads.abandoned == 0
    assert [record.getMessage() for record in caplog.records] == [
        "'work' failed with ValueError in a thread after its caller was gone"
    ]


async def test_an_idle_thread_keeps_nothing_alive(threads: HandlerThreads) -> None:
    class Large:
        pass

    large = Large()
    seen = weakref.ref(large)
    assert await threads.run(lambda it: it, large, command="work") is large
    del large

    def is_gone() -> bool:
        gc.collect()
        return seen() is None

    await until(is_gone)


# Closing


async def test_a_closed_pool_leaves_no_thread_and_takes_no_call() -> None:
    threads = HandlerThreads(3)
    idents = {await threads.run(threading.get_ident, command="work")}
    assert await threads.close(BOUND) == 0
    assert idents.isdisjoint(thread.ident for thread in threading.enumerate())
    with pytest.raises(Cancelled, match="nothing runs on it any more"):
        await threads.run(len, "abc", command="work")
    assert await threads.close(0) == 0


async def test_a_pool_that_never_ran_anything_is_closed() -> None:
    assert await HandlerThreads(1).close(0) == 0


async def test_closing_waits_for_what_runs_and_drops_what_waits() -> None:
    threads = HandlerThreads(1)
    gate = Gate()
    running = asyncio.create_task(threads.run(gate, "done", command="work"))
    await gate.until_entered()
    waiting = asyncio.create_task(threads.run(gate, command="late"))
    await until(lambda: threads.waiting == 1)
    closing = asyncio.create_task(threads.close(BOUND))
    with pytest.raises(Cancelled, match="before a thread was free"):
        await waiting
    gate.opened.set()
    async with asyncio.timeout(BOUND):
        assert await running == "done"
        assert await closing == 0


async def test_a_thread_that_does_not_return_is_left_behind_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    threads = HandlerThreads(2)
    gate = Gate()
    calls = [asyncio.create_task(threads.run(gate, command="stuck")) for _ in range(2)]
    await gate.until_entered(2)
    calls[1].cancel()
    assert await threads.close(0) == 2
    with pytest.raises(Cancelled, match="did not return in time"):
        await calls[0]
    assert [record.getMessage() for record in caplog.records] == [
        "a thread that runs 'stuck' is left behind: it cannot be stopped, and 1 more of these"
    ]
    gate.opened.set()
    assert await threads.close(BOUND) == 0
    assert not [thread for thread in threading.enumerate() if thread.name == "orbitmesh stuck"]


def test_a_thread_left_behind_by_a_loop_that_is_gone_ends_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate()

    async def leave() -> threading.Thread:
        threads = HandlerThreads(1)
        task = asyncio.create_task(threads.run(gate, command="orphan"))
        await gate.until_entered()
        assert await threads.close(0) == 1
        with pytest.raises(Cancelled):
            await task
        (thread,) = [each for each in threading.enumerate() if each.name == "orbitmesh orphan"]
        assert thread.daemon
        return thread

    thread = asyncio.run(leave())
    gate.opened.set()
    thread.join(BOUND)
    assert not thread.is_alive()
    assert caplog.records[-1].getMessage() == "'orphan' returned in a thread after its node was gone"


# Generators


async def test_a_generator_is_driven_in_one_thread_and_one_context(threads: HandlerThreads) -> None:
    trace: contextvars.ContextVar[int] = contextvars.ContextVar("trace", default=0)

    def rows(count: int) -> Iterator[int]:
        connection = sqlite3.connect(":memory:")  # which no other thread may touch
        try:
            connection.execute("create table t (n)")
            connection.executemany("insert into t values (?)", [(n,) for n in range(count)])
            for (n,) in connection.execute("select n from t"):
                trace.set(trace.get() + n)
                yield trace.get()
        finally:
            connection.close()

    seen = []
    async for total in threads.iterate(rows, 5, command="rows"):
        seen.append(total)
        await threads.run(len, "x", command="between")
    assert seen == [0, 1, 3, 6, 10]
    assert trace.get() == 0
    assert threads.running == 0


async def test_a_generator_runs_only_as_far_as_it_is_asked(threads: HandlerThreads) -> None:
    reached: list[int] = []

    def count() -> Iterator[int]:
        for n in range(100):
            reached.append(n)
            yield n

    items = threads.iterate(count, command="count")
    assert reached == []
    assert [await anext(items), await anext(items)] == [0, 1]
    assert reached == [0, 1]
    await items.aclose()
    await items.aclose()
    with pytest.raises(StopAsyncIteration):
        await anext(items)
    assert reached == [0, 1]


async def test_what_a_generator_raises_comes_after_its_items(threads: HandlerThreads) -> None:
    def fail() -> Iterator[int]:
        yield 1
        raise KeyError("x")

    items = threads.iterate(fail, command="fail")
    assert await anext(items) == 1
    with pytest.raises(KeyError):
        await anext(items)
    with pytest.raises(StopAsyncIteration):
        await anext(items)
    await items.aclose()


async def test_closing_runs_the_generators_finally_in_its_thread(threads: HandlerThreads) -> None:
    names: list[str] = []

    def held() -> Iterator[int]:
        try:
            yield 1
        finally:
            names.append(threading.current_thread().name)

    items = threads.iterate(held, command="held")
    assert await anext(items) == 1
    await items.aclose()
    assert names == ["orbitmesh held"]


async def test_what_closing_raises_is_raised(threads: HandlerThreads) -> None:
    def broken() -> Iterator[int]:
        try:
            yield 1
        finally:
            raise OSError("disk")

    items = threads.iterate(broken, command="broken")
    assert await anext(items) == 1
    with pytest.raises(OSError, match="disk"):
        await items.aclose()


async def test_a_generator_that_nobody_asked_needs_no_thread(threads: HandlerThreads) -> None:
    def never() -> Iterator[int]:
        raise AssertionError("nobody asked")
        yield

    items = threads.iterate(never, command="never")
    await items.aclose()
    assert threads.running == 0


async def test_an_item_that_was_asked_for_is_kept_when_asking_is_cancelled(threads: HandlerThreads, gate: Gate) -> None:
    def slow() -> Iterator[int]:
        gate()
        yield 1
        yield 2

    items = threads.iterate(slow, command="slow")
    asking = asyncio.create_task(anext(items))
    await gate.until_entered()
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    gate.opened.set()
    async with asyncio.timeout(BOUND):
        assert [item async for item in items] == [1, 2]


async def test_closing_while_the_generator_is_at_work_waits_for_it(threads: HandlerThreads, gate: Gate) -> None:
    closed = threading.Event()

    def slow() -> Iterator[int]:
        try:
            gate()
            yield 1
        finally:
            closed.set()

    items = threads.iterate(slow, command="slow")
    asking = asyncio.create_task(anext(items, None))
    await gate.until_entered()
    closing = asyncio.create_task(items.aclose())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.opened.set()
    async with asyncio.timeout(BOUND):
        await closing
        assert await asking is None
    assert closed.is_set()


async def test_a_generator_that_waits_for_a_thread_can_be_closed(threads: HandlerThreads, gate: Gate) -> None:
    calls = [asyncio.create_task(threads.run(gate, command="work")) for _ in range(2)]
    await gate.until_entered(2)
    begun: list[int] = []

    def late() -> Iterator[int]:
        begun.append(1)
        yield 1

    items = threads.iterate(late, command="late")
    asking = asyncio.create_task(anext(items, None))
    await until(lambda: threads.waiting == 1)
    await items.aclose()
    assert await asking is None
    gate.opened.set()
    await asyncio.gather(*calls)
    assert begun == []


async def test_closing_the_pool_closes_generators_that_wait_to_be_asked() -> None:
    threads = HandlerThreads(1)
    closed = threading.Event()

    def held() -> Iterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    items = threads.iterate(held, command="held")
    assert await anext(items) == 1
    assert await threads.close(BOUND) == 0
    assert closed.is_set()
    with pytest.raises(Cancelled, match="before the handler had yielded all"):
        await anext(items)
    with pytest.raises(Cancelled, match="nothing runs on it any more"):
        await anext(threads.iterate(held, command="held"))


async def test_a_generator_that_is_left_behind_ends_for_its_reader_with_an_error() -> None:
    threads = HandlerThreads(1)
    gate = Gate()

    def stuck() -> Iterator[int]:
        gate()
        yield 1

    items = threads.iterate(stuck, command="stuck")
    asking = asyncio.create_task(anext(items))
    await gate.until_entered()
    assert await threads.close(0) == 1
    with pytest.raises(Cancelled):
        await asking
    gate.opened.set()
    assert await threads.close(BOUND) == 0
