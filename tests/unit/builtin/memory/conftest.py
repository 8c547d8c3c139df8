"""Nodes on a network in memory that write down what they are told, on a loop whose time jumps."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest

from orbitmesh.builtin.memory import MemoryNetwork, MemoryTransport
from orbitmesh.spi.transport import Endpoint, Frame, Pipe, TransportSettings
from orbitmesh.testing.clock import run_virtually


@dataclass
class Node:
    """A receiver that remembers, and answers as it is told to."""

    key: bytes
    told: list[tuple[Any, ...]] = field(default_factory=list)
    pipes: list[Pipe] = field(default_factory=list)
    on_message: Callable[[Pipe, Sequence[Frame]], object] | None = None
    endpoint: Endpoint = field(init=False)

    def connected(self, pipe: Pipe) -> None:
        self.pipes.append(pipe)
        self.told.append(("connected", pipe.peer_key))

    def received(self, pipe: Pipe, frames: Sequence[Frame]) -> None:
        self.told.append(("received", *frames))
        if self.on_message is not None:
            self.on_message(pipe, frames)

    def burst_ended(self) -> None:
        self.told.append(("burst",))

    def lost(self, pipe: Pipe, reason: str) -> None:
        self.told.append(("lost", reason))

    @property
    def address(self) -> str:
        return self.endpoint.addresses[0]

    @property
    def words(self) -> list[bytes]:
        """First frames of all that was received."""
        return [told[1] for told in self.told if told[0] == "received"]

    def kinds(self) -> list[str]:
        return [told[0] for told in self.told]


Opened = Callable[..., Awaitable[Node]]


@pytest.fixture
def run() -> Callable[[Coroutine[Any, Any, Any]], Any]:
    """Run a coroutine on a loop of virtual time."""
    return run_virtually


@pytest.fixture
def network() -> MemoryNetwork:
    return MemoryNetwork()


@pytest.fixture
def opened(network: MemoryNetwork) -> Opened:
    """Open a node on the network."""
    count = iter(range(1, 100))

    async def open_one(*, on: MemoryNetwork | None = network, binds: Sequence[str] = (), **settings: Any) -> Node:
        node = Node(bytes([next(count)]) * 32)
        made = TransportSettings(public_key=node.key, secret_key=bytes(32), binds=binds, **settings)
        node.endpoint = await MemoryTransport(on).open(made, node)
        return node

    return open_one
