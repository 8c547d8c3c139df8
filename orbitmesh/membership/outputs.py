"""What happened to the members, for whoever shows, logs or waits for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from orbitmesh.core.ids import NodeId
from orbitmesh.membership.info import AgentState


@dataclass(frozen=True, slots=True)
class Added:
    """Somebody new is known; its state is ``discovered``."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Changed:
    """A member's state changed."""

    node_id: NodeId
    before: AgentState
    after: AgentState


@dataclass(frozen=True, slots=True)
class Updated:
    """What a member offers changed, or its labels, name, roles, or where to dial it."""

    node_id: NodeId


@dataclass(frozen=True, slots=True)
class Forgotten:
    """A member is known no more: nobody told of it for long, or there was no room."""

    node_id: NodeId


Output: TypeAlias = Added | Changed | Updated | Forgotten
