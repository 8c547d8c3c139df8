"""Events that wait for whoever reads them on this node."""

from __future__ import annotations

from collections import Counter, deque
from typing import TYPE_CHECKING

from orbitmesh.link.outbox import EVENT_BYTES, EVENTS

if TYPE_CHECKING:
    from orbitmesh.runtime.events import Arrived


class Backlog:
    """Events that wait for one reader: bounded, the oldest are dropped and counted by publisher.

    Attributes:
        dropped: Events dropped since the start.
    """

    __slots__ = ("_events", "_missed", "_size", "dropped")

    def __init__(self) -> None:
        self.dropped = 0
        self._events: deque[Arrived] = deque()
        self._size = 0
        self._missed: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self._events)

    def put(self, event: Arrived) -> None:
        """Add an event."""
        self._events.append(event)
        self._size += event.size
        while len(self._events) > EVENTS or (self._size > EVENT_BYTES and len(self._events) > 1):
            lost = self._events.popleft()
            self._size -= lost.size
            self._missed[lost.publisher] += 1 + lost.envelope.missed
            self.dropped += 1

    def take(self) -> tuple[Arrived, int]:
        """The oldest event, and how many of its publisher's were dropped before it."""
        event = self._events.popleft()
        self._size -= event.size
        return event, self._missed.pop(event.publisher, 0)

    def clear(self) -> int:
        """Let go of all; say how many there were."""
        count = len(self._events)
        self._events.clear()
        self._size = 0
        return count
