"""Values to bodies and back on one link: the serializers that both ends know, then the codecs that both chose."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Protocol

from orbitmesh.spi.payload import Codec, Serializer
from orbitmesh.spi.transport import Frame


class Decode(Protocol):
    """Turns a body into a value."""

    def __call__(self, body: Frame, type_: Any, serializer: int | None = None, /) -> Any:
        """Decode a body to a type, or to plain values for ``Any``.

        Raises:
            ValueError: It is malformed or does not fit.
        """
        ...


class Payload:
    """Serializers and codecs of one link.

    Attributes:
        preferred: Id on this link of the serializer that this node writes with.
        encode: Turns a value into a body, with the preferred serializer.
        decoders: By id of the serializer, what turns a body into a value of a type; raises ``ValueError`` where it is
            malformed or does not fit.
        decode_answer: The same for answers, which come with the preferred serializer.
        known: How many serializers both ends know; their ids are below it.
        form: Equal for links on which a value becomes the same bytes.
    """

    __slots__ = (
        "_binary",
        "_codecs",
        "_serializers",
        "decode_answer",
        "decoders",
        "encode",
        "form",
        "known",
        "preferred",
    )

    def __init__(self, serializers: Sequence[Serializer], codecs: Sequence[Codec], *, preferred: str) -> None:
        """Take what HELLO and WELCOME agreed on.

        Args:
            serializers: In the order of their ids.
            codecs: In the order in which bodies pass them on their way out.
            preferred: Name of this node's serializer; the first one is used where the peer does not know it.
        """
        self._serializers = tuple(serializers)
        self._codecs = tuple(codecs)
        self.known = len(self._serializers)
        names = [serializer.name for serializer in serializers]
        self.preferred = names.index(preferred) if preferred in names else 0
        self.form = (self._serializers[self.preferred].name, tuple(codec.name for codec in codecs))
        self._binary = tuple(bool(getattr(serializer, "is_binary", True)) for serializer in serializers)
        # Bound once: nearly every link has no codec, and then a body is what the serializer makes.
        self.encode = self._encode_with_codecs if codecs else self._serializers[self.preferred].encode
        self.decoders = tuple(
            partial(self._decode_with_codecs, each) if codecs else each.decode for each in self._serializers
        )
        self.decode_answer = self.decoders[self.preferred]

    def encode_as(self, value: Any, serializer: int) -> bytes:
        """Encode with the serializer of the request that this answers."""
        if serializer == self.preferred:
            return self.encode(value)
        body = self._serializers[serializer].encode(value)
        return self._pass_codecs(body)

    def is_binary(self, serializer: int) -> bool:
        """Whether a serializer of this link writes bytes as bytes; a text one writes them as base64."""
        return self._binary[serializer]

    def decode(self, body: Frame, type_: Any, serializer: int | None = None, /) -> Any:
        """Turn a body into a value of a type, with the serializer of this id, or with the preferred one.

        Raises:
            ValueError: It is malformed or does not fit.
        """
        index = self.preferred if serializer is None else serializer
        if index >= self.known:
            raise ValueError(f"serializer {index} was not agreed on")
        return self.decoders[index](body, type_)

    def _decode_with_codecs(self, serializer: Serializer, body: Frame, type_: Any) -> Any:
        for codec in reversed(self._codecs):
            body = codec.decode(body)
        return serializer.decode(body, type_)

    def _encode_with_codecs(self, value: Any) -> bytes:
        return self._pass_codecs(self._serializers[self.preferred].encode(value))

    def _pass_codecs(self, body: bytes) -> bytes:
        for codec in self._codecs:
            body = codec.encode(body)
        return body
