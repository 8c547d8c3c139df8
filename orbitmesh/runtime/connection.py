"""One link in the runtime: turns what the pure link says into sends, futures and calls of the node."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from math import inf
from typing import Any, Final, assert_never

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
from orbitmesh.runtime.context import Caller
from orbitmesh.runtime.dialling import Attempt
from orbitmesh.runtime.payload import Payload
from orbitmesh.runtime.ports import Exchange, Owner, Request, Running
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


class Connection:
    """A pipe with its link.

    Attributes:
        loop: Where it runs.
        link: The pure protocol.
        pipe: What carries it.
        identity: Who is at the other end, once greeted.
        payload: Serializers and codecs of this link, once greeted.
        futures: What waits for the reply to each call, by id.
        exchanges: What waits for the items of each stream or channel, by id.
        running: Commands that run for this peer or wait to, by id of their exchange.
        granted: What waits for credit of a served stream, by id.
        attempt: The dial that made it, until the link is connected.
        caller: The peer as handlers see it, once greeted.
        may_call: Whether the peer may run commands that ask for no role.
        known_serializers: How many serializers both ends know; ids of requests are below it.
        connected_at: When it began to carry work, on the loop's clock; infinite for not yet.
        refusal: Why the peer may not be linked, which it was told: nothing that it says counts any more; else None.
        has_peer_drained: Whether the peer has said that this link ends in favour of another.
        in_flight_told: How much of this side's work was under way when the peer last told its load.
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
        self.running: dict[int, Running] = {}
        self.granted: dict[int, asyncio.Future[None]] = {}
        self.attempt: Attempt | None = None
        self.caller: Caller | None = None
        self.may_call = False
        self.known_serializers = 0
        self.connected_at = inf
        self.refusal: OrbitMeshError | None = None
        self.has_peer_drained = False
        self.in_flight_told = 0
        self.is_closed = False
        self._is_reading = False
        self.loop = loop
        self._now = loop.time
        self._owner = owner
        self._writable: list[asyncio.Future[None]] = []
        self._is_flush_due = False
        self._queued = 0
        self._enough = limits.FLUSH_ENVELOPES
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._linger: asyncio.TimerHandle | None = None
        self.flush()

    @property
    def peer(self) -> Identity:
        """Who is at the other end; only after the greeting."""
        assert self.identity is not None
        return self.identity

    @property
    def in_flight(self) -> int:
        """How much of this side's work is under way over this link."""
        return len(self.futures) + len(self.exchanges)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way in either direction."""
        return not (self.futures or self.exchanges or self.running)

    # From the transport

    def receive(self, frames: Sequence[Frame]) -> bool:
        """One message came; ``burst_ended`` acts on it. True for the first of a burst."""
        is_first = not self._is_reading
        self._is_reading = True
        self.link.receive(frames, self._now())
        return is_first

    def burst_ended(self) -> None:
        """All that was ready has come: act on it, and send what came of it at once."""
        try:
            self.pump()
        finally:
            self._is_reading = False
            self._enough = limits.FLUSH_ENVELOPES
            self.flush()

    def lost(self, reason: str) -> None:
        """The pipe is gone."""
        self.link.cut(reason)
        self.pump()
        self._stop_linger()

    # To the transport

    def queued(self) -> None:
        """Something was put on the link: let it leave at the end of this turn, or at once when there is much."""
        self._queued += 1
        if self._queued >= self._enough:
            # The first leave soon, so that both ends work at once; whoever puts more and more in one turn sends fuller.
            self._enough = min(2 * self._enough, limits.MAX_BATCH_ENVELOPES)
            self.flush()
        elif not self._is_flush_due and not self._is_reading:
            self._is_flush_due = True
            self.loop.call_soon(self._flush_turn)

    def _flush_turn(self) -> None:
        self._is_flush_due = False
        self._enough = limits.FLUSH_ENVELOPES
        self.flush()

    def flush(self) -> None:
        """Send all that may leave now."""
        self._queued = 0
        take, send = self.link.take, self.pipe.send
        while (frames := take()) is not None:
            if not send(frames):
                return  # the transport reports the loss; what was pending ends with it
        if self.link.deadline < self._timer_at:
            self._arm()

    def subscribe(self, pattern: str) -> asyncio.Future[Reply]:
        """Ask the peer for events; done when it has confirmed."""
        id_ = self.traffic.subscribe(pattern)
        confirmed = self.futures[id_] = self.loop.create_future()
        confirmed.add_done_callback(_retrieve)
        self.queued()
        return confirmed

    async def until_item(self, id_: int) -> None:
        """Wait until one more item of a served stream may leave; returns at once where it may.

        Raises:
            PeerLost: The link ended meanwhile.
        """
        while not self.traffic.may_send_item(id_):
            if self.link.is_short:
                await self.until_writable()
                continue
            waiter = self.granted[id_] = self.loop.create_future()
            await waiter

    async def until_writable(self) -> None:
        """Wait until the peer has read enough for more data to leave; returns at once where it has.

        Raises:
            PeerLost: The link ended meanwhile.
        """
        while self.link.is_short:
            if self.is_closed:
                raise PeerLost("the link ended")
            waiter = self.loop.create_future()
            self._writable.append(waiter)
            await waiter

    # Outputs of the link

    def pump(self) -> None:
        """Turn the link's outputs into effects; nothing else in here may."""
        requests: list[Request] = []
        futures = self.futures
        for output in self.link.drain():
            # Compared by type, not matched: that is three times as fast, and most of what comes are these four.
            kind = type(output)
            if kind is Item:
                exchange = self.exchanges.get(output.id)  # type: ignore[union-attr]  # as its type says, here and below
                if exchange is not None:
                    exchange.on_item(output)  # type: ignore[arg-type]
            elif kind is Reply:
                future = futures.pop(output.id, None)  # type: ignore[union-attr]
                if future is not None and not future.done():
                    future.set_result(output)  # type: ignore[arg-type]
            elif kind is Call or kind is Notify or kind is Raw:
                requests.append(output)  # type: ignore[arg-type]
            else:
                if requests:
                    self._owner.requested(self, requests)
                    requests = []
                self._act(output)
        if requests:
            self._owner.requested(self, requests)

    def _act(self, output: Output) -> None:
        owner = self._owner
        if (self.is_closed or self.refusal is not None) and type(output) is not Closed:
            return  # what came before it still stands behind it where it was this output's fault
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
                owner.withdrawn(self, output.id)
            case Granted():
                self._grant(output.id)
            case Writable():
                self._wake_writers()
            case Event():
                owner.events.published(self, output)
            case Subscribe() | Unsubscribe():
                owner.events.subscribed(self, output)
            case Info() | Heartbeat() | Peers() | Revoked():
                owner.informed(self, output)
            case Greeted():
                self.identity = output.identity
                self.session = output.session
                owner.greeted(self, output)
            case Connected():
                owner.connected_with(self)
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
        for running in list(self.running.values()):
            running.withdraw()
        for waiter in self.granted.values():
            waiter.cancel()
        self.granted.clear()
        self._wake_writers()
        self._owner.closed(self, closed)
        self.flush()
        # Last words need a moment on their way; an accepted connection can only be cut.
        self._linger = self.loop.call_later(_LINGER if not closed.is_breach else _BREACH_LINGER, self._cut)

    def abort(self, reason: str) -> None:
        """Cut the connection now; what waited on it ends with the reason."""
        self._stop_linger()
        if not self.is_closed:
            self.link.cut(reason)
            self.pump()
            self._stop_linger()
        self._cut()

    def _cut(self) -> None:
        """Cut the pipe; the transport tells nobody of an end that this side made."""
        self.pipe.close()
        self._owner.cut(self)

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
            self._timer = self.loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._timer_at = inf
        self.link.tick(self._now())
        self.pump()
        self.flush()


def _retrieve(future: asyncio.Future[Reply]) -> None:
    """Nobody has to look at a subscription that the peer could not confirm: the link's end tells the same."""
    if not future.cancelled():
        future.exception()


def _lost(closed: Closed) -> PeerLost:
    """What becomes of work that was under way: its outcome is unknown, whatever ended the link."""
    if closed.error is not None:
        return PeerLost(f"the link ended: {closed.error}")
    return PeerLost("the peer left" if closed.is_goodbye else "this node left")
