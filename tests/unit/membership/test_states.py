"""Every state meets every cause, and what follows is written down here once more, by hand."""

from __future__ import annotations

import pytest

from orbitmesh.membership.info import AgentState as S
from orbitmesh.membership.states import TRANSITIONS, Cause, following

# In the order of Cause; a dot stays.
CAUSES = "sighted dialled greeted complete ready paused silence cut hung grace goodbye vanished refused"
EXPECTED = {
    S.DISCOVERED: ". linking linking . . . . . . . gone gone rejected",
    S.LINKING: ". . . connected . . . discovered discovered . gone . rejected",
    S.CONNECTED: ". . . . . paused busy suspect lost . gone . .",
    S.PAUSED: ". . . . connected . busy suspect lost . gone . .",
    S.BUSY: ". . . connected connected paused . suspect lost . gone . .",
    S.SUSPECT: ". . . connected . . . . . lost gone . rejected",
    S.LOST: ". . . connected . . . . . . gone . rejected",
    S.GONE: "discovered . . connected . . . . . . . . rejected",
    S.REJECTED: "discovered . . connected . . . . . . gone gone .",
}


def test_the_table_of_expectations_is_complete() -> None:
    assert " ".join(Cause) == CAUSES
    assert set(EXPECTED) == set(S)


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("state", S)
def test_each_cause_in_each_state_leads_where_it_should(state: S, cause: Cause) -> None:
    expected = EXPECTED[state].split()[CAUSES.split().index(cause)]
    assert following(state, cause) is (state if expected == "." else S(expected))


def test_the_table_holds_no_move_that_stays() -> None:
    assert all(state is not after for (state, _), after in TRANSITIONS.items())


@pytest.mark.parametrize("goal", S)
def test_every_state_can_be_reached_from_the_first(goal: S) -> None:
    reached = {S.DISCOVERED}
    for _ in S:
        reached |= {after for (state, _), after in TRANSITIONS.items() if state in reached}
    assert goal in reached


def test_nobody_with_a_link_is_thrown_out_by_a_claim() -> None:
    for state in (S.CONNECTED, S.PAUSED, S.BUSY):
        assert following(state, Cause.REFUSED) is state
