"""How a node greets: what it says of itself at the start of a link, how it checks the other, what both agreed on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from orbitmesh.core.clock import Clock
from orbitmesh.core.ids import NodeId
from orbitmesh.core.settings import Settings
from orbitmesh.link.handshake import Greeting
from orbitmesh.link.link import Link
from orbitmesh.link.outputs import Greeted
from orbitmesh.runtime.payload import Payload
from orbitmesh.security.device import Device
from orbitmesh.security.identity import Credentials, Identity
from orbitmesh.spi.payload import Codec, Serializer
from orbitmesh.spi.transport import Pipe


class Greeter:
    """Makes the links of one node.

    Attributes:
        credentials: What the node proves itself with from now on.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        device: Device,
        credentials: Credentials,
        settings: Settings,
        serializers: Sequence[Serializer],
        codecs: Sequence[Codec],
        random_bytes: Callable[[int], bytes],
    ) -> None:
        """Make a greeter.

        Args:
            clock: Where time comes from.
            device: Verifies peers.
            credentials: What this node proves itself with.
            settings: Bounds of bodies and silence.
            serializers: Those that this node knows, the preferred first.
            codecs: Those that it wants on its links.
            random_bytes: Makes nonces.
        """
        self.credentials = credentials
        self._clock = clock
        self._device = device
        self._settings = settings
        self._serializers = {serializer.name: serializer for serializer in serializers}
        self._codecs = {codec.name: codec for codec in codecs}
        self._random_bytes = random_bytes
        self._session = 0

    @property
    def own_id(self) -> NodeId:
        """The node's id."""
        return self.credentials.node_id

    def link(self, pipe: Pipe, *, expected: NodeId | None = None) -> Link:
        """Begin a link over a pipe: as its dialler, which says HELLO, or as the one who waits for that.

        Args:
            pipe: What carries it.
            expected: Who has to answer; None where only an address is known.
        """
        key = pipe.peer_key
        if pipe.is_dialled:
            self._session += 1

        def verify(chain: Sequence[bytes]) -> Identity:
            return self._device.verify(chain, key=key, now=self._clock.now())

        greeting = Greeting(
            chain=self.credentials.chain,
            verify=verify,
            nonce=self._random_bytes(16),
            serializers=list(self._serializers),
            codecs=list(self._codecs),
            session=self._session if pipe.is_dialled else 0,
            expected=expected,
        )
        return Link(
            greeting,
            is_dialler=pipe.is_dialled,
            seen=pipe.address,
            max_body=self._settings.max_body,
            busy_limit=self._settings.busy_limit,
            now=self._clock.monotonic(),
        )

    def payload(self, greeted: Greeted) -> Payload:
        """The serializers and codecs that both ends agreed on."""
        return Payload(
            [self._serializers[name] for name in greeted.serializers],
            [self._codecs[name] for name in greeted.codecs],
            preferred=next(iter(self._serializers)),
        )
