"""Hosts from which nobody could prove to be a member: after some tries they are left outside for a while."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
from collections import Counter, OrderedDict, deque
from collections.abc import Callable
from typing import Final

logger = logging.getLogger("orbitmesh.runtime")

TRIES: Final = 10
"""Failed greetings from one host within ``REFUSED_SECONDS`` that are borne."""

REFUSED_SECONDS: Final = 60.0
"""How long a host is refused then, and how long a failed greeting is remembered."""

MAX_HOSTS: Final = 4096
"""Hosts that are remembered; beyond it the one whose last failure is oldest is forgotten."""


class Strangers:
    """Counts failed greetings by host.

    The loopback address is never refused: every process of this machine has it, and most of them are honest.

    Attributes:
        counts: ``failed_greetings``, ``refused_hosts``.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, refuse: Callable[[frozenset[str]], None]) -> None:
        """Make it, with nobody refused.

        Args:
            loop: The node's loop.
            refuse: Told which hosts are refused from now on, each time that changes.
        """
        self.counts: Counter[str] = Counter()
        self._loop = loop
        self._refuse = refuse
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()
        self._refused: dict[str, asyncio.TimerHandle] = {}

    def failed(self, address: str) -> None:
        """A connection from this address ended before its peer had proven anything.

        Args:
            address: Such as ``tcp://192.0.2.7:51234``.
        """
        self.counts["failed_greetings"] += 1
        host = _host(address)
        if host is None or host in self._refused:
            return
        now = self._loop.time()
        failures = self._failures.setdefault(host, deque(maxlen=TRIES))
        self._failures.move_to_end(host)
        failures.append(now)
        if len(failures) == TRIES and now - failures[0] <= REFUSED_SECONDS:
            self._shut_out(host)
        elif len(self._failures) > MAX_HOSTS:
            self._failures.popitem(last=False)

    def close(self) -> None:
        """Stop every timer."""
        for timer in self._refused.values():
            timer.cancel()
        self._refused.clear()

    def _shut_out(self, host: str) -> None:
        del self._failures[host]
        self.counts["refused_hosts"] += 1
        self._refused[host] = self._loop.call_later(REFUSED_SECONDS, self._let_in, host)
        self._refuse(frozenset(self._refused))
        logger.warning(
            "%s is refused for %d s: %d times nobody there could prove to be a member of this mesh",
            host,
            REFUSED_SECONDS,
            TRIES,
            extra={"event": "host-refused"},
        )

    def _let_in(self, host: str) -> None:
        del self._refused[host]
        self._refuse(frozenset(self._refused))


def _host(address: str) -> str | None:
    """The host of an address, if it is one of another machine."""
    host = address.partition("://")[2].rpartition(":")[0].strip("[]")
    try:
        is_loopback = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return None
    return None if is_loopback else host
