"""Credit of the link and of streams: what may lie unread, when it is given back, and who is caught beyond it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

from orbitmesh.core.errors import ProtocolError
from orbitmesh.link.credit import ItemReceiveCredit, ItemSendCredit, LinkReceiveCredit, LinkSendCredit
from orbitmesh.link.outputs import Closed, Granted, Writable
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import encode
from orbitmesh.wire.envelopes import Call, Cancel, Credit, Heartbeat, Item, Kind, Notify, Ping, Pong, Reply

if TYPE_CHECKING:
    from tests.unit.link.conftest import Pair, Side


def breach(side: Side) -> str:
    closed = side.drain()[-1]
    assert isinstance(closed, Closed)
    assert closed.is_breach
    assert isinstance(closed.error, ProtocolError)
    return str(closed.error)


def full(side: Side) -> int:
    """Fill the link's credit; give the number of messages that left."""
    count = 0
    while not side.link.is_short:
        side.traffic.notify("work", b"")
        count += side.flush()
    return count


# The counters


def test_what_may_be_sent_ends_with_messages_or_bytes_whichever_is_first() -> None:
    credit = LinkSendCredit()
    for _ in range(limits.LINK_MESSAGES):
        assert credit.has_room
        credit.sent(1)
    assert not credit.has_room
    credit.granted(Credit(0, 1, 0))
    assert credit.has_room
    credit.sent(limits.LINK_BYTES)
    credit.granted(Credit(0, 200, 200))
    assert not credit.has_room
    credit.granted(Credit(0, 512, 512))
    assert not credit.has_room
    credit.granted(Credit(0, 513, 512 + limits.LINK_BYTES))
    assert credit.has_room


def test_an_older_statement_of_credit_takes_nothing_back() -> None:
    credit = LinkSendCredit()
    for _ in range(limits.LINK_MESSAGES):
        credit.sent(1)
    credit.granted(Credit(0, 512, 512))
    credit.granted(Credit(0, 1, 1))
    assert credit.has_room
    items = ItemSendCredit()
    for _ in range(limits.STREAM_ITEMS):
        items.sent(1)
    items.granted(Credit(3, limits.STREAM_ITEMS, limits.STREAM_ITEMS))
    items.granted(Credit(3, 1, 1))
    assert items.has_room


@pytest.mark.parametrize("stated", [Credit(0, 2, 5), Credit(0, 1, 6), Credit(0, 1, 5, 2)])
def test_nobody_can_have_read_more_than_was_sent(stated: Credit) -> None:
    credit = LinkSendCredit()
    credit.sent(5)
    credit.sent_control()
    credit.granted(Credit(0, 1, 5, 1))
    with pytest.raises(ProtocolError, match="more than was sent"):
        credit.granted(stated)


@pytest.mark.parametrize("stated", [Credit(3, 2, 5), Credit(3, 1, 6)])
def test_nobody_can_have_taken_more_items_than_were_sent(stated: Credit) -> None:
    credit = ItemSendCredit()
    credit.sent(5)
    with pytest.raises(ProtocolError, match="more than was sent"):
        credit.granted(stated)


def test_credit_is_due_at_a_quarter_of_any_of_its_three_measures() -> None:
    for sizes, control in (([1] * 128, 0), ([limits.LINK_BYTES // 4], 0), ([], 32)):
        credit = LinkReceiveCredit()
        for size in sizes:
            assert not credit.is_due
            credit.read(size)
        for _ in range(control):
            assert not credit.is_due
            credit.read_control()
        assert credit.is_due
        assert credit.tell() == Credit(0, len(sizes), sum(sizes), control)
        assert not credit.is_due


def test_item_credit_is_due_at_a_quarter_of_its_items_or_bytes() -> None:
    credit = ItemReceiveCredit()
    quarter = limits.STREAM_ITEMS // 4
    assert not credit.took(quarter - 1, quarter - 1)
    assert credit.took(1, 1)
    assert credit.tell(3) == Credit(3, quarter, quarter)
    assert not credit.took(1, limits.STREAM_BYTES // 4 - 1)
    assert credit.took(0, 1)


# What a peer may not do


def test_the_peer_may_fill_its_credit_and_one_message_more_is_a_breach(side: Side) -> None:
    for _ in range(limits.LINK_MESSAGES - 2):  # after its greeting and its statement
        side.hear(Notify(0, "work", b""))
    assert not side.link.is_closed
    side.hear(Notify(0, "work", b""))
    assert "without credit" in breach(side)


def test_credit_counts_from_when_it_has_left(connected: Callable[..., Side]) -> None:
    """What lies in this side's outbox cannot have been known to the peer."""
    side = connected()
    for _ in range(300):
        side.hear(Notify(0, "work", b""))
    (told,) = side.said()
    assert isinstance(told, Credit)
    assert told.count == 302
    for _ in range(limits.LINK_MESSAGES):
        side.hear(Notify(0, "work", b""))
    assert not side.link.is_closed
    side.hear(Notify(0, "work", b""))
    assert "513 messages" in breach(side)


def test_the_peer_may_not_send_more_bytes_than_its_credit_and_one_message(side: Side) -> None:
    body = bytes(limits.MAX_FRAME_BYTES - 1)
    batch = encode([Notify(0, "work", 0), Notify(0, "work", 1)])
    for _ in range(8):
        side.receive([batch, body, body])
    assert not side.link.is_closed
    side.receive([batch, body, body])
    assert "without credit" in breach(side)


def test_the_peer_may_not_send_more_control_messages_than_its_window_and_the_spare(side: Side) -> None:
    for _ in range(limits.CONTROL_MESSAGES + limits.CONTROL_SPARE):
        side.hear(Heartbeat(0, 0, 0, 1))
    assert not side.link.is_closed
    side.hear(Heartbeat(0, 0, 0, 1))
    assert "control messages came without credit" in breach(side)


def test_credit_for_more_than_was_sent_is_a_breach(side: Side) -> None:
    side.hear(Credit(0, 5, 5))
    assert "more than was sent" in breach(side)


def test_items_beyond_their_credit_are_a_breach(side: Side) -> None:
    id_ = side.call(kind=Kind.STREAM)
    for _ in range(limits.STREAM_ITEMS // 8):
        side.hear(*(Item(id_, b"") for _ in range(8)))
    assert not side.link.is_closed
    side.hear(Item(id_, b""))
    assert "without credit" in breach(side)


def test_item_bytes_beyond_their_credit_are_a_breach(side: Side) -> None:
    id_ = side.call(kind=Kind.STREAM)
    side.hear(Item(id_, bytes(limits.STREAM_BYTES // 2)))
    side.hear(Item(id_, bytes(limits.STREAM_BYTES // 2 - 1)))
    side.hear(Item(id_, bytes(1000)))  # begun with a byte of credit left
    assert not side.link.is_closed
    side.hear(Item(id_, b"x"))
    assert "without credit" in breach(side)


def test_credit_of_what_was_never_opened_is_a_breach(side: Side) -> None:
    side.hear(Credit(1, 0, 0))
    assert "never opened" in breach(side)


# How it flows


def test_a_link_without_credit_holds_data_back_and_tells_when_it_may_go_on(pair: Pair) -> None:
    side = pair.dialler
    count = full(side)
    assert count == limits.LINK_MESSAGES - 2
    side.traffic.notify("late", b"")
    assert side.flush() == 0
    assert side.link.waiting == 1
    pair.deliver(side, 127)
    assert pair.acceptor.flush() == 1
    pair.deliver(pair.acceptor)
    side.one(Writable)
    assert not side.link.is_short
    assert side.flush() == 1


def test_control_leaves_while_data_may_not(pair: Pair) -> None:
    side = pair.dialler
    full(side)
    side.traffic.notify("late", b"")
    side.link.heartbeat(Heartbeat(0, 1, 1, 1))
    assert side.flush() == 1


def test_two_full_control_windows_open_each_other(pair: Pair) -> None:
    sides = (pair.dialler, pair.acceptor)
    for side in sides:
        while True:
            side.link.ping()
            if not side.flush():
                break
        assert len(side.queue) == limits.CONTROL_MESSAGES
    pair.settle()
    for side in sides:
        assert len(side.outputs(Pong)) == limits.CONTROL_MESSAGES + 1


def test_control_beside_data_takes_nothing_from_the_window(pair: Pair) -> None:
    for _ in range(2 * limits.CONTROL_MESSAGES):
        pair.dialler.link.heartbeat(Heartbeat(0, 0, 0, 1))
        pair.dialler.traffic.notify("work", b"")
        assert pair.dialler.flush() == 1
        pair.settle()
    assert not pair.acceptor.link.is_closed


def test_goodbye_and_drain_are_data_to_both_sides(pair: Pair) -> None:
    """Sender and receiver count every message the same way, or the next statement of credit would be a lie."""
    pair.dialler.link.drain_off()
    pair.settle()
    for _ in range(limits.CONTROL_MESSAGES):
        pair.dialler.link.heartbeat(Heartbeat(0, 0, 0, 1))
        pair.settle()
    assert not pair.dialler.link.is_closed


def test_a_producer_stops_at_its_credit_and_is_told_to_go_on(pair: Pair) -> None:
    id_ = pair.dialler.call(kind=Kind.STREAM)
    pair.settle()
    pair.acceptor.one(Call)
    producer = pair.acceptor.traffic
    for _ in range(limits.STREAM_ITEMS):
        assert producer.may_send_item(id_)
        assert producer.item(id_, b"")
    assert not producer.may_send_item(id_)
    pair.settle()
    assert len(pair.dialler.outputs(Item)) == limits.STREAM_ITEMS
    quarter = limits.STREAM_ITEMS // 4
    pair.dialler.traffic.took(id_, quarter - 1, 0)
    pair.settle()
    assert pair.acceptor.drain() == []
    pair.dialler.traffic.took(id_, 1, 0)
    pair.settle()
    assert pair.acceptor.one(Granted) == Granted(id_)
    assert producer.may_send_item(id_)
    pair.dialler.traffic.took(id_, quarter, 0)
    pair.settle()
    assert pair.acceptor.drain() == []  # told once, when it had asked


def test_one_slow_consumer_stops_its_own_producer_and_nobody_elses(pair: Pair) -> None:
    slow, quick = pair.dialler.call(kind=Kind.STREAM), pair.dialler.call(kind=Kind.STREAM)
    pair.settle()
    producer = pair.acceptor.traffic
    while producer.may_send_item(slow):
        producer.item(slow, bytes(100_000))
    assert producer.may_send_item(quick)
    call = pair.dialler.call()
    pair.settle()
    assert producer.reply(call, b"")
    pair.settle()
    assert any(isinstance(output, Reply) for output in pair.dialler.drain())


def test_a_producer_waits_for_the_link_too(pair: Pair) -> None:
    id_ = pair.dialler.call(kind=Kind.STREAM)
    pair.settle()
    full(pair.acceptor)
    assert not pair.acceptor.traffic.may_send_item(id_)
    pair.settle()
    assert pair.acceptor.drain()[-1] == Writable()
    assert pair.acceptor.traffic.may_send_item(id_)


def test_a_peer_that_asks_without_reading_is_cut(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its PINGs are answered, its CALLs refused, but not without end."""
    monkeypatch.setattr("orbitmesh.link.lanes.CONTROL_WAITING", 300)
    side.hear(*[Ping(2 * n) for n in range(1, 201)])
    assert not side.link.is_closed
    side.hear(*[Ping(2 * n) for n in range(201, 302)])
    assert "does not read: 300 control envelopes" in breach(side)


def test_a_peer_that_is_refused_without_reading_is_cut(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orbitmesh.link.bodies.REFUSALS", 10)
    monkeypatch.setattr(limits, "CALL_SLOTS", 0)
    for round_ in range(3):  # who reads may be refused as often as it likes
        side.hear(*[Call(2 * n, "work", b"") for n in range(1 + 10 * round_, 11 + 10 * round_)])
        assert len(side.said()) == 10
    side.hear(*[Call(2 * n, "work", b"") for n in range(101, 112)])
    assert "does not read: 10 refusals" in breach(side)


def test_a_cancel_leaves_while_data_may_not(side: Side) -> None:
    id_ = side.call()
    full(side)
    side.queue.clear()
    side.traffic.cancel(side.call())
    assert side.said() == []
    side.traffic.cancel(id_)
    assert side.said() == [Cancel(id_)]
