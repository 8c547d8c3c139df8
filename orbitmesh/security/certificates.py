"""The certificates of a mesh, made: root, intermediate, device, node, each signed by the one before it.

All of them are plain X.509 with Ed25519 signatures; `openssl verify` and `openssl x509 -text` work on them. Each begins
a day before it is made: clocks are wrong by hours more often than one thinks, and nobody gains anything by the day.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import Boot
from orbitmesh.security.extensions import BOOT, NODE_ID, ROLES, extension, written_roles
from orbitmesh.security.keys import mesh_id_of, node_id_of, signing_key, signing_public
from orbitmesh.wire.limits import MAX_ID

if TYPE_CHECKING:
    from cryptography.x509 import Name, UnrecognizedExtension

INTERMEDIATE_LIFE: Final = timedelta(days=365)
DEVICE_LIFE: Final = timedelta(days=90)
NODE_LIFE: Final = timedelta(days=7)
"""A node that runs longer asks for new credentials, with the same key, in good time."""

INTERMEDIATE_DEPTH: Final = 1
DEVICE_DEPTH: Final = 0
"""How many certificates that sign may follow in a chain: devices sign nodes, which sign nothing."""

_EARLIER: Final = timedelta(days=1)
_ALWAYS: Final = (datetime(2000, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
"""The root has no term (RFC 5280, 4.1.2.5), and no date either, so that one key always makes one certificate."""

Window = tuple[datetime, datetime]


def root_certificate(root_secret: bytes) -> bytes:
    """The self-signed certificate of a root: the same for the same key. DER."""
    public = signing_public(root_secret)
    mesh_id = mesh_id_of(public)
    serial = int.from_bytes(hashlib.sha256(public).digest()[:16], "big") | 1
    name = subject(mesh_id, "OrbitMesh root")
    return _signed(
        name,
        name,
        public,
        root_secret,
        window=_ALWAYS,
        depth=INTERMEDIATE_DEPTH + 1,
        uri=f"orbitmesh://{mesh_id}",
        serial=serial,
    )


def intermediate_certificate(public: bytes, *, root: bytes, root_secret: bytes, device: str, now: datetime) -> bytes:
    """What lets an admin device sign devices. DER.

    Args:
        public: Ed25519 public key to sign with; not the device's own.
        root: The root's certificate, DER.
        root_secret: The root's Ed25519 secret.
        device: Name of the admin device.
        now: When it is made.
    """
    issuer, mesh_id = _issuer(root)
    return _signed(
        subject(mesh_id, device, unit="admin"),
        issuer,
        public,
        root_secret,
        window=(now - _EARLIER, now + INTERMEDIATE_LIFE),
        depth=INTERMEDIATE_DEPTH,
        uri=device_uri(mesh_id, device),
    )


def device_certificate(
    public: bytes, *, issuer: bytes, issuer_secret: bytes, device: str, roles: Collection[str], now: datetime
) -> bytes:
    """What makes a device a member. DER.

    Args:
        public: Ed25519 public key of the device.
        issuer: The intermediate certificate, DER.
        issuer_secret: The Ed25519 secret to it.
        device: Name of the device.
        roles: What its nodes may do.
        now: When it is made.

    Raises:
        ConfigError: A role's name cannot be used.
    """
    issuer_name, mesh_id = _issuer(issuer)
    return _signed(
        subject(mesh_id, device),
        issuer_name,
        public,
        issuer_secret,
        window=(now - _EARLIER, now + DEVICE_LIFE),
        depth=DEVICE_DEPTH,
        uri=device_uri(mesh_id, device),
        ours=[extension(ROLES, written_roles(roles))],
    )


def node_certificate(
    public: bytes,
    *,
    device: bytes,
    device_secret: bytes,
    name: str,
    roles: Collection[str],
    boot: Boot,
    now: datetime,
) -> bytes:
    """What binds the key of a node's links to its name, node id and boot. DER.

    Args:
        public: X25519 public key of the node's links.
        device: The device's certificate, DER.
        device_secret: The Ed25519 secret to it.
        name: The node's name, valid as a name.
        roles: What the node may do; peers refuse more than the device may.
        boot: Which start of the node this is.
        now: When it is made; it must lie within the device certificate's times.

    Raises:
        ConfigError: The boot is out of range, or the device's certificate has ended or not begun.
    """
    from cryptography.x509 import load_der_x509_certificate
    from cryptography.x509.oid import NameOID

    if not 0 <= boot <= MAX_ID:
        raise ConfigError(f"boot {boot} is out of range: take 0 to 2^53 - 1")
    issuer, mesh_id = _issuer(device)
    certificate = load_der_x509_certificate(device)
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if now > ends:
        raise ConfigError(f"the certificate of this device ended at {ends}; it is {now} here: see to clock or renewal")
    if now < begins:
        raise ConfigError(
            f"this machine's clock says {now}, the device's certificate begins at {begins}: set the clock"
        )
    device_name = str(certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value)
    return _signed(
        subject(mesh_id, name, unit=device_name),
        issuer,
        public,
        device_secret,
        window=(now - _EARLIER, min(now + NODE_LIFE, ends)),
        depth=None,
        uri=node_uri(mesh_id, device_name, name),
        ours=[
            extension(ROLES, written_roles(roles)),
            extension(NODE_ID, node_id_of(signing_public(device_secret), name)),
            extension(BOOT, str(boot)),
        ],
    )


def device_uri(mesh_id: str, device: str) -> str:
    """How a device is named in certificates."""
    return f"orbitmesh://{mesh_id}/{device}"


def node_uri(mesh_id: str, device: str, node: str) -> str:
    """How a node is named in certificates."""
    return f"orbitmesh://{mesh_id}/{device}/{node}"


def subject(mesh_id: str, common_name: str, *, unit: str | None = None) -> Name:
    """The subject of a device (no unit) or of a node (its device as unit)."""
    from cryptography.x509 import Name, NameAttribute
    from cryptography.x509.oid import NameOID

    parts = [NameAttribute(NameOID.ORGANIZATION_NAME, mesh_id)]
    if unit is not None:
        parts.append(NameAttribute(NameOID.ORGANIZATIONAL_UNIT_NAME, unit))
    return Name([*parts, NameAttribute(NameOID.COMMON_NAME, common_name)])


def _issuer(certificate: bytes) -> tuple[Name, str]:
    """Subject and mesh id of a certificate of ours."""
    from cryptography.x509 import load_der_x509_certificate
    from cryptography.x509.oid import NameOID

    name = load_der_x509_certificate(certificate).subject
    return name, str(name.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)[0].value)


def _signed(
    name: Name,
    issuer: Name,
    public: bytes,
    issuer_secret: bytes,
    *,
    window: Window,
    depth: int | None,
    uri: str,
    serial: int | None = None,
    ours: Collection[UnrecognizedExtension] = (),
) -> bytes:
    """Sign a certificate; ``depth`` None: for a node, else for a key that signs."""
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
    from cryptography.hazmat.primitives.serialization import Encoding

    signer = signing_key(issuer_secret)
    is_ca = depth is not None
    key: Ed25519PublicKey | X25519PublicKey = (Ed25519PublicKey if is_ca else X25519PublicKey).from_public_bytes(public)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number() if serial is None else serial)
        .not_valid_before(window[0])
        .not_valid_after(window[1])
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=depth), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=depth == DEVICE_DEPTH,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=not is_ca,
                key_cert_sign=is_ca,
                crl_sign=is_ca and depth != DEVICE_DEPTH,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
    )
    for extra in ours:
        builder = builder.add_extension(extra, critical=False)
    return builder.sign(signer, None).public_bytes(Encoding.DER)
