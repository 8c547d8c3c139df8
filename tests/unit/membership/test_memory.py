"""What the table forgets, and what its events cost in a large mesh."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitmesh.core.ids import NodeId
from orbitmesh.membership.ages import Ages
from orbitmesh.membership.info import AgentState as S
from orbitmesh.membership.members import Members
from orbitmesh.membership.outputs import Forgotten
from orbitmesh.membership.table import MAX_SELECTIONS, WEEK
from orbitmesh.membership.targets import Target, candidates

if TYPE_CHECKING:
    from tests.unit.membership.conftest import World

# A busy machine fails no test.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def test_whoever_is_away_is_remembered_for_a_week_after_the_last_word(world: World) -> None:
    world.link("a")
    world.members.disconnected(world.id("a"), world.now)
    world.pass_time(12)
    world.pass_time(WEEK - 1)
    assert world.state("a") is S.LOST
    assert world.members.deadline == world.now + 1
    world.members.drain()
    world.pass_time(1)
    assert world.id("a") not in world.members
    assert world.members.by_name("a") == ()
    assert world.drain(Forgotten) == [Forgotten(world.id("a"))]
    assert world.members.counters() == {"forgotten": 1}
    assert world.members.deadline is None


def test_whoever_something_still_tells_of_is_not_forgotten(world: World) -> None:
    world.sight("a")
    world.pass_time(WEEK + 1)
    assert world.state("a") is S.DISCOVERED
    assert world.members.deadline == world.now + WEEK


def test_dials_that_fail_do_not_prolong_the_memory_of_somebody_lost(world: World) -> None:
    world.link("a")
    world.members.disconnected(world.id("a"), world.now)
    world.pass_time(12)
    for _ in range(8):
        world.pass_time(WEEK / 8)
        world.members.linking(world.id("a"))
        world.members.disconnected(world.id("a"), world.now)
    assert world.id("a") not in world.members


def test_a_word_of_somebody_lost_prolongs_its_memory(world: World) -> None:
    world.link("a")
    world.members.disconnected(world.id("a"), world.now)
    world.pass_time(12)
    world.pass_time(WEEK - 1)
    world.sight("a")
    world.members.vanished("mdns", "a", world.now)
    world.pass_time(WEEK - 1)
    assert world.state("a") is S.LOST


def test_without_room_whoever_is_away_for_longest_is_forgotten_first_then_the_oldest_hint(
    make_world: type[World],
) -> None:
    world = make_world(capacity=4)
    for peer in ("lost", "gone"):
        world.link(peer)
    world.members.disconnected(world.id("lost"), world.now)
    world.pass_time(12)
    world.members.goodbye(world.id("gone"), world.now)
    world.sight("hint-1", place="1")
    world.sight("hint-2", place="2")
    for forgotten in ("lost", "gone", "hint-1", "hint-2"):
        assert world.id(forgotten) in world.members
        world.link(f"instead of {forgotten}".replace(" ", "-"))
        assert world.id(forgotten) not in world.members
    assert len(world.members) == 4
    assert world.members.counters() == {"forgotten": 4}
    world.sight("hint-3", place="1")
    assert world.state("hint-3") is S.DISCOVERED, "a place whose node was forgotten is free again"


def test_nobody_linked_is_ever_forgotten_for_room(make_world: type[World]) -> None:
    world = make_world(capacity=2)
    for peer in "abcd":
        world.link(peer)
    assert len(world.members) == 4
    for peer in "efg":
        world.sight(peer)
    assert sorted(member.name for member in world.members) == ["a", "b", "c", "d", "g"]
    for peer in "abcd":
        world.members.goodbye(world.id(peer), world.now)
    world.sight("h")
    assert sorted(member.name for member in world.members) == ["g", "h"]


def test_whoever_is_lost_and_greeted_again_is_not_forgotten_meanwhile(make_world: type[World]) -> None:
    world = make_world(capacity=1)
    world.link("a")
    world.members.disconnected(world.id("a"), world.now)
    world.pass_time(12)
    world.greet("a")
    world.link("b")
    assert world.id("a") in world.members
    world.members.disconnected(world.id("a"), world.now)
    world.link("c")
    assert world.id("a") not in world.members


@UNHURRIED
@given(st.lists(st.tuples(st.sampled_from("abcde"), st.booleans(), st.floats(0, 10)), max_size=50))
def test_ages_hand_out_exactly_those_that_have_waited_long_enough(steps: list[tuple[str, bool, float]]) -> None:
    ages, since, now = Ages(5.0), dict[str, float](), 0.0
    for name, is_in, passed in steps:
        now += passed
        if is_in:
            ages.touch(NodeId(name), now)
            since[name] = now
        else:
            ages.drop(NodeId(name))
            since.pop(name, None)
        due = set()
        while (node_id := ages.due(now)) is not None:
            due.add(str(node_id))
            ages.drop(node_id)
        assert due == {name for name, moment in since.items() if moment + 5.0 <= now}
        since = {name: moment for name, moment in since.items() if name not in due}
        assert set(ages) == set(since)
        assert ages.deadline == (min(since.values()) + 5.0 if since else None)
        assert (ages.oldest is None) == (not since)


def test_a_selection_is_made_once_until_something_relevant_changes(world: World) -> None:
    made = []

    def make() -> list[Any]:
        made.append(1)
        return []

    world.link("a", "work")
    for _ in range(2):
        world.members.selection("key", make)
    world.beat("a", running=3)
    world.members.selection("key", make)
    assert len(made) == 1
    world.beat("a", is_paused=True)
    world.members.selection("key", make)
    assert len(made) == 2
    for number in range(MAX_SELECTIONS):
        world.members.selection(number, make)
    world.members.selection("key", make)
    assert len(made) == 2 + MAX_SELECTIONS + 1, "their number is bounded"


# Cost


def _calls(work: Callable[[], object]) -> int:
    """How many functions run, Python's and C's: a measure of work that no other load disturbs."""
    count = 0

    def note(frame: FrameType, event: str, argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    gc.disable()  # what a collection calls is not ours
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
        gc.enable()
    return count


def _populated(make_world: type[World], size: int) -> World:
    world = make_world()
    for number in range(size):
        world.link(f"agent-{number}", "work", f"own-{number}", groups=["g"] if number % 2 else [])
    for number in range(size // 2, size - 1):
        world.members.disconnected(world.id(f"agent-{number}"), world.now)
        world.now += 0.0001
    world.members.drain()
    return world


EVENTS: dict[str, Callable[[World], object]] = {
    "a sighting": lambda w: w.sight("newcomer"),
    "a handshake": lambda w: w.link("newcomer", "work"),
    "a statement": lambda w: w.tell("agent-0", groups=["other"]),
    "a heartbeat": lambda w: w.beat("agent-0", running=1),
    "a pause": lambda w: w.beat("agent-0", is_paused=True),
    "silence": lambda w: w.members.silent(w.id("agent-0"), w.now),
    "a lost link": lambda w: w.members.disconnected(w.id("agent-0"), w.now),
    "a goodbye": lambda w: w.members.goodbye(w.id("agent-0"), w.now),
    "a tick with nothing due": lambda w: w.members.tick(w.now),
    "the deadline": lambda w: w.members.deadline,
    "a question for the candidates": lambda w: candidates(None, w.members, command="work"),
    "a question by name": lambda w: candidates("agent-0", w.members, command="work"),
    "a snapshot": lambda w: w.info("agent-0"),
}


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_costs_the_same_in_a_small_mesh_and_in_a_large_one(make_world: type[World], event: str) -> None:
    small, large = _populated(make_world, 20), _populated(make_world, 2000)
    assert _calls(lambda: EVENTS[event](large)) <= _calls(lambda: EVENTS[event](small)) + 2


def test_losing_everybody_costs_what_each_of_them_costs(make_world: type[World]) -> None:
    costs = {}
    for size in (100, 2000):
        world = _populated(make_world, size)
        world.now += 100
        costs[size] = _calls(lambda world=world: world.members.tick(world.now))  # type: ignore[misc]  # bound at once
        assert world.state(f"agent-{size - 2}") is S.LOST
    assert costs[2000] <= costs[100] * 21


def test_asking_again_for_the_same_target_looks_at_nobody(make_world: type[World]) -> None:
    world = _populated(make_world, 2000)

    def ask() -> object:
        return candidates(Target(group="g"), world.members, command="work")

    assert ask() is ask()
    assert _calls(ask) < 100


def test_the_table_reads_no_clock() -> None:
    with pytest.raises(TypeError):
        Members()  # type: ignore[call-arg]  # the wall clock has to be given
