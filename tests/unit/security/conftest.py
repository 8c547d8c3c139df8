"""A mesh with all its secrets at hand, and what it takes to forge its certificates."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from orbitmesh.core.ids import Boot
from orbitmesh.security import certificates
from orbitmesh.security.device import Device
from orbitmesh.security.keys import DiscoveryKey, fresh_secret, link_public, mesh_id_of, signing_key, signing_public

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)


class OpenMesh:
    """A mesh whose secrets lie open: devices by name, and certificates signed anew with anything changed."""

    now = NOW
    link_secret = bytes(range(32))
    link_key = link_public(link_secret)

    def __init__(self) -> None:
        self.root_secret, self.admin_secret = fresh_secret(), fresh_secret()
        self.secrets: dict[str, bytes] = {}
        self.root = certificates.root_certificate(self.root_secret)
        self.mesh_id = mesh_id_of(signing_public(self.root_secret))
        self.discovery = [DiscoveryKey(number=1, made=NOW, key=fresh_secret())]
        self.admin = certificates.intermediate_certificate(
            signing_public(self.admin_secret), root=self.root, root_secret=self.root_secret, device="desk", now=NOW
        )

    def device(self, name: str, roles: Collection[str] = ("agent", "operator")) -> Device:
        secret = self.secrets.setdefault(name, fresh_secret())
        certificate = certificates.device_certificate(
            signing_public(secret),
            issuer=self.admin,
            issuer_secret=self.admin_secret,
            device=name,
            roles=roles,
            now=NOW,
        )
        return Device(
            mesh_id=self.mesh_id,
            name=name,
            roles=frozenset(roles),
            is_shared_secret=False,
            secret=secret,
            chain=[certificate, self.admin],
            root=self.root,
            discovery=self.discovery,
        )

    def genuine(self, device: str = "pi", node: str = "worker") -> list[bytes]:
        """The chain of a node whose links have ``link_key``."""
        member = self.device(device)
        return list(member.credentials(name=node, boot=Boot(7), secret_key=self.link_secret, now=NOW).chain)

    def forged(
        self,
        der: bytes,
        secret: bytes,
        *,
        subject: x509.Name | None = None,
        issuer: x509.Name | None = None,
        key: Any = None,
        window: tuple[datetime, datetime] | None = None,
        put: Sequence[tuple[x509.ExtensionType, bool]] = (),
        drop: Sequence[x509.ObjectIdentifier] = (),
    ) -> bytes:
        """The same certificate signed with this secret, other than it was where something is said.

        Args:
            put: Extensions that replace those of their kind, or are new, each with whether it is critical.
            drop: Extensions that are left out.
        """
        real = x509.load_der_x509_certificate(der)
        begins, ends = window or (real.not_valid_before_utc, real.not_valid_after_utc)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject or real.subject)
            .issuer_name(issuer or real.issuer)
            .public_key(key or real.public_key())
            .serial_number(real.serial_number)
            .not_valid_before(begins)
            .not_valid_after(ends)
        )
        replaced = {extension.oid for extension, _ in put} | set(drop)
        kept = [(e.value, e.critical) for e in real.extensions if e.oid not in replaced]
        for extension, is_critical in [*kept, *put]:
            builder = builder.add_extension(extension, critical=is_critical)
        return builder.sign(signing_key(secret), None).public_bytes(Encoding.DER)


@pytest.fixture
def mesh() -> OpenMesh:
    """A mesh of its own for each test."""
    return OpenMesh()


@pytest.fixture
def other_mesh() -> OpenMesh:
    """Somebody else's mesh."""
    return OpenMesh()
