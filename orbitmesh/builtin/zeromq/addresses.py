"""Addresses of TCP: parsed once, refused with a sentence that shows the right form."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from orbitmesh.core.errors import ConfigError

_FORM: Final = "tcp://192.0.2.7:40001, or tcp://[2001:db8::7]:40001 for IPv6"
_ADDRESS: Final = re.compile(
    r"tcp://(?:\[(?P<ipv6>[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._-]+)?)\]|(?P<host>[A-Za-z0-9_][A-Za-z0-9._-]{0,252})):"
    r"(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port.

    Attributes:
        host: Name or IP address; IPv6 without brackets, its zone after ``%``.
        port: From 1 to 65535; 0, only to listen on, takes a free one.
    """

    host: str
    port: int

    @property
    def is_ipv6(self) -> bool:
        """Whether the host is an IPv6 address."""
        return ":" in self.host

    @property
    def is_literal(self) -> bool:
        """Whether the host is an IP address, so that no name has to be looked up."""
        return self.is_ipv6 or not re.search("[^0-9.]", self.host)

    def at(self, port: int) -> Address:
        """The same host at another port."""
        return Address(self.host, port)

    @property
    def bracketed(self) -> str:
        """The host as it stands in an address."""
        return f"[{self.host}]" if self.is_ipv6 else self.host

    def __str__(self) -> str:
        return f"tcp://{self.bracketed}:{self.port}"


def parse(text: str, *, is_dial: bool = False) -> Address:
    """Read an address.

    Args:
        text: What somebody configured or told.
        is_dial: Whether it is to be dialled, so that port 0 makes no sense.

    Raises:
        ConfigError: It has another form; the message shows the right one.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None:
        raise ConfigError(f"address {text!r} cannot be used: write it as {_FORM}")
    port = int(match["port"])
    if port > 65535 or (is_dial and not port):
        first = 1 if is_dial else 0
        raise ConfigError(f"address {text!r} cannot be used: its port is no number from {first} to 65535")
    return Address(match["ipv6"] or match["host"], port)
