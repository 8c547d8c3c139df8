"""What the product is measured against: a hand-written blocking loop over pyzmq, as one would write it in an afternoon.

CURVE on, msgpack for everything, one ZeroMQ message per call, sent and received as pyzmq's guide shows it; no
deadlines, no credit, no certificates, no discovery.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import msgpack  # type: ignore[import-untyped]  # it has no stubs
import zmq

CALL: Final = 0
NOTIFY: Final = 1
STREAM: Final = 2
REPLY: Final = 3
ITEM: Final = 4
END: Final = 5


def serve() -> None:
    """Answer until killed; prints port and public key."""
    public, secret = zmq.curve_keypair()
    context = zmq.Context()
    router = context.socket(zmq.ROUTER)
    router.curve_server = True
    router.curve_publickey, router.curve_secretkey = public, secret
    router.router_mandatory = True  # else it drops what a peer has no room for
    port = router.bind_to_random_port("tcp://127.0.0.1")
    sys.stdout.write(f"{port} {public.decode()}\n")
    sys.stdout.flush()
    heard = 0
    pack, unpack = msgpack.packb, msgpack.unpackb
    while True:
        peer, message = router.recv_multipart()
        kind, number, params = unpack(message)
        if kind == CALL:
            result = heard if params.get("ask") == "heard" else params["data"]
            router.send_multipart([peer, pack((REPLY, number, result))])
        elif kind == NOTIFY:
            heard += 1
        else:
            item = b"i" * 64
            for _ in range(params["count"]):
                router.send_multipart([peer, pack((ITEM, number, item))])
            router.send_multipart([peer, pack((END, number, None))])


class Client:
    """A connection to ``serve``."""

    def __init__(self, port: int, server_key: bytes) -> None:
        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.DEALER)
        self._socket.curve_publickey, self._socket.curve_secretkey = zmq.curve_keypair()
        self._socket.curve_serverkey = server_key
        self._socket.connect(f"tcp://127.0.0.1:{port}")
        self._number = 0

    def send(self, kind: int, params: dict[str, Any]) -> None:
        """Ask for something."""
        self._number += 1
        self._socket.send(msgpack.packb((kind, self._number, params)))

    def receive(self) -> tuple[int, int, Any]:
        """Wait for the next message."""
        kind, number, body = msgpack.unpackb(self._socket.recv())
        return kind, number, body

    def call(self, params: dict[str, Any]) -> Any:
        """Ask and wait for the answer."""
        self.send(CALL, params)
        return self.receive()[2]

    def close(self) -> None:
        """Close everything."""
        self._socket.close(0)
        self._context.term()


if __name__ == "__main__":
    serve()
