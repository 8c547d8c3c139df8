"""Being found and finding others: the discoveries of one node, side by side."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from orbitmesh.core.clock import Clock
from orbitmesh.core.errors import OrbitMeshError
from orbitmesh.core.settings import Settings
from orbitmesh.runtime.access import Access
from orbitmesh.runtime.tasks import Tasks
from orbitmesh.spi.discovery import Discovery, DiscoverySession, DiscoverySettings, Hint
from orbitmesh.spi.interfaces import chosen, present_interfaces

logger = logging.getLogger("orbitmesh.runtime")


def is_open(settings: Settings) -> bool:
    """Whether the mesh may be told to the network: somebody said so by a secret, an address or an interface."""
    return bool(settings.secret or settings.bind or settings.interfaces)


def bind_addresses(settings: Settings) -> list[str]:
    """Where to listen: what was configured, else each chosen interface, else the loopback interface alone.

    Never the wildcard address: every interface by its own addresses, so that what is announced can be dialled.
    """
    if settings.bind:
        return list(settings.bind)
    if not is_open(settings):
        return ["tcp://127.0.0.1:0"]
    hosts = ["127.0.0.1"]
    for interface in chosen(present_interfaces(), settings.interfaces).used:
        # IPv6 link-local addresses need a scope that means something on one host only.
        hosts += [f"[{a}]" if ":" in a else a for a in interface.addresses if not a.startswith("fe80:")]
    return [f"tcp://{host}:0" for host in dict.fromkeys(hosts)]


class Presence:
    """The open discoveries of one node.

    Attributes:
        is_discovering: Whether the first look for others is under way.
    """

    def __init__(
        self,
        tasks: Tasks,
        sink: Callable[[Hint], None],
        *,
        announcement: Callable[[Sequence[str]], bytes],
        addresses: Callable[[], Sequence[str]],
        looked: Callable[[], None],
    ) -> None:
        """Make it, closed.

        Args:
            tasks: Where announcing and browsing run.
            sink: Takes each hint.
            announcement: Seals an announcement with some addresses.
            addresses: Where the node listens now.
            looked: Told when the first look of a discovery is over.
        """
        self._tasks = tasks
        self._sink = sink
        self._announcement = announcement
        self._addresses = addresses
        self._looked = looked
        self._failures: Counter[str] = Counter()
        self._sessions: dict[str, DiscoverySession] = {}
        self._looking = 0
        self._is_withdrawn = False

    @property
    def is_discovering(self) -> bool:
        """Whether the first look for others is under way."""
        return self._looking > 0

    async def open(self, discoveries: Sequence[Discovery], settings: Settings, access: Access, clock: Clock) -> None:
        """Open every discovery, and begin to announce and to browse.

        Raises:
            ConfigError: A setting of a discovery is malformed.
        """
        device = access.device
        discovery_settings = DiscoverySettings(
            home=access.home,
            mesh_tag=lambda: device.mesh_tag(clock.now()),
            mesh_tags=lambda: device.mesh_tags(clock.now()),
            interfaces=settings.interfaces,
            is_open=is_open(settings),
            peers=settings.peers,
            now=lambda: clock.now().timestamp(),
        )
        async with AsyncExitStack() as stack:
            for discovery in discoveries:
                session = await discovery.open(discovery_settings, self._take)
                stack.push_async_callback(session.close)
                self._sessions[discovery.name] = session
            stack.pop_all()
        self._looking = len(self._sessions)
        for name, session in self._sessions.items():
            self._tasks.spawn(self._begin(name, session), f"discovery {name}")

    def withdraw(self) -> None:
        """Let nobody find this node any more."""
        if not self._is_withdrawn:
            self._is_withdrawn = True
            for name, session in self._sessions.items():
                self._tasks.spawn(self._close(name, session), f"withdrawing from {name}")

    def counters(self) -> dict[str, dict[str, int]]:
        """What each discovery has counted, and how often it failed."""
        return {
            name: {**session.counters(), "failed": self._failures[name]} for name, session in self._sessions.items()
        }

    async def close(self) -> None:
        """Close every discovery."""
        for name, session in self._sessions.items():
            await self._close(name, session)

    async def _begin(self, name: str, session: DiscoverySession) -> None:
        """Look for others, then let others find this node; one discovery that cannot costs no other, and no node."""
        try:
            await session.browse()
        except Exception as error:
            self._failed(name, "look for others", error)
        finally:
            self._looking -= 1
            self._looked()
        if self._is_withdrawn:
            return
        try:
            await session.announce(self._announce, addresses=self._addresses())
        except Exception as error:
            self._failed(name, "announce this node", error)

    async def _close(self, name: str, session: DiscoverySession) -> None:
        try:
            await session.close()
        except Exception as error:
            self._failed(name, "close", error)

    def _failed(self, name: str, what: str, error: Exception) -> None:
        self._failures[name] += 1
        logger.warning(
            "the discovery %s could not %s: %s: %s",
            name,
            what,
            type(error).__name__,
            error,
            exc_info=None if isinstance(error, OrbitMeshError) else error,
            extra={"event": "discovery-failed", "code": getattr(error, "code", "")},
        )

    def _announce(self, addresses: Sequence[str] | None = None) -> bytes:
        return self._announcement(self._addresses() if addresses is None else addresses)

    def _take(self, hint: Hint) -> None:
        if not self._is_withdrawn:
            self._sink(hint)
