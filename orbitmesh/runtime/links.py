"""The links of one node: connections as they come and go, and which of them carries what to whom."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from orbitmesh.core.errors import OrbitMeshError, PeerLost, ProtocolError, Superseded
from orbitmesh.core.ids import NodeId
from orbitmesh.link.outputs import Closed, Greeted
from orbitmesh.link.states import LinkState
from orbitmesh.runtime.connection import Connection
from orbitmesh.runtime.context import Caller
from orbitmesh.runtime.crossing import Peer
from orbitmesh.runtime.dialling import Attempt, Dialler
from orbitmesh.runtime.directory import Directory
from orbitmesh.runtime.greeting import Greeter
from orbitmesh.runtime.logs import shown
from orbitmesh.runtime.ports import EventBus, Request, Server
from orbitmesh.runtime.strangers import Strangers
from orbitmesh.security.identity import Identity
from orbitmesh.security.roles import may_call
from orbitmesh.spi.transport import Frame, Pipe
from orbitmesh.wire.envelopes import Heartbeat, Info, Peers, Revoked

logger = logging.getLogger("orbitmesh.runtime")

STEADY_SECONDS: Final = 5.0
"""A link that ended sooner counts as a dial that failed: else two nodes that cannot get along would never rest."""

_OPEN: Final = frozenset({LinkState.WELCOMED, LinkState.CONNECTED, LinkState.BUSY})

_REFUSED: Final = frozenset({"not-trusted", "superseded", "incompatible-version", "config-error"})
"""Codes with which a peer refuses a link for good: dialling it again would not change its mind."""


class Links:
    """All connections of one node; what the transport and each connection report comes here.

    Attributes:
        events: Who takes events.
        counts: Connections and what became of them, by name.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        greeter: Greeter,
        strangers: Strangers,
        directory: Directory,
        server: Server,
        events: EventBus,
        statement: Callable[[], Sequence[Info]],
        heartbeat: Callable[[], Heartbeat],
        failed: Callable[[Attempt, bool], None],
        parted: Callable[[NodeId, bool], None],
    ) -> None:
        """Make a node's links; ``dialler`` is set before the first of them.

        Args:
            loop: The node's loop.
            greeter: Begins each link, and proves this node on it.
            strangers: Told of who could prove nothing.
            directory: Told of everything that happens to peers.
            server: Runs what peers ask for.
            events: Takes and spreads events.
            statement: What this node states about itself at the start of a link.
            heartbeat: How loaded it is now.
            failed: Told of a dial that ended before anybody was greeted, and whether one of the two refused the other.
            parted: Told of a peer whose last link ended, and whether that was a steady one.
        """
        self.events = events
        self.counts: Counter[str] = Counter()
        self.dialler: Dialler
        self._loop = loop
        self._greeter = greeter
        self._strangers = strangers
        self._directory = directory
        self._members = directory.members
        self._server = server
        self._statement = statement
        self._heartbeat = heartbeat
        self._failed = failed
        self._parted = parted
        self._late_answers = self._events_dropped = 0  # of links that are over
        self._by_pipe: dict[Pipe, Connection] = {}
        self._peers: dict[NodeId, Peer] = {}
        self._read: list[Connection] = []
        self._is_leaving = False

    def __iter__(self) -> Iterator[Connection]:
        """Every connection, greeted or not."""
        return iter(list(self._by_pipe.values()))

    @property
    def late_answers(self) -> int:
        """Answers that came after their exchange was over, since the start."""
        return self._late_answers + sum(connection.traffic.late for connection in self if not connection.is_closed)

    @property
    def events_dropped(self) -> int:
        """Events that peers missed because they read too slowly, since the start."""
        return self._events_dropped + sum(
            connection.link.events_dropped for connection in self if not connection.is_closed
        )

    def to(self, node_id: NodeId) -> Connection | None:
        """The connection that carries new work to a peer, if a link holds."""
        peer = self._peers.get(node_id)
        return None if peer is None else peer.current

    def all_current(self) -> list[Connection]:
        """One connection for each peer whose link carries work."""
        return [peer.current for peer in self._peers.values() if peer.current is not None]

    def all_stated(self) -> list[Connection]:
        """Every connection on which this node has said what it wants to hear, crossed ones too, whichever will stay."""
        links = (connection for peer in self._peers.values() for connection in peer.links)
        return [connection for connection in links if connection.link.state in _OPEN]

    def is_ahead(self, connection: Connection) -> bool:
        """Whether events on this connection have to wait for older ones that may still come on another."""
        peer = self._peers.get(connection.peer.node_id)
        return peer is not None and len(peer.links) > 1 and peer.is_ahead(connection)

    def is_current(self, connection: Connection) -> bool:
        """Whether this connection carries new work to its peer."""
        peer = self._peers.get(connection.peer.node_id)
        return peer is not None and peer.current is connection

    # Receiver: what the transport reports

    def connected(self, pipe: Pipe) -> None:
        """A dialled pipe finished its handshake, or an accepted one brings its first message next."""
        if pipe.is_dialled:
            self.dialler.connected(pipe)
        elif self._is_leaving:
            pipe.close()
        else:
            self.counts["accepted"] += 1
            self._open(pipe, None)

    def received(self, pipe: Pipe, frames: Sequence[Frame]) -> None:
        """One message came."""
        connection = self._by_pipe.get(pipe)
        if connection is None:
            self.counts["messages_after_close"] += 1
        elif connection.receive(frames):
            self._read.append(connection)

    def burst_ended(self) -> None:
        """All that was ready has come."""
        read, self._read = self._read, []
        for connection in read:
            try:
                connection.burst_ended()
            except Exception as error:  # a fault of ours must cost this one link, not the node
                self.counts["faults"] += 1
                logger.exception("a link failed by a fault of this node", extra={"event": "link-fault"})
                connection.abort(f"a fault of this node: {type(error).__name__}")

    def lost(self, pipe: Pipe, reason: str) -> None:
        """A pipe is gone, or its dial failed."""
        connection = self._by_pipe.pop(pipe, None)
        if connection is not None:
            connection.lost(reason)
        else:
            self.dialler.lost(pipe, reason)

    def won(self, attempt: Attempt, pipe: Pipe) -> None:
        """A dial succeeded: say HELLO."""
        connection = self._open(pipe, attempt.node_id)
        connection.attempt = attempt
        self.counts["dialled"] += 1

    # Owner: what a connection reports

    def requested(self, connection: Connection, requests: Sequence[Request]) -> None:
        """The peer wants commands to run; one that was refused, or whose link has ended, gets nothing done."""
        if connection.is_closed or connection.refusal is not None:
            self.counts["requests_of_refused"] += len(requests)
            return
        self._server.requested(connection, requests)

    def withdrawn(self, connection: Connection, id_: int) -> None:
        """A command that runs for the peer has to stop."""
        self._server.withdrawn(connection, id_)

    def greeted(self, connection: Connection, greeted: Greeted) -> None:
        """The peer has proven who it is: state what this node offers, unless it may not be linked."""
        identity = greeted.identity
        now = self._loop.time()
        is_accepted = identity.node_id != self._greeter.own_id and self._members.connected(
            identity.node_id,
            name=identity.name,
            device=identity.device,
            roles=identity.roles,
            boot=identity.boot,
            key=identity.key,
            address=connection.pipe.address if connection.pipe.is_dialled else None,
            now=now,
        )
        if not is_accepted:
            self.counts["superseded"] += 1
            self._refuse(connection, Superseded(self._why_superseded(identity)))
            return
        connection.caller = Caller(name=identity.name, device=identity.device, roles=identity.roles)
        connection.may_call = may_call(identity.roles, frozenset())
        connection.payload = self._greeter.payload(greeted)
        connection.known_serializers = connection.payload.known
        peer = self._peers.setdefault(identity.node_id, Peer(is_decider=self._greeter.own_id < identity.node_id))
        for outdated, reason in peer.add(connection):
            outdated.abort(reason)
        if not connection.is_closed:
            self._state(connection)
        self._directory.pump()

    def connected_with(self, connection: Connection) -> None:
        """The link carries work."""
        if connection.is_closed or connection.refusal is not None:
            return
        connection.connected_at = self._loop.time()
        self._end_attempt(connection)
        self._peers[connection.peer.node_id].connected()
        self._directory.wake()

    def fell_silent(self, connection: Connection) -> None:
        """The peer is busy."""
        if self.is_current(connection):
            self._members.silent(connection.peer.node_id, self._loop.time())
            self._directory.pump()

    def spoke_again(self, connection: Connection) -> None:
        """The busy peer is back."""
        self._members.heard(connection.peer.node_id, self._loop.time())
        self._directory.pump()

    def informed(self, connection: Connection, envelope: Info | Heartbeat | Peers | Revoked) -> None:
        """The peer states something about itself or others."""
        node_id, now = connection.peer.node_id, self._loop.time()
        match envelope:
            case Info():
                try:
                    self._members.apply_info(node_id, envelope, now)
                except ProtocolError as error:
                    self._refuse(connection, error)
            case Heartbeat():
                connection.in_flight_told = connection.in_flight
                self._members.heartbeat(node_id, envelope, now)
            case Peers() | Revoked():
                self.counts["unused_statements"] += 1
        self._directory.pump()

    def draining(self, connection: Connection) -> None:
        """The peer says that this link ends in favour of another."""
        connection.has_peer_drained = True
        peer = self._peers.get(connection.peer.node_id)
        if peer is not None and not connection.link.is_draining:
            connection.link.drain_off()
            connection.queued()
            peer.drained()
            self._directory.wake()
        if peer is not None:
            self._release(peer)

    def answered(self, connection: Connection) -> None:
        """The peer answered a PING: of two links that crossed, this one may stay."""
        peer = self._peers.get(connection.peer.node_id)
        if peer is not None:
            peer.answered(connection)
            self._directory.wake()

    def closed(self, connection: Connection, closed: Closed) -> None:
        """A link is over."""
        now = self._loop.time()
        self._count_end(connection, closed)
        attempt = connection.attempt
        self._end_attempt(connection)
        if connection.caller is None:
            self._fail(attempt, connection.refusal or closed.error)
        else:
            self._part(connection, closed, now)
        self._directory.pump()
        self._directory.wake()

    def cut(self, connection: Connection) -> None:
        """This side has cut the pipe of a link that is over."""
        self._by_pipe.pop(connection.pipe, None)

    def tick(self) -> None:
        """Decide between links that crossed, let go of those that have been drained; called with every heartbeat."""
        for peer in list(self._peers.values()):
            if peer.settle():
                self._directory.wake()
            for connection in list(peer.spent()):
                connection.link.leave(self._loop.time(), reason="another link carries on")
                connection.queued()

    # The end

    async def leave(self, limit: float) -> None:
        """Say goodbye on every link after all that waits to leave, and wait until they are closed, or ``limit``."""
        self._is_leaving = True
        self.dialler.close()
        for connection in self:
            connection.link.leave(self._loop.time(), reason="this node stopped")
            connection.pump()
            connection.flush()
        end = self._loop.time() + limit
        while any(not connection.is_closed for connection in self):
            if not await self._directory.changed(end):
                break
        self.close()

    def close(self) -> None:
        """Cut whatever is left, and let no timer of it remain. Calling it again is harmless."""
        self._is_leaving = True
        for connection in self:
            connection.abort("this node stopped")
        self._by_pipe.clear()
        self._peers.clear()

    # Helpers

    def _refuse(self, connection: Connection, error: OrbitMeshError) -> None:
        """Tell a peer that has proven itself why there will be no link; nothing that it says counts any more."""
        self.counts["refused"] += 1
        connection.refusal = error
        self.events.parted(connection)
        connection.link.leave(self._loop.time(), code=error.code, reason=str(error))
        connection.queued()
        peer = self._peers.get(connection.peer.node_id)
        if peer is not None:
            peer.drained()

    def _why_superseded(self, identity: Identity) -> str:
        if identity.node_id == self._greeter.own_id:
            return f"{identity.device}/{identity.name} has dialled itself"
        return f"another process is {identity.device}/{identity.name}, and it started later"

    def _release(self, peer: Peer) -> None:
        """Hand out events that had to wait for older ones on another link, where that is over."""
        for connection in peer.links:
            if not peer.is_ahead(connection):
                self.events.release(connection)

    def _open(self, pipe: Pipe, expected: NodeId | None) -> Connection:
        link = self._greeter.link(pipe, expected=expected)
        connection = self._by_pipe[pipe] = Connection(self._loop, pipe, link, self)
        return connection

    def _state(self, connection: Connection) -> None:
        """State everything about this node that a peer has to know before the link carries work."""
        link = connection.link
        for info in self._statement():
            link.say(info)
        for pattern in self.events.patterns():
            connection.subscribe(pattern)
        link.heartbeat(self._heartbeat())
        link.say(Info(0, is_complete=True))
        connection.queued()

    def _part(self, connection: Connection, closed: Closed, now: float) -> None:
        """A greeted link ended: the peer is away only when it was the last one."""
        node_id = connection.peer.node_id
        self.events.parted(connection)
        peer = self._peers.get(node_id)
        if peer is None or not peer.remove(connection):
            return
        if peer.links:
            self._release(peer)
            return
        del self._peers[node_id]
        # A goodbye on a link that was drained means that another carries on, which has ended meanwhile.
        if closed.is_goodbye and closed.error is None and not connection.link.is_draining:
            self._members.goodbye(node_id, now)
        else:
            is_hung = isinstance(closed.error, PeerLost) and closed.is_breach
            self._members.disconnected(node_id, now, is_hung=is_hung)
        if closed.is_goodbye and closed.error is not None and closed.error.code in _REFUSED:
            self._members.rejected(node_id, shown(str(closed.error)), now)
        if not self._is_leaving:
            self._parted(node_id, now - connection.connected_at >= STEADY_SECONDS)

    def _fail(self, attempt: Attempt | None, error: OrbitMeshError | None) -> None:
        """A dial ended before anybody was greeted, or with somebody who may not be linked."""
        if attempt is None or self._is_leaving:
            return
        attempt.reason = shown(str(error)) if error is not None else "it left before it was greeted"
        self._failed(attempt, error is not None and error.code in _REFUSED)

    def _end_attempt(self, connection: Connection) -> None:
        attempt, connection.attempt = connection.attempt, None
        if attempt is not None:
            self.dialler.ended(attempt)

    def _count_end(self, connection: Connection, closed: Closed) -> None:
        """Count how a link ended, and log what somebody should look at."""
        self._late_answers += connection.traffic.late
        self._events_dropped += connection.link.events_dropped
        if closed.is_goodbye and closed.error is None:
            self.counts["goodbyes"] += 1
            return
        self.counts["breaches" if closed.is_breach else "cuts"] += 1
        if connection.identity is None and not connection.pipe.is_dialled:
            self._strangers.failed(connection.pipe.address)
        if not closed.is_breach:
            return
        # Anybody may knock: what strangers do is counted, and told only to who looks closely.
        identity = connection.identity
        name = "an unproven peer" if identity is None else f"{identity.device}/{identity.name}"
        logger.log(
            logging.DEBUG if identity is None else logging.WARNING,
            "the link with %s was closed: %s",
            name,
            closed.error,
            extra={"event": "link-refused", "peer": name, "code": getattr(closed.error, "code", "")},
        )
