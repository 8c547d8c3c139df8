"""Nodes with open endpoints, strangers with plain sockets, and a peer in a process of its own."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import zmq
from zmq.utils import z85
from zmq.utils.monitor import recv_monitor_message

from orbitmesh.builtin.zeromq import ZeroMQ
from orbitmesh.spi.transport import Endpoint, Frame, Pipe, TransportSettings

PEER = Path(__file__).with_name("peer.py")
LOCAL = "tcp://127.0.0.1:0"


def key_pair() -> tuple[bytes, bytes]:
    public, secret = zmq.curve_keypair()
    return z85.decode(public), z85.decode(secret)


class Node:
    """A receiver that remembers what it was told, and holds the transport to its promises."""

    def __init__(self) -> None:
        self.public_key, self.secret_key = key_pair()
        self.endpoint: Endpoint
        self.pipes: list[Pipe] = []
        self.accepted: list[Pipe] = []
        self.messages: dict[Pipe, list[list[bytes]]] = {}
        self.frames: list[Sequence[Frame]] = []
        self.reasons: dict[Pipe, str] = {}
        self.bursts = 0
        self.on_connected: Callable[[Pipe], object] = lambda pipe: None
        self.on_message: Callable[[Pipe, list[bytes]], object] = lambda pipe, frames: None
        self.on_burst: Callable[[], object] = lambda: None
        self.keeps_frames = False
        self._changed = asyncio.Event()
        self._thread = threading.get_ident()
        self._is_inside = False
        self._is_burst = False

    def connected(self, pipe: Pipe) -> None:
        with self:
            assert pipe not in self.messages, "told once of each pipe"
            self.messages[pipe] = []
            self.pipes.append(pipe)
            if not pipe.is_dialled:
                self.accepted.append(pipe)
            self.on_connected(pipe)

    def received(self, pipe: Pipe, frames: Sequence[Frame]) -> None:
        with self:
            self._is_burst = True
            assert pipe not in self.reasons, "nothing comes after the end"
            if self.keeps_frames:
                self.frames.append(frames)
            copied = [bytes(frame) for frame in frames]
            self.messages[pipe].append(copied)
            self.on_message(pipe, copied)

    def burst_ended(self) -> None:
        with self:
            assert self._is_burst, "a burst brings something"
            self._is_burst = False
            self.bursts += 1
            self.on_burst()

    def lost(self, pipe: Pipe, reason: str) -> None:
        with self:
            assert not self._is_burst, "a burst ends first"
            assert pipe not in self.reasons, "told once of each end"
            self.reasons[pipe] = reason

    def __enter__(self) -> None:
        assert threading.get_ident() == self._thread, "always on the loop"
        assert not self._is_inside, "never re-entered"
        self._is_inside = True

    def __exit__(self, *error: object) -> None:
        self._is_inside = False
        self._changed.set()

    def dial(self, other: Node, *, key: bytes | None = None) -> Pipe:
        return self.endpoint.dial(other.endpoint.addresses[0], key=key or other.public_key)

    def count(self, name: str) -> int:
        return self.endpoint.counters()[name]

    async def until(self, condition: Callable[[], object], seconds: float = 20) -> None:
        """Wait for what this node is told, or for a counter."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                pytest.fail(f"still not so after {seconds} s; {self.endpoint.counters()} {list(self.reasons.values())}")
            self._changed.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    await self._changed.wait()


@pytest_asyncio.fixture
async def failures() -> list[dict[str, Any]]:
    """What failed on the loop so far; a test that expects some takes them away."""
    failed: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: failed.append(context))
    return failed


@pytest_asyncio.fixture
async def node(failures: list[dict[str, Any]]) -> AsyncIterator[Callable[..., Awaitable[Node]]]:
    """Open nodes; they are closed at the end, and no callback may have failed on the loop."""
    async with AsyncExitStack() as stack:

        async def open_one(*, binds: Sequence[str] = (LOCAL,), **different: Any) -> Node:
            one = Node()
            one.endpoint = await ZeroMQ().open(
                TransportSettings(public_key=one.public_key, secret_key=one.secret_key, binds=binds, **different), one
            )
            stack.push_async_callback(one.endpoint.close)
            return one

        yield open_one
    assert not failures


@pytest_asyncio.fixture
async def linked(
    node: Callable[..., Awaitable[Node]],
) -> Callable[..., Awaitable[tuple[Node, Node, Pipe, Pipe]]]:
    """Make two nodes with one connection: the accepting one, the dialling one, and their pipes in the same order."""

    async def link(**different: Any) -> tuple[Node, Node, Pipe, Pipe]:
        server, client = await node(**different), await node()
        ours = client.dial(server)
        await client.until(lambda: ours in client.pipes)
        assert ours.send([b"hello"])
        await server.until(lambda: server.accepted and server.messages[server.accepted[0]])
        return server, client, server.accepted[0], ours

    return link


class Stranger:
    """A plain DEALER that does as it likes, in a context of its own."""

    def __init__(
        self, server_key: bytes | None, *, identity: bytes = b"", keys: tuple[bytes, bytes] | None = None
    ) -> None:
        self.context = zmq.Context[zmq.Socket[bytes]]()
        self.keys = keys or key_pair()
        self.public_key = self.keys[0]
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.set(zmq.LINGER, 2000)
        self.socket.set(zmq.SNDHWM, 0)
        self.socket.set(zmq.RECONNECT_IVL, 3_600_000)
        if identity:
            self.socket.set(zmq.IDENTITY, identity)
        if server_key is not None:
            self.socket.set(zmq.CURVE_SERVERKEY, server_key)
            self.socket.set(zmq.CURVE_PUBLICKEY, self.public_key)
            self.socket.set(zmq.CURVE_SECRETKEY, self.keys[1])
        self.monitor = self.socket.get_monitor_socket()

    def connect(self, address: str) -> None:
        self.socket.connect(address)

    def send(self, *frames: bytes) -> None:
        self.socket.send_multipart(frames)

    def wait_for(self, *events: int, seconds: float = 10) -> int:
        """Wait, blocking, for the first of these events."""
        end = time.monotonic() + seconds
        while self.monitor.poll(max(0, int((end - time.monotonic()) * 1000))):
            event = int(recv_monitor_message(self.monitor)["event"])
            if event in events:
                return event
        pytest.fail(f"none of {events} within {seconds} s")

    def leave(self, address: str, is_over: Callable[[], bool]) -> None:
        """End the connection, blocking until that is over; the socket stays open, and so its other descriptors."""
        self.socket.disconnect(address)
        end = time.monotonic() + 10
        while not is_over():
            self.socket.get(zmq.EVENTS)  # libzmq needs this thread to end it
            assert time.monotonic() < end

    async def until(self, *events: int) -> int:
        return await asyncio.to_thread(self.wait_for, *events)

    def receive(self, seconds: float = 10) -> list[bytes]:
        """Wait, blocking, for the next message."""
        if not self.socket.poll(int(seconds * 1000)):
            pytest.fail(f"nothing came within {seconds} s")
        return self.socket.recv_multipart()

    async def next(self) -> list[bytes]:
        return await asyncio.to_thread(self.receive)

    def close(self) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()
        self.context.term()


async def until(condition: Callable[[], object], seconds: float = 20) -> None:
    """Wait for what nobody is told of."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            pytest.fail(f"still not so after {seconds} s")
        await asyncio.sleep(0.01)


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Wait for a condition that no event tells of, with a bound."""
    return until


@pytest.fixture
def stranger() -> Iterator[Callable[..., Stranger]]:
    """Make strangers; they are closed at the end."""
    made: list[Stranger] = []

    def make(server: Node | None = None, *, connects: bool = True, **how: Any) -> Stranger:
        one = Stranger(None if server is None else server.public_key, **how)
        made.append(one)
        if server is not None and connects:
            one.connect(server.endpoint.addresses[0])
        return one

    yield make
    for one in made:
        one.close()


class Peer:
    """A process of its own with an endpoint; each command is answered by one line."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.address = ""
        self.key = b""

    async def ask(self, **command: Any) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(command).encode() + b"\n")
        await self.process.stdin.drain()
        return await self.answer()

    async def answer(self) -> Any:
        assert self.process.stdout is not None
        async with asyncio.timeout(60):
            line = await self.process.stdout.readline()
        assert line, "the peer ended"
        return json.loads(line)


@pytest_asyncio.fixture
async def peer() -> AsyncIterator[Callable[..., Awaitable[Peer]]]:
    """Start peers; they end when their input does."""
    started: list[asyncio.subprocess.Process] = []

    async def start(*, is_uvloop: bool = False, files: int = 0) -> Peer:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PEER),
            json.dumps({"is_uvloop": is_uvloop, "files": files}),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        started.append(process)
        one = Peer(process)
        told = await one.answer()
        one.address, one.key = told["address"], bytes.fromhex(told["key"])
        return one

    yield start
    for process in started:
        assert process.stdin is not None
        process.stdin.close()
        try:
            async with asyncio.timeout(20):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


@pytest.fixture
def tcp() -> Iterator[Callable[[str], socket.socket]]:
    """Open plain TCP connections to an address; they are closed at the end."""
    opened: list[socket.socket] = []

    def connect(address: str) -> socket.socket:
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        one = socket.create_connection((host.strip("[]"), int(port)), timeout=10)
        opened.append(one)
        return one

    yield connect
    for one in opened:
        one.close()
