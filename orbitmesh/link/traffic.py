"""Exchanges on one link: what this side asks and answers, what the peer asks and answers, and the bodies of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, inf
from typing import Any

from orbitmesh.core.errors import DeadlineExceeded, OrbitMeshError, Overloaded
from orbitmesh.link.arrivals import Arrivals
from orbitmesh.link.bodies import Bodies
from orbitmesh.link.endings import Endings
from orbitmesh.link.errors import to_wire
from orbitmesh.link.exchanges import Exchanges, Ids
from orbitmesh.link.outbox import Outbox
from orbitmesh.link.outputs import Expired, Granted, Output
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import (
    Call,
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
        readers: For each type of envelope that belongs to an exchange, what takes it in.
    """

    def __init__(self, outbox: Outbox, outputs: list[Output], ids: Ids, *, max_body: int) -> None:
        self.own = Exchanges()
        self.served = Exchanges()
        self._late = 0
        self._outbox = outbox
        self._outputs = outputs
        self._ids = ids
        self._bodies = Bodies(outbox, ids, max_body=max_body)
        self._endings = Endings(outbox, outputs, self._bodies)
        self._arrivals = Arrivals(
            self.own,
            self.served,
            outbox=outbox,
            outputs=outputs,
            ids=ids,
            bodies=self._bodies,
            endings=self._endings,
            max_body=max_body,
        )
        self.readers: Mapping[type[Any], Callable[[Any, float], None]] = self._arrivals.readers

    @property
    def due(self) -> float:
        """No exchange has to be looked at earlier than this."""
        return min(self.own.due, self.served.due)

    @property
    def late(self) -> int:
        """What came or was to leave after its exchange was over, since the start."""
        return self._late + self._arrivals.late

    @property
    def refused(self) -> int:
        """One-way envelopes that were dropped because their body was over this side's limit, since the start."""
        return self._arrivals.refused

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
            PayloadTooLarge: The body, or the headers, are over this side's own limit.
        """
        size = len(body)
        is_plain = size <= self._bodies.plain and headers is None and origin is None
        if not is_plain:
            self._bodies.check(body, headers)
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
            own.add_flow(id_, deadline).is_complete = kind is Kind.STREAM
        ttl_ms = 0 if deadline == inf else max(1, ceil((deadline - now) * 1000))
        call = Call(id_, command, body, ttl_ms, kind, serializer, headers, origin)
        if is_plain:
            self._outbox.put_plain(call, size)
        else:
            self._bodies.post(call, size)
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
        size = len(body)
        if size <= self._bodies.plain and headers is None and origin is None:
            self._outbox.put_plain(Notify(0, command, body, 0, serializer), size)
            return
        self._bodies.check(body, headers)
        self._bodies.post(Notify(0, command, body, 0, serializer, headers, origin), size)

    def raw(self, body: bytes, *, headers: Headers | None = None) -> None:
        """Send bytes to the peer's raw handler.

        Raises:
            PayloadTooLarge: The body is over this side's own limit.
        """
        self._bodies.check(body, headers)
        self._bodies.post(Raw(0, body, headers), len(body))

    def publish(self, event: Event) -> None:
        """Send an event that this peer subscribed to; the oldest are dropped and counted if it reads too slowly.

        Raises:
            PayloadTooLarge: The body is over this side's own limit.
        """
        body = event.body
        assert not isinstance(body, int)
        self._bodies.check(body)
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
        size = len(body)
        is_plain = size <= self._bodies.plain
        if not is_plain:
            self._bodies.check(body)
        if self.served.calls.pop(id_, None) is None:
            self._late += 1
            return False
        if is_plain:
            self._outbox.put_plain(Reply(id_, body), size)
        else:
            self._bodies.post(Reply(id_, body), size)
        return True

    def fail(self, id_: int, error: Error) -> bool:
        """Answer an exchange with an error. False: it is over, and nothing was sent."""
        if not self.served.remove(id_):
            self._late += 1
            return False
        error.id = id_
        self._bodies.post(error, len(error.body) if not isinstance(error.body, int) else 0)
        return True

    def confirm(self, id_: int) -> None:
        """Confirm a subscription."""
        self._outbox.put(Reply(id_))

    def deny(self, id_: int, error: OrbitMeshError) -> None:
        """Refuse a subscription.

        Raises:
            ProtocolError: So many refusals wait that the peer must be asking without reading.
        """
        self._bodies.refuse(to_wire(error, id_))

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
        if flow is None or flow.is_complete:
            return False
        size = len(body)
        if size <= self._bodies.plain and not self._outbox.has_transfers:
            flow.sending.sent(size)
            self._outbox.put_plain(Item(id_, body), size)
            return True
        self._bodies.check(body)
        flow.sending.sent(size)
        self._bodies.post(Item(id_, body), size)
        return True

    def end(self, id_: int) -> bool:
        """This side's items of a stream or channel are complete; for a served one the exchange is over."""
        flow = self.served.flows.pop(id_, None) or self.own.flows.get(id_)
        if flow is None or flow.is_complete:
            return False
        flow.is_complete = True
        self._bodies.post(End(id_), 0)
        return True

    def took(self, id_: int, items: int, size: int) -> None:
        """The application took items of a stream or channel: give the peer its credit back."""
        flow = self.own.flows.get(id_) or self.served.flows.get(id_)
        if flow is not None and not flow.has_ended and flow.receiving.took(items, size):
            self._outbox.control.put_credit(flow.receiving.tell(id_))

    def cancel(self, id_: int) -> None:
        """Want no more of an exchange that this side opened."""
        if self.own.remove(id_):
            self._endings.abandon(id_)

    def expire(self, now: float) -> None:
        """End every exchange whose deadline has passed."""
        for id_ in self.own.expire(now):
            self._endings.abandon(id_)
            self._outputs.append(Expired(id_))
        for id_ in self.served.expire(now):
            self._endings.tell(id_, DeadlineExceeded("the deadline passed while the handler ran"))
            self._endings.withdraw(id_, is_expired=True)

    def granted(self, credit: Credit, now: float) -> None:
        """The peer states how much it took of a stream, channel or transfer.

        Raises:
            ProtocolError: More than was sent, or of something that never was.
        """
        id_ = credit.id
        flow = self.own.flows.get(id_) or self.served.flows.get(id_)
        transfer = None if flow is not None else self._outbox.transfer(id_)
        if flow is not None:
            flow.sending.granted(credit)
            if flow.wants_grant and flow.sending.has_room:
                flow.wants_grant = False
                self._outputs.append(Granted(id_))
        elif transfer is not None:
            transfer.granted(credit)
            self.refresh_deadlines(now)  # the CALL that follows the body has waited for it
        else:
            self._ids.check_stray(id_)

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
