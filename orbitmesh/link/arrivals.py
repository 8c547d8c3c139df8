"""What the peer says within exchanges, and about their bodies: checked, counted and handed on."""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any, Final

from orbitmesh.core.errors import OrbitMeshError, Overloaded, ProtocolError
from orbitmesh.link.bodies import Bodies
from orbitmesh.link.endings import Endings
from orbitmesh.link.errors import from_wire, to_wire
from orbitmesh.link.exchanges import Exchanges, Ids
from orbitmesh.link.outbox import Outbox
from orbitmesh.link.outputs import Output, Refused
from orbitmesh.link.transfers import OutgoingTransfer, too_large
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import (
    Bodied,
    Call,
    Cancel,
    Chunk,
    End,
    Error,
    Event,
    Item,
    Kind,
    Notify,
    Raw,
    Reply,
    Subscribe,
)

UNREAD: Final = 8192
"""Envelopes that may wait for a peer before its calls are refused: far more than it may have in flight."""


class Arrivals:
    """Takes in each envelope that belongs to an exchange; a breach is a ``ProtocolError``.

    Attributes:
        late: Answers and items that came after their exchange was over, since the start.
        refused: One-way envelopes that were dropped because their body was over this side's limit, since the start.
        readers: For each type of envelope, what takes it in.
    """

    def __init__(
        self,
        own: Exchanges,
        served: Exchanges,
        *,
        outbox: Outbox,
        outputs: list[Output],
        ids: Ids,
        bodies: Bodies,
        endings: Endings,
        max_body: int,
    ) -> None:
        self.late = 0
        self.refused = 0
        self._own = own
        self._served = served
        self._outbox = outbox
        self._outputs = outputs
        self._ids = ids
        self._bodies = bodies
        self._endings = endings
        self._max_body = max_body
        self.readers: dict[type[Any], Callable[[Any, float], None]] = {
            Reply: self._on_reply,
            Error: self._on_error,
            Call: self._on_call,
            Item: self._on_item,
            End: self._on_end,
            Cancel: self._on_cancel,
            Chunk: self._on_chunk,
            Notify: self._on_one_way,
            Raw: self._on_one_way,
            Event: self._on_one_way,
            Subscribe: self._on_subscribe,
        }
        if max_body < limits.MAX_FRAME_BYTES:  # else what is too large can only come as a transfer
            for kind in (Call, Reply, Error, Item, Notify, Raw, Event):
                self.readers[kind] = self._bounded(self.readers[kind])

    # One method per kind of envelope

    def _on_reply(self, envelope: Reply, now: float) -> None:
        if type(envelope.body) is int:
            self._bodies.whole(envelope)
        if self._own.calls.pop(envelope.id, None) is None:
            self._late_answer(envelope.id)
        else:
            self._outputs.append(envelope)

    def _on_error(self, envelope: Error, now: float) -> None:
        self._bodies.whole(envelope)
        transfer = self._outbox.transfer(envelope.id)
        if transfer is not None:
            self._on_refusal(transfer, from_wire(envelope))
        elif self._own.remove(envelope.id):
            self._bodies.take_back(envelope.id)
            self._outputs.append(envelope)
        else:
            self._late_answer(envelope.id)

    def _on_refusal(self, transfer: OutgoingTransfer, error: OrbitMeshError) -> None:
        """The peer will not take a body: whatever it belonged to is over on both sides."""
        first, exchange = transfer.followers[0], transfer.exchange
        self._outbox.drop_transfer(transfer)
        if self._own.remove(exchange):
            self._bodies.take_back(exchange)
            if type(first) is not Call:
                self._outbox.control.put(Cancel(exchange))
        elif exchange:
            # A Reply, an Error, or an item of a stream that this side serves.
            self._endings.tell(exchange, error)
            if self._served.remove(exchange):
                self._endings.withdraw(exchange, is_expired=False)
        self._outputs.append(Refused(exchange, error))

    def _on_call(self, envelope: Call, now: float) -> None:
        if type(envelope.body) is int:
            self._bodies.whole(envelope)
        id_, served = envelope.id, self._served
        self._ids.check_opening(id_)
        if id_ in served.calls or id_ in served.flows:
            raise ProtocolError("an exchange was opened under an id that is not free")
        if self._outbox.backlog >= UNREAD:
            self._bodies.refuse(to_wire(Overloaded("too much waits for this peer to read it"), id_))
            return
        deadline = now + envelope.ttl_ms / 1000 if envelope.ttl_ms else inf
        if envelope.kind == Kind.CALL:
            if len(served.calls) >= limits.CALL_SLOTS:
                self._bodies.refuse(to_wire(Overloaded("too many calls in flight on this link"), id_))
                return
            served.calls[id_] = deadline
        else:
            if len(served.flows) >= limits.STREAM_SLOTS:
                self._bodies.refuse(to_wire(Overloaded("too many streams open on this link"), id_))
                return
            served.add_flow(id_, deadline).has_ended = envelope.kind == Kind.STREAM
        if deadline < served.due:
            served.due = deadline
        self._outputs.append(envelope)

    def _on_item(self, envelope: Item, now: float) -> None:
        if type(envelope.body) is int:
            self._bodies.whole(envelope)
        flow = self._own.flows.get(envelope.id) or self._served.flows.get(envelope.id)
        if flow is None:
            self._late_item(envelope.id)
            return
        if flow.has_ended:
            raise ProtocolError("an item after the end")
        flow.receiving.came(len(envelope.body))  # type: ignore[arg-type]  # whole by now
        self._outputs.append(envelope)

    def _on_end(self, envelope: End, now: float) -> None:
        id_ = envelope.id
        if self._own.flows.pop(id_, None) is not None:
            self._bodies.take_back(id_)
            self._outputs.append(envelope)
            return
        flow = self._served.flows.get(id_)
        if flow is None:
            self._late_item(id_)
            return
        if flow.has_ended:
            raise ProtocolError("a second end")
        flow.has_ended = True
        self._outputs.append(envelope)

    def _on_cancel(self, envelope: Cancel, now: float) -> None:
        id_ = envelope.id
        if self._ids.is_ours(id_):
            raise ProtocolError("only who opened an exchange may cancel it")
        self._ids.check_stray(id_)
        self._bodies.dropped(id_)
        self._bodies.take_back(id_)
        if self._served.remove(id_):
            self._endings.withdraw(id_, is_expired=False)

    def _on_chunk(self, envelope: Chunk, now: float) -> None:
        self._bodies.arrived(envelope)

    def _on_one_way(self, envelope: Notify | Raw | Event, now: float) -> None:
        if type(envelope.body) is int:
            self._bodies.whole(envelope)
        self._outputs.append(envelope)

    def _on_subscribe(self, envelope: Subscribe, now: float) -> None:
        self._ids.check_opening(envelope.id)
        self._outputs.append(envelope)

    # A limit below what one message may hold

    def _bounded(self, read: Callable[[Any, float], None]) -> Callable[[Any, float], None]:
        def reader(envelope: Bodied, now: float) -> None:
            body = envelope.body
            if isinstance(body, int) or len(body) <= self._max_body:
                read(envelope, now)
            else:
                self._on_too_large(envelope, len(body))

        return reader

    def _on_too_large(self, envelope: Bodied, size: int) -> None:
        """A whole body is over this side's limit: whoever waits for what it belongs to learns so."""
        id_, error = envelope.id, too_large(size, self._max_body)
        match envelope:
            case Call():
                self._ids.check_opening(id_)
                self._bodies.refuse(to_wire(error, id_))
            case Notify() | Raw() | Event():
                self.refused += 1
            case _ if self._own.remove(id_):
                if isinstance(envelope, Item):
                    self._endings.abandon(id_)
                self._outputs.append(Refused(id_, error))
            case _ if self._served.remove(id_):
                self._endings.tell(id_, error)
                self._endings.withdraw(id_, is_expired=False)
            case Item():
                self._late_item(id_)
            case _:
                self._late_answer(id_)

    # Too late, or never

    def _late_answer(self, id_: int) -> None:
        """An answer came after a cancel or a deadline; never one to what was not asked, or of another kind."""
        if not self._ids.is_ours(id_) or id_ in self._own:
            raise ProtocolError("an answer to what was never asked")
        self._ids.check_stray(id_)
        self.late += 1

    def _late_item(self, id_: int) -> None:
        """An item or end came after its exchange was over; never one of what was not opened, or of a call."""
        if id_ in self._own or id_ in self._served:
            raise ProtocolError("an item of what is no stream")
        self._ids.check_stray(id_)
        self.late += 1
