"""What every socket is set to, and what the process needs for many of them. Each figure answers a measured fault."""

from __future__ import annotations

import logging
import sys
from typing import Final

import zmq

from orbitmesh.spi.transport import TransportSettings
from orbitmesh.wire import limits

if sys.platform != "win32":
    import resource

logger = logging.getLogger("orbitmesh.zeromq")

Context = zmq.Context[zmq.Socket[bytes]]

HANDSHAKE_SECONDS: Final = 3.0
"""Without a bound, half-open connections stay 30 s and strangers fill the memory before they have proven anything."""

CONNECT_SECONDS: Final = 2.0
"""Bound of one TCP connect: else a cable that was out costs 6.7 s of SYN back-off."""

LINGER_SECONDS: Final = 1.0
"""How long what is under way may take to leave when the endpoint closes."""

HEARTBEAT_SECONDS: Final = 2.0
HEARTBEAT_TIMEOUT_SECONDS: Final = 6.0
"""ZMTP's own PING finds dead TCP; libzmq's thread answers it however long the loop is blocked."""

HIGH_WATER_MARK: Final = 1000
"""Messages that libzmq holds unread for one peer before it stops reading from it. Link credit stays below."""

DOMAIN: Final = b"orbitmesh"
"""ZAP domain: with one set and enforced, a missing ZAP handler refuses everybody instead of admitting everybody."""

_NEVER_MS: Final = 3_600_000
"""Between reconnects: whoever loses a connection dials anew with a socket of its own."""

_BACKLOG: Final = 1024
_MAX_FILES: Final = 65_536
_MAX_SOCKETS: Final = 65_535

SPARE_FILES: Final = 64
"""Descriptors kept free: without any, libzmq's accept spins at full load."""


def make_context() -> Context:
    """One context for one endpoint: two nodes in a process share nothing, ZAP handler included."""
    context = zmq.Context[zmq.Socket[bytes]]()
    context.set(zmq.MAX_SOCKETS, min(_MAX_SOCKETS, int(context.get(zmq.SOCKET_LIMIT))))
    return context


def make_router(context: Context, settings: TransportSettings) -> zmq.Socket[bytes]:
    """Make the socket that accepts connections."""
    router = _make(context, zmq.ROUTER, settings)
    router.set(zmq.ROUTER_MANDATORY, 1)  # else what is sent to a lost peer vanishes silently
    router.set(zmq.CURVE_SERVER, 1)
    router.set(zmq.ZAP_DOMAIN, DOMAIN)
    router.set(zmq.ZAP_ENFORCE_DOMAIN, 1)
    router.set(zmq.BACKLOG, _BACKLOG)
    return router


def make_dealer(context: Context, settings: TransportSettings, *, key: bytes, is_ipv6: bool) -> zmq.Socket[bytes]:
    """Make the socket of one dial, for one connection to the holder of the key."""
    dealer = _make(context, zmq.DEALER, settings)
    try:
        dealer.set(zmq.CURVE_SERVERKEY, key)
        dealer.set(zmq.CONNECT_TIMEOUT, int(CONNECT_SECONDS * 1000))
        # Not IMMEDIATE=1 and not RECONNECT_IVL=-1: with either, libzmq throws away what it has received but the loop
        # has not yet read when the connection ends.
        dealer.set(zmq.IMMEDIATE, 0)
        dealer.set(zmq.RECONNECT_IVL, _NEVER_MS)
        dealer.set(zmq.IPV6, int(is_ipv6))
    except zmq.ZMQError:
        dealer.close(0)
        raise
    return dealer


def _make(context: Context, kind: int, settings: TransportSettings) -> zmq.Socket[bytes]:
    socket = context.socket(kind)
    try:
        socket.set(zmq.LINGER, 0)
        # A full peer would give EAGAIN and no event when it drains: the link's credit bounds what lies here instead.
        socket.set(zmq.SNDHWM, 0)
        socket.set(zmq.RCVHWM, HIGH_WATER_MARK)
        socket.set(zmq.MAXMSGSIZE, limits.MAX_FRAME_BYTES)
        socket.set(zmq.HANDSHAKE_IVL, int(HANDSHAKE_SECONDS * 1000))
        socket.set(zmq.HEARTBEAT_IVL, int(HEARTBEAT_SECONDS * 1000))
        socket.set(zmq.HEARTBEAT_TIMEOUT, int(HEARTBEAT_TIMEOUT_SECONDS * 1000))
        socket.set(zmq.CURVE_PUBLICKEY, settings.public_key)
        socket.set(zmq.CURVE_SECRETKEY, settings.secret_key)
    except zmq.ZMQError:
        socket.close(0)
        raise
    return socket


def raise_file_limit() -> int:
    """Let this process open as many files as it may, within reason.

    Returns:
        How many it may open now; 0 where the system has no such limit (Windows).
    """
    if sys.platform == "win32":
        return 0
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    infinite = resource.RLIM_INFINITY
    wanted = _MAX_FILES if hard == infinite else min(hard, _MAX_FILES)
    if soft != infinite and soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        except (OSError, ValueError) as error:  # some systems have a lower limit than they tell
            logger.info(
                "this process stays at %d open files: %s", soft, error, extra={"event": "file-limit-not-raised"}
            )
        else:
            return wanted
    return _MAX_FILES if soft == infinite else soft
