"""Which members can be given work, by what they offer: kept up to date by each change, never searched for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from orbitmesh.core.ids import NodeId
from orbitmesh.membership.member import Member
from orbitmesh.wire.envelopes import Kind, Offer

NOBODY: Final[Sequence[Member]] = ()


class Pool:
    """Members in no particular order; adding, removing and picking by number cost the same at any size."""

    __slots__ = ("_positions", "members")

    def __init__(self) -> None:
        self.members: list[Member] = []
        self._positions: dict[NodeId, int] = {}

    def add(self, member: Member) -> None:
        """Add a member; harmless when it is in."""
        if member.node_id not in self._positions:
            self._positions[member.node_id] = len(self.members)
            self.members.append(member)

    def remove(self, member: Member) -> None:
        """Take a member out; harmless when it is not in."""
        position = self._positions.pop(member.node_id, None)
        if position is None:
            return
        last = self.members.pop()
        if last is not member:
            self.members[position] = last
            self._positions[last.node_id] = position


class Pools:
    """All agents ready for work, and the members with each capability."""

    __slots__ = ("_having", "_offering", "_ready")

    def __init__(self) -> None:
        self._ready = Pool()
        self._having: dict[str, Pool] = {}
        self._offering: dict[str, Pool] = {}

    def ready(self) -> Sequence[Member]:
        """All agents that can be given work."""
        return self._ready.members

    def having(self, capability: str) -> Sequence[Member]:
        """Those with a capability, command or bare label."""
        pool = self._having.get(capability)
        return NOBODY if pool is None else pool.members

    def offering(self, command: str) -> Sequence[Member]:
        """Those with a command."""
        pool = self._offering.get(command)
        return NOBODY if pool is None else pool.members

    def commands(self) -> Iterator[str]:
        """Names of all commands that somebody offers."""
        return iter(self._offering)

    def enter(self, member: Member) -> None:
        """The member's link carries work from now on, or it did and the member became or ceased to be an agent."""
        if member.is_agent:
            self._ready.add(member)
        else:
            self._ready.remove(member)
        for offer in member.offers.values():
            self.offer(member, offer)

    def leave(self, member: Member) -> None:
        """The member can be given no work now."""
        self._ready.remove(member)
        for name in member.offers:
            self.withdraw(member, name)

    def offer(self, member: Member, offer: Offer) -> None:
        """The member, ready for work, has this capability now."""
        self._having.setdefault(offer.name, Pool()).add(member)
        if offer.kind == Kind.LABEL:
            _remove(self._offering, offer.name, member)
        else:
            self._offering.setdefault(offer.name, Pool()).add(member)

    def withdraw(self, member: Member, name: str) -> None:
        """The member does not have this capability any more."""
        _remove(self._having, name, member)
        _remove(self._offering, name, member)


def _remove(pools: dict[str, Pool], name: str, member: Member) -> None:
    pool = pools.get(name)
    if pool is not None:
        pool.remove(member)
        if not pool.members:
            del pools[name]
