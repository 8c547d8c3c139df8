"""One device in one mesh: what its nodes prove themselves with, and what it takes to verify others."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final

from orbitmesh.core.errors import ConfigError, NotTrusted
from orbitmesh.core.ids import Boot, MeshId, NodeId, checked_name
from orbitmesh.security import announcements
from orbitmesh.security.identity import Credentials, Identity
from orbitmesh.security.keys import KEY_BYTES, DiscoveryKey, fresh_secret, link_public, node_id_of, signing_public

if TYPE_CHECKING:
    from orbitmesh.security.announcements import Announcement
    from orbitmesh.security.chains import Proven

CLOCK_SKEW: Final = timedelta(minutes=5)
"""So much before its beginning a certificate is accepted already."""

MAX_CACHED: Final = 4096
"""Verified chains that are remembered: some 2 KiB each; the one that came first goes first."""

_DAY: Final = timedelta(days=1)


class Device:
    """One device in one mesh: its keys and certificates, and what it takes to verify others.

    Made by `orbitmesh.security.home`. It reads no clock and no disk. Threads may share it.

    Attributes:
        mesh_id: Hash of the root's key.
        name: The device's name, as its certificate has it.
        roles: What its nodes may do.
        is_shared_secret: Whether all of the mesh stands on one shared secret, so that nobody can be shut out of it.
    """

    def __init__(
        self,
        *,
        mesh_id: MeshId,
        name: str,
        roles: frozenset[str],
        is_shared_secret: bool,
        secret: bytes,
        chain: Sequence[bytes],
        root: bytes,
        discovery: Sequence[DiscoveryKey],
    ) -> None:
        """Put a device together from parts that belong together.

        Args:
            mesh_id: See the class.
            name: See the class.
            roles: See the class.
            is_shared_secret: See the class.
            secret: The device's Ed25519 secret, 32 bytes.
            chain: DER certificates: the device's, and the intermediate that signed it.
            root: The root's certificate, DER.
            discovery: Keys of announcements, the newest first, at least one.
        """
        self.mesh_id: Final = mesh_id
        self.name: Final = name
        self.roles: Final = roles
        self.is_shared_secret: Final = is_shared_secret
        self._secret: Final = secret
        self._chain: Final = tuple(chain)
        self._root: Final = root
        self._discovery: Final = tuple(discovery)
        self._key: Final = signing_public(secret)
        self._proven: Final[OrderedDict[bytes, Proven]] = OrderedDict()

    def __repr__(self) -> str:
        return f"<Device {self.name} of mesh {self.mesh_id}>"

    def node_id(self, name: str) -> NodeId:
        """The id of this device's node of that name; a replica's name, such as ``worker-2``, has its instance in it."""
        return node_id_of(self._key, name)

    def credentials(self, *, name: str, boot: Boot, secret_key: bytes | None, now: datetime) -> Credentials:
        """Make what a node of this device proves itself with. It asks nobody.

        Args:
            name: The node's name.
            boot: Which start of the node this is; higher than at any earlier start.
            secret_key: X25519 secret of its links, to keep them reachable under the same key; None: a fresh one.
            now: Aware UTC. The certificate holds for ``certificates.NODE_LIFE`` from then: a node that runs longer asks
                again, with the same boot and secret.

        Raises:
            ConfigError: The name cannot be used, the boot or the secret is malformed, or the device's own certificate
                has ended or not begun; the message says what to do.
        """
        from orbitmesh.security.certificates import node_certificate

        checked_name(name, what="node name")
        if secret_key is not None and len(secret_key) != KEY_BYTES:
            raise ConfigError(f"the secret key of {name} has {len(secret_key)} bytes: {KEY_BYTES} are needed")
        secret = fresh_secret() if secret_key is None else secret_key
        public = link_public(secret)
        certificate = node_certificate(
            public, device=self._chain[0], device_secret=self._secret, name=name, roles=self.roles, boot=boot, now=now
        )
        return Credentials(
            node_id=self.node_id(name),
            name=name,
            device=self.name,
            roles=self.roles,
            boot=boot,
            public_key=public,
            secret_key=secret,
            chain=(certificate, *self._chain),
        )

    def verify(self, chain: Sequence[bytes], *, key: bytes, now: datetime) -> Identity:
        """Say who a peer is.

        Args:
            chain: What it sent: DER certificates of node, device and intermediate.
            key: The X25519 key that the transport has proven it to hold.
            now: Aware UTC.

        Raises:
            NotTrusted: The chain does not prove a node of this mesh, or proves it for another key or another time; the
                message says which. No other exception escapes, whatever the bytes are.
        """
        proven = self._prove(chain)
        identity = proven.identity
        who = f"{identity.device}/{identity.name}"
        if identity.key != key:
            raise NotTrusted(f"the certificate of {who} is for another key than the one on the line")
        if now < proven.begins - CLOCK_SKEW:
            raise NotTrusted(f"the certificates of {who} begin at {proven.begins}, it is {now} here: set the clocks")
        if now > proven.ends:
            raise NotTrusted(f"the certificates of {who} ended at {proven.ends}, it is {now} here: renew them there")
        return identity

    def seal(self, announcement: Announcement, *, now: datetime) -> bytes:
        """Seal an announcement with the newest discovery key.

        Args:
            announcement: What to tell; the box bears ``now`` in the place of its ``time``.
            now: Aware UTC.

        Returns:
            At most 4,096 bytes, different at each call.

        Raises:
            ConfigError: No member would read it: too large, or a value out of bounds.
        """
        return announcements.seal(announcement, self._discovery[0], now=now)

    def unseal(self, box: bytes) -> Announcement:
        """Open an announcement, with any discovery key of the mesh. What it says is a hint, not proven.

        Raises:
            NotTrusted: It does not open, is malformed or of another version. No other exception escapes.
        """
        return announcements.unseal(box, self._discovery)

    def mesh_tag(self, now: datetime) -> str:
        """What this device's announcements bear today: 16 hex digits, which tell nothing to outsiders."""
        return announcements.tag(self._discovery[0], now=now)

    def mesh_tags(self, now: datetime) -> frozenset[str]:
        """The tags of announcements worth reading: of yesterday, today and tomorrow, under each discovery key."""
        days = (now - _DAY, now, now + _DAY)
        return frozenset(announcements.tag(key, now=day) for key in self._discovery for day in days)

    def _prove(self, chain: Sequence[bytes]) -> Proven:
        from orbitmesh.security.chains import prove

        digest = hashlib.sha256()
        for der in chain:
            digest.update(len(der).to_bytes(8, "big"))
            digest.update(der)
        proven = self._proven.get(digest.digest())
        if proven is None:
            proven = prove(chain, root=self._root, mesh_id=self.mesh_id)
            self._proven[digest.digest()] = proven
            while len(self._proven) > MAX_CACHED:
                self._proven.popitem(last=False)
        return proven
