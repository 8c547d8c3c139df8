"""Which network interfaces there are, and which of them transports bind and discoveries announce on."""

from __future__ import annotations

import ipaddress
import re
import socket
import struct
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

_LEFT_OUT: Final = re.compile(
    # container and machine bridges with the ends that hang on them
    r"docker|br-|veth|virbr|vmnet|vmware|vboxnet|virtualbox|vethernet|lxc|lxd|podman|cni|flannel|cali|cilium|kube|bridge"
    # tunnels
    r"|tun|tap|wg|utun|ppp|ipsec|gif|stf|sit|gre|zt|tailscale|nebula|nordlynx|proton"
    # radio links of one vendor's devices among themselves
    r"|awdl|llw|p2p|anpi",
    re.IGNORECASE,
)
"""Names of interfaces that lead to no LAN, whose addresses others cannot dial, and where announcing only adds noise."""

_UP: Final = 0x1
_LOOPBACK: Final = 0x8
_POINT_TO_POINT: Final = 0x10
_MULTICAST: Final = 0x1000 if sys.platform == "linux" else 0x8000
_GET_FLAGS: Final = 0x8913 if sys.platform == "linux" else 0xC0206911


@dataclass(frozen=True, slots=True)
class Interface:
    """A network interface of this machine.

    Attributes:
        name: Such as ``eth0``.
        index: The system's number of it.
        addresses: Its addresses without scope, IPv4 first.
        is_loopback: Whether it leads nowhere but to this machine.
        is_lan: Whether it is up and reaches several others by multicast, as far as the system tells.
    """

    name: str
    index: int
    addresses: tuple[str, ...]
    is_loopback: bool = False
    is_lan: bool = True

    def has(self, host: str) -> bool:
        """Whether this is an address of the interface; a scope, where given, must name the interface too."""
        address, _, scope = host.partition("%")
        return _canonical(address) in self.addresses and scope in ("", self.name, str(self.index))


class Choice(NamedTuple):
    """What was chosen, and which wishes no interface fits."""

    used: tuple[Interface, ...]
    unknown: tuple[str, ...]


def chosen(present: Iterable[Interface], wanted: Sequence[str]) -> Choice:
    """Choose the interfaces to announce and listen on.

    Args:
        present: Those that there are.
        wanted: Names or addresses; ``lo`` is the loopback interface whatever its name. Empty: every interface that is
            up and speaks multicast, but loopback, bridges and tunnels.
    """
    usable = [interface for interface in present if interface.addresses]
    if not wanted:
        return Choice(
            tuple(i for i in usable if i.is_lan and not i.is_loopback and not _LEFT_OUT.match(i.name)), unknown=()
        )
    fits = {wish: [i for i in usable if _is_meant(i, wish)] for wish in wanted}
    used = {i.name: i for interfaces in fits.values() for i in interfaces}
    return Choice(tuple(used.values()), unknown=tuple(wish for wish, interfaces in fits.items() if not interfaces))


def addresses_of(interface: Interface, addresses: Iterable[str]) -> list[str]:
    """Pick the addresses that may be told on an interface.

    Args:
        interface: Where they would be told.
        addresses: Such as ``tcp://192.0.2.7:40001`` or ``tcp://[2001:db8::7]:40001``. One whose host is a name, no
            number, belongs to no interface and is told on all.
    """
    return [address for address in addresses if _is_of(interface, _host(address))]


def present_interfaces() -> list[Interface]:
    """Read the interfaces of this machine, those without an address left out."""
    import ifaddr  # not needed by a node that keeps to itself

    found: dict[str, Interface] = {}
    for adapter in ifaddr.get_adapters():
        # An alias such as eth0:1 is the same interface under another label.
        name = adapter.nice_name if sys.platform == "win32" else adapter.nice_name.partition(":")[0]
        ips = [ip.ip if isinstance(ip.ip, str) else ip.ip[0] for ip in adapter.ips]
        known = found[name].addresses if name in found else ()
        addresses = sorted(
            {*known, *map(_canonical, ips)}, key=lambda ip: (":" in ip, ips.index(ip) if ip in ips else 0)
        )
        flags = _flags(name)
        is_loopback = all(ipaddress.ip_address(ip).is_loopback for ip in addresses)
        found[name] = Interface(
            name=name,
            index=adapter.index or 0,
            addresses=tuple(addresses),
            is_loopback=is_loopback if flags is None else bool(flags & _LOOPBACK),
            is_lan=flags is None or flags & (_UP | _MULTICAST | _POINT_TO_POINT) == _UP | _MULTICAST,
        )
    return list(found.values())


def _flags(name: str) -> int | None:
    """Ask the system about an interface; None: it does not say."""
    if sys.platform == "win32":
        return None
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            answer = fcntl.ioctl(probe, _GET_FLAGS, struct.pack("16s16x", name.encode()[:15]))
        except OSError:
            return None  # it went away meanwhile
    return int(struct.unpack_from("H", answer, 16)[0])


def _is_meant(interface: Interface, wish: str) -> bool:
    return wish == interface.name or interface.has(wish) or (wish == "lo" and interface.is_loopback)


def _is_of(interface: Interface, host: str) -> bool:
    try:
        ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return True
    return interface.has(host)


def _host(address: str) -> str:
    authority = address.partition("://")[2].partition("/")[0]
    return authority[1:].partition("]")[0] if authority.startswith("[") else authority.rpartition(":")[0] or authority


def _canonical(address: str) -> str:
    """The one spelling of an address; what is none stays as it is."""
    try:
        return str(ipaddress.ip_address(address.partition("%")[0]))
    except ValueError:
        return address
