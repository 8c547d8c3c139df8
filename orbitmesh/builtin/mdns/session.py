"""One node's part in mDNS: a responder for each interface, kept in step with the interfaces that there are."""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final

from orbitmesh.builtin.mdns.places import Places
from orbitmesh.builtin.mdns.records import Record, pack
from orbitmesh.spi.discovery import Announcer, DiscoverySettings, Hint
from orbitmesh.spi.interfaces import Interface, addresses_of, chosen, present_interfaces

if TYPE_CHECKING:
    from orbitmesh.builtin.mdns.responder import Responder

logger = logging.getLogger("orbitmesh.discovery")

WATCH_SECONDS: Final = 5.0
"""Between two looks at the interfaces and at the day's tag; one look costs some 0.3 ms."""

ASK_SECONDS: Final = 1.0
"""Everybody is asked anew at most this often: RFC 6762 lets nobody repeat an answer within a second either."""

_PORT: Final = re.compile(r":([0-9]{1,5})$")


class MdnsSession:
    """mDNS of one node. An interface that fails is counted and logged once; it is tried again at each look."""

    def __init__(
        self,
        source: str,
        settings: DiscoverySettings,
        sink: Callable[[Hint], None],
        *,
        present: Callable[[], list[Interface]] = present_interfaces,
    ) -> None:
        self._settings = settings
        self._sink = sink
        self._present = present
        # Interfaces that were named are used in a mesh of one device too: whoever names them wants that.
        self._is_silent = not (settings.is_open or settings.interfaces)
        self._places = Places(source, settings.mesh_tags)
        self._responders: dict[str, Responder] = {}
        self._own: set[str] = set()
        self._announcer: Announcer | None = None
        self._addresses: tuple[str, ...] = ()
        self._is_browsing = False
        self._asked_at = -ASK_SECONDS
        self._ask_later: asyncio.TimerHandle | None = None
        self._turn = asyncio.Lock()
        self._watch: asyncio.Task[None] | None = None
        self._is_closed = False
        self._counts: Counter[str] = Counter()
        self._logged: set[str] = set()

    async def announce(self, announcer: Announcer, *, addresses: Sequence[str]) -> None:
        """Announce on each interface those of the addresses that are its own; on one without any, nothing.

        Raises:
            ValueError: The announcer made a box that is too large.
        """
        if self._is_silent:
            return
        self._announcer, self._addresses = announcer, tuple(addresses)
        await self._keep_in_step(is_news=True)

    async def browse(self) -> None:
        """Ask on each interface who is there, and listen from now on."""
        if self._is_silent:
            return
        is_first, self._is_browsing = not self._is_browsing, True
        await self._keep_in_step()
        if not is_first:
            self._ask_anew()

    def counters(self) -> dict[str, int]:
        """Counts since the start: those of ``Places``, and what follows.

        ``interfaces`` is how many are in use now, ``errors`` counts interfaces that failed, ``unknown_interfaces``
        names in the settings that fit none, ``unconfined`` interfaces whose sockets may hear others too.
        """
        names = ("seen", "vanished", "refused", "foreign", "dropped", "forgotten")
        counts = {name: self._places.counts[name] for name in names}
        counts |= {name: self._counts[name] for name in ("errors", "unknown_interfaces", "unconfined")}
        return counts | {"interfaces": len(self._responders)}

    async def close(self) -> None:
        """Say goodbye on each interface, which takes 0.3 s, and close every socket. Calling it again is harmless."""
        self._is_closed = True
        if self._ask_later is not None:
            self._ask_later.cancel()
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        async with self._turn:
            await self._shut(list(self._responders.values()))

    async def _keep_in_step(self, *, is_news: bool = False) -> None:
        """Use the interfaces that there are now, and announce on each what is to be announced there now."""
        async with self._turn:
            if self._is_closed:
                return
            wanted = self._chosen()
            await self._shut([r for r in self._responders.values() if wanted.get(r.interface.name) != r.interface])
            new = [interface for name, interface in wanted.items() if name not in self._responders]
            await asyncio.gather(*map(self._open, new))
            for responder in self._responders.values():
                await self._tell(responder, is_news)
            if self._watch is None and not self._is_closed:  # closed meanwhile: nobody would end it
                self._watch = asyncio.create_task(self._look_on(), name="orbitmesh mdns discovery")
                self._watch.add_done_callback(_report)

    def _chosen(self) -> dict[str, Interface]:
        try:
            present = self._present()
        except OSError as error:
            self._failed("reading the interfaces", error)
            return {name: responder.interface for name, responder in self._responders.items()}
        choice = chosen(present, self._settings.interfaces)
        for name in choice.unknown:
            if name not in self._logged:
                self._logged.add(name)
                self._counts["unknown_interfaces"] += 1
                logger.warning(
                    "mdns: there is no interface %r to announce on; there are: %s",
                    name,
                    ", ".join(interface.name for interface in present),
                    extra={"event": "interface-unknown"},
                )
        return {interface.name: interface for interface in choice.used}

    async def _open(self, interface: Interface) -> None:
        # Its import takes 100 ms, which only nodes that use it pay.
        from orbitmesh.builtin.mdns.responder import Responder

        name = interface.name
        responder = Responder(interface, heard=lambda *what: self._heard(name, *what), ended=self._ended)
        try:
            if not await responder.open():
                self._counts["unconfined"] += 1
        except Exception as error:  # whatever a network stack comes up with, the node goes on
            self._failed(f"interface {name}", error)
            return
        self._own.add(responder.instance)
        self._responders[name] = responder

    async def _tell(self, responder: Responder, is_news: bool) -> None:
        """Bring one responder up to date."""
        addresses = addresses_of(responder.interface, self._addresses)
        text = None
        if self._announcer is not None and addresses:
            tag = self._settings.mesh_tag()
            due = (tag, tuple(addresses))
            if is_news or responder.announced != due:
                text = pack(Record(tag, self._announcer(addresses)))
        try:
            if text is not None:
                await responder.announce(text, port=_port(addresses[0]))
                responder.announced = due
            elif not addresses:
                await responder.withdraw()
            if self._is_browsing:
                responder.browse()
        except Exception as error:
            self._failed(f"interface {responder.interface.name}", error)

    async def _shut(self, responders: Sequence[Responder]) -> None:
        for responder in responders:
            del self._responders[responder.interface.name]
            self._places.forget(responder.interface.name)
        results = await asyncio.gather(*(responder.close() for responder in responders), return_exceptions=True)
        for responder, result in zip(responders, results, strict=True):
            self._own.discard(responder.instance)
            if isinstance(result, Exception):
                self._failed(f"leaving interface {responder.interface.name}", result)
            elif result is not None:
                raise result

    async def _look_on(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            try:
                await self._keep_in_step()
            except ValueError as error:  # of our own announcer; who called `announce` has got it already
                self._failed("announcing", error)
            for responder in self._responders.values():
                responder.renew()

    def _ask_anew(self) -> None:
        """Ask everybody again, now or as soon as that is allowed."""
        if self._ask_later is not None or self._is_closed:
            return
        loop = asyncio.get_running_loop()
        self._ask_later = loop.call_at(max(loop.time(), self._asked_at + ASK_SECONDS), self._ask)

    def _ask(self) -> None:
        self._ask_later = None
        self._asked_at = asyncio.get_running_loop().time()
        for responder in self._responders.values():
            responder.ask()

    def _heard(self, interface: str, instance: str, text: bytes) -> None:
        if instance not in self._own:
            self._bring(self._places.heard(instance, text, interface=interface, now=time.monotonic()))

    def _ended(self, instance: str, text: bytes) -> None:
        self._bring(self._places.ended(instance, text))

    def _bring(self, hint: Hint | None) -> None:
        if hint is not None and not self._is_closed:
            self._sink(hint)

    def _failed(self, what: str, error: Exception) -> None:
        self._counts["errors"] += 1
        if what not in self._logged:
            self._logged.add(what)
            logger.warning(
                "mdns: %s failed, others go on: %s",
                what,
                str(error) or type(error).__name__,
                extra={"event": "discovery-failed"},
            )


def _port(address: str) -> int:
    match = _PORT.search(address)
    return int(match[1]) & 0xFFFF if match else 0


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        logger.error(
            "mdns discovery stopped watching the interfaces", exc_info=error, extra={"event": "discovery-failed"}
        )
