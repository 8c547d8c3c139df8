"""Static discovery: the addresses that somebody configured, for networks without multicast."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from orbitmesh.core.errors import ConfigError
from orbitmesh.hookspecs import hookimpl
from orbitmesh.spi.discovery import Announcer, Discovery, DiscoverySettings, Hint, Seed

FORM: Final = "tcp://host:port?key=<64 hex digits>"
"""How ``orbitmesh describe`` prints where a node is; the key may be left out where another discovery tells it."""

_SCHEME: Final = re.compile(r"[a-z][a-z0-9+.-]*")
_KEY: Final = re.compile(r"[0-9a-fA-F]{64}")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_IPV6: Final = re.compile(r"\[[0-9a-fA-F:.]+(%[A-Za-z0-9._-]+)?\]")
_HOST: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}")


class Static:
    """Brings the addresses of ``ORBITMESH_PEERS`` as seeds; it announces nothing."""

    name = "static"

    async def open(self, settings: DiscoverySettings, sink: Callable[[Hint], None]) -> StaticSession:
        """Read the configured peers.

        Raises:
            ConfigError: One of them is malformed; the message shows the right form.
        """
        return StaticSession([parse_peer(peer) for peer in settings.peers if peer.strip()], sink)


class StaticSession:
    """The configured peers of one node."""

    def __init__(self, seeds: Sequence[Seed], sink: Callable[[Hint], None]) -> None:
        self._seeds = tuple(dict.fromkeys(seeds))
        self._sink = sink
        self._seen = 0
        self._is_closed = False

    async def announce(self, announcer: Announcer, *, addresses: Sequence[str]) -> None:
        """Nobody can be told: who configured this node's address knows it."""

    async def browse(self) -> None:
        """Bring every configured peer, again at each call."""
        for seed in self._seeds:
            if self._is_closed:
                return
            self._seen += 1
            self._sink(seed)

    def counters(self) -> dict[str, int]:
        """Seeds brought since the start, repeats included."""
        return {"seen": self._seen}

    async def close(self) -> None:
        """Bring nothing more."""
        self._is_closed = True


def parse_peer(text: str) -> Seed:
    """Read one configured peer.

    The key is the X25519 public key of the node there, 32 bytes as 64 hex digits. Addresses of other schemes than
    ``tcp`` belong to a transport plugin, which judges what follows the scheme.

    Raises:
        ConfigError: The text has another form; the message says which part and shows the right one.
    """
    address, question_mark, query = text.strip().partition("?")
    scheme, separator, rest = address.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme) or not rest:
        raise _malformed(text, "it begins with no scheme and host")
    if scheme == "tcp":
        host, colon, port = rest.rpartition(":")
        if not colon or not (_IPV6.fullmatch(host) or _HOST.fullmatch(host)):
            raise _malformed(text, "it has no host and port (an IPv6 address stands in square brackets)")
        if not (_PORT.fullmatch(port) and 1 <= int(port) <= 65535):
            raise _malformed(text, "its port is no number from 1 to 65535")
    key = None
    if question_mark:
        name, _, value = query.partition("=")
        if name != "key":
            raise _malformed(text, f"after '?' stands {name!r} where 'key' belongs")
        if not _KEY.fullmatch(value):
            raise _malformed(text, "its key is not 64 hex digits")
        key = bytes.fromhex(value)
    return Seed(source=Static.name, address=address, key=key)


@hookimpl
def orbitmesh_discoveries() -> list[Discovery]:
    """Offer the configured peers."""
    return [Static()]


def _malformed(text: str, fault: str) -> ConfigError:
    return ConfigError(
        f"peer {text!r} cannot be used: {fault}. Write {FORM}, as `orbitmesh describe NAME` prints it "
        "(setting peers, environment ORBITMESH_PEERS, several separated by commas)"
    )
