"""Every state meets every cause, and what follows is written down here once more, by hand."""

from __future__ import annotations

import pytest

from orbitmesh.link.states import TRANSITIONS, Cause, following
from orbitmesh.link.states import LinkState as S

# In the order of Cause; a dot stays.
CAUSES = "greeted complete heard silence leave parted breach cut"
EXPECTED = {
    S.GREETING: "welcomed . . closed closed closed closed closed",
    S.WELCOMED: ". connected . closed leaving closed closed closed",
    S.CONNECTED: ". . . busy leaving closed closed closed",
    S.BUSY: ". . connected closed leaving closed closed closed",
    S.LEAVING: ". . . closed . closed closed closed",
    S.CLOSED: ". . . . . . . .",
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


def test_nothing_leads_back_out_of_the_end() -> None:
    assert all(state is not S.CLOSED for state, _ in TRANSITIONS)
