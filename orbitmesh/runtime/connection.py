"""One link in the runtime: turns what the pure link says into sends, futures and calls of the node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any, Final, Protocol, TypeAlias, assert_never

from orbitmesh.core.errors import DeadlineExceeded, OrbitMeshError, PeerLost, ProtocolError, RemoteError
from orbitmesh.link.errors import from_wire
from orbitmesh.link.link import Link
from orbitmesh.link.outputs import (
    Closed,
    Connected,
    Expired,
    Granted,
    Greeted,
    Heard,
    Output,
    Refused,
    Silent,
    Withdrawn,
    Writable,
)
from orbitmesh.runtime.payload import Payload
from orbitmesh.security.identity import Identity
from orbitmesh.spi.transport import Frame, Pipe
from orbitmesh.wire import limits
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

_LINGER: Final = 2.0
"""Seconds that a link's last words may take to leave before its connection is cut."""

_BREACH_LINGER: Final = 0.2
"""The same for a peer that broke the protocol or is not trusted: just enough to tell it why."""


Request: TypeAlias = Call | Notify | Raw


class Exchange(Protocol):
    """What waits on this side for the answers to one exchange."""

    def on_item(self, item: Item) -> None:
        """One item of a stream came."""
        ...

    def on_end(self, error: OrbitMeshError | Error | None) -> None:
        """The exchange is over, well or not."""
        ...

    def on_granted(self) -> None:
        """A channel of this side may send again."""
        ...


class Owner(Protocol):
    """What a connection tells its node."""

    def greeted(self, connection: Connection, greeted: Greeted) -> None:
        """The peer has proven who it is."""
        ...

    def connected(self, connection: Connection) -> None:
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

    def informed(self, connection: Connection, envelope: Info | Heartbeat | Peers | Revoked) -> None:
        """The peer states something about itself or others."""
        ...

    def draining(self, connection: Connection) -> None:
        """The peer says that this link ends in favour of another."""
        ...

    def answered(self, connection: Connection) -> None:
        """The peer answered a PING."""
        ...

    def requested(self, connection: Connection, requests: Sequence[Request]) -> None:
        """The peer wants commands to run."""
        ...

    def withdrawn(self, connection: Connection, id_: int, *, is_expired: bool) -> None:
        """A command that runs for the peer has to stop."""
        ...

    def subscribed(self, connection: Connection, envelope: Subscribe | Unsubscribe) -> None:
        """The peer wants events, or wants them no more."""
        ...

    def published(self, connection: Connection, event: Event) -> None:
        """An event came."""
        ...


class Connection:
    """A pipe with its link.

    Attributes:
        link: The pure protocol.
        pipe: What carries it.
        identity: Who is at the other end, once greeted.
        payload: Serializers and codecs of this link, once greeted.
        futures: What waits for the reply to each call, by id.
        exchanges: What waits for the items of each stream or channel, by id.
        tasks: Handlers that run for this peer, by id of their exchange.
        granted: What waits for credit of a served stream, by id.
        patterns: What the peer subscribed to.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, pipe: Pipe, link: Link, owner: Owner) -> None:
        self.link = link
        self.traffic = link.traffic
        self.pipe = pipe
        self.identity: Identity | None = None
        self.payload: Payload | None = None
        self.session = 0
        self.futures: dict[int, asyncio.Future[Reply]] = {}
        self.exchanges: dict[int, Exchange] = {}
        self.tasks: dict[int, asyncio.Task[None]] = {}
        self.granted: dict[int, asyncio.Future[None]] = {}
        self.patterns: set[str] = set()
        self.is_closed = False
        self._loop = loop
        self._now = loop.time
        self._owner = owner
        self._writable: list[asyncio.Future[None]] = []
        self._is_flush_due = False
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._linger: asyncio.TimerHandle | None = None
        self.flush()

    @property
    def peer(self) -> Identity:
        """Who is at the other end; only after the greeting."""
        assert self.identity is not None
        return self.identity

    # From the transport

    def receive(self, frames: Sequence[Frame]) -> None:
        """One message came; ``pump`` acts on it."""
        self.link.receive(frames, self._now())

    def lost(self, reason: str) -> None:
        """The pipe is gone."""
        self._stop_linger()
        self.link.cut(reason)
        self.pump()

    # To the transport

    def queued(self) -> None:
        """Something was put on the link: let it leave at the end of this turn, or at once when there is much."""
        if self.link.waiting >= limits.FLUSH_ENVELOPES:
            self.flush()
        elif not self._is_flush_due:
            self._is_flush_due = True
            self._loop.call_soon(self._flush_turn)

    def _flush_turn(self) -> None:
        self._is_flush_due = False
        self.flush()

    def flush(self) -> None:
        """Send all that may leave now."""
        take, send = self.link.take, self.pipe.send
        while (frames := take()) is not None:
            if not send(frames):
                return  # the transport reports the loss; what was pending ends with it
        if self.link.deadline < self._timer_at:
            self._arm()

    async def until_writable(self) -> None:
        """Wait until the peer has read enough for more data to leave; returns at once where it has.

        Raises:
            PeerLost: The link ended meanwhile.
        """
        while self.link.is_short:
            if self.is_closed:
                raise PeerLost("the link ended")
            waiter = self._loop.create_future()
            self._writable.append(waiter)
            await waiter

    # Outputs of the link

    def pump(self) -> None:
        """Turn the link's outputs into effects; nothing else in here may."""
        requests: list[Request] = []
        futures = self.futures
        for output in self.link.drain():
            match output:
                case Reply():
                    future = futures.pop(output.id, None)
                    if future is not None and not future.done():
                        future.set_result(output)
                case Call() | Notify() | Raw():
                    requests.append(output)
                case Item():
                    exchange = self.exchanges.get(output.id)
                    if exchange is not None:
                        exchange.on_item(output)
                case _:
                    if requests:
                        self._owner.requested(self, requests)
                        requests = []
                    self._act(output)
        if requests:
            self._owner.requested(self, requests)

    def _act(self, output: Output) -> None:
        owner = self._owner
        match output:
            case Error():
                self._finish(output.id, output)
            case End():
                self._finish(output.id, None)
            case Expired():
                self._finish(output.id, DeadlineExceeded("the deadline passed before the other side answered"))
            case Refused():
                self._finish(output.id, output.error)
            case Withdrawn():
                owner.withdrawn(self, output.id, is_expired=output.is_expired)
            case Granted():
                self._grant(output.id)
            case Writable():
                self._wake_writers()
            case Event():
                owner.published(self, output)
            case Subscribe() | Unsubscribe():
                owner.subscribed(self, output)
            case Info() | Heartbeat() | Peers() | Revoked():
                owner.informed(self, output)
            case Greeted():
                self.identity = output.identity
                self.session = output.session
                owner.greeted(self, output)
            case Connected():
                owner.connected(self)
            case Silent():
                owner.fell_silent(self)
            case Heard():
                owner.spoke_again(self)
            case Drain():
                owner.draining(self)
            case Pong():
                owner.answered(self)
            case Closed():
                self._close(output)
            case Call() | Notify() | Raw() | Reply() | Item():
                raise AssertionError("pump deals with these itself")
            case _:
                assert_never(output)

    def _finish(self, id_: int, error: OrbitMeshError | Error | None) -> None:
        """An exchange of this side is over."""
        future = self.futures.pop(id_, None)
        if future is not None:
            if not future.done():
                future.set_exception(self.as_exception(error) if error is not None else ProtocolError("END of a call"))
            return
        exchange = self.exchanges.pop(id_, None)
        if exchange is not None:
            exchange.on_end(error)

    def as_exception(self, error: OrbitMeshError | Error) -> OrbitMeshError:
        """What the caller gets: a node's own decision as its class, whatever escaped a handler as RemoteError."""
        if not isinstance(error, Error):
            return error
        if not error.raised:
            return from_wire(error)
        data = None
        if error.body and self.payload is not None:
            assert not isinstance(error.body, int)
            try:
                data = self.payload.decode(error.body, Any)
            except ValueError as broken:
                data = {"undecodable": str(broken)}
        return RemoteError(
            error.message,
            type=error.raised,
            code=error.code,
            data=data,
            retryable=error.retryable,
            traceback=error.traceback or None,
        )

    def _grant(self, id_: int) -> None:
        waiter = self.granted.pop(id_, None)
        if waiter is not None:
            if not waiter.done():
                waiter.set_result(None)
            return
        exchange = self.exchanges.get(id_)
        if exchange is not None:
            exchange.on_granted()

    def _wake_writers(self) -> None:
        waiters, self._writable = self._writable, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _close(self, closed: Closed) -> None:
        """The link is over: whoever waits on it learns so, then the node, then the pipe is cut."""
        self.is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        lost = closed.error if isinstance(closed.error, PeerLost) else _lost(closed)
        for id_ in [*self.futures, *self.exchanges]:
            self._finish(id_, lost)
        for task in list(self.tasks.values()):
            task.cancel()
        for waiter in self.granted.values():
            waiter.cancel()
        self.granted.clear()
        self._wake_writers()
        self._owner.closed(self, closed)
        self.flush()
        # Last words need a moment on their way; an accepted connection can only be cut.
        self._linger = self._loop.call_later(_LINGER if not closed.is_breach else _BREACH_LINGER, self.pipe.close)

    def abort(self) -> None:
        """Cut the connection now; used when the node stops for good."""
        self._stop_linger()
        if not self.is_closed:
            self.link.cut("this node stopped")
            self.pump()
            self._stop_linger()
        self.pipe.close()

    def _stop_linger(self) -> None:
        if self._linger is not None:
            self._linger.cancel()
            self._linger = None

    # Time

    def _arm(self) -> None:
        deadline = self.link.deadline
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = deadline
        if deadline != inf and not self.is_closed:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = inf
        self.link.tick(self._now())
        self.pump()
        self.flush()


def _lost(closed: Closed) -> PeerLost:
    """What becomes of work that was under way: its outcome is unknown, whatever ended the link."""
    if closed.error is not None:
        return PeerLost(f"the link ended: {closed.error}")
    return PeerLost("the peer left" if closed.is_goodbye else "this node left")
