"""Who a node is, once proven, and what it proves itself with."""

from __future__ import annotations

from dataclasses import dataclass, field

from orbitmesh.core.ids import Boot, NodeId


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A peer whose certificate chain and key have been verified.

    Attributes:
        node_id: Stable over restarts.
        name: The node's name; a replica's ends in its instance, such as ``worker-2``.
        device: Name of its device.
        roles: What it may do.
        boot: Which start of the node this is.
        key: X25519 public key of its links, 32 bytes.
        device_key: Ed25519 public key of its device, 32 bytes.
    """

    node_id: NodeId
    name: str
    device: str
    roles: frozenset[str]
    boot: Boot
    key: bytes
    device_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a node of this device proves itself with.

    Attributes:
        node_id: Stable over restarts.
        name: The node's name; a replica's ends in its instance.
        device: Name of the device.
        roles: What the node may do; never more than the device.
        boot: Which start of the node this is.
        public_key: X25519 public key of its links, 32 bytes.
        secret_key: The secret to it, 32 bytes.
        chain: DER certificates: node, device, and what signed the device, without the root.
    """

    node_id: NodeId
    name: str
    device: str
    roles: frozenset[str]
    boot: Boot
    public_key: bytes
    secret_key: bytes = field(repr=False)
    chain: tuple[bytes, ...] = field(repr=False)
