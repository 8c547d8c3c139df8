"""Calls: slots, answers, deadlines and cancels, on both sides and when they cross."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest

from orbitmesh.core.errors import DeadlineExceeded, Overloaded, PayloadTooLarge, ProtocolError
from orbitmesh.link.errors import from_wire, to_wire
from orbitmesh.link.outputs import Closed, Expired, Withdrawn
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import (
    Call,
    Cancel,
    Chunk,
    Drain,
    End,
    Envelope,
    Error,
    Heartbeat,
    Info,
    Item,
    Kind,
    Notify,
    Origin,
    Peers,
    Raw,
    Reply,
    Revoked,
    Subscribe,
    Unsubscribe,
)

if TYPE_CHECKING:
    from tests.unit.link.conftest import Pair, Side

HEADERS = {"name": "value"}
ORIGIN = Origin("first", "laptop", ["agent"])


# The straight way


def test_a_call_arrives_with_all_that_was_said_and_its_reply_comes_back(pair: Pair) -> None:
    id_ = pair.dialler.call("resize", b"params", serializer=1, headers=HEADERS, origin=ORIGIN)
    pair.settle()
    assert pair.acceptor.one(Call) == Call(id_, "resize", b"params", 0, 1, 1, HEADERS, ORIGIN)
    assert pair.acceptor.traffic.reply(id_, b"result")
    pair.settle()
    assert pair.dialler.one(Reply) == Reply(id_, b"result")
    assert pair.dialler.traffic.own.calls == pair.acceptor.traffic.served.calls == {}


def test_an_error_comes_back_under_the_id_of_its_call(pair: Pair) -> None:
    id_ = pair.acceptor.call()
    pair.settle()
    assert pair.dialler.traffic.fail(id_, Error(0, "out-of-stock", "sold out", raised="CommandError", body=b"data"))
    pair.settle()
    assert pair.acceptor.one(Error) == Error(id_, "out-of-stock", "sold out", raised="CommandError", body=b"data")


def test_both_sides_call_at_once_without_mixing_anything_up(pair: Pair) -> None:
    one, other = pair.dialler.call("a"), pair.acceptor.call("b")
    pair.settle()
    assert pair.dialler.one(Call).command == "b"
    assert pair.acceptor.one(Call).command == "a"
    pair.dialler.traffic.reply(other, b"b")
    pair.acceptor.traffic.reply(one, b"a")
    pair.settle()
    assert pair.dialler.one(Reply) == Reply(one, b"a")
    assert pair.acceptor.one(Reply) == Reply(other, b"b")


def test_one_way_envelopes_and_statements_are_handed_on_as_they_came(pair: Pair) -> None:
    pair.dialler.traffic.notify("log", b"text", serializer=1, headers=HEADERS, origin=ORIGIN)
    pair.dialler.traffic.raw(b"bytes", headers=HEADERS)
    pair.dialler.traffic.unsubscribe("a.*")
    statements: list[Info | Revoked | Peers] = [Info(0, groups=["x"]), Revoked(0, [b"list"]), Peers(0, [])]
    for statement in statements:
        pair.dialler.link.say(statement)
    pair.dialler.link.heartbeat(Heartbeat(0, 1, 2, 3))
    pair.dialler.link.drain_off()
    pair.settle()
    notify, raw = Notify(0, "log", b"text", 0, 1, HEADERS, ORIGIN), Raw(0, b"bytes", HEADERS)
    beat, *others = pair.acceptor.drain()
    assert beat == Heartbeat(0, 1, 2, 3)
    assert others == [notify, raw, Unsubscribe(0, "a.*"), *statements, Drain(0)]
    assert pair.dialler.link.is_draining


def test_a_subscription_is_confirmed(pair: Pair) -> None:
    id_ = pair.dialler.traffic.subscribe("a.*")
    pair.settle()
    assert pair.acceptor.one(Subscribe) == Subscribe(id_, "a.*")
    pair.acceptor.traffic.confirm(id_)
    pair.settle()
    assert pair.dialler.one(Reply) == Reply(id_)
    assert id_ not in pair.dialler.traffic.own


def test_a_subscription_may_be_refused(pair: Pair) -> None:
    id_ = pair.dialler.traffic.subscribe("a.*")
    pair.settle()
    pair.acceptor.traffic.deny(id_, Overloaded("too many"))
    pair.settle()
    assert isinstance(from_wire(pair.dialler.one(Error)), Overloaded)
    assert id_ not in pair.dialler.traffic.own


def test_a_subscription_that_has_not_left_is_taken_out(side: Side) -> None:
    side.traffic.cancel(side.traffic.subscribe("a.*"))
    assert side.said() == []
    id_ = side.traffic.subscribe("a.*")
    side.said()
    side.traffic.cancel(id_)
    assert side.said() == [Cancel(id_)]


# Slots


def test_as_many_calls_are_in_flight_as_the_peer_serves(side: Side) -> None:
    ids = [side.call() for _ in range(limits.CALL_SLOTS)]
    with pytest.raises(Overloaded, match="1024 calls"):
        side.call()
    side.traffic.cancel(ids[0])
    side.call()


def test_streams_have_slots_of_their_own(side: Side) -> None:
    for _ in range(limits.STREAM_SLOTS):
        side.call(kind=Kind.STREAM)
    with pytest.raises(Overloaded, match="1024 streams"):
        side.call(kind=Kind.CHANNEL)
    side.call()


@pytest.mark.parametrize("kind", [Kind.CALL, Kind.STREAM])
def test_a_call_beyond_its_slots_is_refused_at_once_and_never_handed_on(
    side: Side, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr(limits, "CALL_SLOTS", 2)
    monkeypatch.setattr(limits, "STREAM_SLOTS", 2)
    for id_ in (2, 4, 6):
        side.hear(Call(id_, "work", b"", kind=kind))
    assert [call.id for call in side.outputs(Call)] == [2, 4]
    (refusal,) = side.said()
    assert isinstance(refusal, Error)
    error = from_wire(refusal)
    assert isinstance(error, Overloaded)
    assert (refusal.id, error.retry_after > 0) == (6, True)
    side.hear(Cancel(2), Call(8, "work", b"", kind=kind))
    assert [type(output) for output in side.drain()] == [Withdrawn, Call]


# Deadlines


def test_a_deadline_travels_as_what_is_left_and_passes_on_both_sides(pair: Pair) -> None:
    id_ = pair.dialler.call(deadline=pair.dialler.now + 1.5)
    pair.settle()
    assert pair.acceptor.one(Call).ttl_ms == 1500
    assert pair.dialler.link.deadline == pair.acceptor.link.deadline == pair.dialler.now + 1.5
    assert pair.acceptor.traffic.served.deadline(id_) == pair.acceptor.now + 1.5
    pair.pass_time(1.499)
    assert pair.dialler.drain() == pair.acceptor.drain() == []
    pair.pass_time(0.001)
    assert pair.dialler.one(Expired) == Expired(id_)
    assert pair.acceptor.one(Withdrawn) == Withdrawn(id_, is_expired=True)
    pair.settle()  # CANCEL and ERROR cross
    assert pair.dialler.drain() == pair.acceptor.drain() == []
    assert pair.dialler.traffic.late == 1


def test_the_callee_says_that_the_deadline_passed(side: Side) -> None:
    side.hear(Call(2, "work", b"", 100))
    side.pass_time(0.1)
    (said,) = side.said()
    assert isinstance(said, Error)
    assert isinstance(from_wire(said), DeadlineExceeded)
    assert not side.traffic.reply(2, b"")
    assert not side.traffic.fail(2, Error(0, "x", ""))
    assert side.traffic.late == 2


def test_a_deadline_that_has_passed_leaves_as_the_shortest_time(side: Side) -> None:
    side.call(deadline=side.now - 5)
    (call,) = side.said()
    assert isinstance(call, Call)
    assert call.ttl_ms == 1


def test_what_waited_for_credit_leaves_with_what_is_left_of_its_time(pair: Pair) -> None:
    side = pair.dialler
    while not side.link.is_short:
        side.traffic.notify("work", b"")
        side.flush()
    side.call(deadline=side.now + 10)
    side.call()
    pair.pass_time(4)
    pair.settle()
    calls = [output for output in pair.acceptor.drain() if isinstance(output, Call)]
    assert [call.ttl_ms for call in calls] == [6000, 0]


def test_of_many_deadlines_each_ends_its_own_call(side: Side) -> None:
    ids = [side.call(deadline=side.now + seconds) for seconds in (3, 1, 2)]
    side.call(kind=Kind.STREAM, deadline=side.now + 1)
    endless = side.call(deadline=inf)
    side.pass_time(1)
    assert {output.id for output in side.outputs(Expired)} == {ids[1], ids[2] + 2}
    assert side.link.deadline == side.now + 1
    side.pass_time(1)
    assert side.one(Expired).id == ids[2]
    assert endless in side.traffic.own


# Cancels


def test_a_cancel_reaches_the_callee(pair: Pair) -> None:
    id_ = pair.dialler.call()
    pair.settle()
    pair.acceptor.one(Call)
    pair.dialler.traffic.cancel(id_)
    pair.dialler.traffic.cancel(id_)
    pair.settle()
    assert pair.acceptor.one(Withdrawn) == Withdrawn(id_, is_expired=False)
    assert not pair.acceptor.traffic.reply(id_, b"")


def test_an_unsent_call_is_taken_out_and_nothing_is_said(side: Side) -> None:
    first, second = side.call("first", bytes(70_000)), side.call("second", b"x")
    side.traffic.cancel(first)
    assert [said.id for said in side.said()] == [second]
    assert side.link.is_flushed


def test_a_cancel_that_comes_with_its_call_keeps_it_from_starting(side: Side) -> None:
    side.hear(Call(2, "work", b"", kind=Kind.CHANNEL), Item(2, b""), End(2), Call(4, "work", b""))
    side.hear(Cancel(2))
    assert side.one(Call).id == 4


def test_a_deadline_that_passes_before_a_call_was_handed_on_keeps_it_from_starting(side: Side) -> None:
    side.hear(Call(2, "work", b"", 100))
    side.pass_time(0.2)
    assert side.drain() == []


def test_an_answer_that_crosses_its_cancel_is_late_and_counted(pair: Pair) -> None:
    id_ = pair.dialler.call()
    pair.settle()
    pair.acceptor.drain()
    pair.dialler.traffic.cancel(id_)
    pair.acceptor.traffic.reply(id_, b"")
    pair.settle()
    assert pair.dialler.drain() == pair.acceptor.drain() == []
    assert pair.dialler.traffic.late == 1


def test_an_unsent_answer_to_a_cancelled_call_is_taken_out(side: Side) -> None:
    side.hear(Call(2, "work", b""))
    side.traffic.reply(2, b"result")
    side.hear(Cancel(2))
    assert side.said() == []


def test_a_call_is_answered_once(side: Side) -> None:
    side.hear(Call(2, "work", b""))
    assert side.traffic.reply(2, b"")
    assert not side.traffic.reply(2, b"")
    assert not side.traffic.fail(2, to_wire(Overloaded()))


# Bounds of this side


def test_bodies_and_headers_over_the_limit_are_refused_before_anything_is_said(side: Side) -> None:
    large, headers = bytes(limits.MAX_BODY + 1), {str(n): "v" * 16_000 for n in range(5)}
    side.hear(Call(2, "work", b""), Call(4, "work", b"", kind=Kind.STREAM))
    for attempt in (
        lambda: side.call(body=large),
        lambda: side.traffic.notify("work", large),
        lambda: side.traffic.raw(large),
        lambda: side.traffic.reply(2, large),
        lambda: side.traffic.item(4, large),
        lambda: side.call(headers=headers),
        lambda: side.traffic.notify("work", b"", headers=headers),
        lambda: side.traffic.raw(b"", headers=headers),
    ):
        with pytest.raises(PayloadTooLarge):
            attempt()
    assert side.said() == []
    assert side.traffic.own.calls == {}
    assert side.traffic.reply(2, b"small")


def test_a_statement_that_fits_no_frame_is_refused(side: Side) -> None:
    with pytest.raises(PayloadTooLarge, match="in parts"):
        side.link.say(Revoked(0, [bytes(50_000)] * 16))


# Breaches


@pytest.mark.parametrize(
    "envelope",
    [
        Call(0, "work", b""),
        Call(1, "work", b""),
        Call(3, "work", b""),
        Call(2, "again", b""),
        Call(4, "again", b""),
        Reply(0),
        Reply(2),
        Reply(5),
        Reply(3),
        Error(0, "x", ""),
        Error(2, "x", ""),
        Error(99, "x", ""),
        Item(1, b""),
        Item(2, b""),
        Item(0, b""),
        Item(6, b""),
        Item(4, b""),
        End(1),
        End(2),
        End(0),
        End(99),
        End(4),
        Cancel(0),
        Cancel(1),
        Cancel(8),
        Subscribe(0, "a"),
        Subscribe(1, "a"),
        Chunk(0, 0, 1000),
        Chunk(3, 0, 1000),
        Reply(1, 0),
        Reply(1, -6),
        Notify(0, "work", 1),
        Item(3, -2),
    ],
    ids=repr,
)
def test_what_no_honest_peer_says_is_a_breach(side: Side, envelope: Envelope) -> None:
    """1 is a call of ours, 3 a stream of ours, 2 a call of the peer's, 4 a stream of the peer's."""
    assert [side.call(), side.call(kind=Kind.STREAM)] == [1, 3]
    side.hear(Call(2, "work", b""), Call(4, "work", b"", kind=Kind.STREAM))
    side.drain()
    side.hear(envelope)
    closed = side.drain()[-1]
    assert isinstance(closed, Closed), closed
    assert isinstance(closed.error, ProtocolError)
    assert closed.is_breach


def test_after_a_breach_nothing_is_heard_and_nothing_starts(side: Side) -> None:
    side.hear(Notify(0, "kept", b""), Call(2, "work", b""), Reply(99), Notify(0, "never", b""))
    kept, closed = side.drain()
    assert (kept, type(closed)) == (Notify(0, "kept", b""), Closed)
    side.hear(Call(4, "work", b""))
    side.pass_time(1000)
    side.link.cut("again")
    side.link.leave(side.now)
    assert side.drain() == []
