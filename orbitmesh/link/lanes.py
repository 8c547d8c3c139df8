"""What waits to leave beside the data: control envelopes, merged while they wait, and events for a slow subscriber."""

from __future__ import annotations

from collections import deque
from typing import Final

from orbitmesh.core.errors import ProtocolError
from orbitmesh.link.credit import LinkReceiveCredit
from orbitmesh.wire.envelopes import Cancel, Credit, Envelope, Event, Heartbeat, Ping, Pong

CONTROL_WAITING: Final = 8192
"""Control envelopes that may wait; only a peer that asks without end and reads nothing makes so many necessary."""


class ControlLane:
    """Envelopes that overtake data. Credit and heartbeat state what is, so the newest of each replaces those before."""

    __slots__ = ("_credits", "_heartbeat", "_others", "_receive")

    def __init__(self, receive: LinkReceiveCredit) -> None:
        self._receive = receive
        self._credits: dict[int, Credit] = {}
        self._heartbeat: Heartbeat | None = None
        self._others: list[Envelope] = []

    def __len__(self) -> int:
        return len(self._others) + len(self._credits) + (self._heartbeat is not None) + self._receive.is_due

    def __bool__(self) -> bool:
        return bool(self._others or self._credits or self._heartbeat is not None or self._receive.is_due)

    def put(self, envelope: Cancel | Ping | Pong) -> None:
        """Append an envelope that cannot be merged.

        Raises:
            ProtocolError: So many wait that the peer must have asked for them without reading.
        """
        if len(self._others) >= CONTROL_WAITING:
            raise ProtocolError(f"the peer does not read: {CONTROL_WAITING} control envelopes wait for it")
        self._others.append(envelope)

    def put_credit(self, credit: Credit) -> None:
        """State credit of an exchange or transfer."""
        self._credits[credit.id] = credit

    def put_heartbeat(self, heartbeat: Heartbeat) -> None:
        """State load."""
        self._heartbeat = heartbeat

    def take(self, room: int) -> list[Envelope]:
        """The next envelopes, the credit of the link first; what has no room waits."""
        taken: list[Envelope] = []
        if self._receive.is_due and room:
            taken.append(self._receive.tell())
        taken.extend([self._credits.pop(id_) for id_ in list(self._credits)[: room - len(taken)]])
        if self._heartbeat is not None and len(taken) < room:
            taken.append(self._heartbeat)
            self._heartbeat = None
        rest = room - len(taken)
        taken.extend(self._others[:rest])
        del self._others[:rest]
        return taken

    def take_link_credit(self) -> Credit | None:
        """The credit of the link, if it is due."""
        return self._receive.tell() if self._receive.is_due else None


class EventLane:
    """Events that wait for a slow subscriber; the oldest are dropped and counted, the newest always stays.

    Attributes:
        dropped: Events that were lost to this subscriber, since the start.
    """

    __slots__ = ("_bytes", "_events", "_max_bytes", "_max_events", "_missed", "dropped")

    def __init__(self, *, max_events: int, max_bytes: int) -> None:
        self._max_events = max_events
        self._max_bytes = max_bytes
        self._events: deque[tuple[Event, int]] = deque()
        self._bytes = 0
        self._missed = 0
        self.dropped = 0

    def __bool__(self) -> bool:
        return bool(self._events)

    def put(self, event: Event, size: int) -> None:
        """Append an event whose body has this many bytes."""
        self._events.append((event, size))
        self._bytes += size
        while len(self._events) > 1 and (len(self._events) > self._max_events or self._bytes > self._max_bytes):
            self.lost(self.pop()[0])

    def pop(self) -> tuple[Event, int]:
        """The oldest event that waits."""
        event, size = self._events.popleft()
        self._bytes -= size
        return event, size

    def lost(self, event: Event) -> None:
        """An event will never reach the subscriber: the next one that does says so."""
        self._missed += 1 + event.missed
        self.dropped += 1

    def stamp(self, event: Event) -> None:
        """Let an event that leaves now say how many were lost before it."""
        event.missed += self._missed
        self._missed = 0
