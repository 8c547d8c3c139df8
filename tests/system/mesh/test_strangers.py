"""Strangers on an agent's port: whatever they send, its callers go on, nothing grows, and its counters tell."""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
import zmq
from zmq.utils import z85

from orbitmesh import Mesh

Start = Callable[..., Any]
Client = Callable[..., Awaitable[Mesh]]
Eventually = Callable[..., Awaitable[Any]]

GREETING = b"\xff\x00\x00\x00\x00\x00\x00\x00\x01\x7f\x03\x00"


@pytest.fixture
def knock() -> Iterator[Callable[[str], socket.socket]]:
    """Open plain connections to an address; they are closed at the end."""
    opened: list[socket.socket] = []

    def connect(address: str) -> socket.socket:
        host, _, port = address.removeprefix("tcp://").partition("?")[0].rpartition(":")
        one = socket.create_connection((host, int(port)), timeout=10)
        opened.append(one)
        return one

    yield connect
    for one in opened:
        one.close()


@pytest.fixture
def dealer() -> Iterator[Callable[..., zmq.Socket[bytes]]]:
    """Open ZeroMQ sockets, with the agent's public key where one is given; they are closed at the end."""
    context = zmq.Context[zmq.Socket[bytes]]()
    opened: list[zmq.Socket[bytes]] = []

    def connect(address: str, key: bytes | None = None) -> zmq.Socket[bytes]:
        one = context.socket(zmq.DEALER)
        one.set(zmq.LINGER, 0)
        if key is not None:
            public, secret = zmq.curve_keypair()
            one.set(zmq.CURVE_SERVERKEY, z85.encode(key))
            one.set(zmq.CURVE_PUBLICKEY, public)
            one.set(zmq.CURVE_SECRETKEY, secret)
        one.set(zmq.RECONNECT_IVL, 3_600_000)
        one.connect(address)
        opened.append(one)
        return one

    yield connect
    for one in opened:
        one.close()
    context.term()


class Goodwill:
    """A client that calls on and on beside the strangers."""

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.answered = 0
        self._task = asyncio.create_task(self._go_on())

    async def _go_on(self) -> None:
        while True:
            assert await self.mesh.invoke("echo", {"value": self.answered}, on="a", timeout=10) == self.answered
            self.answered += 1
            await asyncio.sleep(0.005)

    async def still_goes_on(self, eventually: Eventually) -> None:
        """Wait for more answers than there were."""
        wanted = self.answered + 20
        await eventually(lambda: self._task.done() or self.answered >= wanted)
        assert not self._task.done(), self._task

    async def counters(self) -> dict[str, int]:
        return dict((await self.mesh.describe("a")).counters)

    async def end(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


async def test_garbage_and_half_open_connections_cost_nobody_else_anything(
    start_agent: Start,
    client: Client,
    address_of: Callable[..., str],
    knock: Callable[[str], socket.socket],
    eventually: Eventually,
) -> None:
    start_agent("a")
    mesh = await client()
    before = await mesh.invoke("holds", on="a")
    goodwill = Goodwill(mesh)
    address = address_of("a")
    openings = [
        b"",
        secrets.token_bytes(64),
        secrets.token_bytes(4096),
        b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # TLS
        GREETING + b"NULL".ljust(20, b"\0") + bytes(32),
        GREETING + b"CURVE".ljust(20, b"\0") + bytes(32) + b"\x04\xc8" + b"\x05HELLO" + secrets.token_bytes(194),
        GREETING + b"CURVE".ljust(20, b"\0") + bytes(32) + b"\x06\x7f\xff\xff\xff\xff\xff\xff\xff",
        GREETING[:5],
    ]
    knocking = [knock(address) for _ in range(10) for _ in openings]
    for number, one in enumerate(knocking):
        one.sendall(openings[number % len(openings)])
    await goodwill.still_goes_on(eventually)
    counters = await goodwill.counters()
    assert counters["transport.accepted"] >= len(knocking)
    for one in knocking[::2]:
        one.close()

    async def are_gone() -> bool:
        """Those that stay open and say nothing are shut by the agent, in the time for a HELLO."""
        counters = await goodwill.counters()
        return counters["transport.connections"] == 1

    await eventually(are_gone)
    await goodwill.still_goes_on(eventually)
    counters = await goodwill.counters()
    refused = ("transport.silent", "transport.unproven", "transport.failed_handshakes")
    assert sum(counters[name] for name in refused) >= len(knocking)
    assert counters["links.accepted"] == 1
    await goodwill.end()

    async def is_as_before() -> bool:
        return bool(await mesh.invoke("holds", on="a") == before)

    await eventually(is_as_before, what=lambda: before)


async def test_a_peer_without_encryption_gets_nowhere(
    start_agent: Start,
    client: Client,
    address_of: Callable[..., str],
    dealer: Callable[..., zmq.Socket[bytes]],
    eventually: Eventually,
) -> None:
    start_agent("a")
    goodwill = Goodwill(await client())
    await goodwill.still_goes_on(eventually)
    address = address_of("a").partition("?")[0]
    for _ in range(5):
        dealer(address).send(b"hello")

    async def are_refused() -> bool:
        return (await goodwill.counters())["transport.failed_handshakes"] >= 5

    await eventually(are_refused)
    await goodwill.still_goes_on(eventually)
    assert (await goodwill.counters())["links.accepted"] == 1
    await goodwill.end()


@pytest.mark.parametrize(
    "message",
    [
        [b""],
        [b"hello"],
        [secrets.token_bytes(500)],
        [secrets.token_bytes(60_000)],
        [b"\x90"],
        [b"\x91\x93\x01\x00\x00"],
        [b"\xdd\xff\xff\xff\xff"],
        [b"\x91" * 5000],
        [b"a", b"b", b"c"],
        [b"x"] * 10,
    ],
    ids=["empty", "text", "random", "large", "no-envelopes", "cut", "huge-array", "deep", "three-frames", "ten-frames"],
)
async def test_the_right_key_and_a_hello_of_garbage_is_shut_and_forgotten(
    start_agent: Start,
    client: Client,
    address_of: Callable[..., str],
    dealer: Callable[..., zmq.Socket[bytes]],
    eventually: Eventually,
    message: list[bytes],
) -> None:
    """Who learned the public key, and is no member, gets as far as one message."""
    child = start_agent("a")
    goodwill = Goodwill(await client())
    await goodwill.still_goes_on(eventually)
    address, _, key = address_of("a").partition("?key=")
    for _ in range(3):
        dealer(address, bytes.fromhex(key)).send_multipart(message)

    async def are_shut() -> bool:
        counters = await goodwill.counters()
        return counters["transport.accepted"] >= 4 and counters["transport.connections"] == 1

    await eventually(are_shut)
    counters = await goodwill.counters()
    assert counters.get("links.faults", 0) == 0
    breaches = counters.get("links.breaches", 0) + counters["transport.breaches"]
    assert breaches + counters["transport.silent"] + counters["transport.unproven"] >= 3, counters
    await goodwill.still_goes_on(eventually)
    await goodwill.end()
    assert "Traceback" not in child.err


async def test_many_strangers_with_the_right_key_leave_nothing_in_the_agent(
    start_agent: Start,
    client: Client,
    address_of: Callable[..., str],
    dealer: Callable[..., zmq.Socket[bytes]],
    eventually: Eventually,
) -> None:
    start_agent("a")
    mesh = await client()
    await mesh.invoke("whoami", on="a")
    before = await mesh.invoke("holds", on="a")
    address, _, key = address_of("a").partition("?key=")
    for _ in range(60):
        dealer(address, bytes.fromhex(key)).send(b"hello")

    async def is_as_before() -> bool:
        counters = (await mesh.describe("a")).counters
        if counters["transport.accepted"] < 61 or counters["transport.connections"] > 1:
            return False
        return bool(await mesh.invoke("holds", on="a") == before)

    await eventually(is_as_before, what=lambda: before)
    # What waits, beats and is looked through is what is linked: one client.
    assert await mesh.invoke("connections", on="a") == 1
