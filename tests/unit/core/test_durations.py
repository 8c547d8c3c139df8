"""Durations as people write them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.core.durations import LONGEST, seconds
from orbitmesh.core.errors import ConfigError


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        (0, 0.0),
        (2, 2.0),
        (0.25, 0.25),
        ("100ms", 0.1),
        ("30s", 30.0),
        ("5m", 300.0),
        ("2h", 7200.0),
        ("1.5d", 129600.0),
        ("7", 7.0),
        (" 1.5 s ", 1.5),
        (LONGEST, LONGEST),
    ],
)
def test_numbers_and_texts_are_read_as_seconds(written: Any, meant: float) -> None:
    result = seconds(written)
    assert type(result) is float
    assert result == pytest.approx(meant)


@pytest.mark.parametrize(
    "written", ["", "s", "5 minutes", "-1s", "1e3", "1,5s", "1s1s", "inf", None, True, False, b"5s", [1]]
)
def test_what_is_no_duration_is_refused_with_the_right_form(written: Any) -> None:
    with pytest.raises(ConfigError, match=r"patience .* is no duration: write seconds"):
        seconds(written, what="patience")


@pytest.mark.parametrize(
    "written", [-1, -0.001, float("nan"), float("inf"), -float("inf"), LONGEST + 1, 10**400, "9" * 400, "36501d"]
)
def test_what_is_out_of_range_is_refused(written: Any) -> None:
    with pytest.raises(ConfigError, match=r"timeout .* is out of range"):
        seconds(written, what="timeout")


@given(st.one_of(st.text(), st.floats(), st.integers(), st.booleans(), st.none(), st.binary()))
def test_whatever_is_written_gives_seconds_or_one_kind_of_error(written: Any) -> None:
    try:
        result = seconds(written)
    except ConfigError:
        return
    assert 0 <= result <= LONGEST
