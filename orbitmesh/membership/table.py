"""The members with every index over them: what can be asked, and the few ways in which it changes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Final

from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.membership.ages import Ages
from orbitmesh.membership.info import AgentInfo, AgentState
from orbitmesh.membership.member import Announced, Member, Place
from orbitmesh.membership.outputs import Added, Changed, Forgotten, Output, Updated
from orbitmesh.membership.pools import Pools
from orbitmesh.membership.states import Cause, following

WEEK: Final = 7 * 86400.0
MAX_PLACES: Final = 16
"""Places that may tell of one member; the one that told first is dropped, and counted."""

MAX_SELECTIONS: Final = 1024
"""Selections remembered until a member changes."""


class Table:
    """What is known of all peers. ``Members`` adds the events that change it.

    Attributes:
        pools: Who can be given work.
        version: Rises with every change, so that one number tells whether to look again.
    """

    def __init__(
        self,
        *,
        wall: Callable[[float], datetime],
        grace: float = 12.0,
        memory: float = WEEK,
        capacity: int = 20_000,
    ) -> None:
        self._wall = wall
        self._capacity = capacity
        self._members: dict[NodeId, Member] = {}
        self._names: dict[str, dict[NodeId, Member]] = {}
        self._places: dict[Place, NodeId] = {}
        self._selections: dict[Hashable, Sequence[Member]] = {}
        self._suspects, self._away, self._hints = Ages(grace), Ages(memory), Ages(memory)
        self._lines: Final[Mapping[AgentState, Ages]] = MappingProxyType(
            {
                AgentState.SUSPECT: self._suspects,
                AgentState.LOST: self._away,
                AgentState.GONE: self._away,
                AgentState.DISCOVERED: self._hints,
                AgentState.REJECTED: self._hints,
            }
        )
        self._outputs: list[Output] = []
        self._counts: Counter[str] = Counter()
        self.pools = Pools()
        self.version = 0

    def __len__(self) -> int:
        return len(self._members)

    def __iter__(self) -> Iterator[Member]:
        return iter(self._members.values())

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._members

    def by_id(self, node_id: str) -> Member | None:
        """The member with this node id, in whatever state."""
        return self._members.get(NodeId(node_id))

    def by_name(self, name: str) -> Sequence[Member]:
        """All members with this bare name, in whatever state."""
        return tuple(self._names.get(name, {}).values())

    def named(self, text: str) -> Sequence[Member]:
        """All members under a name, ``device/name`` or node id, in whatever state."""
        member = self._members.get(NodeId(text))
        if member is not None:
            return (member,)
        namesakes = self._names.get(text.rpartition("/")[2], {}).values()
        return tuple(member for member in namesakes if member.is_named(text))

    def names(self) -> Iterator[str]:
        """All bare names."""
        return iter(self._names)

    def agents(self) -> Iterator[Member]:
        """All members that are known to offer commands, in whatever state."""
        return (member for member in self._members.values() if member.is_agent)

    def unlinked(self) -> Iterator[Member]:
        """Those told of who have not been linked yet, the longest known first: whom a watcher dials."""
        known = (self._members[node_id] for node_id in self._hints)
        return (member for member in known if member.state is AgentState.DISCOVERED)

    def offering(self, command: str) -> Sequence[Member]:
        """Members that can be given this command now: connected, not paused, not busy.

        The table's own list, kept up to date by every event: use it at once, never change it.
        """
        return self.pools.offering(command)

    def selection(self, key: Hashable, make: Callable[[], Sequence[Member]]) -> Sequence[Member]:
        """What ``make`` returned for this key, until a member's state, name, offers or labels change."""
        found = self._selections.get(key)
        if found is None:
            found = make()
            if len(self._selections) >= MAX_SELECTIONS:
                self._selections.clear()
            self._selections[key] = found
        return found

    def agent_info(self, member: Member) -> AgentInfo:
        """What users see of the member; the same object until something changes."""
        if member.snapshot is None:
            heard = member.last_heard
            member.snapshot = AgentInfo(
                name=member.name,
                id=member.node_id,
                device=member.device,
                roles=member.roles,
                groups=member.groups,
                tags=dict(member.tags),
                capabilities=frozenset(member.offers),
                metrics=dict(member.metrics),
                state=member.state,
                version=member.software,
                last_heard=None if heard is None else self._wall(heard),
            )
        return member.snapshot

    def drain(self) -> list[Output]:
        """What happened since the last call, in order."""
        outputs, self._outputs = self._outputs, []
        return outputs

    def counters(self) -> dict[str, int]:
        """Counts since the start: what was forgotten, refused or came too late, by name."""
        return dict(self._counts)

    def _add(self, node_id: NodeId, *, name: str, device: str, boot: Boot, key: bytes, now: float) -> Member:
        while len(self._members) >= self._capacity:
            oldest = self._away.oldest or self._hints.oldest
            if oldest is None:
                break
            self._forget(self._members[oldest])
        member = Member(node_id=node_id, name=name, device=device, boot=boot, key=key)
        self._members[node_id] = member
        self._names.setdefault(name, {})[node_id] = member
        self._wait(member, now)
        self.version += 1
        self._outputs.append(Added(node_id))
        return member

    def _forget(self, member: Member) -> None:
        """Forget somebody who is away."""
        node_id = member.node_id
        for place in member.sources:
            del self._places[place]
        self._unname(member)
        self._lines[member.state].drop(node_id)
        del self._members[node_id]
        self._counts["forgotten"] += 1
        self.version += 1
        self._selections.clear()
        self._outputs.append(Forgotten(node_id))

    def _rename(self, member: Member, name: str, device: str) -> None:
        self._unname(member)
        member.name, member.device = name, device
        self._names.setdefault(name, {})[member.node_id] = member

    def _unname(self, member: Member) -> None:
        namesakes = self._names[member.name]
        del namesakes[member.node_id]
        if not namesakes:
            del self._names[member.name]

    def _record(self, member: Member, place: Place, announced: Announced) -> None:
        """Remember what a place says of the member."""
        member.sources[place] = announced
        self._places[place] = member.node_id
        if len(member.sources) > MAX_PLACES:
            first = next(iter(member.sources))
            del member.sources[first], self._places[first]
            self._counts["places_dropped"] += 1

    def _move(self, member: Member, *causes: Cause, now: float) -> None:
        """Let causes act on a member, as one step."""
        before = after = member.state
        for cause in causes:
            after = following(after, cause)
        if after is before:
            return
        if before in self._lines:
            self._lines[before].drop(member.node_id)
        if before is AgentState.REJECTED:
            member.reason = ""
        member.state = after
        self._wait(member, now)
        if after is AgentState.CONNECTED:
            self.pools.enter(member)
        elif before is AgentState.CONNECTED:
            self.pools.leave(member)
        self._touched(member)
        self._selections.clear()
        self._outputs.append(Changed(member.node_id, before, after))

    def _wait(self, member: Member, now: float) -> None:
        """Let the member's state last from now on as long as it may. Whoever is linked waits for nothing."""
        line = self._lines.get(member.state)
        if line is not None:
            if member.is_linked:
                line.drop(member.node_id)
            else:
                line.touch(member.node_id, now)

    def _updated(self, member: Member) -> None:
        """What others select by has changed, or where to dial."""
        self._touched(member)
        self._selections.clear()
        self._outputs.append(Updated(member.node_id))

    def _touched(self, member: Member) -> None:
        """What users see has changed."""
        member.snapshot = None
        self.version += 1
