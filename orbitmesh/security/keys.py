"""Keys as raw bytes, and the ids that are hashes of them. `cryptography` is imported only when a key is used."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Final

from orbitmesh.core.ids import MeshId, NodeId

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

KEY_BYTES: Final = 32
"""Length of every key here: Ed25519 and X25519, secret and public, and discovery keys."""

_ID_BYTES: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscoveryKey:
    """What the announcements of a mesh are sealed with. A mesh has a list of them, the newest first.

    Attributes:
        number: Rises with each new key; a box says in clear which one it needs. Admins that know nothing of each other
            may give one number to two keys.
        made: When it was made.
        key: 32 random bytes.
    """

    number: int
    made: datetime
    key: bytes = field(repr=False)


def mesh_id_of(root_key: bytes) -> MeshId:
    """The id of the mesh with this root public key."""
    return MeshId(_hash(b"orbitmesh mesh 1", root_key))


def node_id_of(device_key: bytes, name: str) -> NodeId:
    """The id of the node of this name on the device with this public key."""
    return NodeId(_hash(b"orbitmesh node 1", device_key, name.encode()))


def fresh_secret() -> bytes:
    """A new Ed25519 or X25519 secret."""
    return secrets.token_bytes(KEY_BYTES)


def signing_key(secret: bytes) -> Ed25519PrivateKey:
    """The Ed25519 key to a secret of 32 bytes."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    return Ed25519PrivateKey.from_private_bytes(secret)


def signing_public(secret: bytes) -> bytes:
    """The Ed25519 public key to a secret, 32 bytes."""
    return signing_key(secret).public_key().public_bytes_raw()


def link_public(secret: bytes) -> bytes:
    """The X25519 public key to a secret, 32 bytes."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def _hash(*parts: bytes) -> str:
    # Every part but the last has a fixed length, so no two lists of parts run together to the same bytes.
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[: 2 * _ID_BYTES]
