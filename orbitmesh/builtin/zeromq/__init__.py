"""ZeroMQ transport: encrypted TCP connections between nodes, each side's key proven by CURVE."""

from __future__ import annotations

from orbitmesh.hookspecs import hookimpl
from orbitmesh.spi.transport import Endpoint, Receiver, Transport, TransportSettings

__all__ = ["ZeroMQ"]


class ZeroMQ:
    """Binds one ROUTER and opens one DEALER for each dial, in a ZeroMQ context of its own.

    Wire: docs/protocol.md#sockets
    """

    name = "zeromq"
    schemes = ("tcp",)

    async def open(self, settings: TransportSettings, receiver: Receiver) -> Endpoint:
        """Listen, and hand what comes to the receiver.

        The soft limit of open files of this process is raised, where there is one.

        Raises:
            ConfigError: An address is malformed, or a port is taken; the message says which.
        """
        # Its import takes 40 ms, which only nodes that use it pay.
        from orbitmesh.builtin.zeromq.endpoint import ZeroMQEndpoint

        return await ZeroMQEndpoint.open(settings, receiver)


@hookimpl
def orbitmesh_transports() -> list[Transport]:
    """This transport, under the name ``zeromq`` and for addresses that begin with ``tcp://``."""
    return [ZeroMQ()]
