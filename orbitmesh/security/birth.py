"""The files of a mesh's folder: what stands in them when a mesh is born, and the device that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Final

import msgspec
from msgspec import Meta, Struct

from orbitmesh.core.errors import NotTrusted
from orbitmesh.core.ids import MeshId
from orbitmesh.security import certificates, roles
from orbitmesh.security.chains import ProvenDevice, prove_device
from orbitmesh.security.device import Device
from orbitmesh.security.keys import KEY_BYTES, DiscoveryKey, fresh_secret, mesh_id_of, signing_key, signing_public
from orbitmesh.security.shared import SharedKeys

ALL_ROLES: Final = frozenset({roles.ADMIN, roles.OPERATOR, roles.OWNER, roles.AGENT})
"""Roles of the first device, and of every device on a shared secret; ``observer`` would only take away."""

ROOT: Final = "root.crt"
ROOT_KEY: Final = "root.key"
"""Signs intermediates; nothing here reads it, so it may be kept elsewhere, or under a passphrase."""

ADMIN: Final = "admin.crt"
ADMIN_KEY: Final = "admin.key"
"""Intermediate and its key, on admin devices only: what other devices are signed with."""

DEVICE: Final = "device.crt"
"""The device's certificate, followed by the intermediate that signed it."""

DEVICE_KEY: Final = "device.key"
DISCOVERY: Final = "discovery.json"
"""A list of discovery keys, the newest first."""

NEEDED: Final = (ROOT, DEVICE, DEVICE_KEY, DISCOVERY)
"""Files without which there is no device."""


class Unreadable(Exception):
    """A file does not hold what it must.

    Attributes:
        file: Its name.
        fault: What is wrong.
    """

    def __init__(self, file: str, fault: str) -> None:
        super().__init__(f"{file}: {fault}")
        self.file = file
        self.fault = fault


class _Key(Struct, forbid_unknown_fields=True):
    number: Annotated[int, Meta(ge=0, le=2**32 - 1)]
    made: Annotated[datetime, Meta(tz=True)]
    key: Annotated[str, Meta(pattern=rf"\A[0-9a-f]{{{2 * KEY_BYTES}}}\Z")]


_KEYS: Final = msgspec.json.Decoder(Annotated[list[_Key], Meta(min_length=1, max_length=256)])


def born(name: str, *, now: datetime) -> dict[str, bytes]:
    """A new mesh of one device: its files by name, all keys in them fresh.

    Args:
        name: The device's name, valid as a name.
        now: Aware UTC.
    """
    root_secret, admin_secret, device_secret = fresh_secret(), fresh_secret(), fresh_secret()
    root = certificates.root_certificate(root_secret)
    admin, device = _signed_device(root, root_secret, admin_secret, device_secret, name=name, now=now)
    discovery = DiscoveryKey(number=1, made=now, key=fresh_secret())
    return {
        ROOT: _pem(root),
        ROOT_KEY: key_file(root_secret),
        ADMIN: _pem(admin),
        ADMIN_KEY: key_file(admin_secret),
        DEVICE: _pem(device, admin),
        DEVICE_KEY: key_file(device_secret),
        DISCOVERY: _discovery_file([discovery]),
    }


def restored(contents: Mapping[str, bytes]) -> Device:
    """The device that the files of a folder make.

    Args:
        contents: At least those in ``NEEDED``.

    Raises:
        Unreadable: A file is damaged, or belongs to others than it stands with.
    """
    root = _certificates(contents, ROOT, 1)[0]
    chain = _certificates(contents, DEVICE, 2)
    secret = read_key(contents, DEVICE_KEY)
    discovery = _discovery(contents)
    mesh_id, device = _proven(root, chain)
    if device.key != signing_public(secret):
        raise Unreadable(DEVICE_KEY, f"it is not the key of {DEVICE}")
    return Device(
        mesh_id=mesh_id,
        name=device.name,
        roles=device.roles,
        is_shared_secret=False,
        secret=secret,
        chain=chain,
        root=root,
        discovery=discovery,
    )


def on_shared_secret(keys: SharedKeys, device_secret: bytes, *, name: str, now: datetime) -> Device:
    """A device of the mesh that stands on a shared secret; it signs its own certificate, for its whole term from now.

    Args:
        keys: What follows from the secret.
        device_secret: The device's own Ed25519 secret.
        name: The device's name, valid as a name.
        now: Aware UTC.
    """
    root = certificates.root_certificate(keys.root_secret)
    admin, device = _signed_device(root, keys.root_secret, fresh_secret(), device_secret, name=name, now=now)
    return Device(
        mesh_id=mesh_id_of(signing_public(keys.root_secret)),
        name=name,
        roles=ALL_ROLES,
        is_shared_secret=True,
        secret=device_secret,
        chain=(device, admin),
        root=root,
        discovery=[keys.discovery],
    )


def key_file(secret: bytes) -> bytes:
    """A file with an Ed25519 key, as `openssl pkey` reads it."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return signing_key(secret).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_key(contents: Mapping[str, bytes], file: str) -> bytes:
    """The Ed25519 secret of a file that ``key_file`` made.

    Raises:
        Unreadable: It holds none.
    """
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(contents[file], password=None)
    except Exception as error:  # bytes of a damaged file: whatever the parser says about them, they are no key
        raise Unreadable(file, "it holds no key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise Unreadable(file, "it holds no Ed25519 key")
    return key.private_bytes_raw()


def _signed_device(
    root: bytes, root_secret: bytes, admin_secret: bytes, device_secret: bytes, *, name: str, now: datetime
) -> tuple[bytes, bytes]:
    """Intermediate and device certificate of an admin device."""
    admin = certificates.intermediate_certificate(
        signing_public(admin_secret), root=root, root_secret=root_secret, device=name, now=now
    )
    device = certificates.device_certificate(
        signing_public(device_secret), issuer=admin, issuer_secret=admin_secret, device=name, roles=ALL_ROLES, now=now
    )
    return admin, device


def _proven(root: bytes, chain: Sequence[bytes]) -> tuple[MeshId, ProvenDevice]:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.x509 import load_der_x509_certificate

    try:
        key = load_der_x509_certificate(root).public_key()
        if not isinstance(key, Ed25519PublicKey):
            raise ValueError("another kind of key")
        mesh_id = mesh_id_of(key.public_bytes_raw())
    except Exception as error:  # as in read_key
        raise Unreadable(ROOT, "it holds no root certificate") from error
    try:
        return mesh_id, prove_device(chain, root=root, mesh_id=mesh_id)
    except NotTrusted as error:
        raise Unreadable(DEVICE, f"it does not go with {ROOT}: {error}") from error


def _pem(*ders: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_der_x509_certificate

    return b"".join(load_der_x509_certificate(der).public_bytes(Encoding.PEM) for der in ders)


def _certificates(contents: Mapping[str, bytes], file: str, count: int) -> list[bytes]:
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509 import load_pem_x509_certificates

    try:
        ders = [certificate.public_bytes(Encoding.DER) for certificate in load_pem_x509_certificates(contents[file])]
    except Exception as error:  # as in read_key
        raise Unreadable(file, "it holds no certificates") from error
    if len(ders) != count:
        raise Unreadable(file, f"it holds {len(ders)} certificates, not {count}")
    return ders


def _discovery_file(keys: Sequence[DiscoveryKey]) -> bytes:
    rows = [_Key(number=key.number, made=key.made, key=key.key.hex()) for key in keys]
    return msgspec.json.format(msgspec.json.encode(rows)) + b"\n"


def _discovery(contents: Mapping[str, bytes]) -> list[DiscoveryKey]:
    try:
        rows = _KEYS.decode(contents[DISCOVERY])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, ValueError) as error:
        raise Unreadable(DISCOVERY, "it holds no list of discovery keys") from error
    return [DiscoveryKey(number=row.number, made=row.made, key=bytes.fromhex(row.key)) for row in rows]
