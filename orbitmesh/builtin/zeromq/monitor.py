"""What libzmq tells about the connections of one socket. Events are counted or acted on, never logged each."""

from __future__ import annotations

import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import zmq

from orbitmesh.builtin.zeromq.reading import NOBLOCK, Again, Reader, receive
from orbitmesh.builtin.zeromq.shared import Shared
from orbitmesh.builtin.zeromq.watchdog import Account, Carrier

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

_OPENED: Final = ACCEPTED | CONNECTED

_EVENT: Final = struct.Struct("=Hi")

_TURN: Final = 256
"""Events that one turn of the loop takes in: far more than messages, so that a flood of connections is never behind."""


class Monitor:
    """Events of one socket, in order.

    ``told`` gets each event and its value (a descriptor, or a code), on the loop. It may not call ``close``.

    The watchdog's thread hears the same events earlier when the loop is blocked, and knows by them alone which
    connections are open. So the socket is used by one thread at a time, as a lock has it.

    Attributes:
        pipe_of: Finds what the connection with a descriptor carries; any thread may call it.
    """

    __slots__ = (
        "_accepts",
        "_ended",
        "_is_closed",
        "_lock",
        "_monitored",
        "_open",
        "_reader",
        "_shared",
        "_socket",
        "_told",
        "_untold",
        "pipe_of",
    )

    def __init__(
        self,
        shared: Shared,
        monitored: zmq.Socket[bytes],
        events: int,
        *,
        told: Callable[[int, int], None],
        ended: Callable[[], None],
        pipe_of: Callable[[int], Carrier | None],
    ) -> None:
        """Begin to watch.

        Args:
            shared: The endpoint's surroundings.
            monitored: Whose connections these are.
            events: Which events matter; all others are never queued.
            told: Called for each event.
            ended: Called after each burst of events; this one may do anything.
            pipe_of: Finds what the connection with a descriptor carries, for the watchdog.
        """
        self.pipe_of = pipe_of
        self._shared = shared
        self._lock = threading.Lock()
        self._untold: deque[tuple[int, int]] = deque()
        self._open: dict[int, Account] = {}
        self._accepts = bool(events & ACCEPTED)
        self._is_closed = False
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
        shared.watchdog.add(self)

    def catch_up(self) -> None:
        """Take in every event that libzmq has told up to now."""
        while self._read():
            pass

    def close(self) -> None:
        """Hear nothing more. It has to come before the monitored socket is closed. Calling it again is harmless."""
        self._reader.close()
        self._shared.watchdog.remove(self)
        with self._lock:
            if not self._is_closed:
                self._is_closed = True
                self._open.clear()
                self._monitored.disable_monitor()
                self._socket.close(0)

    # For the watchdog's thread

    def overhear(self) -> Sequence[tuple[int, Account]]:
        """The descriptors of the connections that are open, up to now as far as new ones may have come."""
        if self._accepts or not self._open:  # one that dials has one connection
            self._hear_all()
        with self._lock:
            return list(self._open.items())

    def is_open(self, descriptor: int, account: Account) -> bool:
        """Whether libzmq has told no end of a connection up to now."""
        self._hear_all()
        with self._lock:
            return self._open.get(descriptor) is account

    def _hear_all(self) -> None:
        heard = self._hear()
        is_news = bool(heard)
        while heard == _TURN:
            heard = self._hear()
        if is_news:  # which the loop was not woken for, as this thread has swallowed the signal
            with suppress(RuntimeError):  # the loop is closed: nobody is left to tell
                self._shared.loop.call_soon_threadsafe(self._reader.schedule)

    # Hearing and telling

    def _burst(self) -> bool:
        try:
            return self._read()
        finally:
            self._ended()

    def _read(self) -> bool:
        """Tell of some events; False when there are no more."""
        heard = self._hear()
        untold, told = self._untold, self._told
        for _ in range(_TURN):
            if not untold:
                return heard == _TURN
            told(*untold.popleft())
        return True

    def _hear(self) -> int:
        """Take in some events, in any thread; fewer than ``_TURN`` when there are no more."""
        socket, unpack = self._socket, _EVENT.unpack
        with self._lock:
            if self._is_closed:
                return 0
            for count in range(_TURN):
                try:
                    event, value = unpack(receive(socket, NOBLOCK))
                except Again:
                    return count
                receive(socket, NOBLOCK)  # the address that was bound or dialled
                self._untold.append((event, value))
                if event & _OPENED:
                    self._open[value] = Account(time.monotonic())
                elif event == DISCONNECTED:
                    self._open.pop(value, None)
        return _TURN
