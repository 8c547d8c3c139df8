"""Hints, handshakes, statements and silence: what the table makes of them."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from datetime import UTC
from typing import TYPE_CHECKING

import pytest

from orbitmesh.core.errors import ProtocolError
from orbitmesh.membership.info import AgentState as S
from orbitmesh.membership.members import MAX_OFFERS
from orbitmesh.membership.outputs import Added, Changed, Updated
from orbitmesh.membership.table import MAX_PLACES
from orbitmesh.wire.envelopes import Kind, Offer

if TYPE_CHECKING:
    from tests.unit.membership.conftest import World


# Hints


def test_somebody_told_of_is_discovered(world: World) -> None:
    member = world.sight("a", addresses=["tcp://192.0.2.1:1", "tcp://192.0.2.1:2"])
    assert world.state("a") is S.DISCOVERED
    assert member.addresses == ("tcp://192.0.2.1:1", "tcp://192.0.2.1:2")
    assert list(world.members.unlinked()) == [member]
    assert world.drain(Added) == [Added(world.id("a"))]
    assert world.info("a").last_heard is None


def test_the_same_start_told_of_from_two_places_has_the_addresses_of_both(world: World) -> None:
    world.sight("a", source="mdns", addresses=["tcp://192.0.2.1:1"])
    member = world.sight("a", source="local", addresses=["tcp://127.0.0.1:1", "tcp://192.0.2.1:1"])
    assert member.addresses == ("tcp://192.0.2.1:1", "tcp://127.0.0.1:1")
    world.members.vanished("mdns", "a", world.now)
    assert member.addresses == ("tcp://127.0.0.1:1", "tcp://192.0.2.1:1")
    assert world.state("a") is S.DISCOVERED


def test_a_newer_start_told_of_replaces_an_older_one_until_it_vanishes(world: World) -> None:
    world.sight("a", boot=1, place="old", addresses=["tcp://192.0.2.1:1"])
    member = world.sight("a", boot=2, place="new", addresses=["tcp://192.0.2.1:2"])
    world.sight("a", boot=1, place="old", addresses=["tcp://192.0.2.1:1"])
    assert (member.boot, member.key, member.addresses) == (2, world.key("a", 2), ("tcp://192.0.2.1:2",))
    world.members.vanished("mdns", "new", world.now)
    assert (member.boot, member.key, member.addresses) == (1, world.key("a", 1), ("tcp://192.0.2.1:1",))


def test_whoever_was_never_linked_is_gone_when_the_last_place_vanishes_and_comes_back_when_told_of(
    world: World,
) -> None:
    world.sight("a")
    world.members.vanished("mdns", "a", world.now)
    assert world.state("a") is S.GONE
    world.members.vanished("mdns", "a", world.now)
    world.sight("a")
    assert world.state("a") is S.DISCOVERED


def test_a_place_that_tells_of_another_node_now_has_ended_for_the_first(world: World) -> None:
    world.sight("a", place="file")
    world.sight("b", place="file")
    assert world.state("a") is S.GONE
    assert world.state("b") is S.DISCOVERED


def test_an_announcement_changes_nothing_that_a_live_link_told(world: World) -> None:
    member = world.link("a", "work", boot=5, address="tcp://192.0.2.1:1")
    world.sight("a", boot=5, key=b"k" * 32, addresses=["tcp://192.0.2.66:1"])
    assert (member.boot, member.key, member.addresses) == (5, world.key("a", 5), ("tcp://192.0.2.1:1",))
    assert member.newer is None
    world.sight("a", boot=6, addresses=["tcp://192.0.2.1:2"])
    assert (member.boot, member.key, member.addresses) == (5, world.key("a", 5), ("tcp://192.0.2.1:1",))
    assert member.newer is not None
    assert member.newer.addresses == ("tcp://192.0.2.1:2",)
    assert world.state("a") is S.CONNECTED


def test_once_the_link_is_gone_the_newer_start_is_dialled_and_the_proven_one_again_when_it_vanishes(
    world: World,
) -> None:
    member = world.link("a", boot=5, address="tcp://192.0.2.1:1")
    world.sight("a", boot=6, addresses=["tcp://192.0.2.1:2"])
    world.members.disconnected(world.id("a"), world.now)
    assert (member.state, member.boot, member.addresses) == (S.SUSPECT, 6, ("tcp://192.0.2.1:2",))
    world.members.vanished("mdns", "a", world.now)
    assert (member.state, member.boot, member.addresses) == (S.SUSPECT, 5, ("tcp://192.0.2.1:1",))
    assert member.key == world.key("a", 5)


def test_an_announcement_older_than_what_was_proven_is_counted_and_left_out(world: World) -> None:
    member = world.link("a", boot=5)
    world.members.disconnected(world.id("a"), world.now)
    world.sight("a", boot=4, addresses=["tcp://192.0.2.9:9"])
    assert member.addresses == ()
    assert world.members.counters() == {"stale_sightings": 1}


def test_an_old_announcement_of_a_dead_start_does_not_hide_the_proven_one(world: World) -> None:
    member = world.sight("a", boot=4)
    world.link("a", boot=5)
    world.members.disconnected(world.id("a"), world.now)
    assert member.boot == 5


def test_a_member_has_a_bounded_number_of_places(world: World) -> None:
    for number in range(MAX_PLACES + 3):
        world.sight("a", source="peers", place=f"told by {number}")
    assert len(world.member("a").sources) == MAX_PLACES
    assert world.members.counters() == {"places_dropped": 3}
    world.members.vanished("peers", "told by 0", world.now)
    assert len(world.member("a").sources) == MAX_PLACES


# Links


def test_a_peer_is_linking_until_it_has_stated_everything(world: World) -> None:
    world.sight("a")
    world.members.linking(world.id("a"))
    assert world.state("a") is S.LINKING
    assert list(world.members.unlinked()) == []
    world.greet("a", address="tcp://192.0.2.1:1")
    world.tell("a", offers=[Offer("work", Kind.CALL)], is_agent=True)
    assert world.state("a") is S.LINKING
    assert world.members.offering("work") == ()
    world.tell("a", is_complete=True)
    assert world.state("a") is S.CONNECTED
    assert world.members.offering("work") == [world.member("a")]
    assert [(o.before, o.after) for o in world.drain(Changed) if isinstance(o, Changed)] == [
        (S.DISCOVERED, S.LINKING),
        (S.LINKING, S.CONNECTED),
    ]


def test_a_failed_dial_leaves_the_peer_discovered(world: World) -> None:
    member = world.sight("a")
    world.members.linking(world.id("a"))
    world.members.disconnected(world.id("a"), world.now)
    assert (member.state, member.has_failed) == (S.DISCOVERED, True)
    world.sight("a")
    assert member.has_failed
    world.sight("a", addresses=["tcp://192.0.2.1:7"])
    assert not member.has_failed


def test_a_peer_that_dialled_and_broke_off_is_gone_as_nothing_tells_of_it(world: World) -> None:
    world.greet("a")
    assert world.state("a") is S.LINKING
    world.members.disconnected(world.id("a"), world.now)
    assert world.state("a") is S.GONE


def test_a_place_that_vanishes_while_the_first_link_is_made_waits_for_its_outcome(world: World) -> None:
    world.sight("a")
    world.members.linking(world.id("a"))
    world.members.vanished("mdns", "a", world.now)
    assert world.state("a") is S.LINKING
    world.members.disconnected(world.id("a"), world.now)
    assert world.state("a") is S.GONE


def test_a_place_that_vanishes_leaves_what_others_say_as_well(world: World) -> None:
    world.sight("a", place="one")
    world.sight("a", place="two")
    world.members.drain()
    world.members.vanished("mdns", "one", world.now)
    assert world.members.drain() == []
    assert world.member("a").addresses == ("tcp://192.0.2.1:1",)


def test_the_place_of_a_linked_member_may_vanish(world: World) -> None:
    world.sight("a")
    world.link("a")
    world.members.vanished("mdns", "a", world.now)
    assert world.state("a") is S.CONNECTED
    world.members.disconnected(world.id("a"), world.now)
    assert world.state("a") is S.SUSPECT


def test_an_older_start_is_refused_and_an_equal_one_is_the_same_process(world: World) -> None:
    world.link("a", "work", boot=5)
    assert not world.greet("a", boot=4)
    assert not world.greet("a", boot=5, key=b"x" * 32)
    assert world.greet("a", boot=5)
    assert world.state("a") is S.CONNECTED
    assert world.members.counters() == {"refused_boots": 2}


def test_an_announced_boot_locks_nobody_out(world: World) -> None:
    world.sight("a", boot=2**53 - 1)
    assert world.greet("a", boot=5)
    assert world.member("a").boot == 5


def test_a_newer_start_over_a_new_link_carries_no_work_until_it_has_stated_everything(world: World) -> None:
    member = world.link("a", "old", boot=1, groups=["g"], tags={"t": "v"}, address="tcp://192.0.2.1:1")
    world.beat("a", running=3, metrics={"m": 1.0}, is_paused=True)
    assert world.greet("a", boot=2)
    assert world.state("a") is S.SUSPECT
    assert (member.running, member.metrics, member.is_paused, member.addresses) == (0, {}, False, ())
    assert member.groups == {"g"}, "who is expected to answer must not flicker"
    world.pass_time(100)
    assert world.state("a") is S.SUSPECT, "whoever is linked waits for nothing"
    world.tell("a", offers=[Offer("new", Kind.CALL)], is_agent=True)
    world.tell("a", is_complete=True)
    assert world.state("a") is S.CONNECTED
    assert (set(member.offers), member.groups, member.tags) == ({"new"}, frozenset(), {})
    assert world.members.offering("old") == ()


def test_what_the_first_round_of_a_new_link_leaves_out_is_withdrawn(world: World) -> None:
    member = world.link("a", "keep", "drop", groups=["g"], tags={"t": "v"})
    world.members.disconnected(world.id("a"), world.now)
    world.greet("a")
    world.tell("a", offers=[Offer("keep", Kind.CALL), Offer("brief", Kind.CALL)], is_agent=True)
    world.tell("a", withdrawn=["brief"], is_complete=True)
    assert set(member.offers) == {"keep"}
    assert (member.groups, member.tags) == (frozenset(), {})


def test_a_restarted_agent_may_come_back_as_a_client(world: World) -> None:
    world.link("a", "work")
    world.greet("a", boot=2)
    assert world.member("a").is_agent
    world.tell("a", is_complete=True)
    assert not world.member("a").is_agent
    assert list(world.members.agents()) == []


def test_an_agent_that_states_itself_anew_as_a_client_is_given_no_work(world: World) -> None:
    world.link("a", "work")
    world.greet("a")
    world.tell("a", is_complete=True)
    assert world.state("a") is S.CONNECTED
    assert world.members.pools.ready() == []


def test_later_statements_change_only_what_they_name(world: World) -> None:
    member = world.link("a", "one", groups=["g"], tags={"t": "v"})
    world.tell("a", offers=[Offer("two", Kind.STREAM)], withdrawn=["one", "never there"])
    assert set(member.offers) == {"two"}
    assert (set(member.groups), member.tags, member.software) == ({"g"}, {"t": "v"}, "1.0")
    world.tell("a", groups=["h"], tags={}, addresses=["tcp://192.0.2.1:9"], software="2.0")
    assert (set(member.groups), member.tags, member.software) == ({"h"}, {}, "2.0")
    assert member.addresses == ("tcp://192.0.2.1:9",)
    assert world.members.offering("two") == [member]
    assert world.members.offering("one") == ()


def test_a_command_that_becomes_a_label_and_back_is_found_accordingly(world: World) -> None:
    member = world.link("a", "gpu")
    world.tell("a", offers=[Offer("gpu", Kind.LABEL)])
    assert world.members.offering("gpu") == ()
    assert world.members.pools.having("gpu") == [member]
    world.tell("a", offers=[Offer("gpu", Kind.CALL)])
    assert world.members.offering("gpu") == [member]


def test_a_client_that_becomes_an_agent_can_be_given_work(world: World) -> None:
    world.link("a", is_agent=False)
    assert world.members.pools.ready() == []
    world.tell("a", offers=[Offer("work", Kind.CALL)], is_agent=True)
    assert world.members.pools.ready() == [world.member("a")]


def test_an_agent_offers_only_so_much(world: World) -> None:
    world.link("a")
    for start in range(0, MAX_OFFERS, 256):
        world.tell("a", offers=[Offer(f"c{number}", Kind.CALL) for number in range(start, start + 256)])
    world.tell("a", offers=[Offer("c0", Kind.STREAM)])
    with pytest.raises(ProtocolError, match="4096"):
        world.tell("a", offers=[Offer("one more", Kind.CALL)])
    assert len(world.member("a").offers) == MAX_OFFERS


def test_a_silent_node_is_busy_and_given_no_work_until_it_is_heard(world: World) -> None:
    member = world.link("a", "work")
    world.members.silent(world.id("a"), world.now)
    assert world.state("a") is S.BUSY
    assert world.members.offering("work") == ()
    world.members.heard(world.id("a"), world.now)
    assert world.state("a") is S.CONNECTED
    assert world.members.offering("work") == [member]


def test_a_paused_agent_gets_no_work_until_it_resumes(world: World) -> None:
    world.link("a", "work")
    world.beat("a", is_paused=True)
    assert world.info("a").state is S.PAUSED
    assert world.members.offering("work") == ()
    world.members.silent(world.id("a"), world.now)
    world.members.heard(world.id("a"), world.now)
    assert world.state("a") is S.PAUSED
    world.beat("a")
    assert world.state("a") is S.CONNECTED


def test_an_agent_that_paused_before_it_was_complete_becomes_paused_at_one_step(world: World) -> None:
    world.greet("a")
    world.beat("a", is_paused=True)
    world.members.drain()
    world.state_all("a", "work")
    assert world.drain(Changed) == [Changed(world.id("a"), S.LINKING, S.PAUSED)]
    assert world.members.offering("work") == ()


def test_a_suspect_comes_back_within_the_grace_or_is_lost(world: World) -> None:
    world.link("a", "work")
    world.link("b", "work")
    for peer in ("a", "b"):
        world.members.disconnected(world.id(peer), world.now)
    assert world.members.deadline == world.now + 12.0
    world.pass_time(11.9)
    assert (world.state("a"), world.state("b")) == (S.SUSPECT, S.SUSPECT)
    world.link("a", "work")
    world.pass_time(0.2)
    assert (world.state("a"), world.state("b")) == (S.CONNECTED, S.LOST)
    world.link("b", "work")
    assert world.state("b") is S.CONNECTED


def test_announcements_do_not_prolong_the_grace(world: World) -> None:
    world.link("a")
    world.members.disconnected(world.id("a"), world.now)
    for _ in range(3):
        world.pass_time(5)
        world.sight("a")
    assert world.state("a") is S.LOST


def test_whoever_is_being_greeted_again_is_not_lost_meanwhile(world: World) -> None:
    world.link("a")
    world.members.disconnected(world.id("a"), world.now)
    world.pass_time(11)
    world.greet("a")
    world.pass_time(5)
    assert world.state("a") is S.SUSPECT
    world.members.disconnected(world.id("a"), world.now)
    world.pass_time(12)
    assert world.state("a") is S.LOST


def test_a_hung_node_is_lost_when_its_link_is_closed_for_that(world: World) -> None:
    world.link("a")
    world.members.silent(world.id("a"), world.now)
    world.members.disconnected(world.id("a"), world.now, is_hung=True)
    assert world.state("a") is S.LOST


def test_goodbye_means_gone_and_late_announcements_of_that_start_change_nothing(world: World) -> None:
    world.sight("a")
    world.link("a", "work")
    world.members.goodbye(world.id("a"), world.now)
    assert world.state("a") is S.GONE
    assert world.members.offering("work") == ()
    world.sight("a")
    world.members.disconnected(world.id("a"), world.now)
    assert world.state("a") is S.GONE
    world.sight("a", boot=2)
    assert world.state("a") is S.DISCOVERED


def test_a_rejected_peer_has_the_reason_until_there_is_a_newer_start_of_it(world: World) -> None:
    world.sight("a")
    world.members.rejected(world.id("a"), "its certificate has expired", world.now)
    assert (world.state("a"), world.member("a").reason) == (S.REJECTED, "its certificate has expired")
    assert list(world.members.unlinked()) == []
    world.sight("a")
    world.members.disconnected(world.id("a"), world.now)
    assert world.state("a") is S.REJECTED
    world.sight("a", boot=2)
    assert (world.state("a"), world.member("a").reason) == (S.DISCOVERED, "")


def test_a_rejected_peer_that_proves_itself_later_is_connected(world: World) -> None:
    world.sight("a")
    world.members.rejected(world.id("a"), "version", world.now)
    world.link("a")
    assert (world.state("a"), world.member("a").reason) == (S.CONNECTED, "")


def test_nobody_linked_can_be_rejected_by_a_stranger_who_claims_its_id(world: World) -> None:
    world.link("a")
    world.members.rejected(world.id("a"), "bad certificate", world.now)
    assert world.state("a") is S.CONNECTED
    assert world.member("a").reason == ""
    assert world.members.counters() == {"refused_rejections": 1}


def test_what_comes_late_or_about_nobody_is_counted(world: World) -> None:
    world.link("a")
    world.members.disconnected(world.id("a"), world.now)
    world.beat("a", running=3)
    world.tell("a", groups=["g"])
    world.members.silent(world.id("a"), world.now)
    world.members.heard(world.id("nobody"), world.now)
    world.members.linking(world.id("nobody"))
    world.members.rejected(world.id("nobody"), "why", world.now)
    world.members.disconnected(world.id("nobody"), world.now)
    world.members.goodbye(world.id("nobody"), world.now)
    assert world.members.counters() == {"late": 4, "unknown": 4}
    assert (world.member("a").running, world.member("a").groups) == (0, frozenset())


def test_a_handshake_corrects_the_name_that_a_hint_told(world: World) -> None:
    world.sight("a")
    world.members.connected(
        world.id("a"),
        name="b",
        device="hub",
        roles=frozenset(),
        boot=world.member("a").boot,
        key=world.key("a"),
        address=None,
        now=world.now,
    )
    assert world.members.by_name("a") == ()
    assert world.members.by_name("b") == (world.member("a"),)
    assert list(world.members.names()) == ["b"]
    assert world.member("a").full_name == "hub/b"


# What users see


def test_a_snapshot_holds_everything_and_later_events_never_change_it(world: World) -> None:
    world.link("hub/a", "work", labels=["gpu"], groups=["g"], tags={"t": "v"})
    world.beat("hub/a", metrics={"heat": 40.0})
    info = world.info("hub/a")
    assert info is world.info("hub/a")
    assert (info.name, info.id, info.device, info.full_name) == ("a", world.id("hub/a"), "hub", "hub/a")
    assert (set(info.roles), set(info.groups), info.tags) == ({"worker"}, {"g"}, {"t": "v"})
    assert (set(info.capabilities), info.metrics) == ({"work", "gpu"}, {"heat": 40.0})
    assert (info.state, info.version) == (S.CONNECTED, "1.0")
    assert info.last_heard is not None
    assert info.last_heard.tzinfo is UTC
    world.now += 2
    world.beat("hub/a", metrics={"heat": 50.0})
    world.tell("hub/a", groups=["h"])
    later = world.info("hub/a")
    assert info.metrics == {"heat": 40.0}
    assert later.last_heard is not None
    assert later.last_heard > info.last_heard
    assert (later.metrics, set(later.groups)) == ({"heat": 50.0}, {"h"})
    assert later != info
    assert hash(later) == hash(info)


def test_a_snapshot_survives_pickling_and_copying(world: World) -> None:
    world.link("a", "work", tags={"t": "v"})
    info = world.info("a")
    assert pickle.loads(pickle.dumps(info)) == info == copy.deepcopy(info)


def test_metrics_that_a_heartbeat_leaves_out_are_unchanged(world: World) -> None:
    world.link("a")
    world.beat("a", metrics={"heat": 1.0})
    world.beat("a", running=2)
    assert world.info("a").metrics == {"heat": 1.0}
    assert world.member("a").running == 2


def test_the_version_rises_with_every_event_that_changes_something(world: World) -> None:
    events: list[Callable[[], object]] = [
        lambda: world.sight("a"),
        lambda: world.members.linking(world.id("a")),
        lambda: world.greet("a"),
        lambda: world.state_all("a", "work"),
        lambda: world.beat("a", running=1),
        lambda: world.members.silent(world.id("a"), world.now),
        lambda: world.members.heard(world.id("a"), world.now),
        lambda: world.members.disconnected(world.id("a"), world.now),
        lambda: world.pass_time(12),
        lambda: world.members.goodbye(world.id("a"), world.now),
    ]
    for event in events:
        before = world.members.version
        event()
        assert world.members.version > before


def test_outputs_say_what_changed_and_are_handed_out_once(world: World) -> None:
    world.link("a", "work")
    world.members.drain()
    world.tell("a", groups=["g"])
    assert world.members.drain() == [Updated(world.id("a"))]
    assert world.members.drain() == []


def test_members_are_counted_listed_and_found_in_any_state(world: World) -> None:
    world.link("a", "work")
    world.sight("b")
    assert len(world.members) == 2
    assert {member.name for member in world.members} == {"a", "b"}
    assert world.id("b") in world.members
    assert world.id("c") not in world.members
    assert [member.name for member in world.members.agents()] == ["a"]
    assert world.members.by_id(world.id("c")) is None
