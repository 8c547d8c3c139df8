"""Serializers turn values into payload bytes and back; codecs turn bytes into bytes."""

from __future__ import annotations

from typing import Any, Protocol

from orbitmesh.spi.transport import Frame


class Serializer(Protocol):
    """What a plugin registers by ``orbitmesh_serializers``.

    One that writes text, and so bytes as base64, also says ``is_binary = False``; without that it is taken for binary.
    """

    @property
    def name(self) -> str:
        """Name on the wire and for ``serializer=``."""
        ...

    def encode(self, value: Any) -> bytes:
        """Turn a value into bytes.

        Raises:
            Unserializable: It cannot be; the message has the path or type.
        """
        ...

    def decode(self, body: Frame, type: Any) -> Any:  # noqa: A002 - named in the public API
        """Turn bytes into a value of the type; ``Any`` gives plain dicts, lists and scalars.

        Raises:
            ValueError: The bytes are malformed or do not fit the type; the message has the path.
        """
        ...


class Codec(Protocol):
    """What a plugin registers by ``orbitmesh_codecs``: bytes to bytes on bodies, agreed per link."""

    @property
    def name(self) -> str:
        """Name on the wire and for ``codecs=``."""
        ...

    def encode(self, body: Frame) -> bytes:
        """Turn a body into what travels."""
        ...

    def decode(self, body: Frame) -> bytes:
        """Turn what travelled into the body.

        Raises:
            ValueError: The bytes are malformed, or would grow beyond reason.
        """
        ...
