"""What leaves first, what travels together, and what waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orbitmesh.link import outbox as outbox_module
from orbitmesh.link.credit import LinkReceiveCredit, LinkSendCredit
from orbitmesh.link.lanes import EventLane
from orbitmesh.link.outbox import Outbox
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import decode
from orbitmesh.wire.envelopes import (
    Call,
    Credit,
    Envelope,
    Error,
    Event,
    Goodbye,
    Heartbeat,
    Info,
    Item,
    Kind,
    Notify,
    Offer,
    Origin,
    Ping,
    Reply,
)

if TYPE_CHECKING:
    from tests.unit.link.conftest import Pair, Side


def shut(side: Side) -> None:
    """Use up the link's credit."""
    while not side.link.is_short:
        side.traffic.notify("filling", b"")
        side.flush()
    side.queue.clear()


def let_go_on(side: Side) -> None:
    """Give all of its credit back."""
    credit = side.link._send_credit
    side.hear(Credit(0, credit._sent, credit._bytes_sent, credit._control_sent))
    side.drain()


def messages(side: Side) -> list[list[Envelope]]:
    side.flush()
    queue, taken = side.queue, []
    while queue:
        first, *bodies = queue.popleft()
        taken.append(decode(first, bodies))
    return taken


# What travels together


def test_all_that_was_said_in_one_turn_leaves_as_one_message(side: Side) -> None:
    side.call("a")
    side.traffic.notify("b", b"")
    side.link.heartbeat(Heartbeat(0, 0, 0, 1))
    assert side.link.waiting == 2
    assert [[type(e) for e in message] for message in messages(side)] == [[Heartbeat, Call, Notify]]
    assert side.link.is_flushed
    assert side.flush() == 0


def test_a_message_holds_256_envelopes_at_most(side: Side) -> None:
    for _ in range(600):
        side.traffic.notify("work", b"")
    assert [len(message) for message in messages(side)] == [256, 256, 88]


def test_a_batch_is_closed_at_64_kib(side: Side) -> None:
    for _ in range(5):
        side.traffic.notify("work", bytes(30_000))
    assert [len(message) for message in messages(side)] == [2, 2, 1]


def test_large_bodies_are_frames_of_their_own_two_at_most(side: Side) -> None:
    for size in (limits.INLINE_BODY, limits.INLINE_BODY - 1000, limits.WHOLE_BODY, limits.INLINE_BODY, 1):
        side.traffic.notify("work", bytes(size))
    side.flush()
    assert [[len(frame) > 60_000 for frame in frames] for frames in side.queue] == [[True, True, True], [False, True]]
    assert [len(e.body) for message in messages(side) for e in message] == [  # type: ignore[union-attr, arg-type]  # all are NOTIFY
        limits.INLINE_BODY,
        limits.INLINE_BODY - 1000,
        limits.WHOLE_BODY,
        limits.INLINE_BODY,
        1,
    ]


def test_no_frame_is_larger_than_a_peer_may_read(side: Side) -> None:
    """Long texts, headers and lists count too: 256 of the longest of each would be many times one frame."""
    headers = {str(n): "é" * 3_000 for n in range(10)}
    origin = Origin("n" * 64, "d" * 64, ["r" * 64] * 32)
    side.hear(*[Call(2 * n, "work", b"") for n in range(1, 201)])
    for n in range(1, 201):
        side.traffic.fail(2 * n, Error(0, "x", "é" * 4096, traceback="é" * 4096))
        side.traffic.notify("c" * 128, b"", headers=headers, origin=origin)
        side.traffic.raw(b"", headers=headers)
        side.call("c" * 128, bytes(limits.INLINE_BODY - 1), origin=origin)
        side.link.say(Info(0, [Offer("c" * 128, 1, ["r" * 64] * 32)] * 32))
    shut_out = 0
    while not side.link.is_flushed:
        side.flush()  # which looks at the size of every frame
        let_go_on(side)
        shut_out += 1
        assert shut_out < 1000


def test_the_longest_names_fit_as_often_as_a_message_may_hold_them(side: Side) -> None:
    for _ in range(limits.MAX_BATCH_ENVELOPES):
        side.traffic.publish(Event(0, "𝄞" * limits.MAX_NAME, bytes(200), 0))
    side.flush()


# What leaves first


def test_control_leaves_before_data_and_keeps_half_of_a_message_at_least(side: Side) -> None:
    for _ in range(300):
        side.traffic.notify("work", b"")
    for _ in range(200):
        side.link.ping()
    assert [[type(e) for e in message] for message in messages(side)] == [
        [Ping] * 128 + [Notify] * 128,
        [Ping] * 72 + [Notify] * 172,
    ]


def test_control_of_any_number_leaves_in_messages_of_256(side: Side) -> None:
    for _ in range(300):
        side.link.ping()
    assert [len(message) for message in messages(side)] == [256, 44]


def test_the_credit_of_the_link_leaves_first_of_all(side: Side) -> None:
    side.link.ping()
    side.link.heartbeat(Heartbeat(0, 0, 0, 1))
    for _ in range(limits.CONTROL_MESSAGES // 4):
        side.hear(Heartbeat(0, 0, 0, 1))
    ((credit, beat, ping),) = messages(side)
    assert credit == Credit(0, 2, credit.size, 32)  # type: ignore[union-attr]  # it is one
    assert (type(beat), type(ping)) == (Heartbeat, Ping)


def test_the_newest_statement_replaces_those_that_have_not_left(side: Side) -> None:
    side.hear(Call(2, "work", b"", kind=Kind.CHANNEL))
    half = limits.STREAM_ITEMS // 2
    for running in range(3):
        side.link.heartbeat(Heartbeat(0, running, 0, 1))
        side.hear(*[Item(2, b"x") for _ in range(half)])
        side.traffic.took(2, half, half)
    assert side.said() == [Credit(2, 3 * half, 3 * half), Heartbeat(0, 2, 0, 1)]


# Events


def test_events_leave_in_order_large_ones_too(pair: Pair) -> None:
    sizes = (1, 300_000, 1, 70_000, 400_000, 1)
    for time, size in enumerate(sizes):
        pair.dialler.traffic.publish(Event(0, "topic", bytes(size), time))
    pair.settle()
    events = pair.acceptor.outputs(Event)
    assert [event.time_ms for event in events] == list(range(6))
    assert [len(event.body) for event in events] == list(sizes)  # type: ignore[arg-type]  # all are whole


def test_a_slow_subscriber_loses_its_oldest_events_and_is_told_how_many(
    connected: Callable[..., Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox_module, "EVENTS", 3)
    side = connected()
    shut(side)
    for time in range(5):
        side.traffic.publish(Event(0, "topic", b"", time))
    assert side.link.events_dropped == 2
    assert not side.link.is_flushed
    let_go_on(side)
    events = [(e.time_ms, e.missed) for e in side.said() if isinstance(e, Event)]
    assert events == [(2, 2), (3, 0), (4, 0)]
    side.traffic.publish(Event(0, "topic", b"", 5))
    assert side.said() == [Event(0, "topic", b"", 5)]


def test_one_can_see_whether_events_wait(side: Side) -> None:
    side.traffic.publish(Event(0, "topic", b"", 0))
    assert not side.link.has_events
    side.traffic.publish(Event(0, "topic", bytes(300_000), 1))
    assert side.link.has_events
    side.said()
    side.hear(Credit(1, 0, 0))
    side.said()
    assert not side.link.has_events
    shut(side)
    side.traffic.publish(Event(0, "topic", b"", 2))
    assert side.link.has_events


def test_a_backlog_of_events_leaves_a_message_at_a_time(side: Side) -> None:
    shut(side)
    for time in range(600):
        side.traffic.publish(Event(0, "topic", b"", time))
    let_go_on(side)
    assert side.link.waiting == 0
    assert [len(message) for message in messages(side)] == [256, 256, 88]


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 4), st.integers(1, 20))
def test_an_event_lane_keeps_the_newest_and_counts_the_rest(sizes: list[int], most: int, most_bytes: int) -> None:
    lane = EventLane(max_events=most, max_bytes=most_bytes)
    for time, size in enumerate(sizes):
        lane.put(Event(0, "topic", bytes(size), time), size)
    kept = []
    while lane:
        event, size = lane.pop()
        lane.stamp(event)
        assert len(event.body) == size  # type: ignore[arg-type]  # it is whole
        kept.append(event)
    assert len(kept) <= most
    assert [event.time_ms for event in kept] == list(range(len(sizes)))[len(sizes) - len(kept) :]
    assert sum(event.missed for event in kept) == lane.dropped == len(sizes) - len(kept)
    assert len(kept) <= 1 or sum(sizes[len(sizes) - len(kept) :]) <= most_bytes
    assert bool(kept) is bool(sizes)


# Taken back


@given(
    st.lists(st.tuples(st.integers(1, 4), st.sampled_from([0, 10, 70_000]), st.booleans()), max_size=30),
    st.lists(st.integers(1, 4), max_size=4),
)
def test_whatever_is_taken_back_the_rest_leaves_in_order(
    said: list[tuple[int, int, bool]], taken_back: list[int]
) -> None:
    box = Outbox(LinkSendCredit(), LinkReceiveCredit(), iter(range(1000, 9999)).__next__)
    expected = []
    for number, (id_, size, is_error) in enumerate(said):
        body = number.to_bytes(4, "big") * (size // 4)
        envelope = Error(id_, "x", str(number), body=body) if is_error else Item(id_, body)
        box.put(envelope, len(body))
        if id_ not in taken_back:
            expected.append(body)
    for id_ in taken_back:
        assert all(envelope.id == id_ for envelope in box.take_back(id_))
    left = []
    while (frames := box.take()) is not None:
        left += [envelope.body for envelope in decode(frames[0], frames[1:])]  # type: ignore[union-attr]  # all have one
    assert left == expected
    assert box.is_empty
    assert (box._small_bytes, box._framed) == (0, 0)


def test_the_last_word_waits_for_everything_else(side: Side) -> None:
    side.call(body=bytes(300_000))
    side.traffic.publish(Event(0, "topic", bytes(300_000), 0))
    side.traffic.publish(Event(0, "topic", b"", 1))
    side.link.leave(side.now, reason="done")
    assert Goodbye(0, "", "done") not in side.said()
    side.hear(Credit(3, 0, 0))
    assert Goodbye(0, "", "done") not in side.said()
    side.hear(Credit(5, 0, 0))
    said = side.said()
    assert [type(e) for e in said[-2:]] == [Event, Goodbye]
    assert side.link.is_flushed


def test_a_reply_leaves_before_the_last_word(side: Side) -> None:
    side.hear(Call(2, "work", b""))
    side.link.leave(side.now)
    side.traffic.reply(2, b"")
    assert [type(e) for e in side.said()] == [Reply, Goodbye]
