"""What handlers use of asyncio, anyio and httpx works within an agent, under each loop."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import pytest

from orbitmesh import Agent, Context, DeadlineExceeded, Mesh, RemoteError

Scenario = Callable[[Mesh, Agent], Coroutine[Any, Any, None]]
Run = Callable[[Agent, Scenario], None]


def loops() -> list[Any]:
    """The platform's own loop, and the fast one where it is installed."""
    uvloop = pytest.importorskip("uvloop") if _has_uvloop() else None
    return [None] if uvloop is None else [None, uvloop.new_event_loop]


def _has_uvloop() -> bool:
    import importlib.util

    return importlib.util.find_spec("uvloop") is not None


@pytest.fixture(params=loops(), ids=["asyncio", "uvloop"][: len(loops())])
def run(request: pytest.FixtureRequest, home: Path) -> Run:
    """Run a scenario with a client of an agent, over real sockets, on this loop; leaves no failed callback behind."""

    def run_it(agent: Agent, scenario: Scenario) -> None:
        failures: list[dict[str, Any]] = []

        async def main() -> None:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(agent)
                mesh = await stack.enter_async_context(Mesh(home=home))
                await scenario(mesh, agent)

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(main())
        assert failures == []

    return run_it


@pytest.fixture
def agent(home: Path) -> Agent:
    """An agent without commands yet."""
    return Agent("a", home=home)


def test_the_current_task_is_one_object_from_the_first_step_to_the_last(run: Run, agent: Agent) -> None:
    tasks: list[Any] = []

    @agent.command()
    async def look() -> bool:
        first = asyncio.current_task()
        await asyncio.sleep(0)
        second = asyncio.current_task()
        await asyncio.sleep(0.01)
        third = asyncio.current_task()
        tasks.append(first)
        return first is second is third is not None

    async def scenario(mesh: Mesh, agent: Agent) -> None:
        assert all(await asyncio.gather(*(mesh.invoke("look", on="a") for _ in range(100))))
        assert len({id(task) for task in tasks}) == 100
        assert all(task.done() for task in tasks)

    run(agent, scenario)


def test_timeouts_and_task_groups_of_asyncio_work_from_the_first_step(run: Run, agent: Agent) -> None:
    @agent.command()
    async def expire() -> str:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        except TimeoutError:
            return "expired"
        return "not"

    @agent.command()
    async def together(count: int) -> int:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0.001, number)) for number in range(count)]
        return sum(task.result() for task in tasks)

    @agent.command()
    async def apart() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(60))
            raise ValueError("one of them failed")

    @agent.command()
    async def wait_for() -> str:
        try:
            await asyncio.wait_for(asyncio.Event().wait(), 0.01)
        except TimeoutError:
            return "expired"
        return "not"

    async def scenario(mesh: Mesh, agent: Agent) -> None:
        for _ in range(5):
            assert await asyncio.gather(*(mesh.invoke("expire", on="a") for _ in range(20))) == ["expired"] * 20
            assert await asyncio.gather(*(mesh.invoke("wait-for", on="a") for _ in range(20))) == ["expired"] * 20
        assert await mesh.invoke("together", {"count": 50}, on="a") == sum(range(50))
        with pytest.raises(RemoteError) as caught:
            await mesh.invoke("apart", on="a")
        assert caught.value.type == "ExceptionGroup"

    run(agent, scenario)


def test_anyio_works_from_the_first_step(run: Run, agent: Agent) -> None:
    """Its cancel scopes look up the current task where they are entered: in the very first step."""

    @agent.command()
    async def group(count: int, pause: float = 0.001) -> int:
        total = 0

        async def add(number: int) -> None:
            nonlocal total
            await anyio.sleep(pause)
            total += number

        async with anyio.create_task_group() as tasks:
            for number in range(count):
                tasks.start_soon(add, number)
        return total

    @agent.command()
    async def expire() -> str:
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep(60)
        return "expired" if scope.cancelled_caught else "not"

    @agent.command()
    async def fail() -> None:
        with anyio.fail_after(0.01):
            await anyio.sleep(60)

    @agent.command()
    async def in_thread() -> int:
        return await anyio.to_thread.run_sync(sum, [1, 2, 3])

    @agent.stream()
    async def limited(to: int) -> AsyncIterator[int]:
        for number in range(to):
            with anyio.fail_after(5):
                await anyio.lowlevel.checkpoint()
            yield number

    async def scenario(mesh: Mesh, agent: Agent) -> None:
        assert await mesh.invoke("group", {"count": 20}, on="a") == sum(range(20))
        assert await asyncio.gather(*(mesh.invoke("expire", on="a") for _ in range(50))) == ["expired"] * 50
        with pytest.raises(RemoteError) as caught:
            await mesh.invoke("fail", on="a")
        assert caught.value.type == "TimeoutError"
        assert await mesh.invoke("in-thread", on="a") == 6
        assert [n async for n in mesh.stream("limited", {"to": 10}, on="a")] == list(range(10))
        # A caller that leaves cancels through anyio's scopes too.
        with pytest.raises(DeadlineExceeded):
            await mesh.invoke("group", {"count": 20, "pause": 60}, on="a", timeout=0.1)
        assert await mesh.invoke("group", {"count": 2}, on="a") == 1

    run(agent, scenario)


def test_httpx_works_within_a_handler(run: Run, agent: Agent) -> None:
    @agent.command()
    async def fetch(url: str, times: int) -> list[int]:
        async with httpx.AsyncClient(trust_env=False) as web:
            answers = await asyncio.gather(*(web.get(url) for _ in range(times)))
        return [answer.status_code for answer in answers]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client is done
        finally:
            writer.close()

    async def scenario(mesh: Mesh, agent: Agent) -> None:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            params = {"url": f"http://127.0.0.1:{port}/", "times": 5}
            found = await asyncio.gather(*(mesh.invoke("fetch", params, on="a") for _ in range(10)))
            assert found == [[200] * 5] * 10
            server.close()

    run(agent, scenario)


def test_threads_and_context_variables_of_asyncio_belong_to_each_call(run: Run, agent: Agent) -> None:
    who: contextvars.ContextVar[int] = contextvars.ContextVar("who", default=-1)

    @agent.command()
    async def mark(number: int) -> list[int]:
        before = who.get()
        who.set(number)
        await asyncio.sleep(0)
        in_thread = await asyncio.to_thread(who.get)
        in_task = await asyncio.create_task(_read(who))
        return [before, who.get(), in_thread, in_task]

    async def scenario(mesh: Mesh, agent: Agent) -> None:
        told = await asyncio.gather(*(mesh.invoke("mark", {"number": n}, on="a") for n in range(64)))
        assert told == [[-1, number, number, number] for number in range(64)]

    run(agent, scenario)


async def _read(variable: contextvars.ContextVar[int]) -> int:
    await asyncio.sleep(0)
    return variable.get()


def test_a_handler_may_call_back_while_its_caller_waits(run: Run, agent: Agent) -> None:
    """Both directions of one link at once, nested a few deep, with the deadline of the first call."""

    @agent.command()
    async def deeper(depth: int, ctx: Context) -> float:
        assert ctx.remaining is not None
        await asyncio.sleep(0)
        return ctx.remaining

    async def scenario(mesh: Mesh, agent: Agent) -> None:
        left = await mesh.invoke("deeper", {"depth": 3}, on="a", timeout=5, returns=float)
        assert 0 < left <= 5

    run(agent, scenario)


def test_tasks_that_a_handler_starts_and_forgets_do_not_outlive_the_loop_unnoticed(run: Run, agent: Agent) -> None:
    """They are the user's own: the node neither waits for them nor loses count of its requests."""
    forgotten: set[asyncio.Task[None]] = set()

    @agent.command()
    async def spawn() -> int:
        task = asyncio.create_task(asyncio.sleep(60))
        forgotten.add(task)
        task.add_done_callback(forgotten.discard)
        return len(forgotten)

    async def scenario(mesh: Mesh, agent: Agent) -> None:
        await asyncio.gather(*(mesh.invoke("spawn", on="a") for _ in range(10)))
        counters = (await mesh.describe("a")).counters
        assert counters["requests.handled"] >= 10
        (seen,) = await mesh.agents()
        assert seen.name == "a"
        for task in list(forgotten):
            task.cancel()

    run(agent, scenario)
