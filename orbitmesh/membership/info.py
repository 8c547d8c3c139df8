"""What users see of an agent: a snapshot that later events never change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orbitmesh.core.ids import NodeId


class AgentState(StrEnum):
    """How a peer stands, seen from this node."""

    DISCOVERED = "discovered"
    """Somebody told that it is there; it has proven nothing yet."""

    LINKING = "linking"
    """A first link to it is being made."""

    CONNECTED = "connected"
    """Its link carries work."""

    PAUSED = "paused"
    """It is linked and takes no new work until it resumes."""

    BUSY = "busy"
    """Its transport answers but its node is silent; it is given no new work."""

    SUSPECT = "suspect"
    """Its link is gone; it has the grace to come back."""

    LOST = "lost"
    """It did not come back."""

    GONE = "gone"
    """It said goodbye, or all that told of it ended before it was ever linked."""

    REJECTED = "rejected"
    """It may not take part; the member's ``reason`` says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentInfo:
    """One agent at one moment.

    Given as ``on=`` it means this very node, also among namesakes.

    Attributes:
        name: Its name, unique on its device.
        id: Its node id, stable over restarts.
        device: Name of its device.
        roles: What it may do, proven by its certificate.
        groups: Labels by which targets find it.
        tags: Key-value labels by which targets find it.
        capabilities: Names of its commands and bare labels.
        metrics: Newest values by name, as its heartbeats carry them.
        state: How it stands.
        version: Version of OrbitMesh it runs; empty while unknown.
        last_heard: When it last gave a sign of its own, aware, UTC; None if it never did.
    """

    name: str
    id: NodeId
    device: str
    roles: frozenset[str]
    groups: frozenset[str]
    tags: Mapping[str, str]
    capabilities: frozenset[str]
    metrics: Mapping[str, float]
    state: AgentState
    version: str
    last_heard: datetime | None

    @property
    def full_name(self) -> str:
        """``device/name``: means this agent wherever its bare name would be ambiguous."""
        return f"{self.device}/{self.name}"

    def __hash__(self) -> int:
        return hash(self.id)
