"""Streams, one-way commands and events."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from orbitmesh import (
    Agent,
    ConfigError,
    Context,
    DeadlineExceeded,
    Event,
    InvalidResult,
    PeerLost,
    RemoteError,
    Unserializable,
)
from orbitmesh.testing import MemoryMesh
from orbitmesh.wire import limits


@dataclass
class Reading:
    celsius: float


def counter() -> tuple[Agent, list[str]]:
    agent, notes = Agent("counter"), list[str]()

    @agent.stream()
    async def count(to: int, fail_at: int = -1) -> AsyncIterator[int]:
        try:
            for number in range(to):
                if number == fail_at:
                    raise ValueError(f"at {number}")
                notes.append(f"made {number}")
                yield number
        finally:
            notes.append("closed")

    return agent, notes


async def test_items_come_in_order_and_complete() -> None:
    agent, _ = counter()
    async with MemoryMesh(agent) as mesh:
        async with mesh.stream("count", {"to": 1000}, returns=int) as numbers:
            assert [number async for number in numbers] == list(range(1000))
        assert [number async for number in mesh.stream("count", {"to": 3})] == [0, 1, 2]
        assert [number async for number in mesh.stream("count", {"to": 0})] == []


async def test_what_escapes_a_generator_comes_after_the_items_before_it() -> None:
    agent, _ = counter()
    async with MemoryMesh(agent) as mesh:
        seen: list[int] = []
        with pytest.raises(RemoteError, match="ValueError: at 5"):
            async for number in mesh.stream("count", {"to": 10, "fail_at": 5}, returns=int):
                seen.append(number)
        assert seen == [0, 1, 2, 3, 4]


async def test_leaving_a_stream_closes_the_generator_on_the_other_side() -> None:
    agent, notes = counter()
    async with MemoryMesh(agent) as mesh:
        async with mesh.stream("count", {"to": 10**9}) as numbers:
            async for number in numbers:
                if number == 10:
                    break
        await asyncio.sleep(1)
        assert notes[-1] == "closed"
        assert len(notes) < 2 * limits.STREAM_ITEMS


async def test_a_slow_reader_stops_its_producer_and_nobody_else() -> None:
    agent, notes = counter()
    async with MemoryMesh(agent) as mesh, mesh.stream("count", {"to": 10**9}, returns=int) as slow:
        assert await anext(slow) == 0
        await asyncio.sleep(60)
        assert len(notes) <= limits.STREAM_ITEMS + 2  # what may wait here, and what the producer holds
        async with mesh.stream("count", {"to": 5000}) as quick:
            assert len([item async for item in quick]) == 5000


async def test_cancelling_the_reading_task_cancels_the_work() -> None:
    agent, notes = counter()

    async def read(mesh: MemoryMesh) -> None:
        async with mesh.stream("count", {"to": 10**9}) as numbers:
            async for _ in numbers:
                await asyncio.sleep(1)

    async with MemoryMesh(agent) as mesh:
        task = asyncio.ensure_future(read(mesh))
        await asyncio.sleep(10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await asyncio.sleep(1)
        assert notes[-1] == "closed"


async def test_a_dropped_stream_is_closed_with_a_warning() -> None:
    agent, notes = counter()
    async with MemoryMesh(agent) as mesh:
        numbers = mesh.stream("count", {"to": 10**9})
        await anext(numbers)
        with pytest.warns(ResourceWarning, match="dropped open"):
            del numbers
            gc.collect()
        await asyncio.sleep(1)
        assert notes[-1] == "closed"


async def test_a_timeout_bounds_the_whole_stream() -> None:
    agent = Agent("a")

    @agent.stream()
    async def ticks() -> AsyncIterator[int]:
        for number in range(10**9):
            yield number
            await asyncio.sleep(1)

    async with MemoryMesh(agent) as mesh:
        seen: list[int] = []
        with pytest.raises(DeadlineExceeded):
            async for number in mesh.stream("ticks", returns=int, timeout=3.5):
                seen.append(number)
        assert seen == [0, 1, 2, 3]


async def test_an_item_that_does_not_fit_ends_the_stream() -> None:
    agent = Agent("a")

    @agent.stream()
    async def mixed() -> AsyncIterator[Any]:
        yield 1
        yield "two"

    @agent.stream()
    async def unsendable() -> AsyncIterator[Any]:
        yield 1
        yield object()

    async with MemoryMesh(agent) as mesh:
        numbers = mesh.stream("mixed", returns=int)
        assert await anext(numbers) == 1
        with pytest.raises(InvalidResult, match="expected int, got str"):
            await anext(numbers)
        things = mesh.stream("unsendable")
        assert await anext(things) == 1
        with pytest.raises(Unserializable):
            await anext(things)


async def test_large_items_flow_within_the_credit_of_their_stream() -> None:
    agent = Agent("a")

    @agent.stream()
    async def blocks(count: int, size: int) -> AsyncIterator[bytes]:
        for number in range(count):
            yield bytes([number % 256]) * size

    async with MemoryMesh(agent) as mesh:
        sizes = [len(block) async for block in mesh.stream("blocks", {"count": 12, "size": 700_000}, returns=bytes)]
        assert sizes == [700_000] * 12


async def test_a_crash_ends_streams_with_peer_lost() -> None:
    agent, _ = counter()
    async with MemoryMesh(agent) as mesh, mesh.stream("count", {"to": 10**9}) as numbers:
        await anext(numbers)
        mesh.network.crash((await mesh.describe("counter")).addresses[0])
        with pytest.raises(PeerLost):
            async for _ in numbers:
                pass


async def test_a_one_way_command_runs_and_answers_nothing() -> None:
    agent = Agent("a")
    heard: list[str] = []
    done = asyncio.Event()

    @agent.command()
    async def log(text: str, ctx: Context) -> str:
        heard.append(f"{ctx.caller.name}: {text}")
        done.set()
        return "ignored"

    @agent.command()
    async def fail() -> None:
        raise ValueError("nobody hears this")

    async with MemoryMesh(agent, name="writer") as mesh:
        await mesh.notify(log, {"text": "hi"}, on="a")
        await asyncio.wait_for(done.wait(), 1)
        await mesh.notify("fail", on="a")
        for number in range(5000):
            await mesh.notify("log", {"text": str(number)}, on="a")
        await mesh.invoke("log", {"text": "last"}, on="a")
        counters = (await mesh.describe("a")).counters
    assert heard[0] == "writer: hi"
    assert heard[1:-1] == [f"writer: {number}" for number in range(5000)]
    assert counters["requests.failed"] == 1


async def test_events_reach_those_who_subscribed_before_in_order() -> None:
    agent = Agent("thermometer")

    @agent.command()
    async def measure(count: int, ctx: Context) -> int:
        reached = 0
        for number in range(count):
            reached += await ctx.mesh.publish("sensors.roof.temperature", Reading(float(number)))
        return reached

    async with MemoryMesh(agent) as mesh:
        async with (
            mesh.subscribe("sensors.*.temperature", returns=Reading) as readings,
            mesh.subscribe("sensors.cellar.**") as others,
        ):
            assert await mesh.invoke("measure", {"count": 1000}) == 1000
            events = [await anext(readings) for _ in range(1000)]
            assert [event.data.celsius for event in events] == [float(number) for number in range(1000)]
            assert events[0].publisher.endswith("/thermometer")
            assert events[0].missed == 0
            assert await mesh.publish("sensors.cellar.mould") == 0  # heard on this very node, and on no link
            assert (await anext(others)).topic == "sensors.cellar.mould"
        assert await mesh.invoke("measure", {"count": 1}) == 0


async def test_agents_handle_events_in_order_for_each_publisher_and_survive_their_own_faults() -> None:
    agent = Agent("listener")
    seen: list[float] = []
    done = asyncio.Event()

    @agent.on("sensors.**")
    async def hot(event: Event[Reading]) -> None:
        await asyncio.sleep(0.5 if event.data.celsius == 0 else 0)
        if event.data.celsius == 1:
            raise ValueError("one")
        seen.append(event.data.celsius)
        if event.data.celsius == 3:
            done.set()

    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        for celsius in range(3):
            assert await mesh.publish("sensors.a", Reading(float(celsius))) == 1
        await mesh.publish("sensors.a", {"fahrenheit": 451})
        await mesh.publish("sensors.a", Reading(3.0))
        await asyncio.wait_for(done.wait(), 10)
        counters = (await mesh.describe("listener")).counters
    assert seen == [0.0, 2.0, 3.0]
    assert (counters["events.handled"], counters["events.failed"], counters["events.unfit"]) == (3, 1, 1)


async def test_an_event_that_does_not_fit_is_told_and_the_subscription_goes_on() -> None:
    agent = Agent("a")
    async with MemoryMesh(agent) as mesh, mesh.subscribe("t", returns=Reading) as readings:
        await agent.mesh.publish("t", "warm")
        await agent.mesh.publish("t", Reading(1.0))
        with pytest.raises(InvalidResult, match="event 't'"):
            await anext(readings)
        assert (await anext(readings)).data == Reading(1.0)


async def test_topics_and_patterns_are_checked_where_they_are_written() -> None:
    agent = Agent("a")
    with pytest.raises(ConfigError, match="empty word"):
        agent.on("a..b")
    with pytest.raises(ConfigError, match="brackets"):
        agent.on(lambda event: None)  # type: ignore[arg-type]  # what a user gets wrong
    with pytest.raises(ConfigError, match="one parameter"):

        @agent.on("a")
        async def two(first: Event[int], second: int) -> None: ...

    async with MemoryMesh(agent) as mesh:
        with pytest.raises(ConfigError, match="holds '\\*'"):
            await mesh.publish("a.*")
        with pytest.raises(ConfigError, match="within the word"):
            mesh.subscribe("a.b*")


async def test_live_metrics_are_there_when_an_agent_is_seen_and_select_by_them() -> None:
    busy, idle = Agent("busy"), Agent("idle")
    load = {"busy": 0.9, "idle": 0.1}
    for agent in (busy, idle):

        @agent.metric("gpu.utilization", every="1s")
        async def utilization(name: str = str(agent.name)) -> float:
            return load[name]

        @agent.command()
        async def render() -> None: ...

    async with MemoryMesh(busy, idle) as mesh:
        await asyncio.sleep(3)
        chosen = await mesh.select(capability="render", key=lambda a: a.metrics["gpu.utilization"])
        assert chosen.name == "idle"
        load["idle"] = 1.0
        await asyncio.sleep(6)
        chosen = await mesh.select(capability="render", key=lambda a: a.metrics["gpu.utilization"])
        assert chosen.name == "busy"


async def test_a_metric_that_fails_is_taken_away_until_it_works_again() -> None:
    agent = Agent("a")
    values: Iterator[Any] = iter([1.0, "warm", float("nan"), 4.0])

    @agent.metric("m", every=10)
    async def measure() -> Any:
        return next(values, 4.0)

    async with MemoryMesh(agent) as mesh:
        seen = []
        for _ in range(4):
            await asyncio.sleep(5)
            (info,) = await mesh.agents()
            seen.append(dict(info.metrics))
            await asyncio.sleep(5)
    assert seen == [{"m": 1.0}, {}, {}, {"m": 4.0}]
