"""Meshes in memory: several devices of one mesh, and a look at what only the node itself knows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Any, TypeAlias

import pytest

from orbitmesh import Agent, Mesh
from orbitmesh.runtime.access import Access
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.node import Node
from orbitmesh.security import certificates
from orbitmesh.security.device import Device
from orbitmesh.security.keys import DiscoveryKey, fresh_secret, mesh_id_of, signing_public
from orbitmesh.testing import MemoryMesh

NodeOf: TypeAlias = Callable[[Mesh | Agent], Node]
Until: TypeAlias = Callable[[Callable[[], bool]], Awaitable[None]]
Between: TypeAlias = Callable[[Mesh | Agent, Mesh | Agent], Connection]


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the shell that runs the tests has set up changes nothing here."""
    import os

    for name in os.environ:
        if name.startswith("ORBITMESH_"):
            monkeypatch.delenv(name)


def _node_of(whose: Mesh | Agent) -> Node:
    node = whose._node if isinstance(whose, Agent) else whose._calls().node
    assert node is not None
    return node


@pytest.fixture
def node_of() -> NodeOf:
    """The running node behind an agent or a client."""
    return _node_of


@pytest.fixture
def between() -> Between:
    """The connection of one node with another that carries its work."""

    def find(one: Mesh | Agent, other: Mesh | Agent) -> Connection:
        connection = _node_of(one).links.to(_node_of(other).id)
        assert connection is not None
        return connection

    return find


@pytest.fixture
def until() -> Until:
    """Wait for a stated condition, for an hour of virtual time at most."""

    async def wait(is_so: Callable[[], bool]) -> None:
        async with asyncio.timeout(3600):
            while not is_so():  # noqa: ASYNC110 - whatever comes true tells nobody
                await asyncio.sleep(0.01)

    return wait


@pytest.fixture
def timers() -> Callable[[], list[asyncio.TimerHandle]]:
    """What the running loop would still do at some time."""

    def scheduled() -> list[asyncio.TimerHandle]:
        handles: list[asyncio.TimerHandle] = asyncio.get_running_loop()._scheduled  # type: ignore[attr-defined]  # nobody else knows
        return [handle for handle in handles if not handle.cancelled()]

    return scheduled


class Site:
    """One mesh with as many devices as a test wants; each device's nodes run in memory."""

    def __init__(self) -> None:
        self._now = datetime.now(UTC)
        self._root_secret, self._admin_secret = fresh_secret(), fresh_secret()
        self._root = certificates.root_certificate(self._root_secret)
        self._mesh_id = mesh_id_of(signing_public(self._root_secret))
        self._discovery = [DiscoveryKey(number=1, made=self._now, key=fresh_secret())]
        self._admin = certificates.intermediate_certificate(
            signing_public(self._admin_secret),
            root=self._root,
            root_secret=self._root_secret,
            device="d",
            now=self._now,
        )
        self._access: dict[str, Access] = {}
        self._stack = AsyncExitStack()

    def device(self, name: str, roles: Collection[str] = ("agent",)) -> Device:
        """A new device."""
        secret = fresh_secret()
        certificate = certificates.device_certificate(
            signing_public(secret),
            issuer=self._admin,
            issuer_secret=self._admin_secret,
            device=name,
            roles=roles,
            now=self._now,
        )
        return Device(
            mesh_id=self._mesh_id,
            name=name,
            roles=frozenset(roles),
            is_shared_secret=False,
            secret=secret,
            chain=[certificate, self._admin],
            root=self._root,
            discovery=self._discovery,
        )

    async def join(
        self, device: str, *agents: Agent, roles: Collection[str] = ("agent",), name: str | None = None, **settings: Any
    ) -> MemoryMesh:
        """Start a client, and agents, on a device; they stop with the test."""
        access = self._access.setdefault(device, Access(self.device(device, roles), None))
        return await self.join_as(access, *agents, name=name, **settings)

    async def join_as(self, access: Access, *agents: Agent, name: str | None = None, **settings: Any) -> MemoryMesh:
        """The same with a device at hand."""
        mesh = MemoryMesh(*agents, name=name, **settings)
        mesh._access = access
        return await self._stack.enter_async_context(mesh)

    async def close(self) -> None:
        await self._stack.aclose()


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """A mesh for several devices."""
    made = Site()
    yield made
    await made.close()


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Iterator[Callable[[str], list[str]]]:
    """Log lines of one kind of event, as they would be shown."""
    with caplog.at_level("DEBUG", logger="orbitmesh"):

        def of(event: str) -> list[str]:
            return [r.getMessage() for r in caplog.records if getattr(r, "event", None) == event]

        yield of
