"""The TCP connections that a ROUTER accepted, by descriptor: libzmq tells no more of them, and can't close them."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from orbitmesh.builtin.zeromq.addresses import Address
from orbitmesh.builtin.zeromq.options import SPARE_FILES
from orbitmesh.builtin.zeromq.shared import Shared
from orbitmesh.builtin.zeromq.tcp import duplicate
from orbitmesh.builtin.zeromq.zap import plain_host
from orbitmesh.wire import limits

if TYPE_CHECKING:
    from orbitmesh.builtin.zeromq.accepted import AcceptedPipe

logger = logging.getLogger("orbitmesh.zeromq")

_CALM: Final = 0.9
"""Below this share of what was open when there were too many, too many are news again."""


class Connection:
    """One accepted TCP connection.

    Attributes:
        descriptor: Its number, libzmq's own: to be used by ``Connections`` only.
        deadline: When it has to have brought its first message.
        pipe: What it carries, once it has brought a message.
        is_condemned: Whether it is to be shut, or was.
    """

    __slots__ = ("deadline", "descriptor", "is_condemned", "pipe")

    def __init__(self, descriptor: int, deadline: float) -> None:
        self.descriptor = descriptor
        self.deadline = deadline
        self.pipe: AcceptedPipe | None = None
        self.is_condemned = False


class Connections:
    """Those that are open now, in the order in which they came.

    A descriptor's number is used again as soon as it is closed, perhaps by a file of the application, and what libzmq
    tells of it comes later. So whoever acts on one takes a duplicate first, then reads every event up to now: libzmq
    tells of an end before it closes the descriptor, so a connection that is still listed then is the duplicate's.
    """

    def __init__(
        self,
        shared: Shared,
        *,
        catch_up: Callable[[], None],
        ended: Callable[[AcceptedPipe], None],
        probe: Callable[[AcceptedPipe], Callable[[], None] | None],
        silent: Callable[[], None],
    ) -> None:
        """Make an empty table.

        Args:
            shared: The endpoint's surroundings.
            catch_up: Reads every event up to now, so that ``accepted`` and ``disconnected`` are called.
            ended: Told of a pipe whose connection is gone.
            probe: Sees whether a pipe's connection lives as the ROUTER knows it; what it returns is called once the
                connection is shut, None means that it is gone.
            silent: Called when connections have brought nothing for too long; read what is there, then call
                ``shut_silent``.
        """
        self._shared = shared
        self._counts = shared.counts
        self._catch_up = catch_up
        self._ended = ended
        self._probe = probe
        self._silent = silent
        self._by_descriptor: dict[int, Connection] = {}
        self._unproven: deque[Connection] = deque()
        self._condemned: deque[Connection] = deque()
        self._open = 0
        self._calm_below = 0.0  # while crowded: how many have to be open for it to be over
        self._is_shutting = False
        self._is_judging = False
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    def __len__(self) -> int:
        """How many are open and not condemned."""
        return self._open

    # What libzmq tells

    def accepted(self, descriptor: int) -> None:
        """A connection came; ``shut_condemned`` cuts it when it is one too many."""
        if descriptor in self._by_descriptor:
            self.disconnected(descriptor)
        connection = Connection(descriptor, self._shared.loop.time() + limits.HELLO_SECONDS)
        self._by_descriptor[descriptor] = connection
        self._counts["accepted"] += 1
        self._open += 1
        files = self._shared.max_files
        if self._open > self._shared.settings.max_connections or 0 < files - SPARE_FILES <= descriptor:
            self._counts["over_cap"] += 1
            self._tell_crowded()
            self._condemn(connection)
        else:
            self._expect(connection)

    def disconnected(self, descriptor: int) -> None:
        """A connection ended."""
        connection = self._by_descriptor.pop(descriptor, None)
        if connection is None:
            return
        if connection.pipe is not None:
            self._ended(connection.pipe)
        elif not connection.is_condemned:
            self._counts["unproven"] += 1
        if not connection.is_condemned:
            self._open -= 1
            if self._open < self._calm_below:
                self._calm_below = 0.0

    # Whose they are

    def pipe_of(self, descriptor: int) -> AcceptedPipe | None:
        """What the connection with this descriptor carries; any thread may ask, and be a little behind."""
        connection = self._by_descriptor.get(descriptor)
        return None if connection is None else connection.pipe

    def find(self, descriptor: int) -> tuple[Connection, str] | None:
        """The connection with this descriptor and the address of its other side, unless it has ended.

        The address is empty when the other side has ended it and libzmq has not noticed yet.
        """
        held = duplicate(descriptor)
        self._catch_up()
        connection = self._by_descriptor.get(descriptor)
        address = ""
        if held is not None:
            with held, suppress(OSError):
                host, port = held.getpeername()[:2]
                address = str(Address(plain_host(host), port))
        return None if connection is None else (connection, address)

    def release(self, connection: Connection) -> None:
        """The pipe that seemed to be this connection's is another's: its own may still come."""
        connection.pipe = None
        if not connection.is_condemned and self._is_listed(connection):
            connection.deadline = self._shared.loop.time() + limits.HELLO_SECONDS
            self._expect(connection)

    # Shutting

    def shut(self, connection: Connection) -> None:
        """Cut a connection now; libzmq tells of its end soon after."""
        self._condemn(connection)
        self.shut_condemned()

    def shut_silent(self) -> None:
        """Cut those that have brought no message in time; what had come has to be read before."""
        self._is_judging = False
        now = self._shared.loop.time()
        while self._unproven and self._unproven[0].deadline <= now:
            connection = self._unproven.popleft()
            if self._is_unproven(connection):
                self._counts["silent"] += 1
                self._condemn(connection)
        self._arm()
        self.shut_condemned()

    def shut_condemned(self) -> None:
        """Cut what was condemned since the last time."""
        if self._is_shutting:  # catching up may condemn more, which the outer loop finds
            return
        self._is_shutting = True
        try:
            while self._condemned:
                self._cut(self._condemned.popleft())
        finally:
            self._is_shutting = False

    def close(self) -> list[socket.socket]:
        """Forget all, and give a duplicate of each that is open. Calling it again is harmless."""
        self._is_closed = True
        held = [(connection, duplicate(connection.descriptor)) for connection in self._by_descriptor.values()]
        self._catch_up()
        still_open = []
        for connection, one in held:
            if one is not None and self._is_listed(connection):
                still_open.append(one)
            elif one is not None:
                one.close()
        if self._timer is not None:
            self._timer.cancel()
        self._by_descriptor.clear()
        self._unproven.clear()
        self._condemned.clear()
        return still_open

    # Helpers

    def _cut(self, connection: Connection) -> None:
        held = duplicate(connection.descriptor)
        self._catch_up()
        if held is None:
            self._counts["shut_failed"] += self._is_listed(connection)
            return
        with held:
            if not self._is_listed(connection):
                return
            finish = None
            if connection.pipe is not None and (finish := self._probe(connection.pipe)) is None:
                # The pipe is of another one that had this descriptor before, and whose message was read late.
                self._revive(connection)
                return
            try:
                held.shutdown(socket.SHUT_RDWR)
            except OSError:  # the other side was faster
                self._counts["shut_failed"] += 1
            if finish is not None:
                finish()

    def _condemn(self, connection: Connection) -> None:
        if not connection.is_condemned:
            connection.is_condemned = True
            self._condemned.append(connection)
            if self._is_listed(connection):
                self._open -= 1

    def _revive(self, connection: Connection) -> None:
        if connection.is_condemned and self._is_listed(connection):
            connection.is_condemned = False
            self._open += 1
            self.release(connection)

    def _expect(self, connection: Connection) -> None:
        self._unproven.append(connection)
        self._arm()

    def _arm(self) -> None:
        """Have one timer for the oldest that has brought nothing; it always comes first in the queue."""
        unproven = self._unproven
        while unproven and not self._is_unproven(unproven[0]):
            unproven.popleft()
        if unproven and self._timer is None and not (self._is_judging or self._is_closed):
            self._timer = self._shared.loop.call_at(unproven[0].deadline, self._time_up)

    def _time_up(self) -> None:
        self._timer = None
        self._is_judging = True
        self._silent()

    def _is_unproven(self, connection: Connection) -> bool:
        return connection.pipe is None and not connection.is_condemned and self._is_listed(connection)

    def _is_listed(self, connection: Connection) -> bool:
        return self._by_descriptor.get(connection.descriptor) is connection

    def _tell_crowded(self) -> None:
        if not self._calm_below:
            self._calm_below = (self._open - 1) * _CALM
            logger.warning(
                "%d connections are open: further ones are shut at once until there are fewer",
                self._open - 1,
                extra={"event": "over-cap"},
            )
