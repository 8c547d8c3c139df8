"""A discovery spreads this node's sealed announcements and brings those of others. What it brings are hints."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeAlias

MAX_BOX: Final = 4096
"""Bytes of the largest sealed announcement: a discovery neither spreads nor brings a larger one."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Somebody's sealed announcement was seen.

    Attributes:
        source: The discovery's name.
        place: Where it was seen, unique within the discovery: a file's name, an mDNS instance.
        box: The sealed announcement.
    """

    source: str
    place: str
    box: bytes


@dataclass(frozen=True, slots=True)
class Seed:
    """An address that somebody configured; the key may be unknown until another discovery tells it.

    Attributes:
        source: The discovery's name.
        address: Such as ``tcp://192.0.2.7:40001``.
        key: X25519 public key of the node there, 32 bytes, or None.
    """

    source: str
    address: str
    key: bytes | None


@dataclass(frozen=True, slots=True)
class Vanished:
    """What was seen at this place said goodbye or ended."""

    source: str
    place: str


Hint: TypeAlias = Sighting | Seed | Vanished


class Announcer(Protocol):
    """Makes this node's sealed announcements."""

    def __call__(self, addresses: Sequence[str] | None = None) -> bytes:
        """Seal an announcement of at most ``MAX_BOX`` bytes with these of the node's addresses; None: all of them."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoverySettings:
    """What a node hands to the discoveries that it opens.

    Attributes:
        home: The folder of state and keys, or None for a mesh kept in memory.
        mesh_tag: Short text of the day by which members of one mesh recognise its announcements; what is announced
            bears it.
        mesh_tags: The tags of announcements worth bringing: those of yesterday, today and tomorrow, as clocks differ,
            under each discovery key that is still read.
        interfaces: Names or addresses to announce and listen on, as ``ORBITMESH_INTERFACES`` says; empty: by default.
        is_open: Whether the mesh may be told to the network; if not, nothing may leave this machine.
        peers: Addresses as ``ORBITMESH_PEERS`` has them.
        now: Seconds since 1970, UTC.
    """

    home: Path | None
    mesh_tag: Callable[[], str]
    mesh_tags: Callable[[], frozenset[str]]
    interfaces: Sequence[str]
    is_open: bool
    peers: Sequence[str]
    now: Callable[[], float]


class DiscoverySession(Protocol):
    """An open discovery of one node."""

    async def announce(self, announcer: Announcer, *, addresses: Sequence[str]) -> None:
        """Tell others that this node is there, until ``close``; called again when something changed.

        Args:
            announcer: Seals an announcement for some of the addresses.
            addresses: Where the node listens now.
        """
        ...

    async def browse(self) -> None:
        """Begin to look for others, and go on until ``close``; called again it looks anew at once."""
        ...

    def counters(self) -> dict[str, int]:
        """Counts since the start, by name: seen, refused, errors."""
        ...

    async def close(self) -> None:
        """Say goodbye where that exists, and leave no file, socket or task."""
        ...


class Discovery(Protocol):
    """What a plugin registers by ``orbitmesh_discoveries``."""

    @property
    def name(self) -> str:
        """Name by which it is chosen and disabled."""
        ...

    async def open(self, settings: DiscoverySettings, sink: Callable[[Hint], None]) -> DiscoverySession:
        """Make ready; nothing is sent or read before ``announce`` and ``browse``.

        Never fails for the network's sake: an interface without multicast is counted, logged once and left out.

        Args:
            settings: See there.
            sink: Takes each hint, on the loop.

        Raises:
            ConfigError: A setting is malformed, such as an address in ``peers``.
        """
        ...
