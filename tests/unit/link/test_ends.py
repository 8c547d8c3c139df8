"""Silence, busy peers, and every way in which a link ends."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest

from orbitmesh.core.errors import PeerLost, ProtocolError
from orbitmesh.link.link import BUSY_LIMIT, GOODBYE_SECONDS
from orbitmesh.link.outputs import Closed, Heard, Silent
from orbitmesh.link.states import LinkState
from orbitmesh.wire import limits
from orbitmesh.wire.envelopes import Call, Event, Goodbye, Heartbeat, Info, Notify, Ping, Pong, Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.link.conftest import Pair, Side


# Silence


def test_a_silent_peer_is_busy_until_it_is_heard_again(side: Side) -> None:
    assert side.link.deadline == side.now + limits.SILENCE_SECONDS
    side.pass_time(limits.SILENCE_SECONDS - 0.01)
    assert side.drain() == []
    side.pass_time(0.01)
    assert side.one(Silent) == Silent()
    assert side.link.state == "busy"
    side.hear(Heartbeat(0, 0, 0, 1))
    assert side.drain() == [Heard(), Heartbeat(0, 0, 0, 1)]
    assert side.link.state == "connected"


def test_any_message_is_a_sign_of_life(side: Side) -> None:
    for _ in range(3):
        side.pass_time(limits.SILENCE_SECONDS - 1)
        side.hear(Info(0))
    assert side.outputs(Info)
    assert side.state is LinkState.CONNECTED


def test_a_busy_peer_is_given_up_at_last(connected: Callable[..., Side]) -> None:
    for side, limit in ((connected(), BUSY_LIMIT), (connected(busy_limit=20.0), 20.0)):
        id_ = side.call()
        side.pass_time(limits.SILENCE_SECONDS)
        side.one(Silent)
        assert id_ in side.traffic.own
        assert side.link.deadline == side.now + limit - limits.SILENCE_SECONDS
        side.pass_time(limit - limits.SILENCE_SECONDS)
        closed = side.one(Closed)
        assert isinstance(closed.error, PeerLost)
        assert f"{limit:.1f} s" in str(closed.error)
        assert closed.is_breach  # its connection still stands: it has to be shut


def test_time_may_be_told_early_late_and_twice(side: Side) -> None:
    side.link.tick(side.now - 5)
    side.link.tick(side.now)
    assert side.drain() == []
    side.pass_time(1000)
    assert [type(output) for output in side.drain()] == [Silent]
    side.link.tick(side.now)
    assert [type(output) for output in side.drain()] == [Closed]
    side.link.tick(side.now)
    assert side.drain() == []
    assert side.link.deadline == inf


# A ping


def test_a_ping_is_answered_and_the_answer_handed_on(pair: Pair) -> None:
    id_ = pair.dialler.link.ping()
    pair.settle()
    assert pair.dialler.one(Pong) == Pong(id_)
    assert pair.acceptor.drain() == []


def test_a_pong_to_no_ping_or_a_second_one_is_a_breach(side: Side) -> None:
    id_ = side.link.ping()
    side.hear(Pong(id_))
    side.one(Pong)
    side.hear(Pong(id_))
    assert isinstance(side.one(Closed).error, ProtocolError)


# Goodbye


@pytest.mark.parametrize("leaver", [0, 1])
def test_a_goodbye_is_answered_and_ends_the_link_on_both_sides(pair: Pair, leaver: int) -> None:
    leaving, other = [(pair.dialler, pair.acceptor), (pair.acceptor, pair.dialler)][leaver]
    leaving.traffic.notify("last", b"")
    leaving.link.leave(leaving.now, reason="this node stopped")
    leaving.link.leave(leaving.now)
    assert leaving.state is LinkState.LEAVING
    pair.settle()
    assert other.drain() == [Notify(0, "last", b""), Closed(None, is_goodbye=True)]
    assert leaving.one(Closed) == Closed(None, is_goodbye=True)


def test_two_goodbyes_that_cross_end_the_link_once(pair: Pair) -> None:
    for side in (pair.dialler, pair.acceptor):
        side.link.leave(side.now)
    pair.settle()
    for side in (pair.dialler, pair.acceptor):
        assert side.one(Closed) == Closed(None, is_goodbye=True)


def test_what_the_peer_still_says_is_heard_until_it_answers(side: Side) -> None:
    id_ = side.call()
    side.link.leave(side.now)
    side.said()
    side.hear(Reply(id_), Goodbye(0, "", "", is_answer=True))
    assert side.drain() == [Reply(id_), Closed(None, is_goodbye=True)]


def test_a_peer_that_does_not_answer_is_left_after_two_seconds(side: Side) -> None:
    side.link.leave(side.now)
    side.said()
    side.pass_time(GOODBYE_SECONDS - 0.1)
    side.hear(Heartbeat(0, 0, 0, 1))
    side.drain()
    side.pass_time(0.1)
    assert side.one(Closed) == Closed(None)


def test_a_peer_that_still_takes_in_what_is_large_has_time_for_it(pair: Pair) -> None:
    leaving = pair.dialler
    leaving.traffic.notify("last", bytes(16 * limits.CHUNK_BYTES))
    leaving.link.leave(leaving.now)
    for _ in range(6):
        leaving.flush(2)
        pair.deliver(leaving)
        pair.acceptor.flush()
        pair.deliver(pair.acceptor)
        pair.pass_time(GOODBYE_SECONDS - 0.5)
        assert leaving.drain() == []
    pair.settle()
    assert [type(output) for output in pair.acceptor.drain()] == [Notify, Closed]


def test_a_peer_that_takes_nothing_in_any_more_is_left_too(side: Side) -> None:
    side.traffic.notify("last", bytes(8 * limits.CHUNK_BYTES))
    side.link.leave(side.now)
    side.said()
    side.pass_time(GOODBYE_SECONDS)
    assert side.one(Closed) == Closed(None)


def test_a_refusal_does_not_wait_for_what_is_large(side: Side) -> None:
    side.traffic.notify("large", bytes(limits.MAX_BODY))
    side.link.leave(side.now, code="superseded", reason="another one is here")
    assert side.said()[-1] == Goodbye(0, "superseded", "another one is here")


def test_calls_are_served_while_this_side_leaves(side: Side) -> None:
    side.link.leave(side.now)
    side.said()
    side.hear(Call(2, "work", b""))
    side.one(Call)
    assert side.traffic.reply(2, b"")


# Cut


def test_a_cut_ends_the_link_whatever_its_state(connected: Callable[..., Side], make_side: type[Side]) -> None:
    for side in (make_side("me", is_dialler=True), connected(), connected(is_dialler=False)):
        side.link.cut("a pulled cable")
        side.link.cut("again")
        closed = side.one(Closed)
        assert isinstance(closed.error, PeerLost)
        assert "a pulled cable" in str(closed.error)
        assert (closed.is_goodbye, closed.is_breach) == (False, False)


def test_calls_that_came_with_the_end_never_start(side: Side) -> None:
    side.hear(Call(2, "work", b""), Notify(0, "once", b""), Event(0, "topic", b"", 0), Goodbye(0, "", ""))
    assert [type(output) for output in side.drain()] == [Notify, Event, Closed]


def test_last_words_still_leave_after_the_end(side: Side) -> None:
    side.traffic.notify("last", b"")
    side.hear(Goodbye(0, "", ""))
    assert side.said() == [Notify(0, "last", b""), Goodbye(0, "", "", is_answer=True)]
    side.hear(Ping(2))
    assert side.said() == []
