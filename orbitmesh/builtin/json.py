"""The serializer for links to programs that have no msgpack, and for bodies that people read."""

from __future__ import annotations

from typing import Any

import msgspec

from orbitmesh.hookspecs import hookimpl
from orbitmesh.spi.payload import Serializer
from orbitmesh.spi.transport import Frame
from orbitmesh.spi.values import Decode, Decoders, as_plain, is_pydantic, unserializable


class Json:
    """Values as JSON.

    As msgpack, but for what JSON has no form for: bytes are base64 text, and become bytes again only where the type
    says so; aware datetimes are ISO 8601 text; keys are text (numbers, dates and the like are written as it; None,
    bools and tuples are refused); NaN and infinity become null, as in JavaScript. Ints may have 4,300 digits, though
    other languages may round those beyond 53 bits.
    """

    name = "json"
    is_binary = False

    def __init__(self) -> None:
        self._encode = msgspec.json.Encoder(enc_hook=_as_known).encode
        self._decoders = Decoders(_decoder)

    def encode(self, value: Any) -> bytes:
        """Turn a value into bytes.

        Raises:
            Unserializable: It cannot be; the message has path and type of the part to blame.
        """
        try:
            return self._encode(value)
        except Exception as error:  # msgspec's own, and whatever a property or serializer of the user's raises
            raise unserializable(value, error, encode=self._encode, form=self.name) from error

    def decode(self, body: Frame, type: Any) -> Any:  # noqa: A002 - named in the public API
        """Turn bytes into a value of the type; ``Any`` gives dicts, lists and scalars.

        Raises:
            ValueError: The bytes are malformed or do not fit the type; the message has the path.
            TypeError: No value of the type can be made from plain values.
        """
        try:
            return self._decoders[type](body)
        except ValueError:
            raise
        except Exception:
            return self._decoders.decode_anew(body, type)


def _as_known(value: Any) -> Any:
    """Pydantic's own JSON is what pydantic reads back: there bytes are text in UTF-8."""
    return value.model_dump(mode="json", by_alias=True, round_trip=True) if is_pydantic(value) else as_plain(value)


def _decoder(type_: Any) -> Decode:
    decode: Decode = msgspec.json.Decoder(type_).decode
    return decode


@hookimpl
def orbitmesh_serializers() -> list[Serializer]:
    """Offer JSON."""
    return [Json()]
