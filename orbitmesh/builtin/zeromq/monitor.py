"""What libzmq tells about the connections of one socket. Events are counted or acted on, never logged each."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

import zmq

from orbitmesh.builtin.zeromq.reading import NOBLOCK, Again, Reader, receive
from orbitmesh.builtin.zeromq.shared import Shared

ACCEPTED: Final = int(zmq.EVENT_ACCEPTED)
CLOSED: Final = int(zmq.EVENT_CLOSED)
CONNECTED: Final = int(zmq.EVENT_CONNECTED)
CONNECT_RETRIED: Final = int(zmq.EVENT_CONNECT_RETRIED)
DISCONNECTED: Final = int(zmq.EVENT_DISCONNECTED)
HANDSHAKE_SUCCEEDED: Final = int(zmq.EVENT_HANDSHAKE_SUCCEEDED)
HANDSHAKE_FAILED_NO_DETAIL: Final = int(zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL)
HANDSHAKE_FAILED_PROTOCOL: Final = int(zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL)
HANDSHAKE_FAILED_AUTH: Final = int(zmq.EVENT_HANDSHAKE_FAILED_AUTH)
HANDSHAKE_FAILED: Final = HANDSHAKE_FAILED_NO_DETAIL | HANDSHAKE_FAILED_PROTOCOL | HANDSHAKE_FAILED_AUTH

_EVENT: Final = struct.Struct("=Hi")

_TURN: Final = 256
"""Events that one turn of the loop takes in: far more than messages, so that a flood of connections is never behind."""


class Monitor:
    """Events of one socket, in order.

    ``told`` gets each event and its value (a descriptor, or a code). It may not call ``close``.
    """

    __slots__ = ("_ended", "_monitored", "_reader", "_socket", "_told")

    def __init__(
        self,
        shared: Shared,
        monitored: zmq.Socket[bytes],
        events: int,
        *,
        told: Callable[[int, int], None],
        ended: Callable[[], None],
    ) -> None:
        """Begin to watch.

        Args:
            shared: The endpoint's surroundings.
            monitored: Whose connections these are.
            events: Which events matter; all others are never queued.
            told: Called for each event.
            ended: Called after each burst of events; this one may do anything.
        """
        self._monitored = monitored
        self._told = told
        self._ended = ended
        endpoint = f"inproc://orbitmesh.monitor.{next(shared.numbers)}"
        self._socket = shared.context.socket(zmq.PAIR)
        try:
            self._socket.set(zmq.LINGER, 0)
            # Without a bound: at a high-water mark libzmq's own thread would wait for this loop, with all connections.
            self._socket.set(zmq.RCVHWM, 0)
            monitored.monitor(endpoint, events)
            self._socket.connect(endpoint)
            self._reader = Reader(shared, self._socket, self._burst)
        except BaseException:
            self._socket.close(0)
            raise

    def catch_up(self) -> None:
        """Take in every event that libzmq has told up to now."""
        while self._read():
            pass

    def close(self) -> None:
        """Hear nothing more. It has to come before the monitored socket is closed. Calling it again is harmless."""
        self._reader.close()
        if not self._socket.closed:
            self._monitored.disable_monitor()
            self._socket.close(0)

    def _burst(self) -> bool:
        try:
            return self._read()
        finally:
            self._ended()

    def _read(self) -> bool:
        """Read some events; False when there are no more."""
        socket, told, unpack = self._socket, self._told, _EVENT.unpack
        for _ in range(_TURN):
            try:
                event, value = unpack(receive(socket, NOBLOCK))
            except Again:
                return False
            receive(socket, NOBLOCK)  # the address that was bound or dialled
            told(event, value)
        return True
