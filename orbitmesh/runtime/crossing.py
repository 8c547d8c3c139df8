"""One link per pair: which of several connections with the same peer stays."""

from __future__ import annotations

from collections.abc import Iterator

from orbitmesh.link.states import LinkState
from orbitmesh.runtime.connection import Connection


class Peer:
    """The connections with one peer, oldest first.

    Of two links by the same dialler the one with the higher session stays, and one by a later start of the node
    replaces all others. Of two that crossed, the one that the lower node id dialled stays, once it has carried a PING
    that was answered; until then both live. The lower node id alone decides, and says so by DRAIN on the other.

    Attributes:
        links: Greeted connections.
        current: The one that carries new work: the first that was connected, until it is drained or ends.

    Wire: docs/protocol.md#one-link-per-pair
    """

    __slots__ = ("_is_decider", "_proven", "current", "links")

    def __init__(self, *, is_decider: bool) -> None:
        self.links: list[Connection] = []
        self.current: Connection | None = None
        self._is_decider = is_decider
        self._proven: Connection | None = None  # its PING was answered

    def add(self, connection: Connection) -> list[tuple[Connection, str]]:
        """A connection was greeted.

        Returns:
            Connections that have to be cut, each with the reason.
        """
        outdated: list[tuple[Connection, str]] = []
        for other in self.links:
            if other.peer.boot < connection.peer.boot:
                outdated.append((other, "the peer has started anew"))
            elif other.pipe.is_dialled == connection.pipe.is_dialled:
                older = other if other.session < connection.session else connection
                outdated.append((older, "its dialler has made a newer link"))
        self.links.append(connection)
        return outdated

    def connected(self) -> None:
        """A connection carries work now; of two that crossed, test the one that shall stay."""
        self._choose()
        crossed = self._crossed()
        if crossed is not None:
            staying, _ = crossed
            staying.link.ping()
            staying.queued()

    def answered(self, connection: Connection) -> None:
        """A PING was answered: what is proven to work both ways may take over."""
        self._proven = connection
        self.settle()

    def settle(self) -> bool:
        """Say DRAIN on the one of two that crossed that shall not stay, once nothing hinders; True if that was done.

        Events that wait there for the peer to read would come after the DRAIN, and after newer ones on the other: as
        long as there are some, it goes on carrying them.
        """
        crossed = self._crossed()
        if crossed is None or crossed[0] is not self._proven or crossed[1].link.has_events:
            return False
        crossed[1].link.drain_off()
        crossed[1].queued()
        self._choose()
        return True

    def drained(self) -> None:
        """A connection was drained: another one carries new work."""
        self._choose()

    def remove(self, connection: Connection) -> bool:
        """A connection ended; False when it was none of these."""
        if connection not in self.links:
            return False
        self.links.remove(connection)
        if self._proven is connection:
            self._proven = None
        self._choose()
        return True

    def is_ahead(self, connection: Connection) -> bool:
        """Whether events on this connection may be newer than some that are still to come on another.

        The one that the lower node id dialled stays, so its peer may have moved there, or will. What came before that
        is complete when the peer has said DRAIN on the other.
        """
        if connection.pipe.is_dialled is not self._is_decider:
            return False
        return any(
            other.pipe.is_dialled is not self._is_decider
            and not other.has_peer_drained
            and other.link.state is not LinkState.CLOSED  # what the peer stated there may still be on its way, too
            for other in self.links
        )

    def spent(self) -> Iterator[Connection]:
        """Drained connections on which nothing is under way any more; the decider takes leave on them.

        None while no other carries on: better a link that is being drained than none.
        """
        if self._is_decider and self.current is not None and _carries(self.current):
            for connection in self.links:
                if connection.link.is_draining and connection.has_peer_drained and connection.is_idle:
                    yield connection

    def _crossed(self) -> tuple[Connection, Connection] | None:
        """The pair that crossed, the one that stays first; None when there is none, or the peer decides."""
        if not self._is_decider:
            return None
        ready = [connection for connection in self.links if _carries(connection)]
        dialled = [connection for connection in ready if connection.pipe.is_dialled]
        accepted = [connection for connection in ready if not connection.pipe.is_dialled]
        return (dialled[-1], accepted[-1]) if dialled and accepted else None

    def _choose(self) -> None:
        if self.current in self.links and _carries(self.current):
            return  # whoever changed it without a DRAIN would let what is newer overtake what is older
        self.current = next((connection for connection in self.links if _carries(connection)), None)
        if self.current is None:  # better a link that is being drained than none
            self.current = next((c for c in self.links if c.link.state is LinkState.CONNECTED), None)


def _carries(connection: Connection) -> bool:
    """Whether new work may be put on a connection; that of a busy peer holds what it has."""
    link = connection.link
    return link.state in (LinkState.CONNECTED, LinkState.BUSY) and not link.is_draining
