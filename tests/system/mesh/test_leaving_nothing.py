"""After the end of a node its process is as it was before: no task, thread, descriptor or file of it is left."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orbitmesh import Agent, ConfigError, Event, Mesh, OrbitMeshError

Eventually = Callable[..., Awaitable[Any]]

pytestmark = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are listed by /proc alone")


@dataclass(frozen=True)
class Holding:
    """What this process holds at one moment."""

    descriptors: Counter[str]
    threads: Counter[str]
    tasks: frozenset[asyncio.Task[Any]]
    files: frozenset[Path]

    def more_than(self, before: Holding) -> dict[str, Any]:
        """What has come since; empty when there is nothing."""
        found: dict[str, Any] = {
            "descriptors": self.descriptors - before.descriptors,
            "threads": self.threads - before.threads,
            "tasks": self.tasks - before.tasks,
            "files": self.files - before.files,
        }
        return {name: value for name, value in found.items() if value}


def descriptors() -> Counter[str]:
    """Open descriptors by what they lead to, without the numbers that make each one different."""
    found: Counter[str] = Counter()
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # the one that lists them
            target = os.readlink(f"/proc/self/fd/{number}")
            if not target.startswith("/proc/"):
                found[target.partition(":[")[0]] += 1
    return found


@pytest.fixture
async def held(home: Path, eventually: Eventually) -> Callable[[], Awaitable[Holding]]:
    """Look at what is held now. The loop's own threads are made before anything is looked at."""
    loop = asyncio.get_running_loop()
    executor_threads = min(32, (os.cpu_count() or 1) + 4)
    gate = threading.Barrier(executor_threads + 1)
    fillers = [loop.run_in_executor(None, gate.wait, 30) for _ in range(executor_threads)]
    await eventually(lambda: gate.n_waiting == executor_threads)
    gate.wait(30)
    await asyncio.gather(*fillers)

    async def look() -> Holding:
        gc.collect()
        await asyncio.sleep(0)
        return Holding(
            descriptors(),
            Counter(thread.name for thread in threading.enumerate()),
            frozenset(asyncio.all_tasks()),
            frozenset((home / "announce").glob("*")),
        )

    return look


def busy_agent(home: Path, name: str = "a", **options: Any) -> Agent:
    """An agent that uses every part of a node."""
    agent = Agent(name, home=home, interfaces=["lo"], **options)

    @agent.command()
    async def echo(value: int) -> int:
        return value

    @agent.command()
    def block() -> str:
        return "done"

    @agent.stream()
    async def count() -> AsyncIterator[int]:
        for number in range(1_000_000):
            yield number

    @agent.stream()
    def count_in_thread() -> Iterator[int]:
        yield from range(1_000_000)

    @agent.on("topic.**")
    async def hear(event: Event[int]) -> None:
        await asyncio.sleep(0)

    @agent.metric("level", every=0.1)
    def measure() -> float:
        return 1.0

    return agent


async def use(mesh: Mesh) -> None:
    """A little of everything, some of it left open."""
    await asyncio.gather(*(mesh.invoke("echo", {"value": n}, on="a") for n in range(50)))
    await mesh.invoke("block", on="a")
    for command in ("count", "count-in-thread"):
        async with mesh.stream(command, on="a") as numbers:
            assert await anext(numbers) == 0
    async with mesh.subscribe("answer.*"):
        await mesh.publish("topic.x", 1)


async def test_a_stopped_agent_and_client_leave_nothing_in_their_process(
    home: Path, held: Callable[[], Awaitable[Holding]]
) -> None:
    before = await held()
    async with busy_agent(home), Mesh(home=home, interfaces=["lo"]) as mesh:
        await use(mesh)
    assert (await held()).more_than(before) == {}


async def test_what_is_still_under_way_at_the_end_is_ended_too(
    home: Path, held: Callable[[], Awaitable[Holding]]
) -> None:
    before = await held()
    agent = busy_agent(home)

    @agent.command()
    async def doze() -> None:
        await asyncio.sleep(600)

    mesh = Mesh(home=home, interfaces=["lo"])
    await agent.start()
    await mesh.start()
    await use(mesh)
    calls = [asyncio.create_task(mesh.invoke("doze", on="a")) for _ in range(5)]
    numbers = mesh.stream("count", on="a")
    assert await anext(numbers) == 0
    events = mesh.subscribe("**")
    await events.__aenter__()
    await agent.stop(grace=0.1)
    for outcome in await asyncio.gather(*calls, return_exceptions=True):
        assert isinstance(outcome, OrbitMeshError)
    await mesh.stop(grace=0.1)
    with suppress(OrbitMeshError):
        async for _ in numbers:
            pass
    assert [event async for event in events] == []
    del calls, numbers, events
    assert (await held()).more_than(before) == {}


async def test_one_agent_object_starts_and_stops_five_times(home: Path, held: Callable[[], Awaitable[Holding]]) -> None:
    agent = busy_agent(home)
    before = await held()
    ports: set[str] = set()
    for _ in range(5):
        async with agent, Mesh(home=home, interfaces=["lo"]) as mesh:
            await use(mesh)
            ports.update(address.rpartition(":")[2] for address in (await mesh.describe("a")).addresses)
        assert (await held()).more_than(before) == {}
    assert len(ports) == 1


async def test_one_client_object_starts_and_stops_again(home: Path, held: Callable[[], Awaitable[Holding]]) -> None:
    before = await held()
    mesh = Mesh(home=home, interfaces=["lo"])
    async with busy_agent(home):
        for _ in range(3):
            async with mesh:
                await use(mesh)
            with pytest.raises(ConfigError, match="not started"):
                await mesh.invoke("echo", {"value": 1})
    assert (await held()).more_than(before) == {}


def _failing(home: Path, where: str) -> Agent:
    settings: dict[str, Any] = {
        "bind": {"bind": ["tcp://203.0.113.7:0"]},
        "peers": {"peers": ["tcp://127.0.0.1:0"]},
        "discovery": {"discovery": ["nowhere"]},
        "middleware": {"middleware": ["nowhere"]},
    }.get(where, {})

    @asynccontextmanager
    async def lifespan(agent: Agent) -> AsyncIterator[None]:
        if where == "lifespan":
            raise RuntimeError("lifespan")
        yield

    agent = busy_agent(home, lifespan=lifespan, **settings)

    @agent.on_start
    async def begin() -> None:
        if where == "on_start":
            raise RuntimeError("on_start")

    return agent


@pytest.mark.parametrize("where", ["bind", "peers", "discovery", "middleware", "lifespan", "on_start"])
async def test_a_start_that_fails_leaves_nothing_and_frees_the_name(
    home: Path, held: Callable[[], Awaitable[Holding]], where: str
) -> None:
    before = await held()
    agent = _failing(home, where)
    for _ in range(2):
        with pytest.raises((OrbitMeshError, RuntimeError)):
            await agent.start()
        assert (await held()).more_than(before) == {}
    async with busy_agent(home):
        pass
    assert (await held()).more_than(before) == {}


async def _cancelled_after(work: Any, turns: int) -> bool:
    """Run something and cancel it after so many turns of the loop; whether it was still under way."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        if task.done():
            break
        await asyncio.sleep(0)
    was_under_way: bool = task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return was_under_way


async def test_a_start_that_is_cancelled_anywhere_leaves_nothing(
    home: Path, held: Callable[[], Awaitable[Holding]]
) -> None:
    """At each of its suspensions, until there is one more moment than it has."""
    async with Agent("warm", home=home):
        pass  # the home is made
    before = await held()
    agent = busy_agent(home)
    await _cancel_at_each(agent.start, agent.stop, held, before)
    mesh = Mesh(home=home, interfaces=["lo"])
    await _cancel_at_each(mesh.start, mesh.stop, held, before)
    async with agent, mesh:  # both are as good as new
        await use(mesh)
    assert (await held()).more_than(before) == {}


async def _settled(held: Callable[[], Awaitable[Holding]], before: Holding, moment: int) -> None:
    """Wait for nothing to be left: a thread that reads or writes the home goes on to its end when it is cancelled."""
    end = asyncio.get_running_loop().time() + 10
    while left := (await held()).more_than(before):
        assert asyncio.get_running_loop().time() < end, (moment, left)
        await asyncio.sleep(0.01)


async def _cancel_at_each(
    start: Callable[[], Any], stop: Callable[[], Any], held: Callable[[], Awaitable[Holding]], before: Holding
) -> None:
    moment, is_whole = 0, False
    while not is_whole:
        task = asyncio.ensure_future(start())
        resumed = 0
        while not task.done() and resumed < moment:
            waiter = getattr(task, "_fut_waiter", None)
            if waiter is not None and not waiter.done():
                await asyncio.wait([waiter])
            await asyncio.sleep(0)
            resumed += 1
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            pass
        else:
            is_whole = True
            await stop()
        await _settled(held, before, moment)
        moment += 1
    assert moment > 5


@pytest.mark.slow
async def test_a_stop_that_is_cancelled_anywhere_leaves_nothing(
    home: Path, held: Callable[[], Awaitable[Holding]]
) -> None:
    before = await held()
    for turns in (0, 1, 2, 4, 8, 20, 100):
        agent, mesh = busy_agent(home), Mesh(home=home, interfaces=["lo"])
        await agent.start()
        await mesh.start()
        await use(mesh)
        for node in (mesh, agent):
            if not await _cancelled_after(node.stop(), turns):
                continue
            await node.stop()  # harmless, whatever the first one has done
        assert (await held()).more_than(before) == {}, turns


async def test_a_stop_while_it_starts_waits_for_the_start_and_stops_it(
    home: Path, held: Callable[[], Awaitable[Holding]]
) -> None:
    before = await held()
    agent = busy_agent(home)
    for turns in (1, 3, 10, 30):
        starting = asyncio.create_task(agent.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await agent.stop()
            await starting
            await agent.stop()
        assert (await held()).more_than(before) == {}


async def test_a_stop_by_what_the_start_waits_for_is_told_so(
    home: Path, held: Callable[[], Awaitable[Holding]]
) -> None:
    before = await held()
    agent = busy_agent(home)

    @agent.on_start
    async def give_up() -> None:
        await agent.stop()

    with pytest.raises(ConfigError, match="raise an error"):
        async with asyncio.timeout(20):
            await agent.start()
    assert (await held()).more_than(before) == {}


async def test_two_starts_at_once_are_one_start_and_one_error(
    home: Path, held: Callable[[], Awaitable[Holding]]
) -> None:
    before = await held()
    for node in (busy_agent(home), Mesh(home=home, interfaces=["lo"])):
        outcomes = await asyncio.gather(node.start(), node.start(), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes if outcome] == [ConfigError], outcomes
        await asyncio.gather(node.stop(), node.stop(), node.stop())
        assert (await held()).more_than(before) == {}
