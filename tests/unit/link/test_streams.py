"""Streams and channels: items in both directions, ends, and what comes after them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orbitmesh.core.errors import ProtocolError
from orbitmesh.link.outputs import Closed, Withdrawn
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import Call, Cancel, Credit, End, Error, Item, Kind

if TYPE_CHECKING:
    from tests.unit.link.conftest import Pair, Side


def test_a_stream_brings_its_items_in_order_and_then_its_end(pair: Pair) -> None:
    id_ = pair.dialler.call(kind=Kind.STREAM)
    pair.settle()
    assert pair.acceptor.one(Call).kind == Kind.STREAM
    for body in (b"a", bytes(70_000), bytes(300_000), b"b", bytes(400_000), b"c"):
        assert pair.acceptor.traffic.item(id_, body)
    assert pair.acceptor.traffic.end(id_)
    pair.settle()
    *items, end = pair.dialler.drain()
    assert [len(item.body) for item in items] == [1, 70_000, 300_000, 1, 400_000, 1]  # type: ignore[union-attr, arg-type]  # items
    assert end == End(id_)
    assert pair.dialler.traffic.own.flows == pair.acceptor.traffic.served.flows == {}


def test_a_channel_carries_items_both_ways_until_its_served_side_ends(pair: Pair) -> None:
    id_ = pair.acceptor.call(kind=Kind.CHANNEL)
    assert pair.acceptor.traffic.item(id_, b"up")
    assert pair.acceptor.traffic.end(id_)
    pair.settle()
    call, *rest = pair.dialler.drain()
    assert isinstance(call, Call)
    assert rest == [Item(id_, b"up"), End(id_)]
    assert pair.dialler.traffic.item(id_, b"down")
    assert pair.dialler.traffic.end(id_)
    pair.settle()
    assert pair.acceptor.drain() == [Item(id_, b"down"), End(id_)]
    assert id_ not in pair.acceptor.traffic.own


def test_a_stream_may_fail_after_some_items(pair: Pair) -> None:
    id_ = pair.dialler.call(kind=Kind.STREAM)
    pair.settle()
    pair.acceptor.traffic.item(id_, bytes(300_000))
    assert pair.acceptor.traffic.fail(id_, Error(0, "broken", "halfway"))
    pair.settle()
    assert [type(output) for output in pair.dialler.drain()] == [Item, Error]


def test_nothing_is_sent_after_the_end_of_ones_own_items(side: Side) -> None:
    id_ = side.call(kind=Kind.CHANNEL)
    assert side.traffic.end(id_)
    assert not side.traffic.item(id_, b"")
    assert not side.traffic.end(id_)
    assert [type(said) for said in side.said()] == [Call, End]


def test_the_caller_of_a_stream_sends_no_items(side: Side) -> None:
    id_ = side.call(kind=Kind.STREAM)
    assert not side.traffic.item(id_, b"")
    assert not side.traffic.end(id_)
    assert [type(said) for said in side.said()] == [Call]


def test_what_is_over_takes_no_items_and_no_end(side: Side) -> None:
    assert side.traffic.may_send_item(2)  # sending finds out
    assert not side.traffic.item(2, b"")
    assert not side.traffic.end(2)
    side.traffic.took(2, 100, 100)
    assert side.said() == []


def test_an_item_or_end_after_the_end_is_a_breach(make_pair: type[Pair]) -> None:
    for second in (End(2), Item(2, b"")):
        side = make_pair().connect().dialler
        side.hear(Call(2, "work", b"", kind=Kind.CHANNEL), End(2))
        side.drain()
        side.hear(second)
        closed = side.one(Closed)
        assert isinstance(closed.error, ProtocolError)


def test_items_that_cross_a_cancel_are_late_and_counted(pair: Pair) -> None:
    id_ = pair.dialler.call(kind=Kind.STREAM)
    pair.settle()
    pair.acceptor.drain()
    pair.acceptor.traffic.item(id_, b"")
    pair.acceptor.flush()
    pair.dialler.traffic.cancel(id_)
    pair.settle()
    assert pair.dialler.drain() == []
    assert pair.dialler.traffic.late == 1
    assert pair.acceptor.one(Withdrawn) == Withdrawn(id_, is_expired=False)
    assert not pair.acceptor.traffic.item(id_, b"")


def test_items_of_a_channel_that_ended_meanwhile_are_late_and_counted(pair: Pair) -> None:
    id_ = pair.dialler.call(kind=Kind.CHANNEL)
    pair.settle()
    pair.acceptor.drain()
    pair.dialler.traffic.item(id_, b"")
    pair.dialler.traffic.end(id_)
    pair.dialler.flush()
    pair.acceptor.traffic.end(id_)
    pair.settle()
    assert pair.acceptor.drain() == []
    assert pair.acceptor.traffic.late == 2
    assert pair.dialler.one(End) == End(id_)


def test_unsent_items_go_with_their_unsent_call(side: Side) -> None:
    id_ = side.call(kind=Kind.CHANNEL)
    side.traffic.item(id_, b"a")
    side.traffic.item(id_, bytes(300_000))
    side.traffic.item(id_, b"b")
    side.traffic.cancel(id_)
    assert side.said() == []
    assert side.link.is_flushed


def test_unsent_items_are_taken_back_when_the_call_has_left(side: Side) -> None:
    id_ = side.call(kind=Kind.CHANNEL)
    side.said()
    side.traffic.item(id_, b"a")
    side.traffic.cancel(id_)
    assert side.said() == [Cancel(id_)]


def test_credit_goes_back_for_the_peers_items_of_a_channel_until_they_are_complete(pair: Pair) -> None:
    half = limits.STREAM_ITEMS // 2
    id_ = pair.dialler.call(kind=Kind.CHANNEL)
    for is_last in (False, True):
        for _ in range(half):
            pair.dialler.traffic.item(id_, b"x")
        if is_last:
            pair.dialler.traffic.end(id_)
        pair.settle()
        pair.acceptor.traffic.took(id_, half, half)
        assert pair.acceptor.said() == ([] if is_last else [Credit(id_, half, half)])
