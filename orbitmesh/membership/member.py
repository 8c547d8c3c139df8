"""Everything that is known of one peer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.membership.info import AgentInfo, AgentState
from orbitmesh.wire.envelopes import Offer

Place: TypeAlias = tuple[str, str]
"""A discovery's name, and where it saw the announcement."""


@dataclass(frozen=True, slots=True)
class Announced:
    """What one place says of a node: a hint until a handshake proves it.

    Attributes:
        boot: Which start of the node it speaks of.
        key: X25519 public key of the node's links, 32 bytes.
        addresses: Where it says that the node listens.
    """

    boot: Boot
    key: bytes
    addresses: tuple[str, ...]


@dataclass(slots=True)
class Statement:
    """What a peer has stated so far in the first round of a link."""

    offers: set[str] = field(default_factory=set)
    is_agent: bool = False
    has_groups: bool = False
    has_tags: bool = False


@dataclass(slots=True, kw_only=True, eq=False)
class Member:
    """One peer; only ``Members`` changes it.

    Attributes:
        node_id: Stable over restarts.
        name: The node's name.
        device: Name of its device.
        boot: Which start is meant: while linked the link's, else the newest told of.
        key: X25519 public key to dial it with, 32 bytes; belongs to ``boot``.
        addresses: Where to dial it: first where it was last reached, then what it says, then what others say.
        roles: What its certificate allows.
        groups: Its groups.
        tags: Its tags.
        offers: Its commands and bare labels, by name.
        metrics: Newest values; replaced, never changed in place.
        running: Calls it ran at its last heartbeat.
        waiting: Calls that waited there.
        capacity: Calls it runs at once; 0 while unknown.
        is_paused: Whether it last said that it takes no new work.
        is_agent: Whether it offers commands; False while unknown.
        is_linked: Whether a link holds on which it has proven itself.
        has_parted: Whether this boot has said goodbye.
        has_failed: Whether the last dial failed and nothing new was told since.
        failed_keys: Keys by which dials have failed while others are left to try: who announces is not proven, and a
            forged start must not hide the true one.
        proven_boot: The newest boot that a handshake proved; None if none ever did.
        proven_key: The key that was proven with it.
        software: Version of OrbitMesh it runs.
        state: How it stands.
        reason: Why it is rejected, else empty.
        last_heard: Monotonic seconds of its last own sign; None if it never gave one.
        sources: What tells of it, by place.
        reached: Address of the last link that this side dialled.
        told: Addresses that it states itself.
        statement: The first round under way on its newest link, else None.
        snapshot: What users see, until something changes.
    """

    node_id: NodeId
    name: str
    device: str
    boot: Boot
    key: bytes
    addresses: tuple[str, ...] = ()
    roles: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()
    tags: dict[str, str] = field(default_factory=dict)
    offers: dict[str, Offer] = field(default_factory=dict)
    metrics: Mapping[str, float] = field(default_factory=dict)
    running: int = 0
    waiting: int = 0
    capacity: int = 0
    is_paused: bool = False
    is_agent: bool = False
    is_linked: bool = False
    has_parted: bool = False
    has_failed: bool = False
    failed_keys: set[bytes] = field(default_factory=set)
    proven_boot: Boot | None = None
    proven_key: bytes = b""
    software: str = ""
    state: AgentState = AgentState.DISCOVERED
    reason: str = ""
    last_heard: float | None = None
    sources: dict[Place, Announced] = field(default_factory=dict)
    reached: str = ""
    told: tuple[str, ...] = ()
    statement: Statement | None = None
    snapshot: AgentInfo | None = None

    @property
    def full_name(self) -> str:
        """``device/name``."""
        return f"{self.device}/{self.name}"

    @property
    def newer(self) -> Announced | None:
        """What tells of a newer start than the one that is linked: it may have restarted unnoticed. Else None."""
        best = self._best()
        return best if best is not None and best.boot > self.boot else None

    def is_named(self, text: str) -> bool:
        """Whether a name, ``device/name`` or node id is this member's."""
        return text in (self.name, self.full_name, self.node_id)

    def is_stale(self, boot: int) -> bool:
        """Whether an announcement of this boot is older than what a handshake has proven."""
        return self.proven_boot is not None and boot < self.proven_boot

    def settle(self) -> bool:
        """Decide anew where to dial; say whether that changed.

        The newest boot told of counts, of those whose key has not failed; but nothing told of changes what a live link
        or a proven boot says.
        """
        before = (self.boot, self.key, self.addresses)
        best = None if self.is_linked else self._best()
        if best is not None and best.boot != self.proven_boot:
            self.boot, self.key = best.boot, best.key
        elif self.proven_boot is not None:
            self.boot, self.key = self.proven_boot, self.proven_key
        own = (self.reached, *self.told) if self.key == self.proven_key else ()
        said = (
            address
            for announced in self.sources.values()
            if (announced.boot, announced.key) == (self.boot, self.key)
            for address in announced.addresses
        )
        self.addresses = tuple(dict.fromkeys(address for address in (*own, *said) if address))
        return before != (self.boot, self.key, self.addresses)

    def _best(self) -> Announced | None:
        hopeful = self._hopeful()
        untried = [announced for announced in hopeful if announced.key not in self.failed_keys]
        if not untried and self.proven_boot is not None and self.proven_key not in self.failed_keys:
            return None  # what was proven is left
        return max(untried or hopeful, key=lambda announced: announced.boot, default=None)

    def _hopeful(self) -> list[Announced]:
        return [announced for announced in self.sources.values() if not self.is_stale(announced.boot)]

    def failed(self, key: bytes) -> None:
        """The dial by a key has failed: the next one's turn, and when all have had theirs, the first one's again."""
        keys = {announced.key for announced in self._hopeful()}
        if self.proven_boot is not None:
            keys.add(self.proven_key)
        self.failed_keys = (self.failed_keys | {key}) & keys
        if self.failed_keys == keys:
            self.failed_keys = set()
