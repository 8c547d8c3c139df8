"""Tables of exchanges with their deadlines, and ids."""

from __future__ import annotations

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.core.errors import ProtocolError
from orbitmesh.link.exchanges import Exchanges, Ids

DEADLINES = st.lists(st.tuples(st.booleans(), st.floats(0, 100) | st.just(inf)), max_size=20)


@given(DEADLINES, st.floats(0, 100))
def test_what_is_due_ends_at_once_and_nothing_else_does(deadlines: list[tuple[bool, float]], now: float) -> None:
    exchanges = Exchanges()
    for id_, (is_call, deadline) in enumerate(deadlines):
        if is_call:
            exchanges.add_call(id_, deadline)
        else:
            exchanges.add_flow(id_, deadline)
    assert exchanges.due == min((deadline for _, deadline in deadlines), default=inf)
    over = exchanges.expire(now)
    assert sorted(over) == [id_ for id_, (_, deadline) in enumerate(deadlines) if deadline <= now]
    left = [deadline for _, deadline in deadlines if deadline > now]
    assert exchanges.due <= min(left, default=inf)
    assert exchanges.expire(now) == []
    for id_, (_, deadline) in enumerate(deadlines):
        assert (id_ in exchanges) is (deadline > now)
        assert exchanges.deadline(id_) == (deadline if deadline > now else inf)


def test_an_exchange_ends_once() -> None:
    exchanges = Exchanges()
    exchanges.add_call(1, inf)
    exchanges.add_flow(3, inf)
    assert [exchanges.remove(1), exchanges.remove(1), exchanges.remove(3), exchanges.remove(3)] == [True, False] * 2


@pytest.mark.parametrize(("is_dialler", "expected"), [(True, [1, 3, 5]), (False, [2, 4, 6])])
def test_each_side_opens_numbers_of_its_own(is_dialler: bool, expected: list[int]) -> None:
    ids = Ids(is_dialler=is_dialler)
    assert [ids.next() for _ in range(3)] == expected
    assert all(ids.is_ours(id_) for id_ in expected)
    assert not any(ids.is_ours(id_ + 1) for id_ in expected)


@pytest.mark.parametrize("is_dialler", [True, False])
def test_only_what_was_opened_by_either_side_can_be_late(is_dialler: bool) -> None:
    ids = Ids(is_dialler=is_dialler)
    ours = ids.next()
    ids.check_opening(12 if is_dialler else 11)
    ids.check_stray(ours)
    ids.check_stray(2 if is_dialler else 1)
    for never in (0, ours + 2, 14, 15):
        with pytest.raises(ProtocolError, match="never opened"):
            ids.check_stray(never)


@pytest.mark.parametrize("is_dialler", [True, False])
def test_a_peer_may_not_open_this_sides_numbers_nor_none(is_dialler: bool) -> None:
    ids = Ids(is_dialler=is_dialler)
    for taken in (0, ids.next(), ids.next() + 10):
        with pytest.raises(ProtocolError, match="not the peer's"):
            ids.check_opening(taken)


def test_ids_that_arrive_in_another_order_were_opened_all_the_same() -> None:
    ids = Ids(is_dialler=True)
    ids.check_opening(8)
    ids.check_opening(4)
    ids.check_stray(6)
