"""The protocol of one link: frames and time go in, frames and outputs come out. No socket, no clock, no task."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf
from typing import Any, Final, assert_never

from orbitmesh.core.errors import NotTrusted, OrbitMeshError, PayloadTooLarge, PeerLost, ProtocolError
from orbitmesh.link import handshake
from orbitmesh.link.credit import LinkReceiveCredit, LinkSendCredit
from orbitmesh.link.errors import named
from orbitmesh.link.exchanges import Ids
from orbitmesh.link.outbox import Outbox
from orbitmesh.link.outputs import Closed, Connected, Heard, Output, Silent, Writable
from orbitmesh.link.states import Cause, LinkState, following
from orbitmesh.link.traffic import Traffic
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import Frame, decode, encode
from orbitmesh.wire.envelopes import (
    CONTROL,
    Credit,
    Drain,
    Envelope,
    Error,
    Goodbye,
    Heartbeat,
    Hello,
    Info,
    Peers,
    Ping,
    Pong,
    Reply,
    Revoked,
    Subscribe,
    Unsubscribe,
    Welcome,
)

GOODBYE_SECONDS: Final = 2.0
"""How long a leaving side waits for the answer to its GOODBYE."""

BUSY_LIMIT: Final = 300.0
"""Default of the setting ``busy_limit``: how long a silent node behind a living transport is kept."""

_STATING: Final = frozenset({Info, Subscribe, Unsubscribe, Revoked, Peers, Reply, Error, Goodbye}) | CONTROL
"""What may come between WELCOME and INFO(complete)."""


class Link:
    """One link between two nodes, seen from one of them.

    Feed it with ``receive`` and ``tick``; after each, and after saying something by ``traffic`` or by a method of its
    own, take ``drain()`` for what happened and ``take()`` for what has to leave.

    Attributes:
        state: Where the link stands.
        traffic: The exchanges that run over it.
        is_draining: Whether this side has said that the link ends in favour of another.

    Wire: docs/protocol.md
    """

    def __init__(
        self,
        greeting: handshake.Greeting,
        *,
        is_dialler: bool,
        seen: str = "",
        max_body: int = limits.MAX_BODY,
        busy_limit: float = BUSY_LIMIT,
        now: float,
    ) -> None:
        self._greeting = greeting
        self._is_dialler = is_dialler
        self._seen = seen
        self._busy_limit = busy_limit
        self.state = LinkState.GREETING
        self.is_draining = False
        self._heard_at = self._state_since = now
        self._outputs: list[Output] = []
        self._ids = Ids(is_dialler=is_dialler)
        self._pings: set[int] = set()
        self._send_credit = LinkSendCredit()
        self._receive_credit = LinkReceiveCredit()
        self._outbox = Outbox(self._send_credit, self._receive_credit, self._ids.next)
        self.traffic = Traffic(self._outbox, self._outputs, self._ids, max_body=max_body)
        self._readers: dict[type[Any], Any] = {
            **self.traffic.readers,
            Credit: self._on_credit,
            Info: self._on_info,
            Ping: self._on_ping,
            Pong: self._on_pong,
            Goodbye: self._on_goodbye,
            Hello: self._on_second_greeting,
            Welcome: self._on_second_greeting,
            Unsubscribe: self._deliver,
            Heartbeat: self._deliver,
            Revoked: self._deliver,
            Peers: self._deliver,
            Drain: self._deliver,
        }
        if is_dialler:
            self._outbox.put_greeting(handshake.hello(greeting))

    # What comes in

    def receive(self, frames: Sequence[Frame], now: float) -> None:
        """Take in one message. Whatever it holds, nothing is raised: a breach closes the link."""
        if self.state is LinkState.CLOSED:
            return
        self._heard_at = now
        try:
            if self.state is LinkState.GREETING:
                self._greet(frames, now)
                return
            envelopes = decode(frames[0], frames[1:]) if len(frames) > 1 else decode(frames[0])
            self._account(frames, envelopes)
            if self.state is LinkState.BUSY:
                self._move(Cause.HEARD, now)
                self._outputs.append(Heard())
            elif self.state is LinkState.WELCOMED:
                _check_stating(envelopes)
            elif self.state is LinkState.LEAVING and self._outbox.has_farewell:
                self._state_since = now  # the peer still takes in what has to leave before the last word
            readers, closed = self._readers, LinkState.CLOSED
            for envelope in envelopes:
                readers[type(envelope)](envelope, now)
                if self.state is closed:
                    return
        except ProtocolError as error:
            self._close(Cause.BREACH, Closed(error, is_breach=True))

    def tick(self, now: float) -> None:
        """Let time pass. Calling it early, late or twice is harmless."""
        if self.state is LinkState.CLOSED:
            return
        if now >= self._silent_at():
            self._fall_silent(now)
        if now >= self.traffic.due:
            self.traffic.expire(now)

    def cut(self, reason: str) -> None:
        """The connection is gone."""
        if self.state is not LinkState.CLOSED:
            self._close(Cause.CUT, Closed(PeerLost(f"the link ended: {reason}")))

    # What goes out

    @property
    def is_closed(self) -> bool:
        """Whether the link is over."""
        return self.state is LinkState.CLOSED

    @property
    def deadline(self) -> float:
        """When ``tick`` is due, on the clock of ``now``; infinite for never."""
        return min(self._silent_at(), inf if self.is_closed else self.traffic.due)

    def drain(self) -> list[Output]:
        """What happened since the last call, in order."""
        outputs = self._outputs.copy()
        self._outputs.clear()
        return outputs

    def take(self) -> list[Frame] | None:
        """The next message to send, or None while nothing may leave."""
        return self._outbox.take()

    @property
    def waiting(self) -> int:
        """Envelopes that wait to leave."""
        return self._outbox.waiting

    @property
    def has_room(self) -> bool:
        """Whether more data may leave now."""
        return self._send_credit.has_room

    @property
    def is_short(self) -> bool:
        """Whether the peer has to read before more data may leave; ``Writable`` says when it has."""
        return not self._send_credit.has_room

    @property
    def is_flushed(self) -> bool:
        """Whether nothing waits to leave."""
        return self._outbox.is_empty

    @property
    def has_events(self) -> bool:
        """Whether events wait for the peer to read: they leave after all else that was said until now."""
        return self._outbox.has_events

    @property
    def events_dropped(self) -> int:
        """Events that this peer missed because it reads too slowly."""
        return self._outbox.events.dropped

    def say(self, envelope: Info | Peers | Revoked) -> None:
        """State something about this side, or whom it knows.

        Raises:
            PayloadTooLarge: It does not fit into one frame: state it in parts.
        """
        size = len(encode([envelope]))
        if size > limits.MAX_FRAME_BYTES // 2:
            raise PayloadTooLarge(f"a statement of {size} bytes does not fit into one frame: state it in parts")
        self._outbox.put(envelope)

    def heartbeat(self, heartbeat: Heartbeat) -> None:
        """Say that this node runs, and how loaded it is."""
        self._outbox.control.put_heartbeat(heartbeat)

    def ping(self) -> int:
        """Ask the peer for a sign of life; the Pong with this id is delivered."""
        id_ = self._ids.next()
        self._pings.add(id_)
        self._outbox.control.put(Ping(id_))
        return id_

    def drain_off(self) -> None:
        """Say that this link ends in favour of another: nothing new follows on it."""
        self.is_draining = True
        self._outbox.put(Drain(0))

    def leave(self, now: float, *, code: str = "", reason: str = "") -> None:
        """Say goodbye after all that waits to leave; ``Closed`` follows, at once where nobody was greeted yet.

        The peer has two seconds for its answer, counted from the last message that it sent before the goodbye left.

        Args:
            now: The present time.
            code: Code of the error for which this side refuses the peer; empty for a friendly goodbye.
            reason: Plain words for it.
        """
        if self.state in (LinkState.CLOSED, LinkState.LEAVING):
            return
        if self.state is LinkState.GREETING:
            self._close(Cause.LEAVE, Closed(None))
            return
        self._move(Cause.LEAVE, now)
        goodbye = Goodbye(0, code, reason)
        if code:
            self._outbox.put(goodbye)  # whoever is refused is not worth waiting for
        else:
            self._outbox.put_farewell(goodbye)

    # Greeting

    def _greet(self, frames: Sequence[Frame], now: float) -> None:
        if len(frames) > 1 or len(frames[0]) > limits.HELLO_BYTES:
            raise ProtocolError("the first message is too large")
        envelopes = decode(frames[0])
        if len(envelopes) > 1:
            raise ProtocolError("the first message is more than a greeting")
        match envelopes[0]:
            case Hello() as hello if not self._is_dialler:
                self._on_hello(hello, now)
            case Welcome() as welcome if self._is_dialler:
                self._on_welcome(welcome, now)
            case Goodbye() as goodbye if self._is_dialler:
                self._on_goodbye(goodbye, now)
            case _:
                raise ProtocolError("the first message is no greeting")
        self._receive_credit.read(len(frames[0]))

    def _on_hello(self, hello: Hello, now: float) -> None:
        try:
            welcome, greeted = handshake.answer(self._greeting, hello, seen=self._seen)
        except OrbitMeshError as error:
            # Whoever has not proven itself learns the code and nothing else.
            self._outbox.put(Goodbye(0, error.code, "" if isinstance(error, NotTrusted) else str(error)))
            self._close(Cause.BREACH, Closed(error, is_breach=True))
            return
        self._outbox.put_greeting(welcome)
        self._move(Cause.GREETED, now)
        self._outputs.append(greeted)

    def _on_welcome(self, welcome: Welcome, now: float) -> None:
        try:
            greeted = handshake.accept(self._greeting, welcome)
        except OrbitMeshError as error:
            self._close(Cause.BREACH, Closed(error, is_breach=True))
            return
        self._move(Cause.GREETED, now)
        self._outputs.append(greeted)

    # One method per envelope that concerns the link itself

    def _account(self, frames: Sequence[Frame], envelopes: list[Envelope]) -> None:
        if type(envelopes[0]) in CONTROL and all(type(envelope) in CONTROL for envelope in envelopes):
            self._receive_credit.read_control()
        else:
            self._receive_credit.read(len(frames[0]) if len(frames) == 1 else sum(map(len, frames)))

    def _on_credit(self, credit: Credit, now: float) -> None:
        if credit.id:
            self.traffic.granted(credit, now)
            return
        was_short = self.is_short
        self._send_credit.granted(credit)
        if was_short and not self.is_short:
            self.traffic.refresh_deadlines(now)
            self._outputs.append(Writable())

    def _on_info(self, info: Info, now: float) -> None:
        self._outputs.append(info)
        if info.is_complete and self.state is LinkState.WELCOMED:
            self._move(Cause.COMPLETE, now)
            self._outputs.append(Connected())

    def _on_ping(self, ping: Ping, now: float) -> None:
        self._outbox.control.put(Pong(ping.id))

    def _on_pong(self, pong: Pong, now: float) -> None:
        if pong.id not in self._pings:
            raise ProtocolError("a PONG that answers nothing")
        self._pings.remove(pong.id)
        self._outputs.append(pong)

    def _on_goodbye(self, goodbye: Goodbye, now: float) -> None:
        if self.state is not LinkState.GREETING and not goodbye.is_answer:
            self._outbox.put(Goodbye(0, "", "", is_answer=True))
        error = named(goodbye.code, goodbye.reason or f"the peer refused: {goodbye.code}") if goodbye.code else None
        self._close(Cause.PARTED, Closed(error, is_goodbye=True))

    def _on_second_greeting(self, envelope: Hello | Welcome, now: float) -> None:
        raise ProtocolError("a second greeting")

    def _deliver(self, envelope: Any, now: float) -> None:
        self._outputs.append(envelope)

    # Time and ends

    def _silent_at(self) -> float:
        match self.state:
            case LinkState.CONNECTED:
                return self._heard_at + limits.SILENCE_SECONDS
            case LinkState.BUSY:
                return self._heard_at + self._busy_limit
            case LinkState.GREETING | LinkState.WELCOMED:
                return self._state_since + limits.HELLO_SECONDS
            case LinkState.LEAVING:
                return self._state_since + GOODBYE_SECONDS
            case LinkState.CLOSED:
                return inf
            case _:
                assert_never(self.state)

    def _fall_silent(self, now: float) -> None:
        was = self.state
        self._move(Cause.SILENCE, now)
        if self.state is LinkState.BUSY:
            self._outputs.append(Silent())
            return
        error = None if was is LinkState.LEAVING else PeerLost(f"nothing heard for {now - self._heard_at:.1f} s")
        self._close(Cause.CUT, Closed(error, is_breach=error is not None))

    def _close(self, cause: Cause, closed: Closed) -> None:
        """What was asked but not handed out never starts: its asker has gone."""
        self.state = following(self.state, cause)
        self._outputs[:] = self.traffic.unstarted(self._outputs)
        self._outputs.append(closed)

    def _move(self, cause: Cause, now: float) -> None:
        self.state = following(self.state, cause)
        self._state_since = now


def _check_stating(envelopes: list[Envelope]) -> None:
    """Until both sides have stated everything, nothing else may come.

    Raises:
        ProtocolError: Something did.
    """
    for envelope in envelopes:
        if type(envelope) is Info and envelope.is_complete:
            return
        if type(envelope) not in _STATING:
            raise ProtocolError(f"{type(envelope).__name__} before everything was stated")
