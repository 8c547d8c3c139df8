"""mDNS on one interface, on top of python-zeroconf. Imported only once there is something to announce or to find."""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from zeroconf import DNSQuestionType, IPVersion, RecordUpdate, RecordUpdateListener, ServiceStateChange, Zeroconf
from zeroconf._dns import DNSPointer, DNSQuestion, DNSText
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf.asyncio import AsyncServiceBrowser, AsyncServiceInfo, AsyncZeroconf

from orbitmesh.spi.interfaces import Interface

SERVICE: Final = "_orbitmesh._tcp.local."

MAX_ASKED: Final = 32
"""Text records asked for because of one packet; a packet with more pointers than that is noise."""

MAX_POINTERS: Final = 8192
"""Pointers that a browser is given before it is made anew, which forgets those that nobody repeats."""

MDNS_PORT: Final = 5353
GROUP_V4: Final = "224.0.0.251"
GROUP_V6: Final = "ff02::fb"

_QUERY: Final = 0
_PTR: Final = 12
_TXT: Final = 16
_IN: Final = 1

Heard = Callable[[str, bytes], None]


class Responder:
    """Announces this node on one interface, and tells what others announce there.

    Instance and host are named at random for each session, so two nodes never quarrel over a name, and nobody learns
    one. ``heard`` and ``ended`` get the instance and its text record.
    """

    def __init__(self, interface: Interface, *, heard: Heard, ended: Heard) -> None:
        self.interface: Final = interface
        self.instance: Final = secrets.token_hex(8)
        self.announced: tuple[str, tuple[str, ...]] | None = None
        self._host = f"{secrets.token_hex(8)}.local."
        self._listener = _Listener(heard, ended, self._ask)
        self._mdns: AsyncZeroconf | None = None
        self._browser: AsyncServiceBrowser | None = None
        self._pointers = 0
        self._info: AsyncServiceInfo | None = None
        self._broadcasts: set[asyncio.Future[None]] = set()

    async def open(self) -> bool:
        """Join the multicast group of the interface.

        Returns:
            Whether the sockets hear this interface alone. Where the system does not offer that, they may also hear
            others, which does no harm but work.

        Raises:
            OSError: The interface does not do multicast, or is gone, or the port cannot be shared.
        """
        v4 = [address for address in self.interface.addresses if ":" not in address]
        _try(self.interface, v4)
        if v4:
            self._mdns = AsyncZeroconf(interfaces=v4[:1], ip_version=IPVersion.V4Only)
        else:
            self._mdns = AsyncZeroconf(interfaces=[self.interface.index], ip_version=IPVersion.V6Only)
        try:
            await self._mdns.zeroconf.async_wait_for_start()
            if not self._mdns.zeroconf.engine.senders:
                raise OSError("it does not take part in multicast")
            return _confine(self._mdns.zeroconf, self.interface.name)
        except BaseException:
            await self.close()
            raise

    async def announce(self, text: bytes, *, port: int) -> None:
        """Announce, or change what is announced; returns after the first packet is on its way.

        Args:
            text: The text record.
            port: Of the service; members dial what the sealed box says.
        """
        assert self._mdns is not None
        info = AsyncServiceInfo(
            SERVICE,
            f"{self.instance}.{SERVICE}",
            port=port,
            properties=text,
            server=self._host,
            parsed_addresses=list(self.interface.addresses),
        )
        if self._info is None:
            # No probing for a name that is random: it would take 1.6 s.
            broadcast = await self._mdns.async_register_service(info, cooperating_responders=True)
        else:
            broadcast = await self._mdns.async_update_service(info)
        self._info = info
        self._follow(broadcast)

    async def withdraw(self) -> None:
        """Say goodbye, and announce no more. Nothing happens where nothing is announced."""
        info, self._info, self.announced = self._info, None, None
        if info is not None and self._mdns is not None:
            # The first await only hands out the task that sends the goodbyes.
            await (await self._mdns.async_unregister_service(info))

    def browse(self) -> None:
        """Ask who is there, and listen from now on. Calling it again is harmless."""
        if self._browser is None and self._mdns is not None:
            self._mdns.zeroconf.async_add_listener(self._listener, None)
            self._browse_anew()

    def ask(self) -> None:
        """Ask everybody anew, once ``browse`` was called.

        A browser sends what it knows along, and whoever is known keeps silent; here those answer too who have changed
        without being heard.
        """
        if self._browser is not None:
            self._ask(SERVICE, _PTR)

    def renew(self) -> None:
        """Forget pointers that nobody repeats, if there have been too many: the browser keeps each that it was told."""
        if self._browser is not None and self._pointers > MAX_POINTERS:
            self._browse_anew()

    async def close(self) -> None:
        """Say goodbye and close every socket. Calling it again is harmless."""
        if self._mdns is None:
            return
        for broadcast in self._broadcasts:
            broadcast.cancel()
        try:
            await self.withdraw()
        finally:
            if self._browser is not None:
                await self._browser.async_cancel()
                self._browser = None
            await self._mdns.async_close()
            self._mdns = None

    def _browse_anew(self) -> None:
        assert self._mdns is not None
        if self._browser is not None:
            self._browser._async_cancel()  # what `async_cancel` does, which awaits nothing
        self._pointers = 0
        # Not QU: its answers come unicast, and of several processes on port 5353 the kernel picks any one for them.
        self._browser = AsyncServiceBrowser(
            self._mdns.zeroconf, SERVICE, handlers=[self._count], question_type=DNSQuestionType.QM
        )

    def _count(self, zeroconf: Zeroconf, service_type: str, name: str, state_change: ServiceStateChange) -> None:
        if state_change is ServiceStateChange.Added:
            self._pointers += 1

    def _ask(self, name: str, kind: int) -> None:
        if self._mdns is not None:
            question = DNSOutgoing(_QUERY)
            question.add_question(DNSQuestion(name, kind, _IN))
            self._mdns.zeroconf.async_send(question)

    def _follow(self, broadcast: Awaitable[None]) -> None:
        """Let the repeats of an announcement go out while others work."""
        task = asyncio.ensure_future(broadcast)
        self._broadcasts.add(task)
        task.add_done_callback(self._broadcasts.discard)


class _Listener(RecordUpdateListener):
    """Reads text records as they come: nothing else of a service is needed."""

    def __init__(self, heard: Heard, ended: Heard, ask: Callable[[str, int], None]) -> None:
        super().__init__()
        self._heard = heard
        self._ended = ended
        self._ask = ask
        self._zeroconf: Zeroconf | None = None
        self._pointed: list[str] = []

    def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
        """Take the records of one packet, or those whose time is over."""
        self._zeroconf = zc
        for update in records:
            record = update.new
            if isinstance(record, DNSText):
                if (instance := _instance(record.name)) is not None:
                    (self._ended if record.is_expired(now) else self._heard)(instance, record.text)
            elif isinstance(record, DNSPointer) and record.key == SERVICE and not record.is_expired(now):
                self._pointed.append(record.alias)

    def async_update_records_complete(self) -> None:
        """Ask for the text of those who were pointed at without it: large ones travel in a packet of their own."""
        pointed, self._pointed = self._pointed[:MAX_ASKED], []
        if self._zeroconf is None:
            return
        for name in pointed:
            if _instance(name) is not None and not self._zeroconf.cache.async_all_by_details(name, _TXT, _IN):
                self._ask(name, _TXT)


def _instance(name: str) -> str | None:
    """The instance within a service's name, or None if it is another service."""
    instance, dot, service = name.lower().partition(".")
    return instance if dot and instance and service == SERVICE else None


def _try(interface: Interface, v4: Sequence[str]) -> None:
    """Do once what python-zeroconf is going to do: when that fails there, it leaves its socket open.

    Raises:
        OSError: The interface does not do multicast, or is gone, or the port cannot be shared.
    """
    with socket.socket(socket.AF_INET if v4 else socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "SO_REUSEPORT"):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        probe.bind(("", MDNS_PORT))
        if v4:
            member = socket.inet_aton(GROUP_V4) + socket.inet_aton(v4[0])
            probe.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        else:
            member = socket.inet_pton(socket.AF_INET6, GROUP_V6) + struct.pack("@I", interface.index)
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)


def _confine(zeroconf: Zeroconf, name: str) -> bool:
    """Keep the sockets to one interface.

    A socket that joined a multicast group on one interface hears on Linux what comes for that group on any other, and
    answers unicast questions from there: so a node told to stay on the loopback interface would speak to the network.
    """
    option = getattr(socket, "SO_BINDTODEVICE", None)
    if option is None:
        return False
    try:
        for reader in zeroconf.engine.readers:
            # A duplicate, since the sockets that uvloop hands out take no options.
            with socket.socket(fileno=os.dup(reader.fileno)) as twin:
                twin.setsockopt(socket.SOL_SOCKET, option, name.encode() + b"\0")
    except PermissionError:
        return False
    return True
