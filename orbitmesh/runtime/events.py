"""Events by topic: published to whoever subscribed, here and on the links."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Generic, Protocol, TypeVar

from orbitmesh.core.clock import Clock
from orbitmesh.core.errors import ConfigError, Overloaded
from orbitmesh.link.states import LinkState
from orbitmesh.membership.topics import Patterns, checked_topic
from orbitmesh.runtime.backlog import Backlog
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.payload import Payload
from orbitmesh.wire.envelopes import Event as EventEnvelope
from orbitmesh.wire.envelopes import Reply, Subscribe, Unsubscribe

T = TypeVar("T")

logger = logging.getLogger("orbitmesh.runtime")

MAX_PATTERNS: Final = 1024
"""Patterns that one node hears at one time, and that it takes from one peer."""

MAX_WAITING: Final = 8192
"""Envelopes that may wait for a peer that subscribes; only one that asks without end and reads nothing has so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event(Generic[T]):
    """Something published.

    Attributes:
        topic: Under which topic.
        data: What was published.
        publisher: ``device/name`` of who published it.
        time: When, by the publisher's clock; aware, UTC.
        retained: Whether it is the newest of its topic, kept for those who come late.
        missed: How many events by this publisher were lost before this one because this side read too slowly.
    """

    topic: str
    data: T
    publisher: str
    time: datetime
    retained: bool = False
    missed: int = 0


@dataclass(frozen=True, slots=True)
class Arrived:
    """An event whose data is still bytes: each listener decodes it to the type it wants.

    Attributes:
        envelope: What came.
        publisher: ``device/name`` of who published it.
        payload: Decodes the body.
        size: Bytes of the body.
    """

    envelope: EventEnvelope
    publisher: str
    payload: Payload
    size: int

    def decode(self, type_: Any, *, missed: int = 0) -> Event[Any]:
        """Make the event.

        Args:
            type_: What its data has to be.
            missed: Events that this listener lost by itself, beside what was lost on the way.

        Raises:
            ValueError: The data is malformed or does not fit.
        """
        envelope = self.envelope
        body = envelope.body
        assert not isinstance(body, int)
        return Event(
            topic=envelope.topic,
            data=self.payload.decode(body, type_, envelope.serializer),
            publisher=self.publisher,
            time=datetime.fromtimestamp(envelope.time_ms / 1000, UTC),
            retained=envelope.is_retained,
            missed=envelope.missed + missed,
        )


class Listener(Protocol):
    """Who takes events on this node; told apart by identity."""

    def __hash__(self) -> int: ...

    def arrived(self, event: Arrived) -> None:
        """An event whose topic fits; never blocks, never raises."""
        ...

    def closed(self) -> None:
        """The node stops."""
        ...


class Events:
    """The event side of one node.

    Attributes:
        counts: ``published``, ``arrived``, ``refused_patterns`` by peers, ``unheard`` (no subscriber any more),
            ``held`` (came over one of two crossed links while older ones might come over the other), ``cut_off`` links
            of peers that subscribe and do not read.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        own_name: Callable[[], str],
        payload: Payload,
        links: Callable[[], Sequence[Connection]],
        is_current: Callable[[Connection], bool],
        is_ahead: Callable[[Connection], bool],
    ) -> None:
        """Make an event side without subscriptions.

        Args:
            clock: Where the time of events comes from.
            own_name: ``device/name`` of this node.
            payload: Encodes for listeners on this node.
            links: Every connection to a peer that has proven itself; two where links crossed.
            is_current: Whether a connection carries new work to its peer.
            is_ahead: Whether older events than those on this connection may still come on another.
        """
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._own_name = own_name
        self._payload = payload
        self._links = links
        self._is_current = is_current
        self._is_ahead = is_ahead
        self._is_closed = False
        self._confirming: dict[str, list[tuple[Connection, asyncio.Future[Reply]]]] = {}
        self._held: dict[Connection, Backlog] = {}
        self._local: Patterns[Listener] = Patterns()
        self._remote: Patterns[Connection] = Patterns()

    # What this node says

    def publish(self, topic: str, data: Any) -> int:
        """Publish an event.

        Returns:
            On how many links it was put.

        Raises:
            ConfigError: The topic is malformed.
            Unserializable: The data cannot be turned into bytes.
            PayloadTooLarge: It is over this node's limit.
        """
        checked_topic(topic)
        time_ms = round(self._clock.now().timestamp() * 1000)
        self.counts["published"] += 1
        bodies: dict[object, bytes] = {}
        reached = 0
        for connection in self._remote.match(topic):
            payload = connection.payload
            if payload is None or connection.is_closed or not self._is_current(connection):
                continue
            body = bodies.get(payload.form)
            if body is None:
                body = bodies[payload.form] = payload.encode(data)
            connection.traffic.publish(EventEnvelope(0, topic, body, time_ms, serializer=payload.preferred))
            connection.queued()
            reached += 1
        listeners = self._local.match(topic)
        if listeners:
            body = bodies.get(self._payload.form) or self._payload.encode(data)
            envelope = EventEnvelope(0, topic, body, time_ms)
            self._hand_out(Arrived(envelope, self._own_name(), self._payload, len(body)), listeners)
        return reached

    def listen(self, pattern: str, listener: Listener) -> list[asyncio.Future[Reply]]:
        """Let a listener hear a pattern; where the node has stopped it is closed at once.

        Returns:
            One future for each link on which the peer has not confirmed yet, done when it has; none for a busy peer,
            which will confirm when it is back.

        Raises:
            ConfigError: The pattern is malformed, or this node hears as many as peers take.
        """
        if self._is_closed:
            listener.closed()
            return []
        patterns = self.patterns()
        if pattern not in patterns:
            if len(patterns) >= MAX_PATTERNS:
                raise ConfigError(f"this node hears {MAX_PATTERNS} patterns already: take one with '*' or '**' instead")
            self._local.add(pattern, listener)
            self._confirming[pattern] = [(link, link.subscribe(pattern)) for link in self._links()]
        else:
            self._local.add(pattern, listener)
        return [
            future
            for connection, future in self._confirming.get(pattern, ())
            if not future.done() and connection.link.state is not LinkState.BUSY
        ]

    def unlisten(self, listener: Listener) -> None:
        """A listener wants no more; peers are told of patterns that nobody here wants now."""
        patterns = self._local.patterns(listener)
        self._local.drop(listener)
        left = set(self.patterns())
        for pattern in patterns:
            if pattern not in left:
                self._confirming.pop(pattern, None)
                for connection in self._links():
                    connection.traffic.unsubscribe(pattern)
                    connection.queued()

    def close(self) -> None:
        """Let go of every listener; whoever comes later is let go of at once."""
        self._is_closed = True
        for listener in {listener for _, listener in self._local}:
            listener.closed()
        self._local = Patterns()
        self._confirming.clear()

    # EventBus: what links report

    def patterns(self) -> list[str]:
        """What this node wants to hear, each pattern once."""
        return list(dict.fromkeys(pattern for pattern, _ in self._local))

    def subscribed(self, connection: Connection, envelope: Subscribe | Unsubscribe) -> None:
        """A peer wants events, or wants them no more."""
        pattern = envelope.pattern
        if isinstance(envelope, Unsubscribe):
            self._remote.remove(pattern, connection)
            return
        try:
            if connection.link.waiting >= MAX_WAITING:
                self._cut_off(connection)
                return
            if len(self._remote.patterns(connection)) >= MAX_PATTERNS:
                raise Overloaded(f"{MAX_PATTERNS} patterns are all that one peer may subscribe to")
            self._remote.add(pattern, connection)
        except (ConfigError, Overloaded) as error:
            self.counts["refused_patterns"] += 1
            connection.traffic.deny(envelope.id, error)
        else:
            connection.traffic.confirm(envelope.id)
        connection.queued()

    def published(self, connection: Connection, event: EventEnvelope) -> None:
        """An event came over a link."""
        self.counts["arrived"] += 1
        payload, body = connection.payload, event.body
        assert payload is not None
        assert not isinstance(body, int)
        peer = connection.peer
        arrived = Arrived(event, f"{peer.device}/{peer.name}", payload, len(body))
        if self._is_ahead(connection):
            self.counts["held"] += 1
            self._held.setdefault(connection, Backlog()).put(arrived)
        else:
            self._spread(arrived)

    def release(self, connection: Connection) -> None:
        """All that is older than what was held of this connection has come."""
        backlog = self._held.pop(connection, None)
        while backlog:
            event, missed = backlog.take()
            event.envelope.missed += missed
            self._spread(event)

    def parted(self, connection: Connection) -> None:
        """A link ended: what it brought is all there is, and whoever subscribed over it wants nothing more."""
        self.release(connection)
        self._remote.drop(connection)

    def _cut_off(self, connection: Connection) -> None:
        self.counts["cut_off"] += 1
        peer = connection.peer
        logger.warning(
            "the link with %s/%s is cut: it subscribes without end and reads nothing",
            peer.device,
            peer.name,
            extra={"event": "link-refused", "peer": f"{peer.device}/{peer.name}"},
        )
        connection.abort(f"the peer asks without reading: {MAX_WAITING} envelopes wait for it")

    def _spread(self, event: Arrived) -> None:
        listeners = self._local.match(event.envelope.topic)
        if listeners:
            self._hand_out(event, listeners)
        else:
            self.counts["unheard"] += 1

    @staticmethod
    def _hand_out(event: Arrived, listeners: Sequence[Listener]) -> None:
        for listener in listeners:
            listener.arrived(event)
