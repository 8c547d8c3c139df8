"""Large bodies: announced, agreed to, cut into chunks, put together, given up."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from orbitmesh.core.errors import PayloadTooLarge, ProtocolError
from orbitmesh.link.errors import from_wire, to_wire
from orbitmesh.link.outputs import Closed, Refused, Withdrawn
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import encode
from orbitmesh.wire.envelopes import (
    Bodied,
    Call,
    Cancel,
    Chunk,
    Credit,
    End,
    Envelope,
    Error,
    Event,
    Item,
    Kind,
    Notify,
    Raw,
    Reply,
)

if TYPE_CHECKING:
    from tests.unit.link.conftest import Pair, Side

LARGE = limits.WHOLE_BODY + 1
MANY = 7 * limits.CHUNK_BYTES + 9
"""Bytes of a body of eight chunks, twice what may be unread."""


def held(side: Side) -> int:
    """Bytes that the unfinished transfers of the peer hold."""
    incoming = side.traffic._bodies._incoming
    return incoming._held + len(incoming._open) + len(incoming._waiting) + len(incoming._whole)


# The way of a body


@pytest.mark.parametrize("size", [LARGE, limits.CHUNK_BYTES, limits.CHUNK_BYTES + 1, MANY])
def test_a_large_body_arrives_as_it_was(pair: Pair, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    pair.dialler.call(body=body[:size])
    pair.settle()
    assert pair.acceptor.one(Call).body == body[:size]
    assert held(pair.acceptor) == 0
    assert pair.dialler.link.is_flushed


def test_a_body_up_to_the_bound_travels_whole(side: Side) -> None:
    side.call(body=bytes(limits.WHOLE_BODY))
    (call,) = side.said()
    assert isinstance(call, Call)
    assert len(call.body) == limits.WHOLE_BODY  # type: ignore[arg-type]  # it is whole


def test_parts_leave_only_when_the_peer_has_agreed_and_no_more_than_four_ahead(side: Side) -> None:
    side.call(body=bytes(MANY))
    (opening,) = side.said()
    assert opening == Chunk(3, 0, MANY)
    side.hear(Credit(3, 0, 0))
    assert [(type(said), said.id) for said in side.said()] == [(Chunk, 3)] * limits.TRANSFER_CHUNKS
    side.hear(Credit(3, 1, limits.CHUNK_BYTES))
    assert [said.sequence for said in side.said()] == [5]  # type: ignore[union-attr]  # chunks
    side.hear(Credit(3, 5, 5 * limits.CHUNK_BYTES))
    *chunks, call = side.said()
    assert [(chunk.sequence, len(chunk.body)) for chunk in chunks] == [  # type: ignore[union-attr, arg-type]  # as above
        (6, limits.CHUNK_BYTES),
        (7, limits.CHUNK_BYTES),
        (8, 9),
    ]
    assert call == Call(1, "work", -3)


def test_the_envelope_leaves_after_its_last_part_with_what_is_left_of_its_time(side: Side) -> None:
    side.call(body=bytes(LARGE), deadline=side.now + 10)
    side.said()
    side.now += 4
    side.hear(Credit(3, 0, 0))
    chunk, call = side.said()
    assert isinstance(chunk, Chunk)
    assert isinstance(call, Call)
    assert call.ttl_ms == 6000


def test_every_envelope_with_a_body_may_be_large(pair: Pair) -> None:
    body = bytes(LARGE)
    one, other = pair.dialler.call(body=body), pair.dialler.call(kind=Kind.CHANNEL, body=body)
    pair.dialler.traffic.item(other, body)
    pair.dialler.traffic.notify("work", body)
    pair.dialler.traffic.raw(body)
    pair.dialler.traffic.publish(Event(0, "topic", body, 0))
    failing = pair.dialler.call()
    pair.settle()
    came: list[Any] = pair.acceptor.drain()
    assert {type(output) for output in came} == {Call, Item, Notify, Raw, Event}
    assert all(output.body in (body, b"") for output in came)
    pair.acceptor.traffic.reply(one, body)
    pair.acceptor.traffic.item(other, body)
    pair.acceptor.traffic.fail(failing, Error(0, "x", "", body=body))
    pair.settle()
    answers: list[Any] = pair.dialler.drain()
    assert {type(output) for output in answers} == {Reply, Item, Error}
    assert all(output.body == body for output in answers)


def test_two_large_bodies_take_turns(side: Side) -> None:
    for _ in range(2):
        side.traffic.notify("work", bytes(2 * limits.CHUNK_BYTES))
    side.said()
    side.hear(Credit(1, 0, 0), Credit(3, 0, 0))
    chunks = [said.id for said in side.said() if isinstance(said, Chunk)]
    assert chunks == [1, 3, 1, 3]


def test_small_envelopes_leave_before_the_next_part(side: Side) -> None:
    side.traffic.notify("large", bytes(MANY))
    side.said()
    side.hear(Credit(1, 0, 0))
    side.traffic.notify("small", b"")
    side.flush(1)
    first, *_ = side.said()
    assert isinstance(first, Notify)
    assert first.command == "small"


# Order within an exchange


def test_what_follows_a_large_body_within_its_exchange_waits_for_it(pair: Pair) -> None:
    id_ = pair.dialler.call(kind=Kind.CHANNEL, body=bytes(MANY))
    pair.dialler.traffic.item(id_, bytes(LARGE))
    pair.dialler.traffic.item(id_, b"small")
    pair.dialler.traffic.item(id_, bytes(LARGE + 1))
    pair.dialler.traffic.end(id_)
    pair.dialler.call("another")
    pair.settle()
    another, call, *items, end = pair.acceptor.drain()
    assert isinstance(another, Call)
    assert another.command == "another"
    assert isinstance(call, Call)
    assert [len(item.body) for item in items] == [LARGE, 5, LARGE + 1]  # type: ignore[union-attr, arg-type]  # items
    assert end == End(id_)


# Refused


def test_a_call_that_is_too_large_for_the_peer_is_refused_before_any_part_is_sent(make_pair: type[Pair]) -> None:
    pair = make_pair(acceptor={"max_body": LARGE}).connect()
    id_ = pair.dialler.call(kind=Kind.CHANNEL, body=bytes(LARGE + 1))
    pair.dialler.traffic.item(id_, b"")
    pair.dialler.flush()
    assert sum(len(frame) for frames in pair.dialler.queue for frame in frames) < 100
    pair.settle()
    refused = pair.dialler.one(Refused)
    assert (refused.id, type(refused.error)) == (id_, PayloadTooLarge)
    assert "use a stream" in str(refused.error)
    assert id_ not in pair.dialler.traffic.own
    assert pair.acceptor.drain() == []


def test_the_caller_learns_that_the_answer_is_too_large_for_it(make_pair: type[Pair]) -> None:
    for answer in (Reply(0, bytes(LARGE + 1)), Error(0, "x", "", body=bytes(LARGE + 1))):
        pair = make_pair(dialler={"max_body": LARGE}).connect()
        id_ = pair.dialler.call()
        pair.settle()
        pair.acceptor.drain()
        if isinstance(answer, Reply):
            pair.acceptor.traffic.reply(id_, bytes(LARGE + 1))
        else:
            pair.acceptor.traffic.fail(id_, answer)
        pair.settle()
        error = pair.dialler.one(Error)
        assert (error.id, type(from_wire(error))) == (id_, PayloadTooLarge)
        assert pair.acceptor.one(Refused).id == id_


def test_an_item_that_is_too_large_for_the_caller_ends_its_stream_on_both_sides(make_pair: type[Pair]) -> None:
    pair = make_pair(dialler={"max_body": LARGE}).connect()
    id_ = pair.dialler.call(kind=Kind.STREAM)
    pair.settle()
    pair.acceptor.drain()
    pair.acceptor.traffic.item(id_, b"first")
    pair.acceptor.traffic.item(id_, bytes(LARGE + 1))
    pair.acceptor.traffic.item(id_, b"last")
    pair.settle()
    first, error = pair.dialler.drain()
    assert first == Item(id_, b"first")
    assert isinstance(error, Error)
    withdrawn, refused = pair.acceptor.drain()
    assert withdrawn == Withdrawn(id_, is_expired=False)
    assert isinstance(refused, Refused)
    assert not pair.acceptor.traffic.item(id_, b"")
    assert held(pair.dialler) == 0


def test_an_item_that_is_too_large_for_the_callee_cancels_the_channel(make_pair: type[Pair]) -> None:
    pair = make_pair(acceptor={"max_body": LARGE}).connect()
    id_ = pair.dialler.call(kind=Kind.CHANNEL)
    pair.settle()
    pair.acceptor.drain()
    pair.dialler.traffic.item(id_, bytes(LARGE + 1))
    pair.settle()
    assert pair.dialler.one(Refused).id == id_
    assert pair.acceptor.one(Withdrawn) == Withdrawn(id_, is_expired=False)


@pytest.mark.parametrize(
    "send", [lambda side, body: side.traffic.notify("work", body), lambda side, body: side.traffic.raw(body)]
)
def test_a_one_way_body_that_is_too_large_is_told_to_its_sender(
    make_pair: type[Pair], send: Callable[[Side, bytes], None]
) -> None:
    pair = make_pair(acceptor={"max_body": LARGE}).connect()
    send(pair.dialler, bytes(LARGE + 1))
    pair.settle()
    assert pair.dialler.one(Refused).id == 0
    assert pair.acceptor.drain() == []


def test_an_event_that_is_too_large_for_a_subscriber_counts_as_missed(make_pair: type[Pair]) -> None:
    pair = make_pair(acceptor={"max_body": LARGE}).connect()
    for time, size in enumerate((1, LARGE + 1, LARGE + 1, 1)):
        pair.dialler.traffic.publish(Event(0, "topic", bytes(size), time))
    pair.settle()
    first, second = pair.acceptor.outputs(Event)
    assert (first.time_ms, first.missed, second.time_ms, second.missed) == (0, 0, 3, 2)
    assert pair.dialler.link.events_dropped == 2
    assert len(pair.dialler.outputs(Refused)) == 2


# A limit so low that bodies in one message may exceed it


@pytest.mark.parametrize(
    ("envelope", "answer"),
    [(Call(6, "work", b"12345"), 6), (Item(4, b"12345"), 4)],
)
def test_a_whole_body_over_the_limit_is_refused_too(
    connected: Callable[..., Side], envelope: Bodied, answer: int
) -> None:
    side = connected(max_body=4)
    side.hear(Call(2, "work", b"1234"), Call(4, "work", b"", kind=Kind.CHANNEL))
    side.drain()
    side.hear(envelope)
    (error,) = side.said()
    assert isinstance(error, Error)
    assert (error.id, type(from_wire(error))) == (answer, PayloadTooLarge)
    assert side.drain() == ([Withdrawn(4, is_expired=False)] if answer == 4 else [])


def test_whole_answers_over_the_limit_end_their_exchange_here(connected: Callable[..., Side]) -> None:
    side = connected(max_body=4)
    ids = [side.call(), side.call(), side.call(kind=Kind.STREAM)]
    side.said()
    side.hear(Reply(ids[0], b"12345"), Error(ids[1], "x", "", body=b"12345"), Item(ids[2], b"12345"))
    assert [refused.id for refused in side.outputs(Refused)] == ids
    assert side.said() == [Cancel(ids[2])]
    side.hear(Item(ids[2], b"12345"), Reply(ids[0], b"12345"))
    assert side.traffic.late == 2
    assert side.drain() == []


def test_whole_one_way_bodies_over_the_limit_are_dropped_and_counted(connected: Callable[..., Side]) -> None:
    side = connected(max_body=4)
    side.hear(Notify(0, "work", b"12345"), Raw(0, b"12345"), Event(0, "topic", b"12345", 0), Notify(0, "work", b"1234"))
    assert side.one(Notify).body == b"1234"
    assert side.traffic.refused == 3


# Room for what is not whole yet


def test_a_transfer_waits_its_turn_when_the_budget_is_spent(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ASSEMBLY_BYTES", 1000)
    side.hear(Chunk(2, 0, 600), Chunk(4, 0, 600), Chunk(6, 0, 100))
    assert side.said() == [Credit(2, 0, 0)]
    side.hear(Chunk(2, 1, 0, bytes(600)), Notify(0, "work", -2))
    assert side.said() == [Credit(4, 0, 0), Credit(6, 0, 0)]


def test_a_body_larger_than_the_whole_budget_is_let_in_alone(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ASSEMBLY_BYTES", 1000)
    side.hear(Chunk(2, 0, 5000))
    assert side.said() == [Credit(2, 0, 0)]


@pytest.mark.parametrize(
    "so_far",
    [[], [Chunk(2, 1, 0, bytes(300))], [Chunk(2, 1, 0, bytes(600))]],
    ids=["waiting for parts", "in the middle", "whole"],
)
def test_what_the_peer_gives_up_makes_room(side: Side, monkeypatch: pytest.MonkeyPatch, so_far: list[Envelope]) -> None:
    monkeypatch.setattr(limits, "ASSEMBLY_BYTES", 1000)
    side.hear(Chunk(2, 0, 600), *so_far, Chunk(4, 0, 600))
    side.said()
    side.hear(Cancel(2))
    assert side.said() == [Credit(4, 0, 0)]
    side.hear(Cancel(4))
    assert held(side) == 0


def test_one_that_waits_may_be_given_up_too(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ASSEMBLY_BYTES", 1000)
    side.hear(Chunk(2, 0, 600), Chunk(4, 0, 600), Cancel(4), Cancel(2))
    assert held(side) == 0


def test_so_many_transfers_are_under_way_and_the_rest_wait(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRANSFER_SLOTS", 2)
    for _ in range(3):
        side.traffic.notify("work", bytes(LARGE))
    cancelled = side.call(body=bytes(LARGE))
    last = side.call(body=bytes(LARGE))
    assert side.said() == [Chunk(1, 0, LARGE), Chunk(3, 0, LARGE)]
    side.traffic.cancel(cancelled)
    side.hear(Credit(1, 0, 0))
    assert [(type(said), said.id) for said in side.said()] == [(Chunk, 1), (Notify, 0), (Chunk, 5)]
    side.hear(to_wire(PayloadTooLarge("no"), 3), to_wire(PayloadTooLarge("no"), 5))
    assert side.said() == [Chunk(last + 2, 0, LARGE)]


def test_twice_as_many_transfers_are_taken_and_one_more_is_a_breach(
    side: Side, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "TRANSFER_SLOTS", 1)
    side.hear(Chunk(2, 0, 1), Chunk(4, 0, 1))
    assert not side.link.is_closed
    side.hear(Chunk(6, 0, 1))
    assert isinstance(side.one(Closed).error, ProtocolError)


# Given up


def test_a_cancel_before_anything_left_says_nothing(side: Side) -> None:
    id_ = side.call(body=bytes(LARGE))
    side.traffic.cancel(id_)
    assert side.said() == []
    assert side.link.is_flushed


def test_a_cancel_in_the_middle_gives_the_transfer_up_and_not_the_call_that_never_left(pair: Pair) -> None:
    id_ = pair.dialler.call(body=bytes(MANY))
    pair.dialler.flush()
    pair.deliver(pair.dialler)
    pair.acceptor.flush()
    pair.deliver(pair.acceptor)
    pair.dialler.flush(2)
    pair.deliver(pair.dialler)
    assert held(pair.acceptor) > 0
    pair.dialler.traffic.cancel(id_)
    assert [said for said in pair.dialler.said() if not isinstance(said, Credit)] == [Cancel(id_ + 2)]
    pair.acceptor.hear(Cancel(id_ + 2))
    assert held(pair.acceptor) == 0
    assert pair.acceptor.drain() == []


def test_a_cancel_between_the_last_part_and_its_envelope_frees_the_body(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    id_ = pair.dialler.call(body=bytes(LARGE))
    pair.dialler.flush()
    pair.deliver(pair.dialler)
    pair.acceptor.flush()
    pair.deliver(pair.acceptor)
    assert pair.dialler.flush(1) == 1  # the last part; the CALL follows
    pair.dialler.traffic.cancel(id_)
    pair.settle()
    assert held(pair.acceptor) == 0
    assert pair.acceptor.drain() == []


def test_an_answer_that_nobody_waits_for_is_not_sent_to_its_end(pair: Pair) -> None:
    id_ = pair.dialler.call()
    pair.settle()
    pair.acceptor.traffic.reply(id_, bytes(MANY))
    pair.acceptor.flush()
    pair.deliver(pair.acceptor)
    pair.dialler.traffic.cancel(id_)
    pair.settle()
    assert held(pair.dialler) == 0
    assert pair.acceptor.link.is_flushed
    assert pair.dialler.traffic.late == 0


def test_a_deadline_that_passes_in_the_middle_gives_the_transfer_up(pair: Pair) -> None:
    id_ = pair.dialler.call(kind=Kind.STREAM, deadline=pair.dialler.now + 1)
    pair.settle()
    pair.acceptor.traffic.item(id_, bytes(MANY))
    pair.acceptor.flush()
    pair.acceptor.pass_time(1)
    pair.settle()
    assert [type(output) for output in pair.dialler.drain()] == [Error]
    assert held(pair.dialler) == 0


def test_a_refusal_that_crosses_a_cancel_is_late_and_counted(make_pair: type[Pair]) -> None:
    pair = make_pair(acceptor={"max_body": LARGE}).connect()
    id_ = pair.dialler.call(body=bytes(LARGE + 1))
    pair.dialler.flush()
    pair.dialler.traffic.cancel(id_)
    pair.settle()
    assert pair.dialler.drain() == pair.acceptor.drain() == []


def test_credit_that_crosses_a_cancel_is_forgotten(pair: Pair) -> None:
    id_ = pair.dialler.call(body=bytes(LARGE))
    pair.dialler.flush()
    pair.deliver(pair.dialler)
    pair.acceptor.flush()
    pair.dialler.traffic.cancel(id_)
    pair.settle()
    assert pair.dialler.drain() == pair.acceptor.drain() == []


# Breaches


@pytest.mark.parametrize(
    "envelopes",
    [
        [Chunk(2, 1, 0, b"x")],
        [Chunk(2, 0, 0)],
        [Chunk(2, 0, 10, b"x")],
        [Chunk(2, 0, 10, -4)],
        [Chunk(2, 0, 10), Chunk(2, 0, 10)],
        [Chunk(2, 0, 10), Chunk(2, 2, 0, b"x")],
        [Chunk(2, 0, 10), Chunk(2, 1, 0, b"x"), Chunk(2, 1, 0, b"x")],
        [Chunk(2, 0, 10), Chunk(2, 1, 0, bytes(11))],
        [Chunk(2, 0, 10), Chunk(2, 1, 0, b"")],
        [Chunk(2, 0, 10), Chunk(2, 1, 0, -4)],
        [Chunk(2, 0, 10), Chunk(2, 1, 0, 0)],
        [Chunk(2, 0, 10), Notify(0, "work", -2)],
        [Chunk(2, 0, 1), Chunk(2, 1, 0, b"x"), Notify(0, "work", -2), Notify(0, "work", -2)],
        [Chunk(2, 0, 1), Chunk(2, 1, 0, b"x"), Chunk(2, 0, 1)],
        [Chunk(2, 0, 1), Chunk(2, 1, 0, b"x"), Chunk(2, 2, 0, b"x")],
    ],
    ids=repr,
)
def test_chunks_that_no_honest_peer_sends_are_a_breach(side: Side, envelopes: list[Envelope]) -> None:
    side.hear(*envelopes)
    closed = side.drain()[-1]
    assert isinstance(closed, Closed)
    assert isinstance(closed.error, ProtocolError)
    assert closed.is_breach


def test_a_chunk_above_its_size_is_a_breach(side: Side) -> None:
    side.hear(Chunk(2, 0, limits.MAX_BODY))
    side.receive([encode([Chunk(2, 1, 0, 0)]), bytes(limits.CHUNK_BYTES)])
    assert not side.link.is_closed
    side.receive([encode([Chunk(2, 2, 0, 0)]), bytes(limits.CHUNK_BYTES + 1)])
    assert isinstance(side.one(Closed).error, ProtocolError)


def test_parts_before_the_peer_was_let_in_are_a_breach(side: Side, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "ASSEMBLY_BYTES", 10)
    side.hear(Chunk(2, 0, 10), Chunk(4, 0, 10), Chunk(4, 1, 0, b"x"))
    assert isinstance(side.one(Closed).error, ProtocolError)


def test_transfer_credit_for_more_than_was_sent_is_a_breach(side: Side) -> None:
    side.call(body=bytes(LARGE))
    side.said()
    side.hear(Credit(3, 1, 1))
    assert isinstance(side.one(Closed).error, ProtocolError)


def test_a_refused_transfer_says_so_once(side: Side) -> None:
    id_ = side.call(body=bytes(LARGE))
    side.said()
    refusal = to_wire(PayloadTooLarge("no"), id_ + 2)
    side.hear(refusal)
    assert side.one(Refused).id == id_
    side.hear(refusal)
    assert side.drain() == []
    assert side.traffic.late == 1
