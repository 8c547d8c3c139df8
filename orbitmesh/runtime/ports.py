"""What the parts of a node ask of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeAlias

from orbitmesh.core.errors import OrbitMeshError
from orbitmesh.link.outputs import Closed, Greeted
from orbitmesh.wire.envelopes import (
    Call,
    Error,
    Event,
    Heartbeat,
    Info,
    Item,
    Notify,
    Peers,
    Raw,
    Revoked,
    Subscribe,
    Unsubscribe,
)

if TYPE_CHECKING:
    from orbitmesh.runtime.connection import Connection

Request: TypeAlias = Call | Notify | Raw
"""What a peer wants to be run."""


class Exchange(Protocol):
    """What waits on this side for the items of one stream."""

    def on_item(self, item: Item) -> None:
        """One item of a stream came."""
        ...

    def on_end(self, error: OrbitMeshError | Error | None) -> None:
        """The exchange is over, well or not."""
        ...

    def on_granted(self) -> None:
        """A channel of this side may send again."""
        ...


class Running(Protocol):
    """A command that runs here for a peer."""

    def withdraw(self) -> None:
        """Nobody waits for it any more: stop it."""
        ...


class Server(Protocol):
    """Runs what peers ask for."""

    def requested(self, connection: Connection, requests: Sequence[Request]) -> None:
        """A peer wants commands to run."""
        ...

    def withdrawn(self, connection: Connection, id_: int) -> None:
        """A command that runs for a peer, or waits to, has to stop."""
        ...


class EventBus(Protocol):
    """Takes and spreads events."""

    def patterns(self) -> Sequence[str]:
        """What this node wants to hear."""
        ...

    def subscribed(self, connection: Connection, envelope: Subscribe | Unsubscribe) -> None:
        """A peer wants events, or wants them no more."""
        ...

    def published(self, connection: Connection, event: Event) -> None:
        """An event came."""
        ...

    def release(self, connection: Connection) -> None:
        """All that is older than what came over this link has come."""
        ...

    def parted(self, connection: Connection) -> None:
        """A link ended: whoever subscribed over it wants nothing more."""
        ...


class Owner(Server, Protocol):
    """What a connection tells its node."""

    @property
    def events(self) -> EventBus:
        """Who takes events."""
        ...

    def greeted(self, connection: Connection, greeted: Greeted) -> None:
        """The peer has proven who it is."""
        ...

    def connected_with(self, connection: Connection) -> None:
        """The link carries work."""
        ...

    def fell_silent(self, connection: Connection) -> None:
        """The peer is busy."""
        ...

    def spoke_again(self, connection: Connection) -> None:
        """The busy peer is back."""
        ...

    def closed(self, connection: Connection, closed: Closed) -> None:
        """The link is over; what waited on it has been told."""
        ...

    def cut(self, connection: Connection) -> None:
        """This side has cut the pipe of a link that is over: nothing comes from it any more."""
        ...

    def informed(self, connection: Connection, envelope: Info | Heartbeat | Peers | Revoked) -> None:
        """The peer states something about itself or others."""
        ...

    def draining(self, connection: Connection) -> None:
        """The peer says that this link ends in favour of another."""
        ...

    def answered(self, connection: Connection) -> None:
        """The peer answered a PING."""
        ...
