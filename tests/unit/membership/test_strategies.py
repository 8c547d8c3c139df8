"""Who of several candidates gets the work."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orbitmesh.core.errors import ConfigError, NoAgent
from orbitmesh.membership import strategies
from orbitmesh.membership.info import AgentInfo
from orbitmesh.membership.strategies import announced_load, least_loaded, select, weighted
from orbitmesh.membership.targets import STRATEGIES, Target, candidates

if TYPE_CHECKING:
    from tests.unit.membership.conftest import World

# A busy machine fails no test.
UNHURRIED = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Caller:
    """Selects among whoever offers ``work``."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.turns: dict[Hashable, int] = {}
        self.random = random.Random(7).random

    def select(self, target: Target | None = None, *, command: str = "work") -> str:
        on = target or Target()
        found = candidates(on, self.world.members, command=command)
        return select(
            found,
            on,
            members=self.world.members,
            load=announced_load,
            random=self.random,
            turns=self.turns,
            command=command,
        ).name

    def count(self, target: Target | None = None, *, times: int = 600) -> Counter[str]:
        return Counter(self.select(target) for _ in range(times))


@pytest.fixture
def caller(world: World) -> Caller:
    for peer in "abc":
        world.link(peer, "work", "other")
        world.beat(peer, capacity=4)
    return Caller(world)


def test_every_strategy_that_a_target_takes_is_there(caller: Caller) -> None:
    assert set(strategies._DRAWN) | {"round-robin"} == set(STRATEGIES)
    for strategy in STRATEGIES:
        assert set(caller.count(Target(strategy=strategy))) == {"a", "b", "c"}


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_lone_candidate_is_taken_by_every_strategy(caller: Caller, strategy: str) -> None:
    assert caller.select(Target(name="b", strategy=strategy)) == "b"


def test_the_most_loaded_of_all_never_gets_work_by_default(caller: Caller) -> None:
    caller.world.beat("a", running=4, waiting=1, capacity=4)
    caller.world.beat("b", running=1, capacity=2)
    counted = caller.count()
    assert counted["a"] == 0
    assert counted["c"] > counted["b"] > 0


def test_load_is_what_runs_and_waits_against_what_can_run(caller: Caller) -> None:
    member = caller.world.member("a")
    caller.world.beat("a", running=3, waiting=1, capacity=8)
    assert announced_load(member) == 0.5
    caller.world.beat("a", running=3, waiting=0, capacity=0)
    assert announced_load(member) == 3.0


@UNHURRIED
@given(st.integers(2, 50), st.floats(0, 1, exclude_max=True), st.floats(0, 1, exclude_max=True))
def test_two_different_ones_are_drawn(count: int, first: float, second: float) -> None:
    looked_at: list[Any] = []

    def load(member: Any) -> float:
        looked_at.append(member)
        return float(member)

    drawn = iter([first, second])
    numbers: list[Any] = list(range(count))
    assert least_loaded(numbers, load, lambda: next(drawn)) == min(looked_at)
    assert len(set(looked_at)) == 2


def test_round_robin_goes_round_for_each_target_and_command_by_itself(caller: Caller) -> None:
    target = Target(strategy="round-robin")
    both = [(caller.select(target), caller.select(target, command="other")) for _ in range(6)]
    assert Counter(work for work, _ in both) == Counter(other for _, other in both) == {"a": 2, "b": 2, "c": 2}
    caller.select(Target(strategy="round-robin", exclude=["a"]))
    assert len(caller.turns) == 3


def test_the_turns_kept_are_bounded_and_the_longest_unused_goes_first(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(strategies, "_MAX_TURNS", 2)
    for exclude in (["x"], ["y"], ["x"], ["z"]):
        caller.select(Target(strategy="round-robin", exclude=exclude))
    kept = [Target(exclude=[name]).identity for name in "xz"]
    assert list(caller.turns) == [(identity, "work") for identity in kept]


def test_random_ignores_load(caller: Caller) -> None:
    caller.world.beat("a", running=4, capacity=4)
    assert min(caller.count(Target(strategy="random")).values()) > 100


def test_weighted_follows_the_free_capacity(caller: Caller) -> None:
    caller.world.beat("a", running=4, capacity=4)
    caller.world.beat("b", running=1, capacity=2)
    caller.world.beat("c", running=1, capacity=10)
    counted = caller.count(Target(strategy="weighted"))
    assert counted["a"] == 0
    assert 5 < counted["c"] / counted["b"] < 15


def test_weighted_takes_anyone_when_all_are_full(caller: Caller) -> None:
    for peer in "abc":
        caller.world.beat(peer, running=9, capacity=4)
    assert set(caller.count(Target(strategy="weighted"))) == {"a", "b", "c"}


@UNHURRIED
@given(st.lists(st.floats(0, 3), min_size=1, max_size=6), st.floats(0, 1, exclude_max=True))
def test_weighted_takes_nobody_full_while_somebody_is_free(loads: list[float], drawn: float) -> None:
    class Idle:
        capacity = 1

    members: list[Any] = [Idle() for _ in loads]
    by_id = {id(member): load for member, load in zip(members, loads, strict=True)}
    chosen = weighted(members, lambda member: by_id[id(member)], lambda: drawn)
    assert by_id[id(chosen)] < 1 or min(loads) >= 1


def test_the_preferred_is_taken_while_it_can_be_and_missed_by_nobody(caller: Caller) -> None:
    world = caller.world
    for prefer in ("b", "pi/b", world.id("b")):
        assert set(caller.count(Target(prefer=prefer, strategy="round-robin"), times=20)) == {"b"}
    world.beat("b", is_paused=True)
    assert set(caller.count(Target(prefer="b"))) == {"a", "c"}
    assert set(caller.count(Target(prefer="nobody"))) == {"a", "c"}


def test_the_lowest_key_wins(caller: Caller) -> None:
    for peer, heat in (("a", 50.0), ("b", 20.0), ("c", 90.0)):
        caller.world.beat(peer, metrics={"heat": heat})
    assert caller.select(Target(key=lambda agent: agent.metrics["heat"])) == "b"
    assert caller.select(Target(key=lambda agent: -agent.metrics["heat"])) == "c"


def test_equal_keys_are_shared_out(caller: Caller) -> None:
    assert set(caller.count(Target(key=lambda agent: 1.0))) == {"a", "b", "c"}


@pytest.mark.parametrize("worst", [float("nan"), float("inf")])
def test_whoever_has_no_key_comes_last(caller: Caller, worst: float) -> None:
    caller.world.beat("b", metrics={"heat": worst})
    caller.world.beat("c", metrics={"heat": 1e300})
    assert caller.select(Target(key=lambda agent: agent.metrics["heat"])) == "c"
    assert caller.select(Target(key=lambda agent: agent.metrics["heat"], exclude=["c"])) == "b"


def test_a_key_that_nobody_has_is_answered_with_those_there_are(caller: Caller) -> None:
    def heat(agent: AgentInfo) -> float:
        return agent.metrics["heat"]

    with pytest.raises(NoAgent, match=r"KeyError\('heat'\) for all 3 candidates; their metrics are none yet"):
        caller.select(Target(key=heat))
    caller.world.beat("a", metrics={"warmth": 1.0, "load": 2.0})
    with pytest.raises(NoAgent, match="their metrics are load, warmth"):
        caller.select(Target(key=heat))


def test_the_users_own_choice_is_followed(caller: Caller) -> None:
    assert caller.select(Target(strategy=lambda agents: max(agents, key=lambda agent: agent.name))) == "c"


@pytest.mark.parametrize("choose", [lambda agents: None, lambda agents: "a", lambda agents: agents.clear()])
def test_a_choice_that_is_no_candidate_is_refused(caller: Caller, choose: Callable[[list[AgentInfo]], Any]) -> None:
    with pytest.raises(ConfigError, match="return one of the candidates"):
        caller.select(Target(strategy=choose))


def test_weighted_takes_the_last_one_free_when_rounding_leaves_a_little(caller: Caller) -> None:
    members = [caller.world.member(peer) for peer in "abc"]
    caller.world.beat("c", running=4, capacity=4)
    assert weighted(members, announced_load, lambda: 1.0).name == "b"
