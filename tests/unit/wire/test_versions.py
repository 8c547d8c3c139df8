"""Two ranges of versions meet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.core.errors import IncompatibleVersion
from orbitmesh.wire.versions import SPOKEN, VersionRange, agreed

RANGES = st.tuples(st.integers(1, 9), st.integers(0, 4)).map(lambda pair: VersionRange(pair[0], pair[0] + pair[1]))


@given(RANGES, RANGES)
def test_the_newest_that_both_speak_is_taken_on_both_sides(ours: VersionRange, theirs: VersionRange) -> None:
    common = set(range(ours.oldest, ours.newest + 1)) & set(range(theirs.oldest, theirs.newest + 1))
    if common:
        assert agreed(ours, theirs) == agreed(theirs, ours) == max(common)
    else:
        for one, other in ((ours, theirs), (theirs, ours)):
            with pytest.raises(IncompatibleVersion, match="none in common"):
                agreed(one, other)


def test_the_older_side_is_told_to_be_upgraded() -> None:
    with pytest.raises(IncompatibleVersion, match="upgrade this node"):
        agreed(VersionRange(1, 2), VersionRange(3, 4))
    with pytest.raises(IncompatibleVersion, match="upgrade the peer"):
        agreed(VersionRange(3, 4), VersionRange(1, 2))


def test_a_range_upside_down_has_nothing_in_common_with_any() -> None:
    with pytest.raises(IncompatibleVersion):
        agreed(VersionRange(1, 3), VersionRange(9, 1))


def test_this_node_speaks_a_version() -> None:
    assert 1 <= SPOKEN.oldest <= SPOKEN.newest
