"""Connections that this side dials: one DEALER for one connection, and never a second try with the same socket."""

from __future__ import annotations

import socket as net
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Final

import zmq

from orbitmesh.builtin.zeromq import monitor as events
from orbitmesh.builtin.zeromq.addresses import Address
from orbitmesh.builtin.zeromq.monitor import Monitor
from orbitmesh.builtin.zeromq.options import CONNECT_SECONDS, HANDSHAKE_SECONDS, make_dealer
from orbitmesh.builtin.zeromq.reading import (
    BURST,
    EVENTS,
    FRAMING,
    INLINE,
    NOBLOCK,
    POLLIN,
    Again,
    Reader,
    option,
    receive,
    rest_of,
    send,
    send_all,
    weight_of,
)
from orbitmesh.builtin.zeromq.shared import Shared
from orbitmesh.builtin.zeromq.tcp import BROKEN, duplicate
from orbitmesh.spi.transport import Frame
from orbitmesh.wire import limits

_WATCHED: Final = (
    events.CONNECTED
    | events.CLOSED
    | events.CONNECT_RETRIED
    | events.HANDSHAKE_SUCCEEDED
    | events.HANDSHAKE_FAILED
    | events.DISCONNECTED
)
_LATE: Final = 0.9
"""Share of a bound after which what failed is taken to have run into it."""


class DialledPipe:
    """One connection that this side dials; it is its peer's alone, by CURVE.

    Attributes:
        delivered: Bytes of the messages that it has brought, for the watchdog.
        reason: Why it ends once it is connected.
    """

    __slots__ = (
        "_began",
        "_descriptor",
        "_forget",
        "_has_sent",
        "_is_closed",
        "_is_connected",
        "_monitor",
        "_reader",
        "_reason",
        "_shared",
        "_socket",
        "address",
        "delivered",
        "peer_key",
        "reason",
    )

    is_dialled = True

    def __init__(self, shared: Shared, address: Address, key: bytes, forget: Callable[[DialledPipe], None]) -> None:
        """Make a pipe that does nothing before ``connect``.

        Args:
            shared: The endpoint's surroundings.
            address: Where to dial.
            key: Whose key has to be there.
            forget: Called once, when the pipe is over.
        """
        self.peer_key = key
        self.address = str(address)
        self.delivered = 0
        self.reason = BROKEN
        self._shared = shared
        self._forget = forget
        self._began = shared.loop.time()
        self._socket: zmq.Socket[bytes] | None = None
        self._monitor: Monitor | None = None
        self._reader: Reader | None = None
        self._descriptor = -1
        self._reason = ""
        self._has_sent = False
        self._is_connected = False
        self._is_closed = False

    def connect(self, address: Address) -> None:
        """Begin: ``connected`` or ``lost`` follows, never within this call.

        Args:
            address: Where to; an IP address, since libzmq would look up a name in the thread that moves all data.
        """
        if self._is_closed:
            return
        shared = self._shared
        self._began = shared.loop.time()
        try:
            with ExitStack() as undo:
                socket = make_dealer(shared.context, shared.settings, key=self.peer_key, is_ipv6=address.is_ipv6)
                undo.callback(socket.close, 0)
                monitor = Monitor(shared, socket, _WATCHED, told=self._told, ended=self._act, pipe_of=self._only)
                undo.callback(monitor.close)
                socket.connect(str(address))
                undo.pop_all()
        except zmq.ZMQError as error:
            self.fail(f"no connection can be begun: {error}")
            return
        self._socket, self._monitor = socket, monitor

    def fail(self, reason: str) -> None:
        """Report in the next turn of the loop that the dial failed."""
        self._shared.loop.call_soon(self._end, reason)

    def send(self, frames: Sequence[Frame]) -> bool:
        """Hand over one message."""
        socket, reader = self._socket, self._reader
        if socket is None or reader is None or self._reason or self._is_closed:
            return False  # nothing is sent before the handshake, nor after the end
        try:
            if len(frames) == 1:
                send(socket, frames[0], NOBLOCK, len(frames[0]) < INLINE)
            else:
                send_all(socket, frames)
        except zmq.ZMQError as error:
            self._finish(f"the connection takes nothing more: {error}")
            return False
        except BaseException:
            self.close()  # not a frame at all: our own fault, which leaves half a message
            raise
        if reader.is_due:
            self._has_sent = True
        else:
            reader.sent()
        return True

    def close(self) -> None:
        """Cut the connection now. ``lost`` does not follow."""
        self._cease()
        self.end(0)

    def stop(self) -> net.socket | None:
        """Take and bring nothing more; what is under way goes on until ``end``.

        Returns:
            A duplicate of the connection, if it is open.
        """
        held = None
        if self._monitor is not None and self._is_connected and not self._is_closed:
            held = duplicate(self._descriptor)
            # libzmq tells of an end before it closes the descriptor, whose number is then used again.
            self._monitor.catch_up()
            if held is not None and self._reason:
                held.close()
                held = None
        self._cease()
        return held

    def end(self, linger: float) -> None:
        """Close the socket; what libzmq still holds may leave for so many seconds. Again is harmless."""
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close(int(linger * 1000) if self._is_connected and not self._reason else 0)

    def _cease(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._reader is not None:
            self._reader.close()
        if self._monitor is not None:
            self._monitor.close()
        self._forget(self)

    # What libzmq tells

    def _only(self, descriptor: int) -> DialledPipe:
        return self

    def _told(self, event: int, value: int) -> None:
        """Take in one event; nobody is told before ``_act``."""
        if event == events.HANDSHAKE_SUCCEEDED:
            self._is_connected = True
        elif event == events.CONNECTED:
            self._descriptor = value
        elif not self._reason:
            self._reason = self._reason_of(event)

    def _act(self) -> None:
        """Act on the events that came."""
        if self._is_closed:
            return
        if self._is_connected:
            if self._reader is None:
                self._begin()
            elif self._reason:
                self._reader.schedule()
        elif self._reason:
            self._end(self._reason)

    def _begin(self) -> None:
        """The handshake is done."""
        assert self._socket is not None
        self._reader = Reader(self._shared, self._socket, self._burst)
        self._shared.counts["dialled"] += 1
        self._shared.receiver.connected(self)

    def _finish(self, reason: str) -> None:
        """The connection is gone: what it has brought is read, then ``lost`` follows."""
        self._reason = self._reason or reason
        if self._reader is not None:
            self._reader.schedule()

    def _burst(self) -> bool:
        """Bring what is there, up to a bound; whether to go on in the next turn."""
        socket = self._socket
        assert socket is not None
        # Only an end that was told before may be acted on: all that came before it is in this burst or the next ones.
        reason = self._reason
        self._has_sent = False
        is_drained = False
        count = 0
        received = self._shared.receiver.received
        try:
            while count < BURST:
                try:
                    frame = receive(socket, NOBLOCK, False)
                except Again:
                    is_drained = True
                    break
                frames = rest_of(socket, frame) if frame.more else (frame.bytes,)
                if not frames:
                    self._shared.counts["breaches"] += 1
                    reason = self._reason = f"it sent a message of more than {limits.MAX_FRAMES} frames"
                    is_drained = True
                    break
                count += 1
                self.delivered += len(frames[0]) + FRAMING if len(frames) == 1 else weight_of(frames)
                received(self, frames)
                # After a single message a look is cheaper than a receive that fails; after more it is not.
                if count == 1 and not option(socket, EVENTS) & POLLIN:
                    is_drained = True
                    break
        except zmq.ZMQError:
            if not socket.closed:  # else who was told has closed the pipe
                raise
        finally:
            if count and not self._is_closed:
                self._shared.receiver.burst_ended()
        if self._is_closed:
            return False
        if is_drained and reason:
            self._end(reason)
            return False
        return not is_drained or bool(self._reason) or (self._has_sent and bool(option(socket, EVENTS) & POLLIN))

    def _end(self, reason: str) -> None:
        if self._is_closed:
            return
        self._reason = reason
        self._shared.counts["lost" if self._is_connected else "failed_dials"] += 1
        self.close()
        self._shared.receiver.lost(self, reason)

    def _reason_of(self, event: int) -> str:
        """Why it failed, as far as libzmq tells."""
        took = self._shared.loop.time() - self._began
        if self._is_connected:
            return self.reason
        if event == events.HANDSHAKE_FAILED_AUTH:
            return "it refuses this node's key or address"
        if event & (events.HANDSHAKE_FAILED | events.DISCONNECTED):
            if took >= HANDSHAKE_SECONDS * _LATE:
                return f"it took the connection but finished no handshake within {HANDSHAKE_SECONDS:g} s: it is busy"
            return "it broke off the handshake: it has another key, or is no node"
        if took >= CONNECT_SECONDS * _LATE:
            return f"nobody answered within {CONNECT_SECONDS:g} s"
        return "nobody listens there, or no network leads there"


async def look_up(shared: Shared, address: Address) -> Address:
    """The first IP address of a host.

    Raises:
        OSError: There is none.
    """
    if address.is_literal:
        return address
    found = await shared.loop.getaddrinfo(address.host, address.port, type=net.SOCK_STREAM)
    return Address(str(found[0][4][0]), address.port)
