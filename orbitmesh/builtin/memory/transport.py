"""The transport without sockets: nodes of one process reach each other, in later turns of their event loop."""

from __future__ import annotations

import asyncio

from orbitmesh.builtin.memory.endpoint import MemoryEndpoint
from orbitmesh.builtin.memory.network import SCHEME, MemoryNetwork, address_of, network_of
from orbitmesh.spi.transport import Receiver, TransportSettings


class MemoryTransport:
    """Connects the nodes of one ``MemoryNetwork``, which also brings the faults that a test wants.

    There is no cryptography, as nothing leaves the process; keys are compared all the same, so that a dial with a wrong
    key fails here as it does anywhere.
    """

    name = "memory"
    schemes = (SCHEME,)

    def __init__(self, network: MemoryNetwork | None = None) -> None:
        """Take a network; None: the one that the nodes of the running event loop share."""
        self._network = network

    async def open(self, settings: TransportSettings, receiver: Receiver) -> MemoryEndpoint:
        """Listen at the numbers of ``binds``, or at a free one where there are none.

        Raises:
            ConfigError: An address is malformed, or a number is taken.
        """
        network = self._network or network_of(asyncio.get_running_loop())
        endpoint = MemoryEndpoint(network, settings, receiver)
        try:
            for address in settings.binds or (address_of(0),):
                endpoint.listen(address)
        except BaseException:
            await endpoint.close()
            raise
        return endpoint
