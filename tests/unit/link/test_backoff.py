"""Waits between dials."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.link.backoff import FIRST, LATER, PATIENT_AFTER, SOON, delay


def test_each_failure_doubles_the_wait_up_to_a_cap_that_grows_with_time() -> None:
    assert [delay(n, since_loss=0.0, random=1.0) for n in range(6)] == [0.5, 1.0, 2.0, 4.0, SOON, SOON]
    assert delay(20, since_loss=PATIENT_AFTER, random=1.0) == LATER


@given(st.integers(0, 10**6), st.floats(0, 1e9), st.floats(0, 1))
def test_a_wait_is_spread_over_the_upper_half_of_its_step(attempt: int, since_loss: float, random: float) -> None:
    longest = delay(attempt, since_loss=since_loss, random=1.0)
    assert FIRST <= longest <= LATER
    assert longest / 2 <= delay(attempt, since_loss=since_loss, random=random) <= longest
