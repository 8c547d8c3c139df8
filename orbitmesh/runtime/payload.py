"""Values to bodies and back on one link: the serializers that both ends know, then the codecs that both chose."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orbitmesh.spi.payload import Codec, Serializer
from orbitmesh.spi.transport import Frame


class Payload:
    """Serializers and codecs of one link.

    Attributes:
        preferred: Id on this link of the serializer that this node writes with.
    """

    __slots__ = ("_codecs", "_serializers", "encode", "preferred")

    def __init__(self, serializers: Sequence[Serializer], codecs: Sequence[Codec], *, preferred: str) -> None:
        """Take what HELLO and WELCOME agreed on.

        Args:
            serializers: In the order of their ids.
            codecs: In the order in which bodies pass them on their way out.
            preferred: Name of this node's serializer; the first one is used where the peer does not know it.
        """
        self._serializers = tuple(serializers)
        self._codecs = tuple(codecs)
        names = [serializer.name for serializer in serializers]
        self.preferred = names.index(preferred) if preferred in names else 0
        # Bound once: nearly every link has no codec, and then a body is what the serializer makes.
        self.encode = self._encode_with_codecs if codecs else self._serializers[self.preferred].encode

    def encode_as(self, value: Any, serializer: int) -> bytes:
        """Encode with the serializer of the request that this answers."""
        if serializer == self.preferred:
            return self.encode(value)
        body = self._serializers[serializer].encode(value)
        return self._pass_codecs(body)

    def decode(self, body: Frame, type_: Any, serializer: int | None = None) -> Any:
        """Turn a body into a value.

        Args:
            body: What came.
            type_: What it has to be; ``Any`` for plain values.
            serializer: Id of its serializer; None for this node's preferred one, in which answers come.

        Raises:
            ValueError: It is malformed or does not fit.
        """
        for codec in reversed(self._codecs):
            body = codec.decode(body)
        index = self.preferred if serializer is None else serializer
        if index >= len(self._serializers):
            raise ValueError(f"serializer {index} was not agreed on")
        return self._serializers[index].decode(body, type_)

    def _encode_with_codecs(self, value: Any) -> bytes:
        return self._pass_codecs(self._serializers[self.preferred].encode(value))

    def _pass_codecs(self, body: bytes) -> bytes:
        for codec in self._codecs:
            body = codec.encode(body)
        return body
