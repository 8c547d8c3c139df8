"""HELLO and WELCOME: who believes whom, and what a stranger gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

from orbitmesh.core.errors import (
    ConfigError,
    IncompatibleVersion,
    MalformedEnvelope,
    NotTrusted,
    PeerLost,
    ProtocolError,
    Superseded,
)
from orbitmesh.link import handshake
from orbitmesh.link.handshake import Greeting
from orbitmesh.link.outputs import Closed, Connected, Greeted
from orbitmesh.link.states import LinkState
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import decode, encode
from orbitmesh.wire.envelopes import (
    Call,
    Envelope,
    Error,
    Goodbye,
    Heartbeat,
    Hello,
    Info,
    Ping,
    Reply,
    Subscribe,
    Welcome,
)
from orbitmesh.wire.versions import VersionRange

if TYPE_CHECKING:
    from tests.unit.link.conftest import Pair, Side

NONCE = bytes(range(16))
OTHER = bytes(16)


def hello(**changes: Any) -> Hello:
    given: dict[str, Any] = {"oldest": 1, "newest": 1, "chain": [b"peer"], "session": 7, "nonce": NONCE}
    given |= {"serializers": ["msgpack"], "codecs": [], "features": []}
    return Hello(0, **{**given, **changes})


def welcome(**changes: Any) -> Welcome:
    given: dict[str, Any] = {"version": 1, "chain": [b"peer"], "nonce": NONCE, "serializers": ["msgpack"]}
    given |= {"codecs": [], "features": [], "seen": "tcp://192.0.2.1:1"}
    return Welcome(0, **{**given, **changes})


# Both sides


def test_both_sides_learn_who_the_other_is_and_what_they_agreed_on(make_pair: type[Pair]) -> None:
    pair = make_pair(
        dialler={"greeting": {"session": 9, "serializers": ["json", "msgpack", "cbor"], "codecs": ["zstd", "lz4"]}},
        acceptor={"greeting": {"serializers": ["msgpack", "json"], "codecs": ["lz4", "zstd", "snappy"]}},
    )
    pair.greet()
    dialled, accepted = pair.dialler.one(Greeted), pair.acceptor.one(Greeted)
    assert (dialled.identity.name, accepted.identity.name) == ("acceptor", "dialler")
    assert (dialled.session, accepted.session) == (9, 9)
    assert (dialled.version, accepted.version) == (1, 1)
    # The accepting side's order counts for serializers, the dialling side's for codecs.
    assert dialled.serializers == accepted.serializers == ("msgpack", "json")
    assert dialled.codecs == accepted.codecs == ("zstd", "lz4")
    assert (dialled.seen, accepted.seen) == ("tcp://192.0.2.9:9", "")


def test_a_link_is_connected_only_when_the_peer_has_stated_everything(make_pair: type[Pair]) -> None:
    pair = make_pair()
    pair.greet()
    pair.dialler.drain(), pair.acceptor.drain()
    pair.dialler.link.say(Info(0, groups=["x"]))
    pair.settle()
    assert pair.acceptor.state is LinkState.WELCOMED
    pair.dialler.link.say(Info(0, is_complete=True))
    pair.settle()
    assert pair.acceptor.drain() == [Info(0, groups=["x"]), Info(0, is_complete=True), Connected()]
    assert pair.dialler.state is LinkState.WELCOMED


def test_a_later_complete_statement_connects_nothing_again(side: Side) -> None:
    side.hear(Info(0, is_complete=True))
    assert side.drain() == [Info(0, is_complete=True)]


def test_a_greeting_leaves_in_a_message_of_its_own_whatever_is_said_after_it(make_side: type[Side]) -> None:
    side = make_side("me", is_dialler=False)
    side.hear(hello())
    side.link.heartbeat(Heartbeat(0, 0, 0, 1))
    side.link.say(Info(0, is_complete=True))
    side.flush()
    assert [[type(e) for e in decode(frames[0])] for frames in side.queue] == [[Welcome], [Heartbeat, Info]]


def test_the_work_that_follows_the_last_statement_may_stand_in_the_same_message(make_side: type[Side]) -> None:
    side = make_side("me", is_dialler=False)
    side.hear(hello())
    side.hear(Info(0, is_complete=True), Call(1, "work", b""))
    assert [type(output) for output in side.drain()] == [Greeted, Info, Connected, Call]


@pytest.mark.parametrize("answer", [Reply(2), Error(2, "overloaded", "too many")])
def test_a_subscription_may_be_answered_before_everything_is_stated(
    make_side: type[Side], answer: Reply | Error
) -> None:
    side = make_side("me", is_dialler=False)
    side.hear(hello())
    side.drain()
    assert side.traffic.subscribe("a.*") == answer.id
    side.said()
    side.hear(answer)
    assert side.drain() == [answer]


@pytest.mark.parametrize("early", [Call(1, "work", b""), Subscribe(0, "a")])
def test_nothing_but_statements_comes_before_the_last_of_them(make_side: type[Side], early: Envelope) -> None:
    side = make_side("me", is_dialler=False)
    side.hear(hello())
    side.drain()
    side.hear(Info(0), early)
    closed = side.drain()[-1]
    assert isinstance(closed, Closed)
    assert closed.is_breach


# What the accepting side refuses


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"oldest": 2, "newest": 3}, IncompatibleVersion, "protocol versions 1-1 and 2-3 have none in common"),
        ({"chain": [b"liar"]}, NotTrusted, ""),
        ({"serializers": ["xml"]}, ConfigError, "no serializer in common with pi/peer"),
        ({"serializers": []}, ConfigError, "no serializer in common"),
    ],
)
def test_a_hello_that_does_not_hold_is_refused_with_its_code(
    make_side: type[Side], changes: dict[str, Any], error: type[Exception], reason: str
) -> None:
    side = make_side("me", is_dialler=False)
    side.hear(hello(**changes))
    closed = side.one(Closed)
    assert isinstance(closed.error, error)
    assert closed.is_breach
    (goodbye,) = side.said()
    assert isinstance(goodbye, Goodbye)
    assert goodbye.code == closed.error.code
    assert goodbye.reason.startswith(reason)
    assert "liar" not in goodbye.reason


@pytest.mark.parametrize(
    "frames",
    [
        [encode([welcome()])],
        [encode([Goodbye(0, "", "")])],
        [encode([Ping(1)])],
        [encode([hello(), hello()])],
        [encode([hello(), Info(0, is_complete=True)])],
        [encode([hello()]), b""],
        [encode([hello(chain=[bytes(4096), bytes(4096)])])],
        [b""],
        [b"GET / HTTP/1.1\r\n"],
    ],
)
def test_a_stranger_has_one_try_and_is_told_nothing(make_side: type[Side], frames: list[bytes]) -> None:
    side = make_side("me", is_dialler=False)
    side.receive(frames)
    closed = side.one(Closed)
    assert isinstance(closed.error, ProtocolError)
    assert closed.is_breach
    assert side.said() == []
    side.hear(hello())
    assert side.drain() == []


def test_the_largest_hello_is_read(make_side: type[Side]) -> None:
    side = make_side("me", is_dialler=False)
    overhead = len(encode([hello(chain=[b"peer", bytes(4096), b""])])) - 4096
    rest = bytes(limits.HELLO_BYTES - 4096 - overhead)
    frame = encode([hello(chain=[b"peer", bytes(4096), rest[:-1]])])
    assert limits.HELLO_BYTES - 2 <= len(frame) <= limits.HELLO_BYTES
    side.receive([frame])
    side.one(Greeted)


def test_who_says_nothing_within_five_seconds_is_cut(make_side: type[Side]) -> None:
    side = make_side("me", is_dialler=False)
    assert side.link.deadline == side.now + limits.HELLO_SECONDS
    side.pass_time(limits.HELLO_SECONDS - 0.001)
    assert side.drain() == []
    side.pass_time(0.001)
    closed = side.one(Closed)
    assert isinstance(closed.error, PeerLost)
    assert closed.is_breach


def test_who_states_nothing_within_five_seconds_of_its_greeting_is_cut(make_side: type[Side]) -> None:
    side = make_side("me", is_dialler=False)
    side.pass_time(4.0)
    side.hear(hello())
    side.one(Greeted)
    side.pass_time(4.0)
    side.hear(Ping(1))
    side.pass_time(1.0)
    assert isinstance(side.one(Closed).error, PeerLost)


# What the dialling side refuses


def test_the_dialling_side_speaks_first(make_side: type[Side]) -> None:
    side = make_side("me", is_dialler=True, greeting={"session": 3, "versions": VersionRange(1, 2), "codecs": ["zstd"]})
    (said,) = side.said()
    assert said == Hello(0, 1, 2, [b"me"], 3, NONCE, ["msgpack"], ["zstd"], [])
    assert make_side("me", is_dialler=False).said() == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"version": 2}, IncompatibleVersion),
        ({"version": 0}, IncompatibleVersion),
        ({"nonce": OTHER}, NotTrusted),
        ({"chain": [b"liar"]}, NotTrusted),
        ({"serializers": []}, NotTrusted),
        ({"serializers": ["msgpack", "xml"]}, NotTrusted),
        ({"codecs": ["zstd"]}, NotTrusted),
    ],
)
def test_a_welcome_that_does_not_hold_closes_the_link(
    make_side: type[Side], changes: dict[str, Any], error: type[Exception]
) -> None:
    side = make_side("me", is_dialler=True)
    side.said()
    side.hear(welcome(**changes))
    closed = side.one(Closed)
    assert isinstance(closed.error, error)
    assert closed.is_breach
    assert side.said() == []


def test_another_node_than_the_expected_one_is_refused(
    make_side: type[Side], greeting: Callable[..., Greeting]
) -> None:
    expected = greeting("peer").verify([b"peer"]).node_id
    right = make_side("me", is_dialler=True, greeting={"expected": expected})
    right.hear(welcome())
    right.one(Greeted)
    wrong = make_side("me", is_dialler=True, greeting={"expected": expected})
    wrong.hear(welcome(chain=[b"somebody"]))
    closed = wrong.one(Closed)
    assert isinstance(closed.error, NotTrusted)
    assert "pi/somebody" in str(closed.error)


def test_a_refusal_reaches_the_dialling_side_as_its_error(make_pair: type[Pair]) -> None:
    pair = make_pair(dialler={"greeting": {"versions": VersionRange(2, 3)}})
    pair.settle()
    closed = pair.dialler.one(Closed)
    assert isinstance(closed.error, IncompatibleVersion)
    assert closed.is_goodbye
    assert not closed.is_breach


def test_a_refusal_without_words_names_its_code(make_side: type[Side]) -> None:
    side = make_side("me", is_dialler=True)
    side.hear(Goodbye(0, "not-trusted", ""))
    error = side.one(Closed).error
    assert isinstance(error, NotTrusted)
    assert str(error) == "the peer refused: not-trusted"


def test_a_peer_may_be_refused_after_the_greeting_too(make_pair: type[Pair]) -> None:
    pair = make_pair()
    pair.dialler.flush()
    pair.deliver(pair.dialler)
    pair.acceptor.link.leave(pair.acceptor.now, code=Superseded.code, reason="a later one is here")
    pair.settle()
    outputs = pair.dialler.drain()
    assert [type(output) for output in outputs] == [Greeted, Closed]
    assert isinstance(outputs[-1], Closed)
    assert isinstance(outputs[-1].error, Superseded)
    assert str(outputs[-1].error) == "a later one is here"


@pytest.mark.parametrize("second", [hello(), welcome()])
@pytest.mark.parametrize("is_dialler", [True, False])
def test_a_second_greeting_is_a_breach(connected: Callable[..., Side], second: Envelope, is_dialler: bool) -> None:
    side = connected(is_dialler=is_dialler)
    side.hear(second)
    closed = side.one(Closed)
    assert isinstance(closed.error, ProtocolError)
    assert closed.is_breach


def test_leaving_before_anybody_was_greeted_ends_at_once(make_side: type[Side]) -> None:
    side = make_side("me", is_dialler=False)
    side.link.leave(side.now)
    assert side.one(Closed) == Closed(None)
    assert side.said() == []
    assert side.link.deadline == float("inf")


def test_a_malformed_message_closes_the_link_and_raises_nothing(side: Side) -> None:
    side.receive([b"\xc1"])
    closed = side.one(Closed)
    assert isinstance(closed.error, MalformedEnvelope)
    assert closed.is_breach


def test_whoever_greets_is_checked_in_the_order_version_trust_serializers(greeting: Callable[..., Greeting]) -> None:
    ours = greeting("me")
    with pytest.raises(IncompatibleVersion):
        handshake.answer(ours, hello(oldest=5, newest=6, chain=[b"liar"], serializers=[]), seen="")
    with pytest.raises(NotTrusted):
        handshake.answer(ours, hello(chain=[b"liar"], serializers=[]), seen="")
