"""Whatever happens in whatever order: no index of the table ever disagrees with its members."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from orbitmesh.core.ids import Boot, NodeId
from orbitmesh.membership.info import AgentState as S
from orbitmesh.membership.members import Members
from orbitmesh.membership.outputs import Added, Changed, Forgotten
from orbitmesh.membership.states import TRANSITIONS
from orbitmesh.wire.envelopes import Heartbeat, Info, Kind, Offer

PEERS = st.sampled_from("abcd")
BOOTS = st.integers(1, 3)
PLACES = st.sampled_from(["x", "y", "z"])
OFFERS = st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from([Kind.CALL, Kind.LABEL])), max_size=3)
CAPACITY = 3


class AnyOrder(RuleBasedStateMachine):
    """Throws every event at the table."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.members: Members = Members(wall=_no_wall, capacity=CAPACITY, memory=50.0)
        self.seen: dict[NodeId, S] = {}

    @rule(peer=PEERS, boot=BOOTS, place=PLACES, key=st.sampled_from([b"1", b"2"]))
    def sighted(self, peer: str, boot: int, place: str, key: bytes) -> None:
        known: dict[str, Any] = {"name": peer, "device": "d", "key": key, "addresses": [f"{boot}"], "now": self.now}
        member = self.members.sighted("s", place, node_id=NodeId(peer), boot=Boot(boot), **known)
        assert self.members.by_id(peer) is member

    @rule(place=PLACES)
    def vanished(self, place: str) -> None:
        self.members.vanished("s", place, self.now)

    @rule(peer=PEERS)
    def linking(self, peer: str) -> None:
        self.members.linking(NodeId(peer))

    @rule(peer=PEERS, boot=BOOTS, name=st.sampled_from(["n", "m"]))
    def connected(self, peer: str, boot: int, name: str) -> None:
        before = self.members.by_id(peer)
        proven = None if before is None else before.proven_boot
        known: dict[str, Any] = {"name": name, "device": "d", "key": b"1", "address": None, "now": self.now}
        is_taken = self.members.connected(NodeId(peer), boot=Boot(boot), roles=frozenset(), **known)
        assert is_taken is (proven is None or boot >= proven)
        member = self.members.by_id(peer)
        assert member is not None
        assert member.proven_boot == max(boot, proven or 0)

    @rule(peer=PEERS, offers=OFFERS, withdrawn=st.lists(st.sampled_from("uvw")), is_complete=st.booleans())
    def stated(self, peer: str, offers: list[tuple[str, Kind]], withdrawn: list[str], is_complete: bool) -> None:
        info = Info(0, [Offer(*o) for o in offers], withdrawn, is_agent=bool(offers), is_complete=is_complete)
        self.members.apply_info(NodeId(peer), info, self.now)

    @rule(peer=PEERS, is_paused=st.booleans())
    def beats(self, peer: str, is_paused: bool) -> None:
        self.members.heartbeat(NodeId(peer), Heartbeat(0, 1, 0, 1, is_paused), self.now)

    @rule(peer=PEERS)
    def heard(self, peer: str) -> None:
        self.members.heard(NodeId(peer), self.now)

    @rule(peer=PEERS)
    def silent(self, peer: str) -> None:
        self.members.silent(NodeId(peer), self.now)

    @rule(peer=PEERS, is_hung=st.booleans())
    def disconnected(self, peer: str, is_hung: bool) -> None:
        self.members.disconnected(NodeId(peer), self.now, is_hung=is_hung)

    @rule(peer=PEERS)
    def goodbye(self, peer: str) -> None:
        self.members.goodbye(NodeId(peer), self.now)

    @rule(peer=PEERS)
    def rejected(self, peer: str) -> None:
        self.members.rejected(NodeId(peer), "why", self.now)

    @rule(seconds=st.floats(0, 60))
    def time(self, seconds: float) -> None:
        self.now += seconds
        self.members.tick(self.now)
        deadline = self.members.deadline
        assert deadline is None or deadline > self.now, "what was due is done"

    @invariant()
    def everybody_ready_and_nobody_else_can_be_given_work(self) -> None:
        pools = self.members.pools
        ready = [member for member in self.members if member.state is S.CONNECTED]
        assert {m.node_id for m in pools.ready()} == {m.node_id for m in ready if m.is_agent}
        for name in "uvw":
            having = {m.node_id for m in ready if name in m.offers}
            offering = {m.node_id for m in ready if name in m.offers and m.offers[name].kind == Kind.CALL}
            assert {m.node_id for m in pools.having(name)} == having
            assert {m.node_id for m in pools.offering(name)} == offering
            assert (name in pools.commands()) is bool(offering)

    @invariant()
    def names_and_places_lead_to_those_who_have_them(self) -> None:
        members = self.members
        assert {m.node_id for name in members.names() for m in members.by_name(name)} == {m.node_id for m in members}
        assert all(m.name == name for name in members.names() for m in members.by_name(name))
        told = {place: m.node_id for m in members for place in m.sources}
        assert told == members._places

    @invariant()
    def whoever_waits_for_time_stands_in_the_right_line(self) -> None:
        members = self.members
        for line, states in (
            (members._suspects, {S.SUSPECT}),
            (members._away, {S.LOST, S.GONE}),
            (members._hints, {S.DISCOVERED, S.REJECTED}),
        ):
            assert set(line) == {m.node_id for m in members if m.state in states and not m.is_linked}

    @invariant()
    def linked_means_proven_and_ready_means_linked(self) -> None:
        for member in self.members:
            assert not member.is_linked or member.proven_boot == member.boot
            assert member.is_linked or member.state not in (S.CONNECTED, S.PAUSED, S.BUSY)
            assert (member.state is S.REJECTED) is bool(member.reason)

    @invariant()
    def outputs_tell_each_step_and_each_is_legal(self) -> None:
        for output in self.members.drain():
            match output:
                case Added(node_id):
                    assert node_id not in self.seen
                    self.seen[node_id] = S.DISCOVERED
                case Changed(node_id, before, after):
                    assert self.seen[node_id] is before
                    assert _is_legal(before, after)
                    self.seen[node_id] = after
                case Forgotten(node_id):
                    del self.seen[node_id]
        assert self.seen == {member.node_id: member.state for member in self.members}


def _is_legal(before: S, after: S) -> bool:
    steps = {(state, end) for (state, _), end in TRANSITIONS.items()}
    # Completing while paused is one step for whoever watches.
    return (before, after) in steps or (after is S.PAUSED and (before, S.CONNECTED) in steps)


def _no_wall(now: float) -> Any:
    raise AssertionError("nobody asked for a time of day")


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
