"""Events by topic: published to whoever subscribed, here and on the links."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, Protocol, TypeVar

from orbitmesh.core.clock import Clock
from orbitmesh.core.errors import ConfigError
from orbitmesh.membership.topics import Patterns, checked_topic
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.payload import Payload
from orbitmesh.wire.envelopes import Event as EventEnvelope
from orbitmesh.wire.envelopes import Reply, Subscribe, Unsubscribe

T = TypeVar("T")


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
        counts: ``published``, ``arrived``, ``refused_patterns`` by peers, ``unheard`` (no subscriber any more).
    """

    def __init__(
        self,
        *,
        clock: Clock,
        own_name: Callable[[], str],
        payload: Payload,
        links: Callable[[], Sequence[Connection]],
        is_current: Callable[[Connection], bool],
    ) -> None:
        """Make an event side without subscriptions.

        Args:
            clock: Where the time of events comes from.
            own_name: ``device/name`` of this node.
            payload: Encodes for listeners on this node.
            links: One connection for each linked peer.
            is_current: Whether a connection carries new work to its peer.
        """
        self.counts: Counter[str] = Counter()
        self._clock = clock
        self._own_name = own_name
        self._payload = payload
        self._links = links
        self._is_current = is_current
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
        """Let a listener hear a pattern.

        Returns:
            One future for each linked peer, done when it has confirmed; none where another listener hears the same.

        Raises:
            ConfigError: The pattern is malformed.
        """
        is_new = pattern not in self.patterns()
        self._local.add(pattern, listener)
        return [connection.subscribe(pattern) for connection in self._links()] if is_new else []

    def unlisten(self, listener: Listener) -> None:
        """A listener wants no more; peers are told of patterns that nobody here wants now."""
        patterns = self._local.patterns(listener)
        self._local.drop(listener)
        left = set(self.patterns())
        for pattern in patterns:
            if pattern not in left:
                for connection in self._links():
                    connection.traffic.unsubscribe(pattern)
                    connection.queued()

    def close(self) -> None:
        """Let go of every listener."""
        for listener in {listener for _, listener in self._local}:
            listener.closed()
        self._local = Patterns()

    # EventBus: what links report

    def patterns(self) -> list[str]:
        """What this node wants to hear, each pattern once."""
        return list(dict.fromkeys(pattern for pattern, _ in self._local))

    def subscribed(self, connection: Connection, envelope: Subscribe | Unsubscribe) -> None:
        """A peer wants events, or wants them no more."""
        if isinstance(envelope, Unsubscribe):
            self._remote.remove(envelope.pattern, connection)
            return
        try:
            self._remote.add(envelope.pattern, connection)
        except ConfigError:
            self.counts["refused_patterns"] += 1  # and it is never confirmed
            return
        connection.traffic.confirm(envelope.id)
        connection.queued()

    def published(self, connection: Connection, event: EventEnvelope) -> None:
        """An event came over a link."""
        self.counts["arrived"] += 1
        listeners = self._local.match(event.topic)
        if not listeners:
            self.counts["unheard"] += 1
            return
        payload, body = connection.payload, event.body
        assert payload is not None
        assert not isinstance(body, int)
        peer = connection.peer
        self._hand_out(Arrived(event, f"{peer.device}/{peer.name}", payload, len(body)), listeners)

    def parted(self, connection: Connection) -> None:
        """A link ended: whoever subscribed over it wants nothing more."""
        self._remote.drop(connection)

    @staticmethod
    def _hand_out(event: Arrived, listeners: Sequence[Listener]) -> None:
        for listener in listeners:
            listener.arrived(event)
