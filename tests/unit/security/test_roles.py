"""Roles: who may call what, and what two who take part in one call may together."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, strategies

from orbitmesh.core.errors import ConfigError
from orbitmesh.security.roles import ADMIN, AGENT, OBSERVER, OPERATOR, OWNER, checked_roles, lesser, may_call

ROLES = strategies.frozensets(strategies.sampled_from([ADMIN, AGENT, OBSERVER, OPERATOR, OWNER, "camera", "nurse"]))


@pytest.mark.parametrize(
    ("roles", "required", "may"),
    [
        ((), (), False),
        ((OBSERVER,), (), False),
        ((AGENT,), (), True),
        ((OBSERVER, AGENT), (), True),
        (("camera",), (), True),
        ((ADMIN,), (), True),
        ((OPERATOR,), (), True),
        ((AGENT,), (OPERATOR,), False),
        ((ADMIN,), (OPERATOR,), False),
        ((OPERATOR,), ("camera",), True),
        (("camera",), ("camera", "nurse"), True),
        ((AGENT,), ("camera", "nurse"), False),
        ((OBSERVER,), (OBSERVER,), True),
    ],
)
def test_any_one_of_the_roles_that_a_command_asks_for_is_enough(
    roles: tuple[str, ...], required: tuple[str, ...], may: bool
) -> None:
    assert may_call(frozenset(roles), frozenset(required)) is may


@given(proven=ROLES, stated=ROLES, required=ROLES)
def test_two_may_together_what_each_may_and_never_more(
    proven: frozenset[str], stated: frozenset[str], required: frozenset[str]
) -> None:
    both = lesser(proven, stated)
    if may_call(both, required):
        assert may_call(proven, required)
        assert may_call(stated, required)
    assert both <= proven | {AGENT}
    assert both & {ADMIN, OWNER} <= proven & stated
    assert lesser(proven, proven) == proven
    assert lesser(both, both) == both


@given(other=ROLES)
def test_an_operator_may_act_for_whom_it_stands_above_and_be_acted_for(other: frozenset[str]) -> None:
    """Without them losing what they may, as far as it is calling."""
    assert may_call(lesser(other, frozenset({OPERATOR})), frozenset()) is may_call(other - {ADMIN, OWNER}, frozenset())
    assert may_call(lesser(frozenset({OPERATOR}), frozenset({AGENT})), frozenset())
    assert not may_call(lesser(frozenset({OPERATOR}), frozenset({AGENT})), frozenset({OPERATOR}))
    assert lesser(frozenset({OPERATOR}), frozenset({"nurse", ADMIN})) == frozenset()


@given(first=ROLES, second=ROLES, third=ROLES, required=ROLES)
def test_nobody_gains_on_a_longer_way(
    first: frozenset[str], second: frozenset[str], third: frozenset[str], required: frozenset[str]
) -> None:
    if may_call(lesser(third, lesser(second, first)), required):
        assert all(may_call(roles, required) for roles in (first, second, third))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ("operator", r"write roles=\['operator'\]"),
        (None, "roles=None cannot be used: write a list"),
        (7, "write a list"),
        (["a b"], "role 'a b'"),
        ([7], "role 7"),
    ],
)
def test_roles_that_cannot_be_used_are_told_with_what_to_write(wrong: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        checked_roles(wrong)


def test_roles_are_a_set() -> None:
    assert checked_roles(["a", "b", "a"]) == {"a", "b"}
    assert checked_roles(role for role in ("a",)) == {"a"}
    assert checked_roles(()) == frozenset()
