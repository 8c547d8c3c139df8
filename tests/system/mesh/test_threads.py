"""Handlers that are plain ``def``, over real links: bounded threads, callers that leave, whatever escapes."""

from __future__ import annotations

import asyncio
import contextvars
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import Agent, Context, DeadlineExceeded, Mesh, RemoteError
from orbitmesh.runtime.parts import THREADS

Client = Callable[..., Awaitable[Mesh]]
Eventually = Callable[..., Awaitable[Any]]
LocalAgent = Callable[[Agent], Awaitable[Agent]]


class Gate:
    """Blocks handlers in their threads until a test lets them go, and counts them."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.inside = 0
        self.most = 0
        self.ended = 0
        self._lock = threading.Lock()

    def __call__(self) -> str:
        with self._lock:
            self.inside += 1
            self.most = max(self.most, self.inside)
        assert self.opened.wait(60)
        with self._lock:
            self.inside -= 1
            self.ended += 1
        return threading.current_thread().name


@pytest.fixture
def gate() -> Iterator[Gate]:
    """A gate that is opened at the end, so that no thread stays."""
    made = Gate()
    yield made
    made.opened.set()


@pytest.fixture
def agent(home: Path, gate: Gate) -> Agent:
    """Commands that block, and one on the loop."""
    made = Agent("a", home=home)

    @made.command()
    def wait() -> str:
        return gate()

    @made.command()
    async def ping() -> str:
        return "pong"

    @made.command()
    def leave(how: str) -> None:
        raise {"exit": SystemExit(3), "interrupt": KeyboardInterrupt(), "generator": GeneratorExit()}[how]

    @made.stream()
    def waves(to: int) -> Iterator[int]:
        yield from range(to)

    @made.stream()
    def broken() -> Iterator[int]:
        yield 1
        raise SystemExit(4)

    return made


async def test_two_hundred_calls_at_once_share_the_threads_and_the_loop_stays_free(
    agent: Agent, gate: Gate, local_agent: LocalAgent, client: Client, eventually: Eventually
) -> None:
    await local_agent(agent)
    mesh = await client()
    assert await mesh.invoke("ping", on="a") == "pong"
    calls = [asyncio.create_task(mesh.invoke("wait", on="a", timeout=60)) for _ in range(200)]
    await eventually(lambda: gate.inside == THREADS)
    assert [await mesh.invoke("ping", on="a") for _ in range(10)] == ["pong"] * 10
    gate.opened.set()
    names = await asyncio.gather(*calls)
    assert names == ["orbitmesh wait"] * 200
    assert gate.most == THREADS


async def test_a_caller_that_leaves_is_free_at_once_and_its_thread_goes_on(
    agent: Agent, gate: Gate, local_agent: LocalAgent, client: Client, eventually: Eventually
) -> None:
    await local_agent(agent)
    mesh = await client()
    calls = [asyncio.create_task(mesh.invoke("wait", on="a", timeout=60)) for _ in range(THREADS + 5)]
    await eventually(lambda: gate.inside == THREADS)
    for call in calls:
        call.cancel()
    done, _ = await asyncio.wait(calls, timeout=10)
    assert len(done) == THREADS + 5
    with pytest.raises(DeadlineExceeded):
        await mesh.invoke("wait", on="a", timeout=0.2)  # every thread is still taken

    async def are_withdrawn() -> bool:
        counters = (await mesh.describe("a")).counters
        return bool(counters.get("requests.cancelled") == THREADS + 6)

    await eventually(are_withdrawn)
    gate.opened.set()
    assert await mesh.invoke("wait", on="a", timeout=20) == "orbitmesh wait"
    await eventually(lambda: gate.inside == 0)
    # The five that still waited for a thread never ran, nor did the one whose time was over.
    assert gate.ended == THREADS + 1


@pytest.mark.parametrize(("how", "type_"), [("exit", "SystemExit"), ("interrupt", "KeyboardInterrupt")])
async def test_an_exit_in_a_thread_is_the_callers_error(
    agent: Agent, local_agent: LocalAgent, client: Client, how: str, type_: str
) -> None:
    await local_agent(agent)
    mesh = await client()
    for _ in range(3):
        with pytest.raises(RemoteError) as caught:
            await mesh.invoke("leave", {"how": how}, on="a")
        assert caught.value.type == type_
    with pytest.raises(RemoteError) as caught:
        assert [number async for number in mesh.stream("broken", on="a")] == [1]
    assert caught.value.type == "SystemExit"
    assert await mesh.invoke("ping", on="a") == "pong"


async def test_two_hundred_generators_in_threads_are_read_side_by_side(
    agent: Agent, local_agent: LocalAgent, client: Client
) -> None:
    """More than there are threads: the later ones wait for one of the first to end."""
    await local_agent(agent)
    mesh = await client()

    async def read() -> list[int]:
        return [number async for number in mesh.stream("waves", {"to": 20}, on="a", returns=int)]

    assert await asyncio.gather(*(read() for _ in range(200))) == [list(range(20))] * 200


async def test_a_generator_that_is_left_runs_its_finally_in_its_thread(
    home: Path, local_agent: LocalAgent, client: Client, eventually: Eventually
) -> None:
    agent, closed = Agent("a", home=home), []

    @agent.stream()
    def numbers() -> Iterator[int]:
        try:
            yield from range(1_000_000)
        finally:
            closed.append(threading.current_thread().name)

    await local_agent(agent)
    mesh = await client()
    async with mesh.stream("numbers", on="a") as stream:
        assert await anext(stream) == 0
    await eventually(lambda: closed == ["orbitmesh numbers"])


async def test_context_variables_of_a_call_reach_its_thread_and_no_other(
    home: Path, local_agent: LocalAgent, client: Client
) -> None:
    who: contextvars.ContextVar[str] = contextvars.ContextVar("who", default="nobody")
    agent = Agent("a", home=home)

    @agent.middleware
    async def name_it(call: Any, proceed: Any) -> Any:
        who.set(call.headers.get("who", "nobody"))
        return await proceed(call)

    @agent.command()
    def tell(ctx: Context) -> list[str]:
        seen = who.get()
        who.set("changed in the thread")
        time.sleep(0.01)
        return [seen, ctx.headers["who"]]

    await local_agent(agent)
    mesh = await client()
    told = await asyncio.gather(*(mesh.invoke("tell", on="a", headers={"who": f"{n}"}) for n in range(100)))
    assert told == [[f"{number}"] * 2 for number in range(100)]
