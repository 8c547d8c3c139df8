"""What waits to leave on a link: control before data, small before bulk, and nothing beyond the peer's credit."""

from __future__ import annotations

from collections import deque
from typing import Final

from orbitmesh.link.credit import LinkSendCredit
from orbitmesh.link.transfers import OutgoingTransfer
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import Frame, encode
from orbitmesh.wire.envelopes import BODIED, Call, Cancel, Chunk, Credit, Envelope, Event, Heartbeat, Ping, Pong

EVENTS: Final = 10_000
EVENT_BYTES: Final = 8 * 1024 * 1024
"""What waits for one slow subscriber; beyond either the oldest events are dropped and counted."""

_OVERHEAD: Final = 48
"""Bytes an envelope takes beside its body, roughly: batches need no exact sum."""


class Outbox:
    """The lanes of one link and the order in which they leave.

    Attributes:
        events_dropped: Events that this peer missed because it reads too slowly, since the start.
    """

    __slots__ = (
        "_bulk",
        "_control",
        "_credit",
        "_credits",
        "_event_bytes",
        "_events",
        "_framed",
        "_heartbeat",
        "_missed",
        "_small",
        "_small_bytes",
        "events_dropped",
    )

    def __init__(self, credit: LinkSendCredit) -> None:
        self._credit = credit
        self._control: list[Envelope] = []
        self._credits: dict[int, Credit] = {}
        self._heartbeat: Heartbeat | None = None
        self._small: list[Envelope] = []
        self._small_bytes = 0
        self._framed = 0
        self._events: deque[Event] = deque()
        self._event_bytes = 0
        self._missed = 0
        self._bulk: deque[OutgoingTransfer] = deque()
        self.events_dropped = 0

    @property
    def waiting(self) -> int:
        """Small envelopes that have not left."""
        return len(self._small)

    @property
    def is_empty(self) -> bool:
        """Whether nothing at all waits."""
        return not (self._small or self._control or self._credits or self._heartbeat or self._events or self._bulk)

    @property
    def has_room(self) -> bool:
        """Whether the link has credit for more data."""
        return self._credit.has_room

    @property
    def has_transfers(self) -> bool:
        """Whether a large body is on its way."""
        return bool(self._bulk)

    def put(self, envelope: Envelope, size: int = 0) -> None:
        """Append an envelope whose body has this many bytes, in order."""
        self._small.append(envelope)
        if size >= limits.INLINE_BODY:
            self._framed += 1
            self._small_bytes += _OVERHEAD
        else:
            self._small_bytes += size + _OVERHEAD

    def put_control(self, envelope: Cancel | Ping | Pong) -> None:
        """Append an envelope that overtakes data."""
        self._control.append(envelope)

    def put_credit(self, credit: Credit) -> None:
        """State credit; a newer statement replaces one that has not left."""
        self._credits[credit.id] = credit

    def put_heartbeat(self, heartbeat: Heartbeat) -> None:
        """State load; a newer statement replaces one that has not left."""
        self._heartbeat = heartbeat

    def put_event(self, event: Event, size: int) -> None:
        """Append an event; while the link is short of credit it waits in a bounded queue that drops its oldest."""
        if not self._events and self._credit.has_room:
            self._put_next_event(event, size)
            return
        self._events.append(event)
        self._event_bytes += size
        while len(self._events) > EVENTS or self._event_bytes > EVENT_BYTES:
            self._event_bytes -= _size(self._events.popleft())
            self._missed += 1
            self.events_dropped += 1

    def put_transfer(self, transfer: OutgoingTransfer) -> None:
        """Begin to send a large body: its size goes out now, its parts when the peer asks for them."""
        self._bulk.append(transfer)
        self.put(transfer.opening())

    def transfer(self, id_: int) -> OutgoingTransfer | None:
        """The transfer of this id that has not ended."""
        return next((transfer for transfer in self._bulk if transfer.id == id_), None)

    def transfer_of(self, exchange: int) -> OutgoingTransfer | None:
        """The transfer that carries a body of this exchange, if one has not ended."""
        return next((transfer for transfer in self._bulk if transfer.exchange == exchange), None)

    def drop_transfer(self, transfer: OutgoingTransfer) -> None:
        """Forget a transfer and what was to follow it."""
        self._bulk.remove(transfer)

    def withdraw(self, id_: int) -> bool:
        """Take out a CALL that has not left; say whether there was one."""
        for index, envelope in enumerate(self._small):
            if type(envelope) is Call and envelope.id == id_:
                del self._small[index]
                size = _size(envelope)
                self._framed -= size >= limits.INLINE_BODY
                self._small_bytes -= _OVERHEAD + (size if size < limits.INLINE_BODY else 0)
                return True
        return False

    def unsent_calls(self) -> list[Call]:
        """CALLs that have not left, so that what is left of their time can be written anew."""
        return [envelope for envelope in self._small if type(envelope) is Call]

    def take(self) -> list[Frame] | None:
        """Form the next message, or None while nothing may leave."""
        if self._credit.has_room:
            if self._events:
                self._admit_events()
            batch, bodies = self._take_data()
            if batch:
                if self._has_control:
                    batch[:0] = self._take_control(limits.MAX_BATCH_ENVELOPES - len(batch))
                frame = encode(batch)
                self._credit.sent(len(frame) + sum(map(len, bodies)))
                return [frame, *bodies]
        return self._take_control_alone()

    @property
    def _has_control(self) -> bool:
        return bool(self._control or self._credits or self._heartbeat)

    def _take_data(self) -> tuple[list[Envelope], list[Frame]]:
        if not self._bulk and not self._framed and self._small_bytes <= limits.MAX_BATCH_BYTES:
            small = self._small
            if len(small) <= limits.MAX_BATCH_ENVELOPES:
                self._small, self._small_bytes = [], 0
                return small, []
        return self._take_slice()

    def _take_slice(self) -> tuple[list[Envelope], list[Frame]]:
        """As many small envelopes as one message may hold, then at most one chunk."""
        bodies: list[Frame] = []
        count = taken = 0
        for envelope in self._small:
            size = _size(envelope)
            is_framed = size >= limits.INLINE_BODY
            inline = 0 if is_framed else size
            if (
                count == limits.MAX_BATCH_ENVELOPES
                or (count and taken + inline > limits.MAX_BATCH_BYTES)
                or (is_framed and len(bodies) == limits.MAX_FRAMES - 1)
            ):
                break
            if is_framed:
                _move_body(envelope, bodies)
                self._framed -= 1
            count += 1
            taken += inline + _OVERHEAD
        batch, self._small = self._small[:count], self._small[count:]
        self._small_bytes -= taken
        if len(bodies) < limits.MAX_FRAMES - 1 and count < limits.MAX_BATCH_ENVELOPES:
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
                self._bulk.remove(transfer)
                for envelope in transfer.followers:
                    self.put(envelope, _size(envelope))
            return

    def _take_control(self, room: int) -> list[Envelope]:
        """Control envelopes, the credit of the link first; what has no room waits."""
        taken: list[Envelope] = [self._credits.pop(id_) for id_ in list(self._credits)[:room]]
        if self._heartbeat is not None and len(taken) < room:
            taken.append(self._heartbeat)
            self._heartbeat = None
        rest = room - len(taken)
        taken.extend(self._control[:rest])
        del self._control[:rest]
        return taken

    def _take_control_alone(self) -> list[Frame] | None:
        if not self._has_control:
            return None
        if self._credit.has_control_room:
            self._credit.sent_control()
            return [encode(self._take_control(limits.MAX_BATCH_ENVELOPES))]
        # Both sides may have filled their control windows: only the statement that opens them is outside of both.
        link_credit = self._credits.pop(0, None)
        if link_credit is None:
            return None
        self._credit.sent_control()
        return [encode([link_credit])]

    def _admit_events(self) -> None:
        """Move waiting events to the small lane, one batch at the most."""
        while (
            self._events
            and len(self._small) < limits.MAX_BATCH_ENVELOPES
            and (self._small_bytes < limits.MAX_BATCH_BYTES)
        ):
            event = self._events.popleft()
            size = _size(event)
            self._event_bytes -= size
            self._put_next_event(event, size)

    def _put_next_event(self, event: Event, size: int) -> None:
        if self._missed:
            event.missed += self._missed
            self._missed = 0
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
