"""The mesh within one process: a transport without sockets and a discovery without a network, for tests."""

from __future__ import annotations

from orbitmesh.builtin.memory.board import Board
from orbitmesh.builtin.memory.discovery import MemoryDiscovery
from orbitmesh.builtin.memory.network import MemoryNetwork
from orbitmesh.builtin.memory.transport import MemoryTransport
from orbitmesh.hookspecs import hookimpl
from orbitmesh.spi.discovery import Discovery
from orbitmesh.spi.transport import Transport

__all__ = ["Board", "MemoryDiscovery", "MemoryNetwork", "MemoryTransport"]


@hookimpl
def orbitmesh_transports() -> list[Transport]:
    """Offer the memory transport."""
    return [MemoryTransport()]


@hookimpl
def orbitmesh_discoveries() -> list[Discovery]:
    """Offer the discovery of nodes on the same event loop."""
    return [MemoryDiscovery()]
