"""What waits to leave on a link: control before data, small before bulk, and nothing beyond the peer's credit."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from itertools import chain
from typing import Any, Final

from orbitmesh.link.credit import LinkReceiveCredit, LinkSendCredit
from orbitmesh.link.lanes import ControlLane, EventLane
from orbitmesh.link.transfers import OutgoingTransfer
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import Frame, encode
from orbitmesh.wire.envelopes import (
    BODIED,
    Bodied,
    Call,
    Chunk,
    Envelope,
    Error,
    Event,
    Goodbye,
    Hello,
    Info,
    Item,
    Notify,
    Peers,
    Raw,
    Reply,
    Revoked,
    Welcome,
)

EVENTS: Final = 10_000
EVENT_BYTES: Final = 8 * 1024 * 1024
"""What waits for one slow subscriber; beyond either the oldest events are dropped and counted."""

_OVERHEAD: Final = 48
"""Bytes an envelope takes beside its body, roughly: a batch's bound leaves room for 256 of the longest names."""

_HEADED: Final[frozenset[type[Any]]] = frozenset({Call, Notify, Raw})
_WORDY: Final[frozenset[type[Any]]] = _HEADED | {Error, Info, Peers, Revoked, Goodbye}
"""Envelopes that may be long without a body, by their headers, texts or lists."""


class Outbox:
    """The lanes of one link and the order in which they leave.

    Attributes:
        control: What overtakes data.
        events: Events that wait for credit, or for a large one before them.
    """

    __slots__ = (
        "_bulk",
        "_credit",
        "_event_transfer",
        "_farewell",
        "_framed",
        "_greeting",
        "_later",
        "_next_id",
        "_small",
        "_small_bytes",
        "control",
        "events",
    )

    def __init__(self, credit: LinkSendCredit, receive: LinkReceiveCredit, next_id: Callable[[], int]) -> None:
        self.control = ControlLane(receive)
        self.events = EventLane(max_events=EVENTS, max_bytes=EVENT_BYTES)
        self._credit = credit
        self._next_id = next_id
        self._greeting: Hello | Welcome | None = None
        self._small: list[Envelope] = []
        self._small_bytes = 0
        self._framed = 0
        self._bulk: deque[OutgoingTransfer] = deque()
        self._later: deque[OutgoingTransfer] = deque()
        self._event_transfer: OutgoingTransfer | None = None
        self._farewell: Goodbye | None = None

    @property
    def waiting(self) -> int:
        """Small envelopes that have not left."""
        return len(self._small)

    @property
    def backlog(self) -> int:
        """Envelopes and large bodies that have not left."""
        return len(self._small) + len(self._bulk) + len(self._later)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all waits."""
        return not (self._has_data or self.control or self._greeting or self._farewell)

    @property
    def has_room(self) -> bool:
        """Whether the link has credit for more data."""
        return self._credit.has_room

    @property
    def has_transfers(self) -> bool:
        """Whether a large body is on its way."""
        return bool(self._bulk)

    @property
    def has_events(self) -> bool:
        """Whether events wait for credit, or for a large one before them."""
        return bool(self.events) or self._event_transfer is not None

    @property
    def has_farewell(self) -> bool:
        """Whether the last word waits for what was to leave before it."""
        return self._farewell is not None

    @property
    def _has_data(self) -> bool:
        return bool(self._small or self.events or self._bulk)

    def put(self, envelope: Envelope, size: int = 0) -> None:
        """Append an envelope whose body has this many bytes, in order."""
        self._small.append(envelope)
        if size >= limits.INLINE_BODY:
            self._framed += 1
            size = 0
        self._small_bytes += size + (_weight(envelope) if type(envelope) in _WORDY else _OVERHEAD)

    def put_plain(self, envelope: Call | Notify | Reply | Item, size: int) -> None:
        """Append an envelope that has a small body and neither headers nor origin: most are like that."""
        self._small.append(envelope)
        self._small_bytes += size + _OVERHEAD

    def put_greeting(self, greeting: Hello | Welcome) -> None:
        """The first word; it leaves in a message of its own."""
        self._greeting = greeting

    def put_farewell(self, goodbye: Goodbye) -> None:
        """The last word; it leaves when nothing else waits."""
        self._farewell = goodbye

    def put_event(self, event: Event, size: int) -> None:
        """Append an event, behind those before it; while the link is short of credit it waits in a bounded queue."""
        if self.events or self._event_transfer is not None or not self._credit.has_room:
            self.events.put(event, size)
        else:
            self._put_next_event(event, size)

    def begin_transfer(self, envelope: Bodied) -> OutgoingTransfer:
        """Begin to send a large body: its size goes out now, its parts when the peer asks for them."""
        transfer = OutgoingTransfer(self._next_id(), envelope)
        self._later.append(transfer)
        self._announce()
        return transfer

    def _announce(self) -> None:
        """Tell the peer of those whose turn it is."""
        while self._later and len(self._bulk) < limits.TRANSFER_SLOTS:
            transfer = self._later.popleft()
            self._bulk.append(transfer)
            self.put(transfer.opening())

    def transfer(self, id_: int) -> OutgoingTransfer | None:
        """The transfer of this id that has been announced and has not ended."""
        return next((transfer for transfer in self._bulk if transfer.id == id_), None)

    def transfer_of(self, exchange: int) -> OutgoingTransfer | None:
        """The transfer that carries a body of this exchange, if one has not ended; never more than one."""
        return next((transfer for transfer in chain(self._bulk, self._later) if transfer.exchange == exchange), None)

    def drop_transfer(self, transfer: OutgoingTransfer) -> bool:
        """Forget a transfer and what was to follow it; an event counts as lost. Say whether the peer knows of it."""
        if transfer is self._event_transfer:
            self._event_transfer = None
            self.events.lost(transfer.followers[0])  # type: ignore[arg-type]  # its body is an event's
        if transfer in self._later:
            self._later.remove(transfer)
            return False
        has_left = not self.take_back(transfer.id)
        self._bulk.remove(transfer)
        self._announce()
        return has_left

    def take_back(self, id_: int) -> list[Envelope]:
        """Take out what has not left under this id."""
        taken = [envelope for envelope in self._small if envelope.id == id_]
        if taken:
            self._small = [envelope for envelope in self._small if envelope.id != id_]
            for envelope in taken:
                size = _size(envelope)
                self._framed -= size >= limits.INLINE_BODY
                self._small_bytes -= _weight(envelope) + (size if size < limits.INLINE_BODY else 0)
        return taken

    def unsent_calls(self) -> list[Call]:
        """CALLs that have not left, so that what is left of their time can be written anew."""
        followers = [follower for transfer in chain(self._bulk, self._later) for follower in transfer.followers]
        return [envelope for envelope in (*self._small, *followers) if type(envelope) is Call]

    def waiting_errors(self) -> int:
        """ERRORs that have not left."""
        return sum(type(envelope) is Error for envelope in self._small)

    def take(self) -> list[Frame] | None:
        """Form the next message, or None while nothing may leave."""
        if self._greeting is not None:
            greeting, self._greeting = self._greeting, None
            return self._message([greeting], [])
        if self._credit.has_room:
            if self.events:
                self._admit_events()
            room = limits.MAX_BATCH_ENVELOPES
            if self.control:
                room -= min(len(self.control), limits.MAX_BATCH_ENVELOPES // 2)
            batch, bodies = self._take_data(room)
            if not batch and self._farewell is not None and not self._has_data:
                batch, self._farewell = [self._farewell], None
            if batch:
                if self.control:
                    batch[:0] = self.control.take(limits.MAX_BATCH_ENVELOPES - len(batch))
                return self._message(batch, bodies)
        return self._take_control_alone()

    def _message(self, batch: list[Envelope], bodies: list[Frame]) -> list[Frame]:
        frame = encode(batch)
        self._credit.sent(len(frame) + sum(map(len, bodies)))
        return [frame, *bodies]

    def _take_data(self, room: int) -> tuple[list[Envelope], list[Frame]]:
        if not self._bulk and not self._framed and self._small_bytes <= limits.MAX_BATCH_BYTES:
            small = self._small
            if len(small) <= room:
                self._small, self._small_bytes = [], 0
                return small, []
        return self._take_slice(room)

    def _take_slice(self, room: int) -> tuple[list[Envelope], list[Frame]]:
        """As many small envelopes as one message may hold, then at most one chunk."""
        bodies: list[Frame] = []
        count = taken = 0
        for envelope in self._small:
            size = _size(envelope)
            is_framed = size >= limits.INLINE_BODY
            inline = _weight(envelope) + (0 if is_framed else size)
            if (
                count == room
                or (count and taken + inline > limits.MAX_BATCH_BYTES)
                or (is_framed and len(bodies) == limits.MAX_FRAMES - 1)
            ):
                break
            if is_framed:
                _move_body(envelope, bodies)
                self._framed -= 1
            count += 1
            taken += inline
        batch, self._small = self._small[:count], self._small[count:]
        self._small_bytes -= taken
        if len(bodies) < limits.MAX_FRAMES - 1 and count < room:
            self._add_chunk(batch, bodies)
        return batch, bodies

    def _add_chunk(self, batch: list[Envelope], bodies: list[Frame]) -> None:
        """Add the next chunk of the transfer whose turn it is; when it was the last, release what follows it."""
        for _ in range(len(self._bulk)):
            transfer = self._bulk[0]
            self._bulk.rotate(-1)
            if not transfer.may_send:
                continue
            sequence, part = transfer.next_part()
            batch.append(Chunk(transfer.id, sequence, 0, len(bodies)))
            bodies.append(part)
            if transfer.is_sent:
                self._release(transfer)
            return

    def _release(self, transfer: OutgoingTransfer) -> None:
        """A body has left: what waited behind it follows, up to the next large body of the same exchange."""
        self._bulk.remove(transfer)
        if transfer is self._event_transfer:
            self._event_transfer = None
        for index, envelope in enumerate(transfer.followers):
            size = _size(envelope)
            if size > limits.WHOLE_BODY:
                following = self.begin_transfer(envelope)  # type: ignore[arg-type]  # what has a size has a body
                following.followers.extend(transfer.followers[index + 1 :])
                break
            self.put(envelope, size)
        self._announce()  # behind the envelope with which the peer lets go of this one

    def _take_control_alone(self) -> list[Frame] | None:
        if not self.control:
            return None
        if self._credit.has_control_room:
            self._credit.sent_control()
            return [encode(self.control.take(limits.MAX_BATCH_ENVELOPES))]
        # Both sides may have filled their control windows: only the statement that opens them is outside of both.
        link_credit = self.control.take_link_credit()
        if link_credit is None:
            return None
        self._credit.sent_control()
        return [encode([link_credit])]

    def _admit_events(self) -> None:
        """Move waiting events to where they leave from, one batch or one large event at the most."""
        while (
            self.events
            and self._event_transfer is None
            and len(self._small) < limits.MAX_BATCH_ENVELOPES
            and self._small_bytes < limits.MAX_BATCH_BYTES
        ):
            self._put_next_event(*self.events.pop())

    def _put_next_event(self, event: Event, size: int) -> None:
        self.events.stamp(event)
        if size > limits.WHOLE_BODY:
            self._event_transfer = self.begin_transfer(event)
        else:
            self.put(event, size)


def _move_body(envelope: Envelope, bodies: list[Frame]) -> None:
    """Let the body travel as a frame of its own, named by its number."""
    body = envelope.body  # type: ignore[union-attr]  # only envelopes with a body have a size
    bodies.append(body)  # type: ignore[arg-type]  # a body with a size is bytes, not a number
    envelope.body = len(bodies) - 1  # type: ignore[union-attr]  # none of these is frozen


def _size(envelope: Envelope) -> int:
    """Bytes of its body; 0 for none and for a body that is a number."""
    if type(envelope) not in BODIED:
        return 0
    body = envelope.body  # type: ignore[union-attr]  # every type in BODIED has one
    return 0 if isinstance(body, int) else len(body)


def _weight(envelope: Envelope) -> int:
    """Bytes that it takes beside its body, roughly; only what may be long is looked at."""
    kind = type(envelope)
    if kind in _HEADED:
        headers, origin = envelope.headers, getattr(envelope, "origin", None)  # type: ignore[union-attr]  # as _HEADED
        if headers is not None or origin is not None:
            return _OVERHEAD + len(encode([Notify(0, "", b"", headers=headers, origin=origin)]))
    elif kind is Error:
        return _OVERHEAD + len((envelope.message + envelope.traceback).encode())  # type: ignore[union-attr]  # it is one
    elif kind in _WORDY:
        return _OVERHEAD + len(encode([envelope]))
    return _OVERHEAD
