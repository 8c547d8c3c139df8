"""Bodies of any size on their way out and in: whole in one message, or as a transfer of chunks."""

from __future__ import annotations

from typing import Final

from orbitmesh.core.errors import PayloadTooLarge, ProtocolError
from orbitmesh.link.errors import to_wire
from orbitmesh.link.exchanges import Ids
from orbitmesh.link.outbox import Outbox
from orbitmesh.link.transfers import IncomingTransfers, OutgoingTransfer, too_large
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import Frame
from orbitmesh.wire.envelopes import Bodied, Call, Cancel, Chunk, Credit, End, Envelope, Error, Headers, Subscribe

REFUSALS: Final = 8192
"""Refusals that may wait; only a peer that asks without end and reads nothing makes so many necessary."""


class Bodies:
    """What one link does about the bodies of its envelopes, so that those of one exchange keep their order.

    Attributes:
        plain: Bodies up to this many bytes travel within their envelope, and need no check.
    """

    def __init__(self, outbox: Outbox, ids: Ids, *, max_body: int) -> None:
        self._outbox = outbox
        self._ids = ids
        self._max_body = max_body
        self.plain = min(max_body, limits.INLINE_BODY - 1)
        self._incoming = IncomingTransfers(max_body=max_body)
        self._refused = 0

    # Out

    def check(self, body: Frame, headers: Headers | None = None) -> None:
        """See whether a body and its headers may travel.

        Raises:
            PayloadTooLarge: One of them is over this side's own limit.
        """
        if len(body) > self._max_body:
            raise too_large(len(body), self._max_body)
        if headers is not None:
            size = sum(len(name.encode()) + len(value.encode()) for name, value in headers.items())
            if size > limits.HEADER_BYTES:
                raise PayloadTooLarge(f"headers of {size} bytes: at most {limits.HEADER_BYTES} travel with one call")

    def post(self, envelope: Bodied | End, size: int) -> None:
        """Let an envelope leave after all others of its exchange; one without an exchange as soon as it may."""
        outbox = self._outbox
        transfer = outbox.transfer_of(envelope.id) if outbox.has_transfers and envelope.id else None
        if transfer is not None:
            transfer.followers.append(envelope)
        elif size > limits.WHOLE_BODY:
            outbox.begin_transfer(envelope)  # type: ignore[arg-type]  # END has no body, so no size
        else:
            outbox.put(envelope, size)

    def refuse(self, error: Error) -> None:
        """Answer what was not even begun.

        Raises:
            ProtocolError: So many refusals wait that the peer must be asking without reading.
        """
        if self._refused >= REFUSALS:
            self._refused = self._outbox.waiting_errors()
            if self._refused >= REFUSALS:
                raise ProtocolError(f"the peer does not read: {REFUSALS} refusals wait for it")
        self._refused += 1
        self._outbox.put(error)

    def take_back(self, exchange: int) -> bool:
        """Take back what has not left of an exchange; say whether what opens it was among it."""
        taken = self._outbox.take_back(exchange)
        for envelope in taken:
            self._release(envelope)
        transfer = self._outbox.transfer_of(exchange) if self._outbox.has_transfers else None
        if transfer is not None:
            taken.append(transfer.followers[0])
            self.drop(transfer)
        return any(type(envelope) in (Call, Subscribe) for envelope in taken)

    def drop(self, transfer: OutgoingTransfer) -> None:
        """Give a transfer up, and what was to follow it; the peer is told unless it has not heard of it."""
        if self._outbox.drop_transfer(transfer):
            self._outbox.control.put(Cancel(transfer.id))

    def _release(self, envelope: Envelope) -> None:
        """The peer holds a whole body for an envelope that will never come."""
        body = getattr(envelope, "body", b"")
        if isinstance(body, int):
            self._outbox.control.put(Cancel(-body))

    # In

    def whole(self, envelope: Bodied) -> None:
        """Put the body in its place that came as a transfer.

        Raises:
            ProtocolError: It did not come.
        """
        body = envelope.body
        if isinstance(body, int):
            if body >= 0:
                raise ProtocolError("an envelope names a body frame that is not there")
            envelope.body, admitted = self._incoming.claim(-body)
            self._admit(admitted)

    def arrived(self, chunk: Chunk) -> None:
        """Take in a part of a transfer, or its opening.

        Raises:
            ProtocolError: It is of no transfer that the peer may send.
        """
        if chunk.sequence:
            credit = self._incoming.arrived(chunk)
            if credit is not None:
                self._outbox.control.put_credit(credit)
            return
        self._ids.check_opening(chunk.id)
        if chunk.body != b"":
            raise ProtocolError("a transfer was opened with a body")
        try:
            self._admit(self._incoming.opened(chunk.id, chunk.size))
        except PayloadTooLarge as error:
            self.refuse(to_wire(error, chunk.id))

    def dropped(self, id_: int) -> None:
        """The peer gives a transfer up."""
        self._admit(self._incoming.dropped(id_))

    def _admit(self, admitted: list[Credit]) -> None:
        for credit in admitted:
            self._outbox.control.put_credit(credit)
