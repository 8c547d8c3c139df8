"""What a link hands to its driver: envelopes to deliver as they came, and what happened to the link itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from orbitmesh.core.errors import OrbitMeshError
from orbitmesh.security.identity import Identity
from orbitmesh.wire.envelopes import (
    Call,
    Drain,
    End,
    Error,
    Event,
    Heartbeat,
    Info,
    Item,
    Notify,
    Peers,
    Pong,
    Raw,
    Reply,
    Revoked,
    Subscribe,
    Unsubscribe,
)


@dataclass(frozen=True, slots=True)
class Greeted:
    """The peer has proven who it is. Now state what this side offers.

    Attributes:
        identity: Who it is.
        session: Number of this dial by the dialling side.
        version: Protocol version that both speak.
        serializers: Names that both know, in the order of their ids on the wire.
        codecs: Names of the codecs that every body passes, in order.
        seen: Address at which the peer sees this side; empty on the accepting side.
    """

    identity: Identity
    session: int
    version: int
    serializers: tuple[str, ...]
    codecs: tuple[str, ...]
    seen: str


@dataclass(frozen=True, slots=True)
class Connected:
    """Both sides have stated everything: the link carries work."""


@dataclass(frozen=True, slots=True)
class Silent:
    """The peer has been silent for too long: it is busy."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A busy peer speaks again."""


@dataclass(frozen=True, slots=True)
class Expired:
    """The deadline of an exchange that this side opened has passed; the peer is told."""

    id: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """An exchange that this side serves has to stop: the caller cancelled it, or its deadline passed.

    Attributes:
        id: The exchange.
        is_expired: Whether it was the deadline.
    """

    id: int
    is_expired: bool


@dataclass(frozen=True, slots=True)
class Granted:
    """A stream that had no credit may send again."""

    id: int


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer will not take the large body of this exchange, or of a one-way envelope (id 0)."""

    id: int
    error: OrbitMeshError


@dataclass(frozen=True, slots=True)
class Writable:
    """The link was short of credit and is no longer."""


@dataclass(frozen=True, slots=True)
class Closed:
    """The link is over; nothing follows.

    Attributes:
        error: Why; None after a goodbye.
        is_goodbye: Whether the peer left on purpose.
        is_breach: Whether the connection has to be shut for something that the peer did.
    """

    error: OrbitMeshError | None
    is_goodbye: bool = False
    is_breach: bool = False


Happening: TypeAlias = (
    Greeted | Connected | Silent | Heard | Expired | Withdrawn | Granted | Refused | Writable | Closed
)

Delivered: TypeAlias = (
    Call
    | Notify
    | Raw
    | Reply
    | Error
    | Item
    | End
    | Event
    | Subscribe
    | Unsubscribe
    | Info
    | Heartbeat
    | Pong
    | Drain
    | Revoked
    | Peers
)

Output: TypeAlias = Delivered | Happening
