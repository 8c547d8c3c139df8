"""Watches, from a thread, what each connection has parked here: a loop that is blocked can't cut anybody."""

from __future__ import annotations

import logging
import socket
import sys
import threading
import time
from typing import TYPE_CHECKING, Final, Protocol

from orbitmesh.builtin.zeromq.addresses import Address
from orbitmesh.builtin.zeromq.tcp import duplicate, received_bytes
from orbitmesh.builtin.zeromq.zap import plain_host

if TYPE_CHECKING:
    from orbitmesh.builtin.zeromq.monitor import Monitor

logger = logging.getLogger("orbitmesh.zeromq")

PARKED_BYTES: Final = 64 * 1024 * 1024
"""What a connection may have brought that was not delivered. By the link's credit an honest peer stays below a third of
it: 8 MiB and one message of data, 160 messages of control, and what the system buffers."""

_PAUSE: Final = 0.1
"""Between two looks: what comes meanwhile is parked on top, some 60 MiB from a peer on the same machine."""

_IDLE_PAUSE: Final = 0.5
"""Between two looks while nothing is open."""

_LONGEST_PAUSE: Final = 1.0
_WORTH: Final = 100
"""A pause is this many times as long as the look before took, so that thousands of connections cost one percent."""

_ASIDE: Final = 1024
"""Bytes a second that a connection may bring besides messages: its heartbeats are 41."""

_PROBE_BYTES: Final = 12_345
_PROBE_SECONDS: Final = 1.0


class Carrier(Protocol):
    """The pipe that a connection carries.

    Attributes:
        delivered: Bytes of the messages that it has brought, never less than they took on the wire.
        reason: Why it ends; written before its connection is shut.
    """

    delivered: int
    reason: str


class Account:
    """What one connection has brought against what was delivered from it.

    ``delivered`` counts each frame at its largest, and what is no message not at all, so the difference drifts. What it
    was at its least, raised a little as time passes, is taken for nothing parked: nobody can save up for later.

    Attributes:
        is_shut: Whether it was found to have parked too much.
    """

    __slots__ = ("_looked", "_pipe", "_unparked", "is_shut")

    def __init__(self, now: float) -> None:
        self.is_shut = False
        self._pipe: Carrier | None = None
        self._unparked = 0.0
        self._looked = now

    def parked(self, received: int, pipe: Carrier | None, before: int, now: float) -> float:
        """Bytes that lie here, at the least; some 64 KiB are nothing.

        Args:
            received: What the connection has brought.
            pipe: What it carries, as far as that is known.
            before: What that had delivered before ``received`` was looked up. The loop may have delivered much since.
            now: On any clock that only rises.
        """
        if pipe is not self._pipe:  # the one before was of another connection, with the same descriptor
            self._pipe, self._unparked = pipe, 0.0
        allowed = self._unparked + (now - self._looked) * _ASIDE
        self._looked = now
        self._unparked = min(allowed, received - before)
        return received - (0 if pipe is None else pipe.delivered) - self._unparked


class Watchdog:
    """Shuts connections that have parked more than ``PARKED_BYTES``, in a thread of one endpoint.

    libzmq's bounds are one for a frame and one for the number of messages, which leaves a peer 1.7 GB in a node that
    does not read, and any amount as one message that never ends. Only the system's count of what came sees both.

    It needs Linux, and Python's interpreter lock now and then: while C code holds that, nobody is watched.

    Attributes:
        shut: Connections that were shut.
        failed: Times that one could not be shut, because no descriptor was left; it is tried again.
        is_blind: Whether nobody is watched, as the system does not tell what a connection has brought.
    """

    def __init__(self) -> None:
        self.shut = 0
        self.failed = 0
        self.is_blind = sys.platform != "linux"
        self._monitors: dict[Monitor, None] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="orbitmesh zeromq watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch, where the system's count can be relied on."""
        if self.is_blind:
            return
        fault = _fault()
        if fault:
            self.is_blind = True
            logger.warning(
                "what a peer parks in this node is not bounded: %s", fault, extra={"event": "watchdog-is-blind"}
            )
        else:
            self._thread.start()

    def add(self, monitor: Monitor) -> None:
        """Watch the connections of one socket."""
        with self._lock:
            self._monitors[monitor] = None

    def remove(self, monitor: Monitor) -> None:
        """Watch them no longer. Calling it again is harmless."""
        with self._lock:
            self._monitors.pop(monitor, None)

    def stop(self) -> None:
        """Have the thread end; ``join`` waits for it. Calling it again is harmless."""
        self._stopped.set()

    def join(self) -> None:
        """Wait for the thread, which ``stop`` has told to end."""
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        pause = _PAUSE
        while not self._stopped.wait(pause):
            began = time.thread_time()  # not what others took meanwhile
            is_idle = not self._look()
            took = time.thread_time() - began
            pause = _IDLE_PAUSE if is_idle else min(max(_PAUSE, took * _WORTH), _LONGEST_PAUSE)

    def _look(self) -> int:
        """Look at every connection; how many there were."""
        with self._lock:
            monitors = list(self._monitors)
        count = 0
        for monitor in monitors:
            for descriptor, account in monitor.overhear():
                count += 1
                if not account.is_shut:
                    self._judge(monitor, descriptor, account)
        return count

    def _judge(self, monitor: Monitor, descriptor: int, account: Account) -> None:
        pipe = monitor.pipe_of(descriptor)
        before = 0 if pipe is None else pipe.delivered
        # The descriptor may be another's by now: then what is said here is nonsense, and `_shut` finds that out.
        received = received_bytes(descriptor)
        if received is None:
            return
        parked = account.parked(received, pipe, before, time.monotonic())
        if parked > PARKED_BYTES:
            self._shut(monitor, descriptor, account, pipe)

    def _shut(self, monitor: Monitor, descriptor: int, account: Account, pipe: Carrier | None) -> None:
        held = duplicate(descriptor)
        if held is None:
            self.failed += monitor.is_open(descriptor, account)
            return
        with held:
            # libzmq tells of an end before it closes the descriptor, so one that is open now was so when it was copied.
            if not monitor.is_open(descriptor, account):
                return
            account.is_shut = True
            if pipe is not None:
                pipe.reason = f"more than {PARKED_BYTES >> 20} MiB of what it sent lay here unread"
            try:
                host, port = held.getpeername()[:2]
                held.shutdown(socket.SHUT_RDWR)
            except OSError:  # the other side was faster
                return
        self.shut += 1
        logger.warning(
            "the connection with %s was shut: more than %d MiB of what it sent lay here unread",
            Address(plain_host(host), port),
            PARKED_BYTES >> 20,
            extra={"event": "parked-too-much"},
        )


def _fault() -> str:
    """Why this system's count can't be relied on, as a connection with known bytes shows; empty when it can."""
    try:
        with (
            socket.create_server(("127.0.0.1", 0)) as server,
            socket.create_connection(server.getsockname(), _PROBE_SECONDS) as sender,
        ):
            server.settimeout(_PROBE_SECONDS)
            receiver, _ = server.accept()
            with receiver:
                receiver.settimeout(_PROBE_SECONDS)
                sender.sendall(bytes(_PROBE_BYTES))
                came = 0
                while came < _PROBE_BYTES:
                    came += len(receiver.recv(_PROBE_BYTES))
                told = received_bytes(receiver.fileno())
    except OSError as error:
        return f"the system's count of what a connection brought could not be tried: {error}"
    if told != _PROBE_BYTES:
        return f"the system counts {told} bytes where {_PROBE_BYTES} came"
    return ""
