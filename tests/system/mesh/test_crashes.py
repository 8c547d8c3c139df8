"""Agents that are killed, restarted or stopped dead: who waits is told at once, work goes on with the next start."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from orbitmesh import (
    AgentState,
    DeadlineExceeded,
    Mesh,
    NoAgent,
    OrbitMeshError,
    Overloaded,
    PeerLost,
    Target,
)

Start = Callable[..., Any]
Client = Callable[..., Awaitable[Mesh]]
Eventually = Callable[..., Awaitable[Any]]


async def is_away(mesh: Mesh) -> bool:
    """Whether the client has noticed that its agent is gone."""
    return [agent.state for agent in await mesh.agents()] == [AgentState.SUSPECT]


async def test_a_killed_agent_ends_its_calls_and_streams_at_once(start_agent: Start, client: Client) -> None:
    child = start_agent("a")
    mesh = await client()
    calls = [asyncio.create_task(mesh.invoke("doze", {"seconds": 60}, on="a", timeout=120)) for _ in range(20)]
    threads = [asyncio.create_task(mesh.invoke("block", {"seconds": 60}, on="a", timeout=120)) for _ in range(3)]
    async with mesh.stream("count", {"to": 10_000_000, "pause": 0.001}, on="a") as numbers:
        assert await anext(numbers) == 0
        while len(await mesh.invoke("started", on="a")) < 23:
            await anext(numbers)
        killed = time.monotonic()
        child.kill()
        with pytest.raises(PeerLost):
            async for _ in numbers:
                pass
    for outcome in await asyncio.gather(*calls, *threads, return_exceptions=True):
        assert isinstance(outcome, PeerLost)
    # Nobody had to wait for a timeout: the shortest there is would be the silence of a link.
    assert time.monotonic() - killed < 5
    assert await is_away(mesh)
    with pytest.raises(NoAgent):
        await mesh.invoke("whoami", on="a", wait=False)


async def test_a_restarted_agent_is_the_same_node_with_a_later_start(
    start_agent: Start, client: Client, address_of: Callable[..., str], eventually: Eventually
) -> None:
    """Port, key and id stay; subscriptions of both sides are stated anew on the new link."""
    first = start_agent("a", pattern="down.*")
    mesh = await client()
    node_id = (await mesh.invoke("whoami", on="a"))["id"]
    address = address_of("a")
    async with mesh.subscribe("up.*", returns=int) as events:
        await mesh.invoke("emit", {"topic": "up.x", "first": 1, "count": 1}, on="a")
        assert (await anext(events)).data == 1
        first.kill()
        await eventually(lambda: is_away(mesh))
        second = start_agent("a", pattern="down.*")
        told = await mesh.invoke("whoami", on="a")
        assert (told["id"], told["pid"]) == (node_id, second.pid)
        assert address_of("a") == address
        assert address.partition("?")[0] in second.err

        assert await mesh.invoke("emit", {"topic": "up.x", "first": 2, "count": 1}, on="a") == 1
        assert (await anext(events)).data == 2

        async def is_heard() -> bool:
            await mesh.publish("down.x", 3)
            return ["down.x", 3] in await mesh.invoke("heard", on="a")

        await eventually(is_heard)


@pytest.mark.slow
async def test_calls_by_name_go_on_through_ten_crashes_and_restarts(
    start_agent: Start, client: Client, eventually: Eventually
) -> None:
    """Each call ends, with its result or an error of its own class; none hangs, none is answered by a dead start."""
    mesh = await client()
    outcomes: list[Any] = []
    is_over = False

    async def call_on(number: int) -> None:
        while not is_over:
            try:
                outcomes.append((await mesh.invoke("whoami", on="a", timeout=10))["pid"])
            except OrbitMeshError as error:
                outcomes.append(error)
            await asyncio.sleep(0.005)

    callers = [asyncio.create_task(call_on(number)) for number in range(8)]
    pids = []
    for _ in range(11):
        child = start_agent("a")
        pids.append(child.pid)
        await eventually(lambda pid=child.pid: outcomes.count(pid) >= 20)
        if len(pids) < 11:
            child.kill()
    is_over = True
    async with asyncio.timeout(20):
        await asyncio.gather(*callers)
    failed = {type(outcome) for outcome in outcomes if isinstance(outcome, OrbitMeshError)}
    assert failed <= {PeerLost}, failed  # NoAgent would mean that a restart took ten seconds to be found
    answered = [outcome for outcome in outcomes if isinstance(outcome, int)]
    order = [pids.index(pid) for pid in answered]
    assert order == sorted(order)


async def test_a_crash_is_no_goodbye_and_a_stop_is_one(
    start_agent: Start, client: Client, eventually: Eventually
) -> None:
    crashing, leaving = start_agent("a"), start_agent("b")
    mesh = await client()
    for name in ("a", "b"):
        await mesh.invoke("whoami", on=name)
    crashing.kill()
    leaving.send(signal.SIGTERM)
    assert await leaving.ended() == 0

    async def shown() -> bool:
        return {agent.name: agent.state for agent in await mesh.agents()} == {"a": AgentState.SUSPECT}

    await eventually(shown)
    counters = mesh.counters()
    assert (counters["links.cuts"], counters["links.goodbyes"]) == (1, 1)


async def test_a_client_that_crashes_frees_what_ran_for_it(
    start_agent: Start, client: Client, run_python: Callable[..., Any], eventually: Eventually
) -> None:
    start_agent("a", concurrency=4, queue=0)
    mesh = await client()
    await mesh.invoke("whoami", on="a")
    code = (
        "import asyncio, orbitmesh\n"
        "async def main():\n"
        "    async with orbitmesh.Mesh() as mesh:\n"
        "        calls = [mesh.invoke('doze', {'seconds': 600}, on='a', timeout=900) for _ in range(4)]\n"
        "        await asyncio.gather(*calls)\n"
        "asyncio.run(main())\n"
    )
    other = run_python("-c", code)

    async def is_full() -> bool:
        try:
            await mesh.invoke("echo", {"value": 1}, on="a")
        except Overloaded:
            return True
        return False

    await eventually(is_full)
    other.kill()

    async def is_free() -> bool:
        return not await is_full()

    await eventually(is_free, 10)


@pytest.mark.slow
async def test_a_stopped_process_is_busy_and_goes_on_where_it_was(
    start_agent: Start, client: Client, eventually: Eventually
) -> None:
    """Its link holds, work by group goes to others, calls that are meant for it wait or end by their own deadline."""
    stopped, other = start_agent("a", groups=["workers"]), start_agent("b", groups=["workers"])
    mesh = await client()
    for name in ("a", "b"):
        await mesh.invoke("whoami", on=name)
    under_way = asyncio.create_task(mesh.invoke("doze", {"seconds": 0.2}, on="a", timeout=60))
    stopped.send(signal.SIGSTOP)
    blocked = asyncio.create_task(mesh.invoke("echo", {"value": "late"}, on="a", timeout=60))
    with pytest.raises(DeadlineExceeded):
        await mesh.invoke("echo", {"value": 1}, on="a", timeout=1)

    async def state() -> AgentState:
        return next(agent.state for agent in await mesh.agents() if agent.name == "a")

    async def is_busy() -> bool:
        return await state() is AgentState.BUSY

    await eventually(is_busy, 20)
    waiting = asyncio.create_task(mesh.invoke("echo", {"value": "waited"}, on="a", timeout=60))
    by_group = [await mesh.invoke("whoami", on=Target(group="workers")) for _ in range(20)]
    assert {told["pid"] for told in by_group} == {other.pid}
    with pytest.raises((NoAgent, Overloaded, DeadlineExceeded)):
        await mesh.invoke("whoami", on="a", timeout=1)
    assert not any(call.done() for call in (under_way, blocked, waiting))

    stopped.send(signal.SIGCONT)
    async with asyncio.timeout(20):
        assert [await call for call in (under_way, blocked, waiting)] == ["woke", "late", "waited"]
    assert await state() is AgentState.CONNECTED
    counters = mesh.counters()
    assert counters.get("links.cuts", 0) == counters.get("links.breaches", 0) == counters["transport.lost"] == 0
