"""mDNS discovery: sealed announcements by multicast, on each interface its own addresses only."""

from __future__ import annotations

from collections.abc import Callable

from orbitmesh.builtin.mdns.session import MdnsSession
from orbitmesh.hookspecs import hookimpl
from orbitmesh.spi.discovery import Discovery, DiscoverySettings, Hint

__all__ = ["Mdns", "MdnsSession"]


class Mdns:
    """Finds the nodes of the same LAN, once the mesh is open to the network or interfaces were named."""

    name = "mdns"

    async def open(self, settings: DiscoverySettings, sink: Callable[[Hint], None]) -> MdnsSession:
        """Make ready; no socket is opened before there is something to announce or to find."""
        return MdnsSession(self.name, settings, sink)


@hookimpl
def orbitmesh_discoveries() -> list[Discovery]:
    """Offer mDNS."""
    return [Mdns()]
