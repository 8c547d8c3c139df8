"""Who may finish a handshake: libzmq asks over ZAP, a small thread answers, so a blocked loop refuses nobody."""

from __future__ import annotations

import threading
from typing import Final

import zmq

from orbitmesh.builtin.zeromq.options import DOMAIN, Context

_ENDPOINT: Final = "inproc://zeromq.zap.01"
_VERSION: Final = b"1.0"
KEY_DIGITS: Final = 64
_MAPPED: Final = "::ffff:"


class Doorkeeper:
    """Admits every key that is not refused, and gives each connection a token that no other one has.

    The token is the key in hex, followed by a number that rises with each handshake. It comes with every message of
    the connection as ``User-Id``, so that a routing id which another connection took over is noticed, even when both
    have the same key; and of two connections that had the same descriptor the one with the higher number lives.

    Source: RFC 27 (ZAP)
    """

    def __init__(self, context: Context) -> None:
        """Bind the handler; this has to come before the ROUTER's bind, else libzmq admits nobody."""
        # Replaced as a whole by the loop, read once per handshake by the thread: no lock is needed.
        self._refused: tuple[frozenset[bytes], frozenset[str]] = (frozenset(), frozenset())
        self._admitted = 0
        self._denied = 0
        self._socket = context.socket(zmq.REP)
        self._socket.set(zmq.LINGER, 0)
        self._socket.bind(_ENDPOINT)
        self._thread = threading.Thread(target=self._answer, name="orbitmesh zap", daemon=True)
        self._thread.start()

    @property
    def denied(self) -> int:
        """Handshakes that were refused."""
        return self._denied

    def refuse(self, keys: frozenset[bytes], hosts: frozenset[str]) -> None:
        """Replace what is refused."""
        self._refused = (keys, frozenset(plain_host(host) for host in hosts))

    def join(self) -> None:
        """Wait for the thread; it ends when the context is terminated."""
        self._thread.join()

    def _answer(self) -> None:
        try:
            while True:
                request = self._socket.recv_multipart()
                self._socket.send_multipart(self._judge(request))
        except zmq.ContextTerminated:
            self._socket.close()

    def _judge(self, request: list[bytes]) -> list[bytes]:
        # version, request id, domain, address, routing id, mechanism, credentials
        request_id = request[1] if len(request) > 1 else b""
        if len(request) != 7 or request[0] != _VERSION or request[2] != DOMAIN or request[5] != b"CURVE":
            self._denied += 1
            return [_VERSION, request_id, b"400", b"only CURVE", b"", b""]
        keys, hosts = self._refused
        key = request[6]
        if key in keys or (hosts and plain_host(request[3].decode("ascii", "replace")) in hosts):
            self._denied += 1
            return [_VERSION, request_id, b"400", b"refused", b"", b""]
        self._admitted += 1
        return [_VERSION, request_id, b"200", b"OK", f"{key.hex()}{self._admitted:x}".encode(), b""]


def key_of(token: str) -> bytes:
    """The key that the holder of a token has proven."""
    return bytes.fromhex(token[:KEY_DIGITS])


def number_of(token: str) -> int:
    """The handshake's number: higher is later."""
    return int(token[KEY_DIGITS:], 16)


def plain_host(host: str) -> str:
    """One spelling per IP address: lower case, and IPv4 as such where the system maps it into IPv6."""
    host = host.lower()
    return host.removeprefix(_MAPPED) if "." in host else host
