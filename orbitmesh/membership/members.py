"""The events in the life of all peers that a node knows: hints, handshakes, statements, silence and time.

Every event costs the same at ten members and at ten thousand.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from orbitmesh.core.errors import ProtocolError
from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.membership.info import AgentState
from orbitmesh.membership.member import Announced, Member, Statement
from orbitmesh.membership.states import Cause
from orbitmesh.membership.table import Table
from orbitmesh.wire.envelopes import Heartbeat, Info

__all__ = ["Member", "Members"]

MAX_OFFERS: Final = 4096
"""Capabilities of one member."""


class Members(Table):
    """The table of members, and what changes it.

    Every event takes ``now`` in monotonic seconds, which never falls from call to call.

    Args:
        wall: Turns monotonic seconds into the time of day, aware, UTC.
        grace: Seconds that a suspect has to come back before it is lost: enough for a cable, a Wi-Fi or a restart.
        memory: Seconds that somebody away is remembered after the last word of it.
        capacity: Members remembered; beyond it whoever has been away for longest is forgotten first, then the oldest
            hint, never anybody linked or suspect.
    """

    # Hints

    def sighted(
        self,
        source: str,
        place: str,
        *,
        node_id: NodeId,
        name: str,
        device: str,
        boot: Boot,
        key: bytes,
        addresses: Sequence[str],
        now: float,
    ) -> Member:
        """Somebody told that a node is there. It is a hint: what a handshake has proven stays.

        Returns:
            The member, for whoever decides to dial it. While it is linked, ``newer`` says that it may have restarted.
        """
        at = (source, place)
        if self._places.get(at, node_id) != node_id:
            self.vanished(source, place, now)
        member = self._members.get(node_id)
        if member is None:
            member = self._add(node_id, name=name, device=device, boot=boot, key=key, now=now)
        elif member.is_stale(boot):
            self._counts["stale_sightings"] += 1
            return member
        before = (member.boot, member.key)
        self._record(member, at, Announced(boot, key, tuple(addresses)))
        if member.settle():
            member.has_failed = False
            self._updated(member)
        has_hope = {
            AgentState.GONE: member.boot > before[0] or not member.has_parted,
            AgentState.REJECTED: (member.boot, member.key) != before,
        }
        if has_hope.get(member.state):
            member.has_parted = False
            self._move(member, Cause.SIGHTED, now=now)
        elif member.state is not AgentState.SUSPECT:  # its grace is its own
            self._wait(member, now)
        return member

    def vanished(self, source: str, place: str, now: float) -> None:
        """What was seen at this place has ended. Links alone judge whether the node lives."""
        node_id = self._places.pop((source, place), None)
        if node_id is None:
            return
        member = self._members[node_id]
        del member.sources[source, place]
        if member.settle():
            self._updated(member)
        if not member.sources:
            self._move(member, Cause.VANISHED, now=now)

    # Links

    def linking(self, node_id: NodeId) -> None:
        """This side begins to dial it. ``disconnected`` follows when that fails."""
        member = self._known(node_id)
        if member is not None:
            self._move(member, Cause.DIALLED, now=0.0)  # whoever is linking waits in no line

    def rejected(self, node_id: NodeId, reason: str, now: float) -> None:
        """It may not take part. Nobody linked is rejected, whatever a stranger claims: that is counted.

        Whoever revokes a linked member closes its links first.
        """
        member = self._known(node_id)
        if member is None:
            return
        if member.is_linked:
            self._counts["refused_rejections"] += 1
            return
        member.reason = reason
        self._touched(member)
        self._move(member, Cause.REFUSED, now=now)

    def connected(
        self,
        node_id: NodeId,
        *,
        name: str,
        device: str,
        roles: frozenset[str],
        boot: Boot,
        key: bytes,
        address: str | None,
        now: float,
    ) -> bool:
        """HELLO and WELCOME prove who is at the other end. It is connected once its INFO is complete.

        Args:
            node_id: Who it is, as are name, device, roles, boot and key.
            name: Its name.
            device: Name of its device.
            roles: What it may do.
            boot: Which start of it this is.
            key: What it is dialled with.
            address: Where this side reached it; None when it dialled.
            now: Monotonic seconds.

        Returns:
            False when it must be refused as superseded: a newer start of it is proven, or another process of the same
            start is linked.
        """
        member = self._members.get(node_id)
        if member is None:
            member = self._add(node_id, name=name, device=device, boot=boot, key=key, now=now)
        is_clone = member.is_linked and boot == member.boot and key != member.key
        if member.is_stale(boot) or is_clone:
            self._counts["refused_boots"] += 1
            return False
        if boot != member.proven_boot:
            if member.is_linked:
                self._move(member, Cause.CUT, now=now)  # no link of the last start carries anything any more
            _begin(member)
        self._rename(member, name, device)
        member.roles, member.boot, member.key = roles, boot, key
        member.proven_boot, member.proven_key = boot, key
        member.reached = address or member.reached
        member.is_linked, member.has_parted, member.has_failed = True, False, False
        member.failed_keys = set()
        member.statement = Statement()
        member.last_heard = now
        member.settle()
        self._wait(member, now)
        self._updated(member)
        self._move(member, Cause.GREETED, now=now)
        return True

    def apply_info(self, node_id: NodeId, info: Info, now: float) -> None:
        """Take in what a linked peer states about itself. What its first round leaves out, it does not have.

        Raises:
            ProtocolError: It offers more than ``MAX_OFFERS``; nothing was taken in.
        """
        member = self._linked(node_id)
        if member is None:
            return
        if len(member.offers.keys() | {offer.name for offer in info.offers}) > MAX_OFFERS:
            raise ProtocolError(f"more than {MAX_OFFERS} capabilities: offer what one agent needs")
        member.last_heard = now
        for name in info.withdrawn:
            self._withdraw(member, name)
        for offer in info.offers:
            member.offers[offer.name] = offer
            if member.state is AgentState.CONNECTED:
                self.pools.offer(member, offer)
        _describe(member, info)
        if member.statement is not None:
            self._state(member, member.statement, info)
        if member.state is AgentState.CONNECTED:
            self.pools.enter(member)  # it may have become an agent, or a client
        self._updated(member)
        if info.is_complete:
            causes = (Cause.COMPLETE, Cause.PAUSED) if member.is_paused else (Cause.COMPLETE,)
            self._move(member, *causes, now=now)

    def _state(self, member: Member, statement: Statement, info: Info) -> None:
        """Note what the first round of a link states; at its end take away what it left out."""
        statement.offers.difference_update(info.withdrawn)
        statement.offers.update(offer.name for offer in info.offers)
        statement.is_agent = statement.is_agent or info.is_agent
        statement.has_groups = statement.has_groups or info.groups is not None
        statement.has_tags = statement.has_tags or info.tags is not None
        if not info.is_complete:
            return
        for name in member.offers.keys() - statement.offers:
            self._withdraw(member, name)
        member.is_agent = statement.is_agent
        if not statement.has_groups:
            member.groups = frozenset()
        if not statement.has_tags:
            member.tags = {}
        member.statement = None

    def _withdraw(self, member: Member, name: str) -> None:
        member.offers.pop(name, None)
        self.pools.withdraw(member, name)

    def heartbeat(self, node_id: NodeId, heartbeat: Heartbeat, now: float) -> None:
        """The node's loop runs, and this is its load. ``metrics`` of None are unchanged."""
        member = self._linked(node_id)
        if member is None:
            return
        member.running, member.waiting, member.capacity = heartbeat.running, heartbeat.waiting, heartbeat.capacity
        member.is_paused = heartbeat.is_paused
        if heartbeat.metrics is not None:
            member.metrics = heartbeat.metrics
        self._speaks(member, now)

    def heard(self, node_id: NodeId, now: float) -> None:
        """Something came over its link."""
        member = self._linked(node_id)
        if member is not None:
            self._speaks(member, now)

    def silent(self, node_id: NodeId, now: float) -> None:
        """Its transport lives and its node does not answer: it is given no new work."""
        member = self._linked(node_id)
        if member is not None:
            self._move(member, Cause.SILENCE, now=now)

    def disconnected(
        self, node_id: NodeId, now: float, *, is_hung: bool = False, failed_key: bytes | None = None
    ) -> None:
        """The last link to it is gone, or the dial failed.

        Args:
            node_id: Who it is.
            now: Monotonic seconds.
            is_hung: Whether the link was closed because its node was silent for too long: then it is lost at once.
            failed_key: By which key it was dialled in vain; None where a link is gone.
        """
        member = self._known(node_id)
        if member is None:
            return
        member.has_failed = member.state is AgentState.LINKING
        if failed_key is not None:
            member.failed(failed_key)
        self._unlink(member, Cause.HUNG if is_hung else Cause.CUT, now)
        if member.state is AgentState.DISCOVERED and not member.sources:
            self._move(member, Cause.VANISHED, now=now)

    def goodbye(self, node_id: NodeId, now: float) -> None:
        """It left on purpose; whatever still tells of this boot is old."""
        member = self._known(node_id)
        if member is not None:
            member.has_parted = True
            self._unlink(member, Cause.GOODBYE, now)

    def _unlink(self, member: Member, cause: Cause, now: float) -> None:
        was_linked = member.is_linked
        member.is_linked, member.statement = False, None
        self._move(member, cause, now=now)
        if was_linked:
            self._wait(member, now)
        if member.settle():
            self._updated(member)

    def _speaks(self, member: Member, now: float) -> None:
        member.last_heard = now
        self._touched(member)
        self._move(member, Cause.PAUSED if member.is_paused else Cause.READY, now=now)

    def _known(self, node_id: NodeId) -> Member | None:
        member = self._members.get(node_id)
        if member is None:
            self._counts["unknown"] += 1
        return member

    def _linked(self, node_id: NodeId) -> Member | None:
        """The member, if a link holds; what came over one that does not any more is late, and counted."""
        member = self._members.get(node_id)
        if member is None or not member.is_linked:
            self._counts["late"] += 1
            return None
        return member

    # Time

    def tick(self, now: float) -> None:
        """Let time pass: suspects become lost, those long away are forgotten. Early, late or twice is harmless."""
        while (node_id := self._suspects.due(now)) is not None:
            self._move(self._members[node_id], Cause.GRACE, now=now)
        for line in (self._away, self._hints):
            while (node_id := line.due(now)) is not None:
                member = self._members[node_id]
                if member.sources:  # something still tells of it
                    line.touch(node_id, now)
                else:
                    self._forget(member)

    @property
    def deadline(self) -> float | None:
        """When ``tick`` is due, in monotonic seconds; None while nothing waits for time."""
        due = [line.deadline for line in (self._suspects, self._away, self._hints)]
        return min((moment for moment in due if moment is not None), default=None)


def _begin(member: Member) -> None:
    """A new start of the node: its last load says nothing now; its offers and labels stay until they are stated."""
    member.is_paused, member.metrics = False, {}
    member.running = member.waiting = member.capacity = 0
    member.reached, member.told = "", ()


def _describe(member: Member, info: Info) -> None:
    """Take in labels and what else a peer says of itself; None is unchanged."""
    if info.groups is not None:
        member.groups = frozenset(info.groups)
    if info.tags is not None:
        member.tags = dict(info.tags)
    if info.software is not None:
        member.software = info.software
    if info.addresses is not None:
        member.told = tuple(info.addresses)
        member.settle()
    member.is_agent = member.is_agent or info.is_agent
