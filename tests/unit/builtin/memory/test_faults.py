"""A network in memory fails as cables, routers and processes do, and as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.builtin.memory import MemoryNetwork, MemoryTransport
from orbitmesh.builtin.memory.endpoint import DIAL_SECONDS
from orbitmesh.core.errors import ConfigError
from orbitmesh.spi.transport import Frame, Pipe, TransportSettings
from orbitmesh.testing.clock import run_virtually

Opened = Callable[..., Awaitable[Any]]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def three(opened: Opened) -> tuple[Any, Any, Any]:
    """Three nodes, the first linked to both others."""
    hub, *spokes = [await opened() for _ in range(3)]
    for spoke in spokes:
        hub.endpoint.dial(spoke.address, key=spoke.key).send([b"hello"])
    await asyncio.sleep(1)
    for node in (hub, *spokes):
        node.told.clear()
    return hub, *spokes


class Listener:
    """A node that remembers what it heard."""

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.words: list[bytes] = []
        self.pipes: list[Pipe] = []

    def connected(self, pipe: Pipe) -> None:
        self.pipes.append(pipe)

    def received(self, pipe: Pipe, frames: Sequence[Frame]) -> None:
        self.words += map(bytes, frames)

    def burst_ended(self) -> None:
        pass

    def lost(self, pipe: Pipe, reason: str) -> None:
        raise AssertionError(reason)


async def linked(network: MemoryNetwork) -> tuple[Listener, Listener]:
    """Two nodes with a connection, which have heard nothing yet."""
    one, other = Listener(b"1" * 32), Listener(b"2" * 32)
    ends = [
        await MemoryTransport(network).open(
            TransportSettings(public_key=node.key, secret_key=bytes(32), binds=()), node
        )
        for node in (one, other)
    ]
    ends[0].dial(ends[1].addresses[0], key=other.key).send([b"hello"])
    await asyncio.sleep(1)
    other.words.clear()
    return one, other


@pytest.mark.parametrize("by", ["addresses", "keys", "address and key"])
def test_a_partition_is_silence_and_what_was_sent_comes_after_it(
    run: Run, network: MemoryNetwork, opened: Opened, by: str
) -> None:
    async def scene() -> None:
        hub, cut, other = await three(opened)
        places = {
            "addresses": (hub.address, cut.address),
            "keys": (cut.key, hub.key),
            "address and key": (hub.address, cut.key),
        }[by]
        network.partition(*places)
        for pipe in hub.pipes:
            assert pipe.send([b"one"])
        assert cut.pipes[0].send([b"back"])
        await asyncio.sleep(100)
        assert cut.told == hub.told == []  # no error, and nobody was cut off
        assert other.words == [b"one"]
        network.heal(*reversed(places))
        for pipe in hub.pipes:
            assert pipe.send([b"two"])
        await asyncio.sleep(1)
        assert cut.words == [b"one", b"two"]
        assert hub.words == [b"back"]

    run(scene())


def test_what_a_partition_held_back_comes_before_what_is_still_on_its_way(
    run: Run, network: MemoryNetwork, opened: Opened
) -> None:
    async def scene() -> None:
        hub, cut, _ = await three(opened)
        network.partition(hub.key, cut.key)
        hub.pipes[0].send([b"held"])
        await asyncio.sleep(1)
        hub.pipes[0].send([b"on its way"])
        asyncio.get_running_loop().advance(0.001)  # type: ignore[attr-defined]  # a VirtualLoop
        network.heal()
        hub.pipes[0].send([b"after"])
        await asyncio.sleep(1)
        assert cut.words == [b"held", b"on its way", b"after"]

    run(scene())


@given(st.lists(st.sampled_from(["send", "back", "part", "heal", "wait", "slow", "fast", "turn"]), max_size=40))
def test_order_holds_under_any_faults(steps: list[str]) -> None:
    async def scene() -> None:
        network = MemoryNetwork()
        hub, other = await linked(network)
        count = 0
        for step in steps:
            match step:
                case "send" | "back":
                    count += 1
                    (hub if step == "send" else other).pipes[0].send([count.to_bytes(2, "big")])
                case "part":
                    network.partition(hub.key, other.key)
                case "heal":
                    network.heal()
                case "slow" | "fast":
                    network.delay(1.0 if step == "slow" else 0.0)
                case "wait" | "turn":
                    await asyncio.sleep(0.4 if step == "wait" else 0)
        network.heal()
        await asyncio.sleep(100)
        assert other.words == sorted(other.words)
        assert hub.words == sorted(hub.words)
        assert len(hub.words) + len(other.words) == count

    run_virtually(scene())


def test_one_node_may_be_cut_off_from_all(run: Run, network: MemoryNetwork, opened: Opened) -> None:
    async def scene() -> None:
        hub, left, right = await three(opened)
        network.partition(hub.key)
        left.pipes[0].send([b"x"])
        right.pipes[0].send([b"x"])
        await asyncio.sleep(1)
        assert hub.words == []
        network.heal(hub.key)
        await asyncio.sleep(1)
        assert hub.words == [b"x", b"x"]

    run(scene())


def test_heal_without_arguments_ends_every_partition(run: Run, network: MemoryNetwork, opened: Opened) -> None:
    async def scene() -> None:
        hub, left, right = await three(opened)
        network.partition(hub.key, left.key)
        network.partition(hub.address, right.address)
        for node in (left, right):
            node.pipes[0].send([b"x"])
        network.heal()
        await asyncio.sleep(1)
        assert hub.words == [b"x", b"x"]

    run(scene())


def test_a_connection_given_up_in_a_partition_brings_nothing_after_it(
    run: Run, network: MemoryNetwork, opened: Opened
) -> None:
    async def scene() -> None:
        hub, cut, _ = await three(opened)
        network.partition(hub.key, cut.key)
        hub.pipes[0].send([b"unread"])
        cut.pipes[0].close()
        await asyncio.sleep(1)
        assert hub.told == []
        network.heal()
        await asyncio.sleep(1)
        assert cut.words == []
        assert cut.endpoint.counters()["dropped"] == 1
        assert hub.told == [("lost", "the other side closed the connection"), ("burst",)]

    run(scene())


def test_a_dial_into_a_partition_is_lost_in_time_and_leaves_nothing_half_open(
    run: Run, network: MemoryNetwork, opened: Opened
) -> None:
    async def scene() -> None:
        a, b = await opened(), await opened(max_connections=1)
        network.partition(a.key, b.key)
        a.endpoint.dial(b.address, key=b.key).send([b"hello"])
        await asyncio.sleep(DIAL_SECONDS - 0.1)
        assert a.told == []
        await asyncio.sleep(0.2)
        assert a.told == [("lost", "nobody answered in time"), ("burst",)]
        network.heal()
        await asyncio.sleep(1)
        a.endpoint.dial(b.address, key=b.key)
        await asyncio.sleep(1)
        assert a.told[-2] == ("connected", b.key)

    run(scene())


def test_a_dial_into_a_short_partition_succeeds(run: Run, network: MemoryNetwork, opened: Opened) -> None:
    async def scene() -> None:
        a, b = await opened(), await opened()
        network.partition(a.key)
        a.endpoint.dial(b.address, key=b.key).send([b"hello"])
        await asyncio.sleep(1)
        network.heal()
        await asyncio.sleep(DIAL_SECONDS)
        assert a.told == [("connected", b.key), ("burst",)]
        assert b.words == [b"hello"]

    run(scene())


def test_a_crash_is_a_lost_connection_for_others_and_nothing_for_the_dead(
    run: Run, network: MemoryNetwork, opened: Opened
) -> None:
    async def scene() -> None:
        hub, left, right = await three(opened)
        left.pipes[0].send([b"on its way"])
        network.crash(hub.address)
        await asyncio.sleep(1)
        assert hub.told == []
        for node in (left, right):
            assert node.told == [("lost", "the other process ended"), ("burst",)]
            assert not node.pipes[0].send([b"x"])
        assert not hub.pipes[0].send([b"x"])
        left.endpoint.dial(hub.address, key=hub.key)
        await asyncio.sleep(1)
        assert left.told[-2] == ("lost", f"nobody listens at {hub.address}")
        assert hub.told == []
        await hub.endpoint.close()  # harmless: whoever tidies up need not know

    run(scene())


def test_a_crash_behind_a_partition_is_silence_until_it_heals(run: Run, network: MemoryNetwork, opened: Opened) -> None:
    async def scene() -> None:
        hub, left, right = await three(opened)
        network.partition(hub.key, left.key)
        network.crash(hub.key)
        await asyncio.sleep(1)
        assert left.told == []
        assert right.kinds() == ["lost", "burst"]
        network.heal()
        await asyncio.sleep(1)
        assert left.kinds() == ["lost", "burst"]

    run(scene())


def test_a_crash_of_nobody_is_a_mistake(network: MemoryNetwork) -> None:
    with pytest.raises(ConfigError, match="nobody is at 'memory://9'"):
        network.crash("memory://9")


def test_a_delay_is_what_a_message_takes_and_keeps_order_when_it_shrinks(
    run: Run, network: MemoryNetwork, opened: Opened
) -> None:
    async def scene() -> None:
        hub, left, _ = await three(opened)
        pipe, loop = hub.pipes[0], asyncio.get_running_loop()
        came: list[tuple[bytes, float]] = []
        start: float = loop.time()
        left.on_message = lambda pipe, frames: came.append((frames[0], loop.time() - start))
        network.delay(0.5)
        pipe.send([b"slow"])
        await asyncio.sleep(0.1)
        network.delay(0)
        pipe.send([b"fast"])
        await asyncio.sleep(1)
        pipe.send([b"later"])
        await asyncio.sleep(1)
        assert [word for word, _ in came] == [b"slow", b"fast", b"later"]
        assert [moment for _, moment in came] == pytest.approx([0.5, 0.5, 1.1])

    run(scene())


def test_a_dial_takes_the_way_there_and_back(run: Run, network: MemoryNetwork, opened: Opened) -> None:
    async def scene() -> None:
        a, b = await opened(), await opened()
        network.delay(0.5)
        a.endpoint.dial(b.address, key=b.key)
        await asyncio.sleep(0.9)
        assert a.told == []
        await asyncio.sleep(0.2)
        assert a.told == [("connected", b.key), ("burst",)]

    run(scene())


@pytest.mark.parametrize("seconds", [-1, float("inf"), float("nan")])
def test_a_delay_that_is_none_is_refused(network: MemoryNetwork, seconds: float) -> None:
    with pytest.raises(ConfigError, match="not below 0"):
        network.delay(seconds)
