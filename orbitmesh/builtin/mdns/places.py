"""What was heard, and from where: news told once, floods bounded. Pure."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

from orbitmesh.builtin.mdns.records import MalformedRecord, unpack
from orbitmesh.spi.discovery import Hint, Sighting, Vanished

MAX_PLACES: Final = 4096
"""Instances that are remembered; beyond that the one heard first is forgotten."""

NEWS_PER_SECOND: Final = 256.0
NEWS_BURST: Final = 4096.0
"""Sightings brought per second, after a burst: each costs the node the opening of a box, and anybody can send them."""


class _Heard(NamedTuple):
    digest: bytes
    interface: str


class Places:
    """The instances heard on all interfaces.

    Attributes:
        counts: ``seen``, ``vanished``, ``refused`` (no announcement of ours), ``foreign`` (another mesh),
            ``dropped`` (over the budget; told when heard again), ``forgotten`` (beyond ``MAX_PLACES``).
    """

    def __init__(self, source: str, tags: Callable[[], frozenset[str]]) -> None:
        self.counts: Counter[str] = Counter()
        self._source = source
        self._tags = tags
        self._heard: dict[str, _Heard] = {}
        self._budget = NEWS_BURST
        self._budget_at: float | None = None

    def heard(self, place: str, text: bytes, *, interface: str, now: float) -> Hint | None:
        """Take a text record; the same again is no news.

        Args:
            place: The instance.
            text: Its text record as received.
            interface: Where it was received.
            now: Monotonic seconds.
        """
        heard = _Heard(_digest(text), interface)
        known = self._heard.get(place)
        if known is not None and known.digest == heard.digest:
            return None
        try:
            record = unpack(text)
        except MalformedRecord:
            self.counts["refused"] += 1
            return None
        if record.tag not in self._tags():
            self.counts["foreign"] += 1
            return None
        if not self._spend(now):
            self.counts["dropped"] += 1
            return None
        if known is None and len(self._heard) >= MAX_PLACES:
            del self._heard[next(iter(self._heard))]
            self.counts["forgotten"] += 1
        self._heard[place] = heard
        self.counts["seen"] += 1
        return Sighting(source=self._source, place=place, box=record.box)

    def ended(self, place: str, text: bytes) -> Hint | None:
        """Take the end of a text record: a goodbye, or its time to live passed. One that was replaced is no news."""
        known = self._heard.get(place)
        if known is None or known.digest != _digest(text):
            return None
        del self._heard[place]
        self.counts["vanished"] += 1
        return Vanished(source=self._source, place=place)

    def forget(self, interface: str) -> None:
        """An interface is gone: what it told is news again when it is back, and nobody vanished by that."""
        self._heard = {place: heard for place, heard in self._heard.items() if heard.interface != interface}

    def _spend(self, now: float) -> bool:
        if self._budget_at is not None:
            self._budget = min(NEWS_BURST, self._budget + (now - self._budget_at) * NEWS_PER_SECOND)
        self._budget_at = now
        if self._budget < 1:
            return False
        self._budget -= 1
        return True


def _digest(text: bytes) -> bytes:
    return hashlib.blake2b(text, digest_size=16).digest()
