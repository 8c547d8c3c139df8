"""The serializer that every node has: msgpack, typed bodies straight into their type."""

from __future__ import annotations

from typing import Any, Final, NoReturn

import msgpack  # type: ignore[import-untyped]  # it has no stubs
import msgspec

from orbitmesh.hookspecs import hookimpl
from orbitmesh.spi.payload import Serializer
from orbitmesh.spi.transport import Frame
from orbitmesh.spi.values import Decode, Decoders, as_plain, is_pydantic, unserializable

_AWARE_DATETIME: Final = 3
"""What ``msgpack`` calls the choice of aware UTC datetimes for its timestamp type."""


class Msgpack:
    """Values as msgpack.

    What is written: None, bools, ints of 64 bits, floats (NaN and infinity too), text, bytes; datetimes (aware ones as
    msgpack's timestamp, which comes back in UTC; naive ones as ISO 8601 text), dates, times, timedeltas, UUIDs and
    Decimals as text, enums as their value; lists, tuples and sets as arrays; dataclasses, Structs, TypedDicts, mappings
    and pydantic models as maps. Keys may be any scalar. Ints beyond 64 bits are refused.

    ``Any`` is read by the ``msgpack`` package, all else by msgspec. Measured, msgspec reads ``Any`` as safely and
    130 ns faster, but for one thing: its nesting is bounded by the interpreter's recursion limit, which a program may
    raise up to where the C stack ends; that of ``msgpack`` is bounded by itself, at about a thousand. Both refuse
    lengths that the body has no bytes for before they take memory for them.
    """

    name = "msgpack"
    is_binary = True

    def __init__(self) -> None:
        self._encode = msgspec.msgpack.Encoder(enc_hook=self._as_known).encode
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
        """Turn bytes into a value of the type; ``Any`` gives dicts, lists, scalars and aware datetimes.

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

    def _as_known(self, value: Any) -> Any:
        if not is_pydantic(value):
            return as_plain(value)
        try:
            return msgspec.Raw(self._encode(value.model_dump(by_alias=True, round_trip=True)))
        except Exception:  # it holds a type of pydantic's own, such as Url: the model as pydantic writes JSON
            return value.model_dump(mode="json", by_alias=True, round_trip=True)


def _decoder(type_: Any) -> Decode:
    if type_ is Any:
        return _decode_any
    decode: Decode = msgspec.msgpack.Decoder(type_, ext_hook=_refuse_extension).decode
    return decode


def _decode_any(body: Frame) -> Any:
    # The limits of lengths are those of the package: none may exceed what the body has bytes for.
    return msgpack.unpackb(body, timestamp=_AWARE_DATETIME, strict_map_key=False, ext_hook=_refuse_extension)


def _refuse_extension(code: int, data: Any) -> NoReturn:
    raise ValueError(f"extension type {code} of msgpack is not known")


@hookimpl
def orbitmesh_serializers() -> list[Serializer]:
    """Offer msgpack."""
    return [Msgpack()]
