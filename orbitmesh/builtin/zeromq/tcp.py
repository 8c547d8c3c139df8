"""The TCP connections below ZeroMQ's: a duplicate of one's descriptor outlives what libzmq does with its own."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

BROKEN: Final = "the other side closed the connection, or it broke"

_LOOK_SECONDS: Final = 0.005
_READ_BYTES: Final = 65_536
_READS: Final = 32
"""Reads of one connection in one look."""


def duplicate(descriptor: int) -> socket.socket | None:
    """A descriptor of one's own for a connection; None where it is closed, a file by now, or no more may be opened."""
    try:
        number = socket.dup(descriptor)
    except OSError:
        return None
    try:
        return socket.socket(fileno=number)
    except OSError:
        socket.close(number)
        return None


if sys.platform == "linux":
    # struct tcp_info: tcpi_bytes_received comes after 8 bytes, 24 numbers of 32 bits, tcpi_pacing_rate,
    # tcpi_max_pacing_rate and tcpi_bytes_acked. Later kernels only add behind it.
    _INFO: Final = struct.Struct("=128xQ")

    def received_bytes(descriptor: int) -> int | None:
        """Bytes that a TCP connection has brought so far; None when that is none, or the system does not tell.

        Nothing is done to the descriptor: it may be another's, and even be closed meanwhile.
        """
        try:
            # Non-blocking by its type, so that no default timeout is set on what may not be ours.
            looked_at = socket.socket(
                socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK, socket.IPPROTO_TCP, descriptor
            )
        except OSError:
            return None
        try:
            told = looked_at.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _INFO.size)
        except OSError:
            return None
        finally:
            looked_at.detach()
        return int(_INFO.unpack(told)[0]) if len(told) == _INFO.size else None

else:

    def received_bytes(descriptor: int) -> int | None:
        """None: only Linux tells."""
        return None


async def take_leave(connections: Sequence[socket.socket], end: float) -> None:
    """Close connections that libzmq has let go of, so that all that was sent arrives.

    A TCP connection that is closed while something of the other side is unread is reset: then this side's system
    throws away what it has yet to send, and libzmq's LINGER ends when it has given everything to the system. So each
    side of the connection is ended on its own, and what still comes is read and dropped, until the other side has
    closed too.

    Args:
        connections: They are closed at the end, whatever happens.
        end: On the loop's clock; who has not closed by then is reset.
    """
    loop = asyncio.get_running_loop()
    try:
        for connection in connections:
            connection.setblocking(False)
            with suppress(OSError):  # the other side was faster
                connection.shutdown(socket.SHUT_WR)
        pending = [connection for connection in connections if not _is_over(connection)]
        while pending and loop.time() < end:
            await asyncio.sleep(_LOOK_SECONDS)
            pending = [connection for connection in pending if not _is_over(connection)]
    finally:
        for connection in connections:
            connection.close()


def _is_over(connection: socket.socket) -> bool:
    try:
        for _ in range(_READS):
            if not connection.recv(_READ_BYTES):
                return True
    except BlockingIOError:
        return False
    except OSError:
        return True
    return False
