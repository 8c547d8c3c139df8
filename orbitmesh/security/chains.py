"""Certificate chains, checked: who they prove somebody to be, and for how long.

A chain is node, device, intermediate; the root is known and never sent. Only what `certificates` makes is accepted, to
the letter where it matters: one algorithm, one place for each name, one depth for each kind of certificate. Signatures
are checked first, from the root down, so that nothing but signatures is ever read from what a stranger made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final

from orbitmesh.core.errors import ConfigError, NotTrusted
from orbitmesh.core.ids import Boot, MeshId, checked_name
from orbitmesh.security.certificates import DEVICE_DEPTH, INTERMEDIATE_DEPTH, device_uri, node_uri, subject
from orbitmesh.security.extensions import NODE_ID, read_boot, read_roles, value_of
from orbitmesh.security.identity import Identity
from orbitmesh.security.keys import node_id_of

if TYPE_CHECKING:
    from cryptography.x509 import Certificate, Name

MAX_CERTIFICATE: Final = 4096
"""Bytes of the largest certificate."""

_KINDS: Final = ("node", "device", "intermediate")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProvenDevice:
    """A device whose certificate chains to the root, at some time.

    Attributes:
        name: Its name.
        roles: What its nodes may do.
        key: Ed25519 public key, 32 bytes.
        begins: When the last of its certificates begins.
        ends: When the first of them ends.
    """

    name: str
    roles: frozenset[str]
    key: bytes
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Proven:
    """A node whose chain holds from ``begins`` to ``ends``."""

    identity: Identity
    begins: datetime
    ends: datetime


def prove(chain: Sequence[bytes], *, root: bytes, mesh_id: MeshId) -> Proven:
    """Check all of a node's chain but its times and that its key is the one on the line.

    Args:
        chain: DER certificates: node, device, intermediate.
        root: The root's certificate, DER, trusted.
        mesh_id: The id that belongs to the root.

    Raises:
        NotTrusted: The chain does not hold; the message says where. No other exception escapes.
    """
    if len(chain) != len(_KINDS):
        raise NotTrusted(f"a chain of {len(chain)} certificates: node, device and intermediate are needed")
    certificates = [_read(der, kind) for der, kind in zip(chain, _KINDS, strict=True)]
    try:
        return _prove(certificates, root, mesh_id)
    except NotTrusted:
        raise
    except Exception as error:  # the parser reads fields when they are asked for, and has many ways to refuse
        raise NotTrusted("a malformed certificate in the chain") from error


def prove_device(chain: Sequence[bytes], *, root: bytes, mesh_id: MeshId) -> ProvenDevice:
    """Check a device's certificate and the intermediate that signed it, all but their times.

    Raises:
        NotTrusted: They do not chain to the root, or are not what they must be. No other exception escapes.
    """
    if len(chain) != len(_KINDS) - 1:
        raise NotTrusted(f"{len(chain)} certificates of a device: its own and an intermediate are needed")
    certificates = [_read(der, kind) for der, kind in zip(chain, _KINDS[1:], strict=True)]
    try:
        _check_signatures(certificates, root)
        return _prove_device(certificates, mesh_id)
    except NotTrusted:
        raise
    except Exception as error:  # as above
        raise NotTrusted("a malformed certificate in the chain") from error


def _read(der: bytes, kind: str) -> Certificate:
    from cryptography.x509 import load_der_x509_certificate

    if len(der) > MAX_CERTIFICATE:
        raise NotTrusted(f"the {kind} certificate has {len(der)} bytes: at most {MAX_CERTIFICATE} are read")
    try:
        return load_der_x509_certificate(der)
    except Exception as error:  # bytes of a stranger: whatever the parser says about them, they are no certificate
        raise NotTrusted(f"the {kind} certificate is no X.509 certificate") from error


def _check_signatures(certificates: Sequence[Certificate], root: bytes) -> None:
    """Each is signed by the next, the last by the root, all with Ed25519."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.x509 import load_der_x509_certificate

    issuer = load_der_x509_certificate(root)
    for certificate, kind in zip(reversed(certificates), reversed(_KINDS), strict=False):
        _signing_key(issuer)
        try:
            certificate.verify_directly_issued_by(issuer)
        except (InvalidSignature, ValueError, TypeError) as error:  # another key, another name, another algorithm
            by = "this mesh's root" if kind == _KINDS[-1] else f"the {_KINDS[_KINDS.index(kind) + 1]} that came with it"
            raise NotTrusted(f"the {kind} certificate is not signed by {by}") from error
        issuer = certificate


def _prove(certificates: Sequence[Certificate], root: bytes, mesh_id: MeshId) -> Proven:
    _check_signatures(certificates, root)
    node, *rest = certificates
    device = _prove_device(rest, mesh_id)
    _check_use(node, _KINDS[0], depth=None)
    name = _common_name(node)
    _check_names(node, subject(mesh_id, name, unit=device.name), node_uri(mesh_id, device.name, name))
    roles = read_roles(node.extensions)
    if not roles <= device.roles:
        raise NotTrusted(f"{device.name}/{name} claims roles that its device does not have")
    node_id = node_id_of(device.key, name)
    if value_of(node.extensions, NODE_ID, what="the node id") != node_id:
        raise NotTrusted(f"{device.name}/{name} claims another node's id")
    return Proven(
        identity=Identity(
            node_id=node_id,
            name=name,
            device=device.name,
            roles=roles,
            boot=Boot(read_boot(node.extensions)),
            key=_link_key(node),
            device_key=device.key,
        ),
        begins=max(device.begins, node.not_valid_before_utc),
        ends=min(device.ends, node.not_valid_after_utc),
    )


def _prove_device(certificates: Sequence[Certificate], mesh_id: MeshId) -> ProvenDevice:
    device, intermediate = certificates
    _check_use(intermediate, _KINDS[2], depth=INTERMEDIATE_DEPTH)
    _check_use(device, _KINDS[1], depth=DEVICE_DEPTH)
    name = _common_name(device)
    _check_names(device, subject(mesh_id, name), device_uri(mesh_id, name))
    return ProvenDevice(
        name=name,
        roles=read_roles(device.extensions),
        key=_signing_key(device),
        begins=max(device.not_valid_before_utc, intermediate.not_valid_before_utc),
        ends=min(device.not_valid_after_utc, intermediate.not_valid_after_utc),
    )


def _check_use(certificate: Certificate, kind: str, *, depth: int | None) -> None:
    """A certificate of one kind must not do for another, and nothing that we do not know may be critical."""
    from cryptography.x509 import BasicConstraints, KeyUsage

    constraints = certificate.extensions.get_extension_for_class(BasicConstraints).value
    usage = certificate.extensions.get_extension_for_class(KeyUsage).value
    is_ca = depth is not None
    if (constraints.ca, constraints.path_length, usage.key_cert_sign) != (is_ca, depth, is_ca):
        raise NotTrusted(f"the {kind} certificate is not made for that place in a chain")
    known = (BasicConstraints.oid, KeyUsage.oid)
    if any(extension.critical and extension.oid not in known for extension in certificate.extensions):
        raise NotTrusted(f"the {kind} certificate demands something that this version does not know: upgrade this side")


def _check_names(certificate: Certificate, name: Name, uri: str) -> None:
    from cryptography.x509 import SubjectAlternativeName, UniformResourceIdentifier

    names = certificate.extensions.get_extension_for_class(SubjectAlternativeName).value
    if certificate.subject != name or list(names) != [UniformResourceIdentifier(uri)]:
        raise NotTrusted(f"a certificate's names contradict each other or their issuer: {uri} is expected")


def _common_name(certificate: Certificate) -> str:
    from cryptography.x509.oid import NameOID

    names = [attribute.value for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        (name,) = names
        return checked_name(str(name))
    except (ConfigError, ValueError) as error:
        raise NotTrusted("a certificate's name cannot be used") from error


def _signing_key(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = certificate.public_key()
    if not isinstance(key, Ed25519PublicKey):
        raise NotTrusted("a certificate that signs another has no Ed25519 key")
    return key.public_bytes_raw()


def _link_key(certificate: Certificate) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey

    key = certificate.public_key()
    if not isinstance(key, X25519PublicKey):
        raise NotTrusted("the node certificate has no X25519 key")
    return key.public_bytes_raw()
