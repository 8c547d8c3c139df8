"""When to read a ZeroMQ socket: its descriptor is edge-triggered, so every send and receive may swallow the signal."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import zmq
from zmq.backend import Socket as RawSocket

from orbitmesh.builtin.zeromq.shared import Shared
from orbitmesh.spi.transport import Frame
from orbitmesh.wire import limits

BURST: Final = 64
"""Messages that one socket may bring in one turn of the loop; what is left comes in the next one."""

_LOOKS: Final = 4
"""Looks at a socket that sends may cost before they share one."""

# The plain functions of the Cython class, with the socket as first argument: half the cost of the methods that
# zmq.Socket wraps around them.
# Their types promise less than they do: options are numbers here, and whether to copy may be computed.
receive: Final = RawSocket.recv
send: Final[Callable[..., object]] = RawSocket.send
option: Final[Callable[[zmq.Socket[bytes], int], Any]] = RawSocket.get

EVENTS: Final = int(zmq.EVENTS)
POLLIN: Final = int(zmq.POLLIN)
NOBLOCK: Final = int(zmq.NOBLOCK)
MORE: Final = int(zmq.NOBLOCK | zmq.SNDMORE)
Again: Final = zmq.Again

INLINE: Final = limits.INLINE_BODY
"""Frames from this size on are handed to libzmq and taken from it without a copy; below it a copy is cheaper."""


FRAMING: Final = 42
"""Bytes around each frame on the wire, at the most: 9 of ZMTP, 33 of CURVE."""


class Reader:
    """Calls ``burst`` on the loop whenever the socket may have something to read, and never within itself.

    Attributes:
        is_due: Whether a look at the socket is under way or scheduled. While it is, a send needs none of its own.
    """

    __slots__ = ("_burst", "_descriptor", "_is_closed", "_looks", "_loop", "_readiness", "_socket", "is_due")

    def __init__(
        self,
        shared: Shared,
        socket: zmq.Socket[bytes],
        burst: Callable[[], bool],
    ) -> None:
        """Begin to watch.

        Args:
            shared: The endpoint's surroundings.
            socket: What is read; it is watched until ``close``, which has to come before the socket's own.
            burst: Reads what is there, and returns whether more may be left or may have come since.
        """
        self.is_due = False
        self._loop = shared.loop
        self._readiness = shared.readiness
        self._socket = socket
        self._burst = burst
        self._looks = 0
        self._is_closed = False
        self._descriptor = int(socket.get(zmq.FD))
        self._readiness.add(self._descriptor, self._read)
        self.schedule()

    def schedule(self) -> None:
        """Read in the next turn of the loop."""
        if not self.is_due and not self._is_closed:
            self.is_due = True
            self._loop.call_soon(self._read)

    def sent(self) -> None:
        """A send may have swallowed the signal of something that came: see, and read it in the next turn.

        To be called while nothing is due. One look for each send is cheaper than a turn of the loop; many are not, so
        from the fourth send on that no burst came between, one look in the next turn serves all that follow.
        """
        self._looks += 1
        if self._looks >= _LOOKS:
            self.is_due = True
            self._loop.call_soon(self._look)
        elif option(self._socket, EVENTS) & POLLIN:
            self.schedule()

    def close(self) -> None:
        """Read nothing more. Calling it again is harmless."""
        if not self._is_closed:
            self._is_closed = True
            self._readiness.remove(self._descriptor)

    def _look(self) -> None:
        if self._is_closed:
            return
        self._looks = 0
        self.is_due = False
        if option(self._socket, EVENTS) & POLLIN:
            self._read()

    def _read(self) -> None:
        if self._is_closed:
            return
        self._looks = 0
        self.is_due = True
        is_more = True  # a burst that raised has not read everything
        try:
            is_more = self._burst()
        finally:
            self.is_due = False
            if is_more:
                self.schedule()


def send_all(socket: zmq.Socket[bytes], frames: Sequence[Frame]) -> None:
    """Hand over one message of several frames."""
    for frame in frames[:-1]:
        send(socket, frame, MORE, len(frame) < INLINE)
    send(socket, frames[-1], NOBLOCK, len(frames[-1]) < INLINE)


def rest_of(socket: zmq.Socket[bytes], first: zmq.Frame) -> Sequence[Frame]:
    """All frames of a message; none of them when there are more than a message may have."""
    frames: list[Frame] = [first.bytes]
    more = first.more
    while more:
        frame = receive(socket, NOBLOCK, False)
        more = frame.more
        if len(frames) <= limits.MAX_FRAMES:
            frames.append(frame.buffer if len(frame) >= INLINE else frame.bytes)
    return frames if len(frames) <= limits.MAX_FRAMES else ()


def weight_of(frames: Sequence[Frame]) -> int:
    """Bytes that a message took on the wire, at the most."""
    return sum(map(len, frames)) + FRAMING * len(frames)
