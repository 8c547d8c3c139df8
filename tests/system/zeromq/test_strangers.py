"""Whoever connects without being a good peer is refused, bounded and counted, and good ones go on."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import zmq

from orbitmesh.spi.transport import Pipe
from orbitmesh.wire import limits

Open = Callable[..., Awaitable[Any]]
Linked = Callable[..., Awaitable[tuple[Any, Any, Pipe, Pipe]]]
Start = Callable[..., Awaitable[Any]]
Eventually = Callable[..., Awaitable[None]]
Strangers = Callable[..., Any]
Tcp = Callable[[str], socket.socket]

GREETING = b"\xff" + b"\0" * 8 + b"\x7f" + b"\x03\x01"


async def goes_on(server: Any, theirs: Pipe, ours: Pipe) -> None:
    """A good connection carries another message."""
    before = len(server.messages[theirs])
    assert ours.send([b"still"])
    await server.until(lambda: len(server.messages[theirs]) == before + 1)


async def ended(connection: socket.socket) -> None:
    """Wait until the other side has closed."""
    connection.settimeout(20)
    while True:
        try:
            if not await asyncio.to_thread(connection.recv, 4096):
                return
        except ConnectionError:
            return


async def test_refused_keys_get_no_handshake_and_others_do(node: Open) -> None:
    server, refused, admitted = await node(), await node(), await node()
    server.endpoint.refuse(keys=frozenset({refused.public_key}), hosts=frozenset())
    bad, good = refused.dial(server), admitted.dial(server)
    await refused.until(lambda: bad in refused.reasons, seconds=2.5)  # well before HANDSHAKE_IVL
    await admitted.until(lambda: good in admitted.pipes)
    assert "refuses" in refused.reasons[bad]
    assert server.count("refused") == 1
    server.endpoint.refuse(keys=frozenset(), hosts=frozenset())
    again = refused.dial(server)
    await refused.until(lambda: again in refused.pipes)


async def test_refused_hosts_get_no_handshake(node: Open) -> None:
    server, client = await node(), await node()
    server.endpoint.refuse(keys=frozenset(), hosts=frozenset({"192.0.2.1", "127.0.0.1"}))
    pipe = client.dial(server)
    await client.until(lambda: pipe in client.reasons)
    assert "refuses" in client.reasons[pipe]
    server.endpoint.refuse(keys=frozenset(), hosts=frozenset({"192.0.2.1"}))
    again = client.dial(server)
    await client.until(lambda: again in client.pipes)


async def test_what_is_refused_later_leaves_links_untouched(linked: Linked) -> None:
    server, client, theirs, ours = await linked()
    server.endpoint.refuse(keys=frozenset({client.public_key}), hosts=frozenset({"127.0.0.1"}))
    await goes_on(server, theirs, ours)


async def test_a_client_without_encryption_is_refused(linked: Linked, stranger: Strangers) -> None:
    server, _, theirs, ours = await linked()
    plain = stranger()
    plain.connect(server.endpoint.addresses[0])
    plain.send(b"hello")
    await plain.until(zmq.EVENT_DISCONNECTED, zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL, zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
    await server.until(lambda: server.count("failed_handshakes") == 1)
    await goes_on(server, theirs, ours)
    assert server.accepted == [theirs]


@pytest.mark.parametrize(
    "said",
    [
        os.urandom(4096),
        b"GET / HTTP/1.1\r\nHost: node\r\n\r\n",
        GREETING + b"CURVE".ljust(20, b"\0") + b"\0" * 32 + b"\x06" + (2**62).to_bytes(8, "big"),
        GREETING + b"CURVE".ljust(20, b"\0") + b"\0" * 32 + b"\x06" + (2**31).to_bytes(8, "big"),
        GREETING + b"CURVE".ljust(20, b"\0") + b"\0" * 32 + b"\x06" + (2**27).to_bytes(8, "big"),
        GREETING + b"CURVE".ljust(20, b"\0") + b"\0" * 32 + b"\x04\xc8\x05HELLO" + b"\x01\0" + b"\0" * 193,
    ],
    ids=["noise", "http", "length 2^62", "length 2^31", "128 MiB", "false hello"],
)
async def test_garbage_is_closed_at_once_and_counted(linked: Linked, tcp: Tcp, said: bytes) -> None:
    server, _, theirs, ours = await linked()
    is_short = not said.startswith(GREETING)  # then libzmq may wait for more, up to its bound for a handshake
    for _ in range(10):
        connection = tcp(server.endpoint.addresses[0])
        connection.sendall(said)
        if is_short:
            with suppress(OSError):  # closed already
                connection.shutdown(socket.SHUT_WR)
        await ended(connection)
    await server.until(lambda: server.count("unproven") == 10)
    await goes_on(server, theirs, ours)
    assert server.accepted == [theirs]


async def test_silent_connections_are_shut(
    linked: Linked, stranger: Strangers, tcp: Tcp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that never speak, those that stop in the handshake, and those that prove a key and then say nothing."""
    monkeypatch.setattr(limits, "HELLO_SECONDS", 0.4)
    server, _, theirs, ours = await linked()
    mute, half = tcp(server.endpoint.addresses[0]), tcp(server.endpoint.addresses[0])
    half.sendall(GREETING)
    proven = stranger(server)
    await proven.until(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    await ended(mute)
    await ended(half)
    await proven.until(zmq.EVENT_DISCONNECTED)
    await server.until(lambda: server.count("silent") == 3)
    await goes_on(server, theirs, ours)
    await server.until(lambda: server.count("connections") == 1)
    assert not server.reasons


@pytest.mark.parametrize("is_timer_first", [True, False])
async def test_a_message_that_waits_for_a_blocked_loop_counts_as_said(
    node: Open, stranger: Strangers, monkeypatch: pytest.MonkeyPatch, is_timer_first: bool
) -> None:
    monkeypatch.setattr(limits, "HELLO_SECONDS", 0.2)
    server = await node()
    one = stranger(server)
    await one.until(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    await server.until(lambda: server.count("accepted") == 1)
    one.send(b"hello")
    time.sleep(0.5)  # noqa: ASYNC251  # this is the blocked loop
    if is_timer_first:  # as on uvloop
        server.endpoint._listener._connections._time_up()
    await server.until(lambda: server.accepted or server.count("silent"))
    assert server.count("silent") == 0
    assert server.accepted


async def test_connections_over_the_cap_are_shut_at_once_and_told_once(
    node: Open, tcp: Tcp, caplog: pytest.LogCaptureFixture
) -> None:
    server = await node(max_connections=3)
    clients = [await node() for _ in range(3)]
    for client in clients:
        client.dial(server)
        await client.until(lambda: client.pipes)  # noqa: B023
        client.pipes[0].send([b"hello"])
    await server.until(lambda: len(server.accepted) == 3)
    with caplog.at_level(logging.INFO, "orbitmesh.zeromq"):
        for _ in range(20):
            await ended(tcp(server.endpoint.addresses[0]))
        late = await node()
        refused = late.dial(server)
        await late.until(lambda: refused in late.reasons or (refused in late.pipes and not refused.send([b"hello"])))
        await late.until(lambda: refused in late.reasons)
    assert server.count("over_cap") == 21
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    for client in clients:
        assert client.pipes[0].send([b"still"])
    await server.until(lambda: all(len(server.messages[pipe]) == 2 for pipe in server.accepted))
    server.accepted[0].close()
    await server.until(lambda: server.count("connections") == 2)
    again = late.dial(server)
    await late.until(lambda: again in late.pipes)
    again.send([b"hello"])
    await server.until(lambda: len(server.accepted) == 4)


async def test_a_flood_of_connections_is_shed_before_descriptors_run_out(node: Open, peer: Start, tcp: Tcp) -> None:
    """Without any, libzmq's accept spins at full load, and nobody new gets in until others leave."""
    other, client = await peer(files=160), await node()
    pipe = client.endpoint.dial(other.address, key=other.key)
    await client.until(lambda: pipe in client.pipes)
    for number in range(300):
        tcp(other.address)
        if not number % 50:
            pipe.send([b"still"])
    await client.until(lambda: len(client.messages[pipe]) == 6)
    async with asyncio.timeout(20):
        while (told := await other.ask())["endpoint"]["accepted"] < 301:
            pipe.send([b"still"])
    assert told["endpoint"]["over_cap"] > 100
    assert told["endpoint"]["connections"] < 160


async def test_thousands_of_connects_and_closes_are_counted_and_leave_nothing(
    linked: Linked, eventually: Eventually
) -> None:
    server, _, theirs, ours = await linked()
    host, _, port = server.endpoint.addresses[0].removeprefix("tcp://").rpartition(":")
    before = len(os.listdir("/proc/self/fd"))

    def storm() -> None:
        for _ in range(2000):
            socket.create_connection((host, int(port)), timeout=10).close()

    await asyncio.to_thread(storm)
    await server.until(lambda: server.count("accepted") == 2001)
    await server.until(lambda: server.count("connections") == 1)
    await eventually(lambda: len(os.listdir("/proc/self/fd")) <= before)
    await goes_on(server, theirs, ours)
    assert server.count("unproven") == 2000
