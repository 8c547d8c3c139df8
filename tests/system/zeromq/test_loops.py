"""The same on every loop: asyncio's, uvloop, and one that watches no descriptors, as Windows' default one."""

from __future__ import annotations

import asyncio
import socket
import sys
import threading
from collections.abc import Callable, Sequence

import pytest
import zmq
from zmq.utils import z85

from orbitmesh.builtin.zeromq import ZeroMQ
from orbitmesh.spi.transport import Frame, Pipe, TransportSettings


class BlindLoop(asyncio.SelectorEventLoop):
    """A loop without ``add_reader`` for others than itself."""

    def add_reader(self, fd: object, callback: object, *args: object) -> None:
        raise NotImplementedError

    def remove_reader(self, fd: object) -> bool:
        raise NotImplementedError


def loops() -> list[Callable[[], asyncio.AbstractEventLoop]]:
    found: list[Callable[[], asyncio.AbstractEventLoop]] = [asyncio.new_event_loop, BlindLoop]
    if sys.platform != "win32":
        import uvloop

        found.append(uvloop.new_event_loop)
    return found


class Node:
    def __init__(self) -> None:
        self.pipe: Pipe | None = None
        self.got: list[bytes] = []
        self.reason = ""

    def connected(self, pipe: Pipe) -> None:
        self.pipe = pipe

    def received(self, pipe: Pipe, frames: Sequence[Frame]) -> None:
        self.got.append(bytes(frames[-1]))
        if not pipe.is_dialled:
            assert pipe.send(frames)

    def burst_ended(self) -> None:
        pass

    def lost(self, pipe: Pipe, reason: str) -> None:
        self.reason = reason


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # of two nodes, on any loop
            await asyncio.sleep(0.005)


async def scenario() -> None:
    nodes, endpoints, keys = [Node(), Node()], [], []
    for node in nodes:
        public, secret = (z85.decode(key) for key in zmq.curve_keypair())
        settings = TransportSettings(public_key=public, secret_key=secret, binds=["tcp://127.0.0.1:0"])
        endpoints.append(await ZeroMQ().open(settings, node))
        keys.append(public)
    server, client = nodes
    pipe = endpoints[1].dial(endpoints[0].addresses[0], key=keys[0])
    await until(lambda: client.pipe)
    count = 5000
    for number in range(count):
        assert pipe.send([number.to_bytes(4, "big")])
        if not number % 97:
            await asyncio.sleep(0)
    pipe.send([b"batch", b"x" * 200_000])
    await until(lambda: len(client.got) == count + 1)
    assert client.got == server.got == [number.to_bytes(4, "big") for number in range(count)] + [b"x" * 200_000]
    await endpoints[1].close()
    await until(lambda: server.reason)
    await endpoints[0].close()


@pytest.mark.parametrize("make", loops(), ids=lambda make: f"{make.__module__}.{make.__name__}")
def test_messages_go_both_ways_in_order_and_ends_are_told(make: Callable[[], asyncio.AbstractEventLoop]) -> None:
    before = {thread.name for thread in threading.enumerate()}
    with asyncio.Runner(loop_factory=make, debug=False) as runner:
        runner.run(scenario())
    left = {thread.name for thread in threading.enumerate()} - before
    assert not [name for name in left if "orbitmesh" in name]


def test_the_blind_loop_is_blind() -> None:
    loop = BlindLoop()
    with socket.socket() as one, pytest.raises(NotImplementedError):
        loop.add_reader(one, print)
    loop.close()
