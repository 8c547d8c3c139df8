"""Large bodies with small calls beside them, ten thousand calls, two hundred streams."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from itertools import pairwise
from typing import Any

import pytest

from orbitmesh import Mesh, PayloadTooLarge

Start = Callable[..., Any]
Client = Callable[..., Awaitable[Mesh]]
Eventually = Callable[..., Awaitable[Any]]

KIB, MIB = 1024, 1024 * 1024
SIZES = [0, 1, 64 * KIB - 1, 64 * KIB, 256 * KIB, 256 * KIB + 1, 512 * KIB + 1, 5 * MIB, 60 * MIB]


@pytest.mark.parametrize("size", SIZES)
async def test_bodies_of_every_size_arrive_whole_in_both_directions(
    start_agent: Start, client: Client, size: int
) -> None:
    start_agent("a")
    mesh = await client()
    seed = hashlib.sha256(b"%d" % size).digest()
    body = (seed * (size // len(seed) + 1))[:size]
    assert await mesh.invoke("size", {"body": body}, on="a", timeout=60) == size
    assert await mesh.invoke("blob", {"size": size}, on="a", returns=bytes, timeout=60) == bytes(size)
    echoed = await mesh.invoke("echo", {"value": body}, on="a", returns=bytes, timeout=60)
    assert hashlib.sha256(echoed).digest() == hashlib.sha256(body).digest()


async def test_small_calls_go_on_beside_large_bodies(start_agent: Start, client: Client) -> None:
    """While 48 MiB go each way they are slower than on an idle link, and far from waiting for the whole."""
    start_agent("a")
    mesh = await client()

    async def median_of_calls(is_over: Callable[[], bool], least: int) -> tuple[float, int]:
        taken: list[float] = []
        while len(taken) < least or not is_over():
            begun = time.perf_counter()
            await mesh.invoke("echo", {"value": 1}, on="a", timeout=60)
            taken.append(time.perf_counter() - begun)
            await asyncio.sleep(0)
        return sorted(taken)[len(taken) // 2], len(taken)

    await median_of_calls(lambda: True, 50)
    idle, _ = await median_of_calls(lambda: True, 200)
    begun = time.perf_counter()
    up = asyncio.create_task(mesh.invoke("size", {"body": bytes(48 * MIB)}, on="a", timeout=60))
    down = asyncio.create_task(mesh.invoke("blob", {"size": 48 * MIB}, on="a", returns=bytes, timeout=60))
    beside, count = await median_of_calls(lambda: up.done() and down.done(), 5)
    whole = time.perf_counter() - begun
    assert await up == len(await down) == 48 * MIB
    assert count >= 10, f"only {count} small calls were answered in {whole:.2f} s beside the large ones"
    # A chunk or two in either direction may be ahead of a small call; never a good part of the transfer.
    assert beside < max(100 * idle, whole / 5), (idle, beside, whole)


async def test_a_body_over_the_limit_is_refused_where_it_is_made(start_agent: Start, client: Client) -> None:
    start_agent("a")
    mesh = await client(max_body=1 * MIB)
    with pytest.raises(PayloadTooLarge, match="stream"):
        await mesh.invoke("size", {"body": bytes(2 * MIB)}, on="a")
    # What the other side makes is judged by this side's limit too.
    with pytest.raises(PayloadTooLarge):
        await mesh.invoke("blob", {"size": 2 * MIB}, on="a")
    assert await mesh.invoke("size", {"body": bytes(MIB - KIB)}, on="a") == MIB - KIB
    assert mesh.counters().get("links.breaches", 0) == 0


async def test_a_body_over_the_other_sides_limit_is_refused_before_it_is_sent(
    start_agent: Start, client: Client
) -> None:
    start_agent("a", MAX_BODY=1 * MIB)
    mesh = await client()
    with pytest.raises(PayloadTooLarge):
        await mesh.invoke("size", {"body": bytes(2 * MIB)}, on="a")
    with pytest.raises(PayloadTooLarge):
        await mesh.invoke("blob", {"size": 2 * MIB}, on="a")
    assert await mesh.invoke("size", {"body": bytes(MIB - KIB)}, on="a") == MIB - KIB
    assert mesh.counters().get("links.breaches", 0) == 0


async def test_many_large_bodies_at_once_take_turns(start_agent: Start, client: Client) -> None:
    """More than the other side may assemble at once: the later ones wait before any part of them is sent."""
    start_agent("a", concurrency=64)
    mesh = await client()
    body = bytes(20 * MIB)
    sizes = await asyncio.gather(*(mesh.invoke("size", {"body": body}, on="a", timeout=90) for _ in range(16)))
    assert sizes == [20 * MIB] * 16


async def test_a_large_body_that_is_cancelled_half_way_leaves_the_link_whole(
    start_agent: Start, client: Client, eventually: Eventually
) -> None:
    start_agent("a")
    mesh = await client()
    await mesh.invoke("whoami", on="a")
    for turn in range(12):
        call = asyncio.create_task(mesh.invoke("echo", {"value": bytes(16 * MIB)}, on="a", timeout=60))
        for _ in range(turn * 3):
            await asyncio.sleep(0)
        call.cancel()
        await asyncio.wait([call])
        assert await mesh.invoke("echo", {"value": turn}, on="a") == turn
    assert await mesh.invoke("size", {"body": bytes(40 * MIB)}, on="a", timeout=60) == 40 * MIB
    assert mesh.counters().get("links.breaches", 0) == 0


async def test_ten_thousand_calls_with_five_hundred_in_flight_are_all_answered(
    start_agent: Start, client: Client
) -> None:
    start_agent("a", concurrency=256, queue=512)
    mesh = await client()
    await mesh.invoke("whoami", on="a")
    numbers = iter(range(10_000))
    answers: list[int] = []

    async def call_on() -> None:
        for number in numbers:
            answer = await mesh.invoke("echo", {"value": number}, on="a", returns=int, timeout=60)
            assert answer == number
            answers.append(answer)

    await asyncio.gather(*(call_on() for _ in range(500)))
    assert sorted(answers) == list(range(10_000))
    counters = (await mesh.describe("a")).counters
    assert counters["requests.handled"] >= 10_000
    assert not counters.get("requests.refused_overloaded")


async def test_two_hundred_streams_at_once_are_each_whole_and_in_order(start_agent: Start, client: Client) -> None:
    start_agent("a")
    mesh = await client()

    async def read(pause: int) -> None:
        last = -1
        async with mesh.stream("count", {"to": 300}, on="a", returns=int) as numbers:
            async for number in numbers:
                assert number == last + 1
                last = number
                if number % 50 < pause:
                    await asyncio.sleep(0)
        assert last == 299

    await asyncio.gather(*(read(stream % 7) for stream in range(200)))


async def test_a_stream_that_nobody_reads_holds_up_nobody_else(start_agent: Start, client: Client) -> None:
    start_agent("a")
    mesh = await client()
    async with mesh.stream("count", {"to": 1_000_000}, on="a", returns=int) as idle:
        assert await anext(idle) == 0
        others = [[n async for n in mesh.stream("count", {"to": 2000}, on="a", returns=int)] for _ in range(3)]
        assert others == [list(range(2000))] * 3
        assert await mesh.invoke("echo", {"value": 1}, on="a") == 1
        following = [await anext(idle) for _ in range(5000)]
        assert all(later == earlier + 1 for earlier, later in pairwise(following))


async def test_events_that_a_busy_reader_misses_are_counted_in_the_next(start_agent: Start, client: Client) -> None:
    """Twelve thousand are more than may wait: what is dropped is the oldest, and the sum comes out even."""
    start_agent("a")
    mesh = await client()
    await mesh.invoke("whoami", on="a")
    count = 12_000
    async with mesh.subscribe("flood", returns=int) as events:
        await mesh.invoke("emit", {"topic": "flood", "first": 0, "count": count}, on="a", timeout=60)
        await mesh.invoke("emit", {"topic": "flood", "first": count, "count": 1}, on="a")
        heard, missed, last = 0, 0, -1
        while last != count:
            event = await anext(events)
            assert event.data == last + 1 + event.missed
            heard, missed, last = heard + 1, missed + event.missed, event.data
    assert heard + missed == count + 1
