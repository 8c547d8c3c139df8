"""A transport moves batches between nodes; it knows keys and addresses, and nothing of what the bytes mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

Frame: TypeAlias = bytes | memoryview


@dataclass(frozen=True, slots=True, kw_only=True)
class TransportSettings:
    """What a node hands to the transport that it opens.

    Attributes:
        public_key: The node's X25519 public key, 32 bytes: what peers dial by.
        secret_key: The secret to it, 32 bytes.
        binds: Addresses to listen on, such as ``tcp://127.0.0.1:0``; port 0 takes a free one.
        preferred_port: Port to take where an address says 0 and this one is free; 0 for none.
        max_connections: Accepted connections at one time; further ones are shut at once.
    """

    public_key: bytes
    secret_key: bytes = field(repr=False)
    binds: Sequence[str]
    preferred_port: int = 0
    max_connections: int = 4096


class Pipe(Protocol):
    """One ordered connection to one peer whose key the transport has proven."""

    @property
    def peer_key(self) -> bytes:
        """The X25519 public key, 32 bytes, that the other side proved to hold."""
        ...

    @property
    def address(self) -> str:
        """The other side's address as this side sees it, such as ``tcp://192.0.2.7:51234``."""
        ...

    @property
    def is_dialled(self) -> bool:
        """Whether this side dialled."""
        ...

    def send(self, frames: Sequence[Frame]) -> bool:
        """Hand one message of one to three frames to the transport, which keeps it until it is on its way.

        Never blocks, never raises for a peer's sake. The link's credit bounds what may lie here.

        Returns:
            Whether the transport took it. False: the connection is gone, and ``lost`` follows or came before.
        """
        ...

    def close(self) -> None:
        """Cut the connection now. ``lost`` does not follow. Calling it again is harmless."""
        ...


class Receiver(Protocol):
    """The node's side of a transport: told what happens, always on the loop, never re-entered."""

    def connected(self, pipe: Pipe) -> None:
        """A dialled pipe finished its handshake, or an accepted one brought its first message, which comes next."""
        ...

    def received(self, pipe: Pipe, frames: Sequence[Frame]) -> None:
        """One message came, in order."""
        ...

    def burst_ended(self) -> None:
        """All that was ready has been handed over (bounded per turn): now act on it and send what is due."""
        ...

    def lost(self, pipe: Pipe, reason: str) -> None:
        """The pipe is gone, or its dial failed; all that had come from it has been handed over before."""
        ...


class Endpoint(Protocol):
    """An open transport of one node."""

    @property
    def addresses(self) -> Sequence[str]:
        """Where this node listens, such as ``tcp://127.0.0.1:40001``."""
        ...

    def dial(self, address: str, *, key: bytes) -> Pipe:
        """Begin one connection to the holder of the key; ``connected`` or ``lost`` follows.

        Raises:
            ConfigError: The address is none of this transport's.
        """
        ...

    async def bind(self, address: str) -> Sequence[str]:
        """Listen on one more address, on the same port where it is free; existing links are untouched.

        Returns:
            The addresses that were added.

        Raises:
            ConfigError: The address is malformed, or the port is taken.
        """
        ...

    def refuse(self, *, keys: frozenset[bytes], hosts: frozenset[str]) -> None:
        """From now on admit no handshake by these keys or from these hosts; replaces what was said before."""
        ...

    def counters(self) -> dict[str, int]:
        """Counts since the start: accepted, refused, failed handshakes, dropped messages, by name."""
        ...

    async def close(self) -> None:
        """Send what is under way, for at most a second, then close every connection, socket and thread."""
        ...


class Transport(Protocol):
    """What a plugin registers by ``orbitmesh_transports``."""

    @property
    def name(self) -> str:
        """Name for ``transport=`` and ``ORBITMESH_TRANSPORT``."""
        ...

    @property
    def schemes(self) -> Sequence[str]:
        """Schemes of the addresses that it dials, such as ``tcp``."""
        ...

    async def open(self, settings: TransportSettings, receiver: Receiver) -> Endpoint:
        """Listen, and hand what comes to the receiver.

        Raises:
            ConfigError: An address is malformed, or a port is taken; the message says which.
        """
        ...
