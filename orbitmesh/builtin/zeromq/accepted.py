"""A connection that the other side dialled, as the node sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from orbitmesh.builtin.zeromq.tcp import BROKEN
from orbitmesh.builtin.zeromq.zap import key_of
from orbitmesh.spi.transport import Frame

if TYPE_CHECKING:
    from orbitmesh.builtin.zeromq.connections import Connection
    from orbitmesh.builtin.zeromq.listener import Listener


class AcceptedPipe:
    """One connection that the other side dialled.

    Attributes:
        routing_id: Names it within the ROUTER. It is never told or logged: who knows the next one can claim it.
        token: What ZAP gave its handshake.
        connection: The TCP connection, as far as that is known and until it has ended.
        delivered: Bytes of the messages that it has brought, for the watchdog.
        is_gone: Whether it takes no more messages.
        is_closed: Whether its messages are dropped.
        owes_lost: Whether the receiver was told of it, and is to be told of its end.
        reason: Why it ends.
    """

    __slots__ = (
        "_listener",
        "address",
        "connection",
        "delivered",
        "is_closed",
        "is_gone",
        "owes_lost",
        "peer_key",
        "reason",
        "routing_id",
        "token",
    )

    is_dialled = False

    def __init__(self, listener: Listener, routing_id: bytes, token: str, address: str) -> None:
        self._listener = listener
        self.routing_id = routing_id
        self.token = token
        self.peer_key = key_of(token)
        self.address = address
        self.connection: Connection | None = None
        self.delivered = 0
        self.is_gone = False
        self.is_closed = False
        self.owes_lost = False
        self.reason = BROKEN

    def send(self, frames: Sequence[Frame]) -> bool:
        """Hand over one message."""
        return not self.is_gone and self._listener.send(self, frames)

    def close(self) -> None:
        """Cut the connection now. ``lost`` does not follow."""
        self.owes_lost = False
        self._listener.cut(self)
