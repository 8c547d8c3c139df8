"""Nodes of one process reach each other in order and in later turns, and are told what a socket would tell."""

from __future__ import annotations

import asyncio
import gc
import itertools
import weakref
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any

import pytest

from orbitmesh.builtin.memory import MemoryTransport
from orbitmesh.builtin.memory.inbox import TURN_DELIVERIES
from orbitmesh.core.errors import ConfigError
from orbitmesh.spi.transport import Frame, Pipe

Opened = Callable[..., Awaitable[Any]]
Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def settled() -> None:
    """Wait until nothing is on its way: on a loop of virtual time, a second is enough for all that takes less."""
    await asyncio.sleep(1)


async def pair(opened: Opened) -> tuple[Any, Any, Pipe, Pipe]:
    """Two nodes with a connection; the first one dialled."""
    a, b = await opened(), await opened()
    dialled = a.endpoint.dial(b.address, key=b.key)
    dialled.send([b"hello"])
    await settled()
    a.told.clear()
    b.told.clear()
    return a, b, dialled, b.pipes[0]


def test_a_dial_connects_and_the_other_side_hears_of_it_with_the_first_message(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a, b = await opened(), await opened()
        pipe = a.endpoint.dial(b.address, key=b.key)
        assert a.told == b.told == []  # never within the call
        await settled()
        assert a.told == [("connected", b.key), ("burst",)]
        assert "connected" not in b.kinds()
        assert pipe.send([b"hello", b"world"])
        await settled()
        assert b.told[-3:] == [("connected", a.key), ("received", b"hello", b"world"), ("burst",)]
        accepted = b.pipes[0]
        assert (pipe.is_dialled, pipe.address, pipe.peer_key) == (True, b.address, b.key)
        assert (accepted.is_dialled, accepted.address, accepted.peer_key) == (False, a.address, a.key)
        assert b.endpoint.counters() == {"accepted": 1}

    run(scene())


def test_messages_come_in_order_both_ways_and_in_one_burst(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a, b, left, right = await pair(opened)
        for number in range(10):
            assert left.send([bytes([number])])
            assert right.send([bytes([number])])
        await settled()
        expected = [("received", bytes([number])) for number in range(10)]
        assert a.told == b.told == [*expected, ("burst",)]

    run(scene())


def test_a_turn_is_bounded(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        _, b, left, _ = await pair(opened)
        for _ in range(2 * TURN_DELIVERIES + 1):
            left.send([b"x"])
        await settled()
        assert b.kinds().count("received") == 2 * TURN_DELIVERIES + 1
        assert b.kinds().count("burst") == 3
        assert b.kinds().index("burst") == TURN_DELIVERIES

    run(scene())


def test_what_is_sent_from_within_a_turn_comes_in_a_later_one(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a = await opened()
        pipe = a.endpoint.dial(a.address, key=a.key)  # a node that talks to itself
        left = 5

        def answer(on: Pipe, frames: Sequence[Frame]) -> None:
            nonlocal left
            left -= 1
            if left:
                on.send([b"again"])

        a.on_message = answer
        pipe.send([b"first"])
        await settled()
        assert a.kinds().count("received") == 5
        kinds = a.kinds()
        assert all(after == "burst" for kind, after in itertools.pairwise(kinds) if kind == "received")

    run(scene())


def test_neither_side_sees_the_other_s_mutable_memory(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        _, b, left, _ = await pair(opened)
        memory = bytearray(b"before")
        left.send([memoryview(memory)[:3], memoryview(memory)])
        memory[:] = b"after!"
        await settled()
        assert b.told[0] == ("received", b"bef", b"before")
        assert all(type(frame) is bytes for frame in b.told[0][1:])

    run(scene())


@pytest.mark.parametrize("closer", [0, 1])
def test_a_closed_pipe_is_lost_at_the_other_end_after_all_that_was_sent(run: Run, opened: Opened, closer: int) -> None:
    async def scene() -> None:
        a, b, left, right = await pair(opened)
        node, mine, other = (a, left, b) if closer == 0 else (b, right, a)
        mine.send([b"last"])
        mine.close()
        mine.close()
        assert not mine.send([b"too late"])
        await settled()
        assert other.told == [
            ("received", b"last"),
            ("lost", "the other side closed the connection"),
            ("burst",),
        ]
        assert node.told == []

    run(scene())


def test_a_message_that_crosses_a_close_is_counted(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a, b, left, right = await pair(opened)
        assert right.send([b"crossing"])
        left.close()
        await settled()
        assert a.told == [("burst",)]
        assert a.endpoint.counters()["dropped"] == 1
        assert not right.send([b"x"])
        assert b.kinds() == ["lost", "burst"]

    run(scene())


def test_a_pipe_closed_by_the_receiver_at_connected_brings_nothing(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a, b = await opened(), await opened()
        b.connected = lambda pipe: pipe.close()
        pipe = a.endpoint.dial(b.address, key=b.key)
        pipe.send([b"one"])
        pipe.send([b"two"])
        await settled()
        assert b.words == []
        assert [kind for kind in a.kinds() if kind != "burst"] == ["connected", "lost"]

    run(scene())


# Dials that fail


def test_a_dial_to_nobody_is_lost(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a = await opened()
        a.endpoint.dial("memory://77", key=bytes(32))
        assert a.told == []
        await settled()
        assert a.told == [("lost", "nobody listens at memory://77"), ("burst",)]
        assert a.endpoint.counters() == {"failed_handshakes": 1}

    run(scene())


def test_a_dial_with_a_wrong_key_is_lost_and_the_other_node_is_not_bothered(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a, b = await opened(), await opened()
        pipe = a.endpoint.dial(b.address, key=bytes(32))
        pipe.send([b"secret"])
        await settled()
        assert a.told == [("lost", "the handshake failed: the other side holds another key"), ("burst",)]
        assert not {"connected", "received"} & set(b.kinds())
        assert not pipe.send([b"x"])
        assert b.endpoint.counters() == {"failed_handshakes": 1, "dropped": 1}

    run(scene())


def test_a_dial_to_a_node_that_ends_meanwhile_is_lost(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a, b = await opened(), await opened()
        a.endpoint.dial(b.address, key=b.key)
        await b.endpoint.close()
        await settled()
        assert a.kinds() == ["lost", "burst"]

    run(scene())


def test_refused_keys_and_hosts_are_not_admitted_and_the_last_word_counts(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a, b = await opened(), await opened()
        for keys, hosts in ((frozenset({a.key}), frozenset[str]()), (frozenset[bytes](), frozenset({"1"}))):
            b.endpoint.refuse(keys=keys, hosts=hosts)
            a.endpoint.dial(b.address, key=b.key)
            await settled()
            assert a.told[-2] == ("lost", "the handshake failed: the other side refuses this node")
        assert b.endpoint.counters() == {"refused": 2}
        b.endpoint.refuse(keys=frozenset(), hosts=frozenset())
        a.endpoint.dial(b.address, key=b.key)
        await settled()
        assert a.told[-2] == ("connected", b.key)

    run(scene())


def test_connections_beyond_the_limit_are_refused_until_one_ends(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a, b = await opened(), await opened(max_connections=1)
        first = a.endpoint.dial(b.address, key=b.key)
        await settled()
        a.endpoint.dial(b.address, key=b.key)
        await settled()
        assert a.told[-2] == ("lost", "the other side has no room for another connection")
        first.close()
        await settled()
        a.endpoint.dial(b.address, key=b.key)
        await settled()
        assert a.told[-2] == ("connected", b.key)

    run(scene())


def test_a_closed_node_neither_dials_nor_hears(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a, b, left, right = await pair(opened)
        right.send([b"on its way"])
        await a.endpoint.close()
        assert not a.endpoint.dial(b.address, key=b.key).send([b"x"])
        assert not left.send([b"x"])
        await settled()
        assert a.told == []
        assert b.kinds() == ["lost", "burst"]
        assert right.is_dialled is False

    run(scene())


def test_what_is_sent_after_a_dial_that_must_fail_is_counted(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        a = await opened()
        assert a.endpoint.dial("memory://77", key=bytes(32)).send([b"x"])
        await settled()
        assert a.endpoint.counters() == {"dropped": 1, "failed_handshakes": 1}

    run(scene())


# Addresses


def test_numbers_are_given_out_and_may_be_asked_for(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        assert (await opened()).endpoint.addresses == ["memory://1"]
        assert (await opened(binds=["memory://7", "memory://0"])).endpoint.addresses == ["memory://7", "memory://2"]
        assert (await opened(preferred_port=9)).endpoint.addresses == ["memory://9"]
        assert (await opened(preferred_port=9)).endpoint.addresses == ["memory://3"]
        node = await opened()
        assert await node.endpoint.bind("memory://0") == ["memory://5"]
        assert node.endpoint.addresses == ["memory://4", "memory://5"]

    run(scene())


def test_a_taken_number_is_refused_and_leaves_nothing_behind(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        await opened(binds=["memory://1"])
        with pytest.raises(ConfigError, match="memory://1 is taken; bind memory://0"):
            await opened(binds=["memory://2", "memory://1"])
        await opened(binds=["memory://2"])

    run(scene())


def test_a_closed_node_frees_its_numbers(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        node = await opened(binds=["memory://4"])
        await node.endpoint.close()
        await opened(binds=["memory://4"])

    run(scene())


@pytest.mark.parametrize(
    "address", ["tcp://127.0.0.1:1", "memory://", "memory://x", "memory:1", "memory://-1", "memory://٣"]
)
async def test_other_addresses_are_refused(opened: Opened, address: str) -> None:
    node = await opened()
    with pytest.raises(ConfigError, match="is no address of the memory transport"):
        node.endpoint.dial(address, key=bytes(32))
    with pytest.raises(ConfigError, match="is no address of the memory transport"):
        await node.endpoint.bind(address)
    with pytest.raises(ConfigError, match="is no address of the memory transport"):
        await opened(binds=[address])


# Whose network it is


async def test_nodes_that_name_no_network_share_that_of_their_loop(opened: Opened) -> None:
    a, b = await opened(on=None), await opened(on=None)
    connected = asyncio.get_running_loop().create_future()
    a.connected = lambda pipe: connected.set_result(pipe.peer_key)
    a.endpoint.dial(b.address, key=b.key)
    async with asyncio.timeout(10):
        assert await connected == b.key
    await a.endpoint.close()
    await b.endpoint.close()


@pytest.mark.parametrize("forgets", [False, True])
def test_a_network_goes_with_its_loop_even_where_a_node_was_never_closed(opened: Opened, forgets: bool) -> None:
    kept = []

    async def scene() -> None:
        node = await opened(on=None)
        kept.append(weakref.ref(node.endpoint.network))
        if not forgets:
            await node.endpoint.close()

    async def look() -> None:
        await (await opened(on=None)).endpoint.close()

    asyncio.run(scene())
    asyncio.run(look())
    gc.collect()
    assert kept[0]() is None


def test_networks_of_two_loops_are_apart(opened: Opened) -> None:
    async def address() -> str:
        node = await opened(on=None)
        return str(node.address)

    with asyncio.Runner() as one, asyncio.Runner() as other:
        assert one.run(address()) == other.run(address()) == "memory://1"
        assert one.run(address()) == "memory://2"


def test_a_network_in_use_on_one_loop_is_refused_on_another(opened: Opened) -> None:
    async def open_one() -> Any:
        return await opened()

    with asyncio.Runner() as one, asyncio.Runner() as other:
        node = one.run(open_one())
        with pytest.raises(ConfigError, match="in use on another event loop"):
            other.run(open_one())
        one.run(node.endpoint.close())
        other.run(open_one())


def test_it_works_on_uvloop(opened: Opened) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def scene() -> None:
        await test_nodes_that_name_no_network_share_that_of_their_loop(opened)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(scene())


def test_it_is_a_transport_by_name_and_scheme() -> None:
    assert MemoryTransport().name == "memory"
    assert tuple(MemoryTransport().schemes) == ("memory",)


def test_a_receiver_that_fails_costs_one_delivery(run: Run, opened: Opened) -> None:
    async def scene() -> None:
        _, b, left, _ = await pair(opened)
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: failures.append(context))

        def fail_once(pipe: Pipe, frames: Sequence[Frame]) -> None:
            if frames[0] == b"bad":
                raise ZeroDivisionError

        b.on_message = fail_once
        for word in (b"bad", b"good"):
            left.send([word])
        await settled()
        assert b.words == [b"bad", b"good"]
        assert [type(failure["exception"]) for failure in failures] == [ZeroDivisionError]

    run(scene())
