"""Exchanges on one link: what this side asks and answers, what the peer asks and answers, and the bodies of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, inf
from typing import Any

from orbitmesh.core.errors import DeadlineExceeded, OrbitMeshError, Overloaded, PayloadTooLarge, ProtocolError
from orbitmesh.link.errors import from_wire, to_wire
from orbitmesh.link.exchanges import Exchanges, Ids
from orbitmesh.link.outbox import Outbox
from orbitmesh.link.outputs import Expired, Granted, Output, Refused, Withdrawn
from orbitmesh.link.transfers import IncomingTransfers, OutgoingTransfer
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import (
    Bodied,
    Call,
    Cancel,
    Chunk,
    Credit,
    End,
    Error,
    Event,
    Headers,
    Item,
    Kind,
    Notify,
    Origin,
    Raw,
    Reply,
    Subscribe,
    Unsubscribe,
)


class Traffic:
    """The exchanges of one link.

    Attributes:
        own: Exchanges that this side opened.
        served: Exchanges that the peer opened.
        late: Answers that came after their exchange was over, since the start.
        due: No exchange has to be looked at earlier than this.
        readers: For each type of envelope that belongs to an exchange, what takes it in.
    """

    def __init__(self, outbox: Outbox, outputs: list[Output], ids: Ids, *, max_body: int) -> None:
        self.own = Exchanges()
        self.served = Exchanges()
        self.late = 0
        self.due = inf
        self._outbox = outbox
        self._outputs = outputs
        self._ids = ids
        self._max_body = max_body
        self._incoming = IncomingTransfers(max_body=max_body)
        self.readers: Mapping[type[Any], Callable[[Any, float], None]] = {
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

    # What this side says

    def call(
        self,
        command: str,
        body: bytes,
        *,
        kind: Kind = Kind.CALL,
        deadline: float = inf,
        now: float,
        serializer: int = 0,
        headers: Headers | None = None,
        origin: Origin | None = None,
    ) -> int:
        """Open an exchange.

        Args:
            command: What to run.
            body: Its parameters.
            kind: ``CALL``, ``STREAM`` or ``CHANNEL``.
            deadline: When it has to be over, on the clock of ``now``.
            now: The present time.
            serializer: Id of the body's serializer on this link.
            headers: User headers.
            origin: Who made the first call, when this one is nested.

        Returns:
            The id under which its answers come.

        Raises:
            Overloaded: As many exchanges as the peer serves at one time are under way on this link.
            PayloadTooLarge: The body is over this side's own limit.
        """
        self._check_size(body)
        own = self.own
        if kind is Kind.CALL:
            if len(own.calls) >= limits.CALL_SLOTS:
                raise Overloaded(f"{limits.CALL_SLOTS} calls are in flight on this link: wait for some of them")
            id_ = self._ids.next()
            own.add_call(id_, deadline)
        else:
            if len(own.flows) >= limits.STREAM_SLOTS:
                raise Overloaded(f"{limits.STREAM_SLOTS} streams are open on this link: close some of them")
            id_ = self._ids.next()
            own.add_flow(id_, deadline)
        if deadline < self.due:
            self.due = deadline
        ttl_ms = 0 if deadline == inf else max(1, ceil((deadline - now) * 1000))
        self._post(Call(id_, command, body, ttl_ms, int(kind), serializer, headers, origin), len(body))
        return id_

    def notify(
        self,
        command: str,
        body: bytes,
        *,
        serializer: int = 0,
        headers: Headers | None = None,
        origin: Origin | None = None,
    ) -> None:
        """Run a command of the peer's; nothing comes back.

        Raises:
            PayloadTooLarge: The body is over this side's own limit.
        """
        self._check_size(body)
        self._post(Notify(0, command, body, 0, serializer, headers, origin), len(body))

    def raw(self, body: bytes, *, headers: Headers | None = None) -> None:
        """Send bytes to the peer's raw handler.

        Raises:
            PayloadTooLarge: The body is over this side's own limit.
        """
        self._check_size(body)
        self._post(Raw(0, body, headers), len(body))

    def publish(self, event: Event) -> None:
        """Send an event that this peer subscribed to; the oldest are dropped and counted if it reads too slowly."""
        body = event.body
        assert not isinstance(body, int)
        if len(body) > limits.WHOLE_BODY:
            self._begin_transfer(event)
        else:
            self._outbox.put_event(event, len(body))

    def subscribe(self, pattern: str) -> int:
        """Ask for events; the Reply under the returned id confirms it."""
        id_ = self._ids.next()
        self.own.add_call(id_, inf)
        self._outbox.put(Subscribe(id_, pattern))
        return id_

    def unsubscribe(self, pattern: str) -> None:
        """Want no more events of this pattern."""
        self._outbox.put(Unsubscribe(0, pattern))

    def reply(self, id_: int, body: bytes) -> bool:
        """Answer a call. False: it is over, and nothing was sent.

        Raises:
            PayloadTooLarge: The body is over this side's own limit; the call is still open.
        """
        self._check_size(body)
        if self.served.calls.pop(id_, None) is None:
            self.late += 1
            return False
        self._post(Reply(id_, body), len(body))
        return True

    def fail(self, id_: int, error: Error) -> bool:
        """Answer an exchange with an error. False: it is over, and nothing was sent."""
        if not self.served.remove(id_):
            self.late += 1
            return False
        error.id = id_
        self._post(error, len(error.body) if not isinstance(error.body, int) else 0)
        return True

    def confirm(self, id_: int) -> None:
        """Confirm a subscription."""
        self._outbox.put(Reply(id_))

    def may_send_item(self, id_: int) -> bool:
        """Whether stream and link have credit; if not, ``Granted`` or ``Writable`` says when to look again."""
        flow = self.served.flows.get(id_) or self.own.flows.get(id_)
        if flow is None:
            return True  # it is over: sending finds that out
        if flow.sending.has_room:
            return self._outbox.has_room
        flow.wants_grant = True
        return False

    def item(self, id_: int, body: bytes) -> bool:
        """Send one item of a stream or channel. False: it is over, and nothing was sent.

        Raises:
            PayloadTooLarge: The body is over this side's own limit.
        """
        flow = self.served.flows.get(id_) or self.own.flows.get(id_)
        if flow is None:
            return False
        size = len(body)
        if size > self._max_body:
            self._check_size(body)
        flow.sending.sent(size)
        self._post(Item(id_, body), size)
        return True

    def end(self, id_: int) -> bool:
        """This side's items of a stream or channel are complete; for a served one the exchange is over."""
        if id_ not in self.own.flows and self.served.flows.pop(id_, None) is None:
            return False
        self._post(End(id_), 0)
        return True

    def took(self, id_: int, items: int, size: int) -> None:
        """The application took items of a stream or channel: give the peer its credit back."""
        flow = self.own.flows.get(id_) or self.served.flows.get(id_)
        if flow is not None and not flow.has_ended and flow.receiving.took(items, size):
            self._outbox.put_credit(flow.receiving.tell(id_))

    def cancel(self, id_: int) -> None:
        """Want no more of an exchange that this side opened."""
        if self.own.remove(id_):
            self._abandon(id_)

    def expire(self, now: float) -> None:
        """End every exchange whose deadline has passed."""
        for id_ in self.own.expire(now):
            self._abandon(id_)
            self._outputs.append(Expired(id_))
        for id_ in self.served.expire(now):
            self._reject(id_, DeadlineExceeded("the deadline passed while the handler ran"))
            self._withdraw_served(id_, is_expired=True)
        self.due = min(self.own.due, self.served.due)

    def granted(self, credit: Credit) -> None:
        """The peer states how much it took of a stream, channel or transfer.

        Raises:
            ProtocolError: More than was sent.
        """
        id_ = credit.id
        flow = self.own.flows.get(id_) or self.served.flows.get(id_)
        if flow is not None:
            flow.sending.granted(credit)
            if flow.wants_grant and flow.sending.has_room:
                flow.wants_grant = False
                self._outputs.append(Granted(id_))
            return
        transfer = self._outbox.transfer(id_)
        if transfer is not None:
            transfer.granted(credit)

    @staticmethod
    def unstarted(outputs: list[Output]) -> list[Output]:
        """The outputs without the calls among them: nobody waits for their answers any more."""
        return [output for output in outputs if type(output) is not Call]

    def refresh_deadlines(self, now: float) -> None:
        """What waited for credit has less time left than when it was put: write that anew."""
        for call in self._outbox.unsent_calls():
            deadline = self.own.deadline(call.id)
            if deadline != inf:
                call.ttl_ms = max(1, ceil((deadline - now) * 1000))

    # What the peer says

    def _on_reply(self, envelope: Reply, now: float) -> None:
        if type(envelope.body) is int:
            self._whole(envelope)
        if self.own.calls.pop(envelope.id, None) is None:
            self._stray(envelope.id)
        else:
            self._outputs.append(envelope)

    def _on_error(self, envelope: Error, now: float) -> None:
        self._whole(envelope)
        transfer = self._outbox.transfer(envelope.id)
        if transfer is not None:
            self._outbox.drop_transfer(transfer)
            self.own.remove(transfer.exchange)
            self.served.remove(transfer.exchange)
            self._outputs.append(Refused(transfer.exchange, from_wire(envelope)))
        elif self.own.remove(envelope.id):
            self._abandon(envelope.id, is_told=True)
            self._outputs.append(envelope)
        else:
            self._stray(envelope.id)

    def _on_call(self, envelope: Call, now: float) -> None:
        if type(envelope.body) is int:
            self._whole(envelope)
        id_, served = envelope.id, self.served
        if self._ids.is_ours(id_) or id_ in served.calls or id_ in served.flows:
            raise ProtocolError("an exchange was opened under an id that is not free")
        deadline = now + envelope.ttl_ms / 1000 if envelope.ttl_ms else inf
        if envelope.kind == Kind.CALL:
            if len(served.calls) >= limits.CALL_SLOTS:
                self._reject(id_, Overloaded("too many calls in flight on this link"))
                return
            served.calls[id_] = deadline
        else:
            if len(served.flows) >= limits.STREAM_SLOTS:
                self._reject(id_, Overloaded("too many streams open on this link"))
                return
            served.add_flow(id_, deadline)
        if deadline < served.due:
            served.due = deadline
        if deadline < self.due:
            self.due = deadline
        self._outputs.append(envelope)

    def _on_item(self, envelope: Item, now: float) -> None:
        if type(envelope.body) is int:
            self._whole(envelope)
        id_ = envelope.id
        flow = self.own.flows.get(id_) or self.served.flows.get(id_)
        if flow is None:
            self._stray(id_)
            return
        if flow.has_ended:
            raise ProtocolError("an item after the end")
        flow.receiving.came(len(envelope.body))  # type: ignore[arg-type]  # whole by now
        self._outputs.append(envelope)

    def _on_end(self, envelope: End, now: float) -> None:
        id_ = envelope.id
        if self.own.flows.pop(id_, None) is not None:
            self._outputs.append(envelope)
            return
        flow = self.served.flows.get(id_)
        if flow is None:
            self._stray(id_)
            return
        flow.has_ended = True
        self._outputs.append(envelope)

    def _on_cancel(self, envelope: Cancel, now: float) -> None:
        if self._ids.is_ours(envelope.id):
            raise ProtocolError("only who opened an exchange may cancel it")
        self._admit(self._incoming.dropped(envelope.id))
        if self.served.remove(envelope.id):
            self._withdraw_served(envelope.id, is_expired=False)

    def _on_chunk(self, envelope: Chunk, now: float) -> None:
        if self._ids.is_ours(envelope.id):
            raise ProtocolError("a transfer was opened under an id that is not free")
        if envelope.sequence:
            credit = self._incoming.arrived(envelope)
            if credit is not None:
                self._outbox.put_credit(credit)
            return
        try:
            self._admit(self._incoming.opened(envelope.id, envelope.size))
        except PayloadTooLarge as error:
            self._reject(envelope.id, error)

    def _on_one_way(self, envelope: Notify | Raw | Event, now: float) -> None:
        if type(envelope.body) is int:
            self._whole(envelope)
        self._outputs.append(envelope)

    def _on_subscribe(self, envelope: Subscribe, now: float) -> None:
        if self._ids.is_ours(envelope.id):
            raise ProtocolError("an exchange was opened under an id that is not free")
        self._outputs.append(envelope)

    # Bodies

    def _post(self, envelope: Bodied | End, size: int) -> None:
        if size > limits.WHOLE_BODY:
            self._begin_transfer(envelope)  # type: ignore[arg-type]  # END has no body, so no size
            return
        transfer = self._outbox.transfer_of(envelope.id) if self._outbox.has_transfers and envelope.id else None
        if transfer is not None:
            transfer.followers.append(envelope)
        else:
            self._outbox.put(envelope, size)

    def _begin_transfer(self, envelope: Bodied) -> None:
        self._outbox.put_transfer(OutgoingTransfer(self._ids.next(), envelope))

    def _check_size(self, body: bytes) -> None:
        if len(body) > self._max_body:
            raise PayloadTooLarge(
                f"a body of {len(body)} bytes is over the limit of {self._max_body}: use a stream, a channel or a file"
            )

    def _whole(self, envelope: Bodied) -> None:
        """Put the body in its place that came as a transfer."""
        body = envelope.body
        if isinstance(body, int):
            if body >= 0:
                raise ProtocolError("an envelope names a body frame that is not there")
            envelope.body, admitted = self._incoming.claim(-body)
            self._admit(admitted)

    def _admit(self, admitted: list[Credit]) -> None:
        for credit in admitted:
            self._outbox.put_credit(credit)

    # What follows

    def _stray(self, id_: int) -> None:
        """An answer came late, after a cancel or a deadline; never one to what was not asked."""
        if self._ids.is_ours(id_):
            self._ids.check_stray(id_)
        self.late += 1

    def _reject(self, id_: int, error: OrbitMeshError) -> None:
        self._outbox.put(to_wire(error, id_))

    def _abandon(self, id_: int, *, is_told: bool = False) -> None:
        """Take back what has not left of an exchange, and tell the peer of the rest."""
        transfer = self._outbox.transfer_of(id_) if self._outbox.has_transfers else None
        if transfer is not None:
            self._outbox.drop_transfer(transfer)
            self._outbox.put_control(Cancel(transfer.id))
            if isinstance(transfer.followers[0], Call):
                return
        if not is_told and not self._outbox.withdraw(id_):
            self._outbox.put_control(Cancel(id_))

    def _withdraw_served(self, id_: int, *, is_expired: bool) -> None:
        """A served exchange has to stop; if it was not handed out yet, it never starts."""
        for index, output in enumerate(self._outputs):
            if type(output) is Call and output.id == id_:
                del self._outputs[index]
                return
        self._outputs.append(Withdrawn(id_, is_expired))
