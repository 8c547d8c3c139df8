"""Whoever reads streams and events: alone or several, to the end or not, through middleware or without."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from orbitmesh import Agent, ConfigError, Context, DeadlineExceeded, Event, InvalidResult, NoAgent, RemoteError
from orbitmesh.runtime import events as events_module
from orbitmesh.testing import MemoryMesh


@dataclass
class Even:
    """A number that says itself whether it fits, in a way of its own."""

    number: int

    def __post_init__(self) -> None:
        if self.number % 2:
            raise KeyError("odd")


def counter() -> tuple[Agent, list[str]]:
    agent, notes = Agent("counter"), list[str]()

    @agent.stream()
    async def count(to: int) -> AsyncIterator[int]:
        try:
            for number in range(to):
                yield number
                await asyncio.sleep(0.01)  # so that time passes
        finally:
            notes.append("closed")

    return agent, notes


# Streams


async def test_a_second_reader_of_a_stream_is_told_and_the_first_reads_on() -> None:
    agent = Agent("a")

    @agent.stream()
    async def ticks() -> AsyncIterator[int]:
        for number in range(3):
            await asyncio.sleep(1)
            yield number

    async with MemoryMesh(agent) as mesh, mesh.stream("ticks") as ticks_:
        first = asyncio.ensure_future(anext(ticks_))
        await asyncio.sleep(0.5)
        with pytest.raises(RuntimeError, match="another task"):
            await anext(ticks_)
        assert await first == 0
        assert [item async for item in ticks_] == [1, 2]


async def test_a_stream_may_be_closed_before_while_and_after_it_is_read() -> None:
    agent, notes = counter()
    async with MemoryMesh(agent) as mesh:
        early = mesh.stream("count", {"to": 5})
        await early.aclose()
        assert [item async for item in early] == []
        assert notes == []
        late = mesh.stream("count", {"to": 5})
        assert [item async for item in late] == [0, 1, 2, 3, 4]
        await late.aclose()
        await late.aclose()
        other = mesh.stream("count", {"to": 10**9})
        reading = asyncio.ensure_future(_all(other))
        await asyncio.sleep(1)
        await other.aclose()
        await asyncio.wait([reading], timeout=1)
        assert reading.done()
        await asyncio.sleep(1)
        assert notes == ["closed", "closed"]


async def _all(items: AsyncIterator[Any]) -> list[Any]:
    return [item async for item in items]


async def test_a_stream_that_is_closed_while_it_begins_leaves_nothing(node_of: Any) -> None:
    agent, notes = counter()
    async with MemoryMesh() as mesh:
        stream = mesh.stream("count", {"to": 10**9})
        entering = asyncio.ensure_future(stream.__aenter__())
        await asyncio.sleep(1)
        await stream.aclose()
        await agent.start(join=mesh)
        await entering
        await asyncio.sleep(1)
        assert notes in ([], ["closed"])
        assert all(not c.exchanges for c in node_of(mesh).links)
        assert [item async for item in stream] == []
        await agent.stop()


async def test_an_item_whose_type_fails_in_its_own_way_ends_the_stream_and_the_work() -> None:
    agent = Agent("a")
    ended = asyncio.Event()

    @agent.stream()
    async def numbers() -> AsyncIterator[dict[str, int]]:
        try:
            while True:
                yield {"number": 2}
                yield {"number": 3}
                await asyncio.sleep(1)
        finally:
            ended.set()

    @agent.command()
    async def number() -> dict[str, int]:
        return {"number": 3}

    async with MemoryMesh(agent) as mesh:
        stream = mesh.stream("numbers", returns=Even)
        assert await anext(stream) == Even(2)
        with pytest.raises(InvalidResult, match="odd"):
            await anext(stream)
        await asyncio.wait_for(ended.wait(), 5)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        with pytest.raises(InvalidResult, match="odd"):
            await mesh.invoke("number", returns=Even)


async def test_a_stream_within_a_call_ends_with_the_time_of_that_call() -> None:
    inner, outer = counter()[0], Agent("outer")
    ended = asyncio.Event()

    @inner.stream()
    async def ticks() -> AsyncIterator[int]:
        try:
            for number in range(10**9):
                yield number
                await asyncio.sleep(1)
        finally:
            ended.set()

    seen: list[Any] = []

    @outer.command()
    async def read(ctx: Context) -> None:
        try:
            async for number in ctx.mesh.stream("ticks", on="counter", timeout=1000):
                seen.append(number)
        except BaseException as error:
            seen.append(type(error))
            raise

    async with MemoryMesh(inner, outer) as mesh:
        with pytest.raises(DeadlineExceeded):
            await mesh.invoke("read", on="outer", timeout=3.5)
        await asyncio.wait_for(ended.wait(), 2)
        assert seen[:4] == [0, 1, 2, 3]
        assert seen[4] in (asyncio.CancelledError, DeadlineExceeded)


# Streams through middleware of the calling side


@pytest.mark.parametrize("way", ["leave", "end", "raise", "drop"])
async def test_a_stream_behind_middleware_ends_on_the_other_side_too(way: str, node_of: Any) -> None:
    agent, notes = counter()
    async with MemoryMesh(agent) as mesh:

        @mesh.middleware
        async def double(call: Any, proceed: Any) -> Any:
            items = await proceed(call)

            async def doubled() -> AsyncIterator[int]:
                async for item in items:
                    if way == "raise" and item == 3:
                        raise ZeroDivisionError("in middleware")
                    yield 2 * item

            return doubled()

        seen: list[int] = []
        if way == "drop":
            stream = mesh.stream("count", {"to": 10**9})
            assert await anext(stream) == 0
            with pytest.warns(ResourceWarning, match="dropped open"):
                del stream
                gc.collect()
        elif way == "raise":
            with pytest.raises(ZeroDivisionError):
                async for item in mesh.stream("count", {"to": 10**9}):
                    seen.append(item)
        else:
            async with mesh.stream("count", {"to": 5 if way == "end" else 10**9}) as items:
                async for item in items:
                    seen.append(item)
                    if way == "leave" and item == 8:
                        break
            assert seen == [0, 2, 4, 6, 8]
        await asyncio.sleep(1)
        assert notes == ["closed"]
        assert all(not c.exchanges for c in node_of(mesh).links)


@pytest.mark.parametrize("how", ["raises", "returns a list", "goes twice", "goes not at all"])
async def test_middleware_that_leaves_a_stream_aside_leaves_nothing_open(how: str, node_of: Any) -> None:
    agent, notes = counter()
    async with MemoryMesh(agent) as mesh:

        @mesh.middleware
        async def odd(call: Any, proceed: Any) -> Any:
            if how == "goes not at all":
                return _few()
            await proceed(call)
            await asyncio.sleep(1)  # by now it runs on the other side
            if how == "raises":
                raise ZeroDivisionError("in middleware")
            if how == "returns a list":
                return [1, 2, 3]
            return await proceed(call)

        async def _few() -> AsyncIterator[int]:
            yield 7

        stream = mesh.stream("count", {"to": 100_000})
        if how == "raises":
            with pytest.raises(ZeroDivisionError):
                await anext(stream)
        elif how == "returns a list":
            with pytest.raises(TypeError, match="returned list, no async iterator"):
                await anext(stream)
        elif how == "goes twice":
            async with stream:
                assert await anext(stream) == 0
        else:
            assert [item async for item in stream] == [7]
        await asyncio.sleep(1)
        assert len(notes) == {"raises": 1, "returns a list": 1, "goes twice": 2, "goes not at all": 0}[how]
        assert all(not c.exchanges for c in node_of(mesh).links)


async def test_middleware_of_the_serving_side_may_wrap_a_stream() -> None:
    agent, notes = counter()

    @agent.middleware
    async def label(call: Any, proceed: Any) -> Any:
        items = await proceed(call)

        async def labelled() -> AsyncIterator[str]:
            async for item in items:
                yield f"{call.kind} {item}"

        return labelled()

    async with MemoryMesh(agent) as mesh:
        assert await _all(mesh.stream("count", {"to": 3})) == ["stream 0", "stream 1", "stream 2"]
        async with mesh.stream("count", {"to": 10**9}) as items:
            assert await anext(items) == "stream 0"
        await asyncio.sleep(1)
        gc.collect()
        await asyncio.sleep(1)
        assert notes == ["closed", "closed"]


# Events


async def test_several_tasks_share_a_subscription_and_each_event_goes_to_one() -> None:
    agent = Agent("a")
    got: list[int] = []

    async with MemoryMesh(agent) as mesh, mesh.subscribe("news", returns=int) as events:

        async def read() -> None:
            async for event in events:
                got.append(event.data)

        readers = [asyncio.ensure_future(read()) for _ in range(3)]
        await asyncio.sleep(1)
        readers[0].cancel()
        await asyncio.sleep(0)
        for number in range(100):
            await agent.mesh.publish("news", number)
        await asyncio.sleep(1)
        assert sorted(got) == list(range(100))
        await events.aclose()
        await asyncio.wait(readers, timeout=1)
        assert all(reader.done() for reader in readers)


async def test_entering_waits_for_those_present_however_many_enter_at_once() -> None:
    agent = Agent("a")
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        await asyncio.sleep(1)
        mesh.network.delay(0.5)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        subscriptions = [mesh.subscribe("news") for _ in range(3)]
        await asyncio.gather(*(each.__aenter__() for each in subscriptions))
        assert loop.time() - begun == pytest.approx(1, abs=0.1)
        assert await agent.mesh.publish("news", 1) == 1
        for each in subscriptions:
            assert (await anext(each)).data == 1
            await each.aclose()


async def test_a_peer_that_hangs_holds_up_no_subscription(between: Any, node_of: Any) -> None:
    first, second = Agent("first"), Agent("second")
    async with MemoryMesh(first, second) as mesh:
        await mesh.agents()
        mesh.network.partition(node_of(second).endpoint.addresses[0])
        await asyncio.sleep(10)
        begun = asyncio.get_running_loop().time()
        async with mesh.subscribe("news") as events:
            assert asyncio.get_running_loop().time() - begun < 1
            await first.mesh.publish("news", 1)
            assert (await anext(events)).data == 1
            mesh.network.heal()
            await asyncio.sleep(10)
            await second.mesh.publish("news", 2)
            assert (await anext(events)).data == 2


async def test_a_dropped_subscription_is_closed_with_a_warning(node_of: Any) -> None:
    agent = Agent("a")
    async with MemoryMesh(agent) as mesh:
        events = mesh.subscribe("news")
        await events.__aenter__()
        await agent.mesh.publish("news", 1)
        await anext(events)
        with pytest.warns(ResourceWarning, match="dropped open"):
            del events
            gc.collect()
        await asyncio.sleep(1)
        assert node_of(mesh).events.patterns() == []
        assert await agent.mesh.publish("news", 2) == 0


async def test_a_subscription_that_could_not_be_entered_is_none(node_of: Any) -> None:
    agent = Agent("a")
    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        await asyncio.sleep(1)
        mesh.network.delay(5)
        events = mesh.subscribe("news")
        entering = asyncio.ensure_future(events.__aenter__())
        await asyncio.sleep(1)
        entering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await entering
        assert node_of(mesh).events.patterns() == []
        with pytest.raises(StopAsyncIteration):
            await anext(events)


async def test_a_subscription_ends_with_its_node_and_one_that_comes_later_ends_at_once(node_of: Any) -> None:
    mesh = MemoryMesh()
    await mesh.start()
    late = mesh.subscribe("news")
    async with mesh.subscribe("news") as events:
        await mesh.publish("news", 1)
        reading = asyncio.ensure_future(_all(events))
        await mesh.stop()
        assert [event.data for event in await reading] == [1]
    assert await asyncio.wait_for(_all(late), 5) == []


async def test_a_closed_subscription_gives_nothing_more() -> None:
    async with MemoryMesh() as mesh, mesh.subscribe("news") as events:
        await mesh.publish("news", 1)
        await events.aclose()
        assert await _all(events) == []


async def test_more_patterns_than_peers_take_are_refused_where_they_are_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events_module, "MAX_PATTERNS", 3)
    async with MemoryMesh() as mesh:
        subscriptions = [mesh.subscribe(f"news.{number}") for number in range(4)]
        for each in subscriptions[:3]:
            await each.__aenter__()
        with pytest.raises(ConfigError, match="patterns already"):
            await subscriptions[3].__aenter__()
        again = mesh.subscribe("news.0")
        await again.__aenter__()  # the same pattern costs others nothing
        await subscriptions[1].aclose()
        async with mesh.subscribe("news.3"):
            pass
        for each in (subscriptions[0], subscriptions[2], again):
            await each.aclose()


async def test_an_event_whose_type_fails_in_its_own_way_is_told_and_costs_nothing_else(lines: Any) -> None:
    agent = Agent("a")
    handled: list[int] = []

    @agent.on("numbers")
    async def take(event: Event[Even]) -> None:
        handled.append(event.data.number)

    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        async with agent.mesh.subscribe("numbers", returns=Even) as numbers:
            for number in range(4):
                await mesh.publish("numbers", {"number": number})
            assert (await anext(numbers)).data == Even(0)
            with pytest.raises(InvalidResult, match="odd"):
                await anext(numbers)
            assert (await anext(numbers)).data == Even(2)
        await asyncio.sleep(1)
        assert handled == [0, 2]
        counters = (await mesh.describe("a")).counters
        assert (counters["events.handled"], counters["events.unfit"]) == (2, 2)


async def test_a_row_of_events_that_fail_is_told_once_and_counted_in_full(lines: Any) -> None:
    agent = Agent("a")

    @agent.on("numbers")
    async def take(event: Event[int]) -> None:
        if event.data < 0:
            raise ValueError("below zero")

    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        for number in [*[-1] * 50, 1, *[-1] * 50]:
            await mesh.publish("numbers", number)
            await asyncio.sleep(0.01)
        for _ in range(50):
            await mesh.publish("numbers", "none")
        await asyncio.sleep(1)
        counters = (await mesh.describe("a")).counters
        assert (counters["events.failed"], counters["events.unfit"]) == (100, 50)
        assert len(lines("event-failed")) + len(lines("event-unfit")) == 2


async def test_events_that_come_while_an_agent_stops_are_counted_as_dropped(node_of: Any) -> None:
    agent = Agent("a")

    @agent.on("numbers")
    async def take(event: Event[int]) -> None:
        await asyncio.sleep(3600)

    async with MemoryMesh(agent) as mesh:
        await mesh.agents()
        for number in range(10):
            await mesh.publish("numbers", number)
        await asyncio.sleep(1)
        node = node_of(agent)
        stopping = asyncio.ensure_future(agent.stop(grace=5))
        await asyncio.sleep(1)
        await mesh.publish("numbers", 10)
        await stopping
        assert node.counters()["events.dropped"] == 10  # all but the one that ran


async def test_a_slow_reader_of_events_is_told_how_many_it_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    agent = Agent("a")
    monkeypatch.setattr("orbitmesh.runtime.backlog.EVENTS", 10)
    async with MemoryMesh(agent) as mesh, mesh.subscribe("news", returns=int) as events:
        for number in range(25):
            await agent.mesh.publish("news", number)
        await asyncio.sleep(1)
        first = await anext(events)
        assert (first.data, first.missed) == (15, 15)
        assert [(await anext(events)).missed for _ in range(9)] == [0] * 9


async def test_waiting_for_a_stream_is_bounded_and_can_be_forbidden() -> None:
    async with MemoryMesh(timeout=5) as mesh:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(NoAgent):
            await anext(mesh.stream("nothing"))
        assert loop.time() - begun == pytest.approx(5, abs=0.01)
        begun = loop.time()
        with pytest.raises(NoAgent):
            await anext(mesh.stream("nothing", wait=False))
        assert loop.time() - begun < 1.1


async def test_errors_of_a_handler_reach_the_reader_of_its_stream() -> None:
    agent = Agent("a")

    @agent.stream()
    async def fail() -> AsyncIterator[int]:
        yield 1
        raise SystemExit(3)

    async with MemoryMesh(agent) as mesh:
        stream = mesh.stream("fail")
        assert await anext(stream) == 1
        with pytest.raises(RemoteError) as caught:
            await anext(stream)
        assert caught.value.type == "SystemExit"
