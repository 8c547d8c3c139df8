"""What a peer parks in a node that does not read is bounded, whatever the loop does meanwhile."""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import pytest
import zmq

from orbitmesh.spi.transport import Pipe

Linked = Callable[..., Awaitable[tuple[Any, Any, Pipe, Pipe]]]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a connection has brought")

BLOCK = bytes(500 * 1024)


async def admitted(node: Callable[..., Awaitable[Any]], stranger: Callable[..., Any]) -> tuple[Any, Any, Pipe]:
    """A node, and somebody with a connection to it who keeps to no rules."""
    server = await node()
    other = stranger(server)
    await other.until(zmq.EVENT_HANDSHAKE_SUCCEEDED)
    other.send(b"hello")
    await server.until(lambda: server.accepted)
    return server, other, server.accepted[0]


async def test_a_peer_that_floods_a_blocked_node_is_cut_before_the_node_reads_again(
    node: Callable[..., Awaitable[Any]], stranger: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server, flooder, pipe = await admitted(node, stranger)
    other = stranger(server)
    other.send(b"good")
    await server.until(lambda: len(server.accepted) == 2)

    def flood() -> None:
        with suppress(zmq.ZMQError):
            for _ in range(400):
                flooder.socket.send(BLOCK, zmq.NOBLOCK, copy=False)

    sender = threading.Thread(target=flood)
    sender.start()
    end = time.monotonic() + 20
    while not server.count("parked_too_much") and time.monotonic() < end:
        time.sleep(0.01)  # noqa: ASYNC251 - the loop is blocked: that is the point
    assert server.count("parked_too_much") == 1
    await asyncio.to_thread(sender.join)
    await server.until(lambda: pipe in server.reasons)
    assert "unread" in server.reasons[pipe]
    other.send(b"still good")
    await server.until(lambda: len(server.messages[server.accepted[1]]) == 2)
    assert [record for record in caplog.records if "lay here unread" in record.message]


async def test_honest_traffic_is_never_cut_however_much_it_is(linked: Linked) -> None:
    server, client, theirs, ours = await linked()
    came = 0

    def count(pipe: Pipe, frames: list[bytes]) -> None:
        nonlocal came
        came += 1
        server.messages[pipe].clear()

    server.on_message = count
    for number in range(1, 61):
        for _ in range(8):
            assert ours.send([BLOCK])
        await server.until(lambda number=number: came == 8 * number)
    assert server.count("parked_too_much") == 0
    assert client.count("parked_too_much") == 0
    assert theirs not in server.reasons
