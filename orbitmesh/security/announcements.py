"""What a node tells other members before any link: sealed, so that outsiders see only that some mesh is here.

A box is a version byte (1), the number of the discovery key (4 bytes, most significant first), a random nonce of 12
bytes, and ChaCha20-Poly1305 under a key made from that discovery key, with all that stands before the nonce as
associated data. Inside is a msgpack array of fixed order; what newer versions append is skipped. The nonces of all
nodes of a mesh are drawn at random under one key: after 2^32 boxes the odds that two are equal are 2^-33.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Struct

from orbitmesh.core.errors import ConfigError, NotTrusted
from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.security.keys import KEY_BYTES, DiscoveryKey
from orbitmesh.wire.limits import MAX_ID, MAX_NAME

MAX_BOX: Final = 4096
"""Bytes of the largest box; a discovery carries no larger one."""

MAX_ADDRESSES: Final = 32

_VERSION: Final = 1
_HEADER_BYTES: Final = 5
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 8
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_ID)]
Text: TypeAlias = Annotated[str, Meta(max_length=MAX_NAME)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Announcement:
    """A node as it announces itself. It is a hint: only a handshake tells who somebody is.

    Attributes:
        node_id: Stable over restarts.
        name: The node's name.
        device: Name of its device.
        boot: Which start of the node this is.
        key: X25519 public key of its links, 32 bytes.
        addresses: Where it listens, such as ``tcp://192.0.2.7:40001``; at most 32.
        oldest: Oldest protocol version that it speaks.
        newest: Newest protocol version that it speaks.
        time: When it was sealed, by that node's clock.
    """

    node_id: NodeId
    name: str
    device: str
    boot: Boot
    key: bytes
    addresses: tuple[str, ...]
    oldest: int
    newest: int
    time: datetime


class _Content(Struct, array_like=True, frozen=True):
    node_id: Annotated[str, Meta(pattern=r"\A[0-9a-f]{32}\Z")]
    name: Text
    device: Text
    boot: Count
    key: Annotated[bytes, Meta(min_length=KEY_BYTES, max_length=KEY_BYTES)]
    addresses: Annotated[tuple[Text, ...], Meta(max_length=MAX_ADDRESSES)]
    oldest: Count
    newest: Count
    time_us: Count


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(_Content)


def seal(announcement: Announcement, key: DiscoveryKey, *, now: datetime) -> bytes:
    """Seal an announcement for the members of a mesh.

    Args:
        announcement: What to tell; its ``time`` is replaced.
        key: The newest discovery key.
        now: The time that the box bears.

    Returns:
        At most ``MAX_BOX`` bytes, different at each call.

    Raises:
        ConfigError: No member would read it: it is too large, or a value is out of bounds.
    """
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    try:
        content = _written(announcement, now)
        _read(content)  # what no member would read must not be spread
    except (NotTrusted, ValueError, TypeError, OverflowError) as error:
        raise ConfigError(f"this node cannot be announced: {error}") from error
    header = bytes([_VERSION]) + key.number.to_bytes(4, "big")
    nonce = secrets.token_bytes(_NONCE_BYTES)
    box = header + nonce + ChaCha20Poly1305(_sealing_key(key)).encrypt(nonce, content, header)
    if len(box) > MAX_BOX:
        raise ConfigError(f"an announcement of {len(box)} bytes is larger than {MAX_BOX}: announce fewer addresses")
    return box


def unseal(box: bytes, keys: Sequence[DiscoveryKey]) -> Announcement:
    """Open and read a box.

    Raises:
        NotTrusted: It does not open, is malformed or of another version. No other exception escapes.
    """
    if not _HEADER_BYTES + _NONCE_BYTES < len(box) <= MAX_BOX:
        raise NotTrusted(f"{len(box)} bytes are no announcement")
    if box[0] != _VERSION:
        raise NotTrusted(f"an announcement of version {box[0]}: this node reads version {_VERSION}")
    number = int.from_bytes(box[1:_HEADER_BYTES], "big")
    for key in keys:
        if key.number == number and (content := _opened(box, key)) is not None:
            return _read(content)
    raise NotTrusted("the announcement does not open: it is another mesh's, damaged, or its key is not known here")


def tag(key: DiscoveryKey, *, now: datetime) -> str:
    """By which members recognise their mesh's announcements on one day (UTC): 16 hex digits."""
    day = now.astimezone(UTC).date().isoformat()
    return hmac.digest(_subkey(key, b"orbitmesh tag 1"), day.encode(), "sha256")[:_TAG_BYTES].hex()


def _opened(box: bytes, key: DiscoveryKey) -> bytes | None:
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    header, rest = box[:_HEADER_BYTES], box[_HEADER_BYTES:]
    try:
        return ChaCha20Poly1305(_sealing_key(key)).decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header)
    except InvalidTag:
        return None


def _written(announcement: Announcement, now: datetime) -> bytes:
    return _ENCODER.encode(
        _Content(
            announcement.node_id,
            announcement.name,
            announcement.device,
            announcement.boot,
            announcement.key,
            announcement.addresses,
            announcement.oldest,
            announcement.newest,
            (now - _EPOCH) // timedelta(microseconds=1),
        )
    )


def _read(content: bytes) -> Announcement:
    try:
        fields = _DECODER.decode(content)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise NotTrusted(f"a malformed announcement: {error}") from error
    # Names and addresses end up in logs and on terminals before anybody has proven anything.
    if not all(text.isprintable() for text in (fields.name, fields.device, *fields.addresses)):
        raise NotTrusted("a malformed announcement: a name or address holds characters that cannot be shown")
    return Announcement(
        node_id=NodeId(fields.node_id),
        name=fields.name,
        device=fields.device,
        boot=Boot(fields.boot),
        key=fields.key,
        addresses=fields.addresses,
        oldest=fields.oldest,
        newest=fields.newest,
        time=_EPOCH + timedelta(microseconds=fields.time_us),
    )


def _sealing_key(key: DiscoveryKey) -> bytes:
    return _subkey(key, b"orbitmesh announcement 1")


def _subkey(key: DiscoveryKey, label: bytes) -> bytes:
    return hmac.digest(key.key, label, "sha256")
