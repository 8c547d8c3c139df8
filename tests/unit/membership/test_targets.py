"""Whom ``on=`` means, and what is said when it means nobody."""

from __future__ import annotations

import copy
import pickle
from typing import TYPE_CHECKING, Any

import pytest

from orbitmesh.core.errors import AmbiguousName, ConfigError, NoAgent, UnknownCommand
from orbitmesh.membership.info import AgentInfo
from orbitmesh.membership.info import AgentState as S
from orbitmesh.membership.targets import On, Target, candidates, matching, resolve, unlinked, why_nobody
from orbitmesh.wire.envelopes import Kind

if TYPE_CHECKING:
    from tests.unit.membership.conftest import World


def found(world: World, on: On, command: str | None = "work", kind: Kind | None = None) -> list[str]:
    return world.names(resolve(on, world.members, command=command, kind=kind))


def nobody(world: World, on: On, command: str | None = "work") -> str:
    assert not candidates(on, world.members, command=command)
    with pytest.raises(NoAgent) as caught:
        resolve(on, world.members, command=command)
    return str(caught.value)


@pytest.fixture
def farm(world: World) -> World:
    world.link("a", "work", groups=["workers"], tags={"env": "prod", "zone": "1"}, labels=["gpu"])
    world.link("b", "work", groups=["workers"], tags={"env": "test"})
    world.link("c", "work", "other", tags={"env": "prod"})
    world.link("d", "other", groups=["workers"])
    world.link("script", is_agent=False)
    return world


# Who is meant


def test_nothing_means_any_agent_that_offers_the_command(farm: World) -> None:
    assert found(farm, None) == ["a", "b", "c"]
    assert found(farm, None, command=None) == ["a", "b", "c", "d"]


def test_a_label_is_no_command(farm: World) -> None:
    assert "none offering 'gpu'" in nobody(farm, None, "gpu")
    with pytest.raises(UnknownCommand, match="label"):
        resolve("a", farm.members, command="gpu")


def test_a_name_a_full_name_and_a_node_id_mean_that_node(farm: World) -> None:
    for on in ("a", "pi/a", farm.id("a")):
        assert found(farm, on) == ["a"]
        assert found(farm, on, command=None) == ["a"]


def test_an_info_means_that_very_node_among_namesakes(farm: World) -> None:
    farm.link("hub/a", "work")
    (member,) = resolve(farm.info("hub/a"), farm.members, command="work")
    assert member.full_name == "hub/a"


def test_a_bare_name_of_two_devices_is_ambiguous_and_the_full_names_are_not(farm: World) -> None:
    farm.link("hub/a", "work")
    for on in ("a", Target(name="a")):
        with pytest.raises(AmbiguousName, match="hub/a and pi/a"):
            resolve(on, farm.members, command="work")
    assert resolve("hub/a", farm.members, command="work") == [farm.member("hub/a")]


def test_a_namesake_that_has_not_proven_itself_makes_a_name_ambiguous_until_its_dial_fails(farm: World) -> None:
    farm.sight("hub/a")
    with pytest.raises(AmbiguousName):
        resolve("a", farm.members, command="work")
    farm.members.linking(farm.id("hub/a"))
    farm.members.disconnected(farm.id("hub/a"), farm.now)
    assert found(farm, "a") == ["a"]


@pytest.mark.parametrize("state", [S.SUSPECT, S.BUSY, S.PAUSED])
def test_a_namesake_that_is_away_for_a_moment_keeps_the_name_ambiguous(farm: World, state: S) -> None:
    farm.link("hub/a", "work")
    put(farm, "hub/a", state)
    with pytest.raises(AmbiguousName):
        resolve("a", farm.members, command="work")


@pytest.mark.parametrize("state", [S.LOST, S.GONE, S.REJECTED])
def test_a_namesake_that_is_away_for_good_does_not(farm: World, state: S) -> None:
    farm.link("hub/a", "work")
    put(farm, "hub/a", state)
    assert resolve("a", farm.members, command="work") == [farm.member("pi/a")]


def test_a_client_of_the_same_name_makes_no_name_ambiguous(farm: World) -> None:
    farm.link("hub/a", is_agent=False)
    assert resolve("a", farm.members, command="work") == [farm.member("pi/a")]


def put(world: World, peer: str, state: S) -> None:
    """Bring a linked peer into a state."""
    node_id = world.id(peer)
    match state:
        case S.PAUSED:
            world.beat(peer, is_paused=True)
        case S.BUSY:
            world.members.silent(node_id, world.now)
        case S.GONE:
            world.members.goodbye(node_id, world.now)
        case _:
            world.members.disconnected(node_id, world.now)
            if state is S.LOST:
                world.pass_time(12)
            elif state is S.REJECTED:
                world.members.rejected(node_id, "revoked", world.now)
    assert world.state(peer) is state


def test_each_part_of_a_target_narrows_it_down(farm: World) -> None:
    assert found(farm, Target()) == ["a", "b", "c"]
    assert found(farm, Target(group="workers")) == ["a", "b"]
    assert found(farm, Target(group="workers"), command=None) == ["a", "b", "d"]
    assert found(farm, Target(tags={"env": "prod"})) == ["a", "c"]
    assert found(farm, Target(tags={"env": "prod", "zone": "1"})) == ["a"]
    assert found(farm, Target(capability="other")) == ["c"]
    assert found(farm, Target(capability="gpu"), command=None) == ["a"]
    assert found(farm, Target(exclude=["a", "pi/b"])) == ["c"]
    assert found(farm, Target(exclude=[farm.id("c"), "pi/x"])) == ["a", "b"]
    assert found(farm, Target(name="a", group="workers")) == ["a"]
    assert found(farm, Target(prefer="nobody")) == ["a", "b", "c"]


def test_where_sees_metrics_as_they_are_now_and_leaves_out_who_has_none(farm: World) -> None:
    def is_cool(agent: AgentInfo) -> bool:
        return agent.metrics["heat"] < 50

    cool = Target(where=is_cool)
    assert "KeyError('heat')" in nobody(farm, cool)
    farm.beat("a", metrics={"heat": 20.0})
    farm.beat("b", metrics={"heat": 30.0})
    assert found(farm, cool) == ["a", "b"]
    farm.beat("a", metrics={"heat": 90.0})
    assert found(farm, cool) == ["b"]


def test_another_error_of_where_reaches_the_caller(farm: World) -> None:
    def broken(agent: AgentInfo) -> bool:
        return agent.metrics > 3  # type: ignore[operator]  # the mistake under test

    with pytest.raises(TypeError):
        resolve(Target(where=broken), farm.members, command="work")


def test_an_agent_that_changes_its_group_is_found_in_the_new_one(farm: World) -> None:
    target = Target(group="workers")
    assert found(farm, target) == ["a", "b"]
    farm.tell("c", groups=["workers"])
    farm.tell("a", groups=[])
    assert found(farm, target) == ["b", "c"]


@pytest.mark.parametrize("state", [S.SUSPECT, S.BUSY, S.PAUSED, S.LOST, S.GONE, S.REJECTED])
def test_whoever_is_not_ready_gets_nothing(farm: World, state: S) -> None:
    put(farm, "a", state)
    for on in (None, Target(group="workers"), Target(tags={"env": "prod"})):
        assert "a" not in found(farm, on)
    assert f"pi/a is {state}" in nobody(farm, "a")
    assert f"pi/a is {state}" in nobody(farm, farm.info("a"))


def test_an_agent_replaced_under_its_old_name_is_the_one_that_is_there(farm: World) -> None:
    farm.members.connected(
        farm.id("its successor"),
        name="a",
        device="pi",
        roles=frozenset(),
        boot=farm.member("a").boot,
        key=b"k" * 32,
        address=None,
        now=farm.now,
    )
    assert resolve("a", farm.members, command="work") == [farm.member("a")]


# Kinds


def test_a_command_is_found_by_the_way_it_runs(world: World) -> None:
    world.link("a", "work")
    world.link("b", "work", kind=Kind.STREAM)
    assert found(world, None, kind=Kind.STREAM) == ["b"]
    assert found(world, "a", kind=Kind.CALL) == ["a"]
    assert found(world, None) == ["a", "b"]


@pytest.mark.parametrize("on", [None, "b", Target(name="b"), Target()])
def test_the_wrong_way_names_the_right_one(world: World, on: On) -> None:
    world.link("b", "work", kind=Kind.STREAM)
    with pytest.raises(UnknownCommand, match=r"'work' is a stream on pi/b, not a call: use stream\(\)"):
        resolve(on, world.members, command="work", kind=Kind.CALL)


def test_the_wrong_way_at_many_agents_says_how_many(world: World) -> None:
    world.link("a", "work", kind=Kind.JOB)
    world.link("b", "work", kind=Kind.JOB)
    with pytest.raises(UnknownCommand, match=r"a job on 2 agents, not a call: use submit\(\)"):
        resolve(None, world.members, command="work", kind=Kind.CALL)


def test_an_unknown_kind_of_an_unknown_command_is_just_nobody(world: World) -> None:
    assert not candidates(None, world.members, command="work", kind=Kind.CALL)


# What is said


def test_an_agent_without_the_command_says_what_it_offers_and_who_has_it(farm: World) -> None:
    with pytest.raises(UnknownCommand) as caught:
        resolve("d", farm.members, command="work")
    assert str(caught.value) == "pi/d offers no 'work'; it offers 'other' (call); offered by pi/a, pi/b, pi/c"
    with pytest.raises(UnknownCommand, match=r"it offers 'other' \(call\)$"):
        resolve(Target(name="d"), farm.members, command="othr")


def test_an_agent_that_offers_nothing_and_a_client_say_so(farm: World) -> None:
    farm.link("bare")
    with pytest.raises(UnknownCommand, match="it offers nothing"):
        resolve("bare", farm.members, command="nowhere")
    with pytest.raises(UnknownCommand, match="pi/script offers no commands: it is a client"):
        resolve("script", farm.members, command="work")


def test_a_misspelt_command_is_answered_with_its_like(farm: World) -> None:
    assert nobody(farm, None, "wrok") == (
        "no agent fits: of 4 connected agents none offering 'wrok'; did you mean 'work'?"
    )


def test_a_misspelt_name_is_answered_with_its_like(farm: World) -> None:
    farm.link("worker-1", "work")
    assert "nobody is known by the name 'worker-7'; did you mean 'worker-1'?" in nobody(farm, "worker-7")
    assert nobody(farm, "pii/worker-1").startswith("nobody is known by the name 'pii/worker-1'; did you mean 'pi/work")
    assert nobody(farm, "zzz").startswith("nobody is known by the name 'zzz'; is it running")
    farm.sight("hub/z")
    unknown = farm.info("hub/z")
    farm.members.vanished("mdns", "hub/z", farm.now)
    farm.pass_time(10**6)
    assert "nobody is known by the name 'hub/z'" in nobody(farm, unknown)
    assert "nobody is known by the name 'hub/z'" in nobody(farm, Target(name="hub/z"))


def test_a_target_that_nobody_meets_says_how_many_each_part_left(farm: World) -> None:
    target = Target(group="workers", tags={"env": "prod"}, exclude=["a"], where=lambda agent: True)
    assert nobody(farm, target) == (
        "no agent fits: of 4 connected agents 3 offering 'work', then 2 in group 'workers', then 1 tagged env=prod, "
        "then none not excluded (a)"
    )
    assert nobody(farm, Target(name="b", tags={"env": "prod"})) == (
        "no agent fits: of 1 with that name 1 offering 'work', then none tagged env=prod"
    )
    assert nobody(farm, Target(capability="gpu", where=lambda agent: False), None) == (
        "no agent fits: of 4 connected agents 1 with capability 'gpu', then none that where= takes"
    )


def test_an_empty_mesh_says_that_nobody_is_there(world: World) -> None:
    assert nobody(world, None, None) == "no agent fits: of 0 connected agents"
    assert nobody(world, None) == "no agent fits: of 0 connected agents none offering 'work'"


def test_those_that_would_fit_but_are_away_are_named_with_their_last_sign(farm: World) -> None:
    for peer in ("a", "b", "c"):
        farm.members.disconnected(farm.id(peer), farm.now)
    said = nobody(farm, None)
    assert "Away: pi/a is suspect (last heard 2030-01-01T00:16:40+00:00); pi/b is suspect" in said
    assert "more" not in said
    farm.link("e", "work")
    farm.beat("e", is_paused=True)
    assert nobody(farm, None).endswith("and 1 more")
    assert "pi/b" not in nobody(farm, Target(tags={"env": "prod"}))


def test_a_rejected_agent_is_named_with_the_reason(world: World) -> None:
    world.sight("a")
    world.members.rejected(world.id("a"), "its certificate has expired", world.now)
    assert nobody(world, "a") == "pi/a is rejected: its certificate has expired (never heard)"


# Lists


def test_agents_are_listed_in_order_wherever_they_stand(farm: World) -> None:
    farm.link("hub/a", "work", groups=["workers"])
    farm.members.silent(farm.id("b"), farm.now)
    farm.members.goodbye(farm.id("c"), farm.now)
    assert [m.full_name for m in matching(farm.members)] == ["hub/a", "pi/a", "pi/b", "pi/d"]
    assert [m.full_name for m in matching(farm.members, group="workers", capability="work")] == [
        "hub/a",
        "pi/a",
        "pi/b",
    ]
    assert [m.full_name for m in matching(farm.members, name="a")] == ["hub/a", "pi/a"]
    assert [m.full_name for m in matching(farm.members, tags={"env": "test"}, exclude=["a"])] == ["pi/b"]
    assert [m.full_name for m in matching(farm.members, states=frozenset({S.GONE}))] == ["pi/c"]
    assert matching(farm.members, where=lambda agent: agent.name == "script") == []


def test_whom_to_dial_is_whoever_may_be_meant_and_has_no_link(farm: World) -> None:
    farm.sight("new")
    farm.sight("hub/a")
    farm.members.disconnected(farm.id("c"), farm.now)
    farm.members.goodbye(farm.id("d"), farm.now)
    for on in (None, Target(group="workers")):
        assert {m.full_name for m in unlinked(on, farm.members)} == {"pi/new", "hub/a"}
    assert [m.full_name for m in unlinked("a", farm.members)] == ["hub/a"]
    assert [m.full_name for m in unlinked(Target(name="c"), farm.members)] == ["pi/c"]
    assert unlinked("d", farm.members) == []
    assert unlinked(farm.info("new"), farm.members) == [farm.member("new")]


# Writing a target


@pytest.mark.parametrize(
    ("parts", "mend"),
    [
        ({"name": "no good"}, "letters, digits"),
        ({"name": "a/b/c"}, "letters, digits"),
        ({"name": 7}, "write a name, 'device/name'"),
        ({"prefer": ""}, "letters, digits"),
        ({"capability": "so bad"}, "letters, digits"),
        ({"group": "a b"}, "group 'a b'"),
        ({"tags": ["env"]}, "write tags="),
        ({"tags": {"e n v": "x"}}, "tag 'e n v'"),
        ({"tags": {"env": 3}}, "a tag's value is text"),
        ({"tags": {"env": "x" * 257}}, "a tag's value is text"),
        ({"exclude": "a"}, r"write exclude=\['a'\]"),
        ({"exclude": ["a", None]}, "exclude None is no name"),
        ({"strategy": "best"}, "take one of least-loaded, random, round-robin, weighted, or a callable"),
        ({"where": "heat < 50"}, "write where=lambda agent"),
        ({"key": "heat"}, "write key=lambda agent"),
    ],
)
def test_a_part_that_cannot_be_used_is_refused_with_the_mend(parts: dict[str, Any], mend: str) -> None:
    with pytest.raises(ConfigError, match=mend):
        Target(**parts)


def test_a_malformed_name_as_on_is_refused(world: World) -> None:
    with pytest.raises(ConfigError, match="on"):
        resolve("not a name", world.members, command="work")


@pytest.mark.parametrize("on", [7, ["a"], object(), b"a"])
def test_what_names_nobody_as_on_is_refused(world: World, on: Any) -> None:
    for ask in (resolve, candidates, why_nobody):
        with pytest.raises(ConfigError, match="write a name, 'device/name'"):
            ask(on, world.members, command="work")


def test_targets_are_values(world: World) -> None:
    tags = {"env": "prod"}
    target = Target(group="g", tags=tags, exclude=["a"])
    tags["env"] = "test"
    assert target == Target(group="g", tags={"env": "prod"}, exclude=("a",))
    assert hash(target) == hash(Target(group="g", tags={"env": "prod"}, exclude=("a",)))
    assert target != Target(group="g", tags={"env": "prod"})
    assert pickle.loads(pickle.dumps(target)) == target == copy.deepcopy(target)


def test_a_target_says_whether_it_can_be_written_down() -> None:
    assert not Target(group="g", strategy="random").has_callables
    assert Target(where=lambda agent: True).has_callables
    assert Target(key=lambda agent: 1.0).has_callables
    assert Target(strategy=lambda agents: agents[0]).has_callables
