"""Two links of one pair: played in every order in which their messages may come, one stays and no order is lost."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings, strategies

from orbitmesh.link.states import LinkState
from orbitmesh.runtime.crossing import Peer


@dataclass
class Identity:
    boot: int = 1


@dataclass
class FakeLink:
    """The link of one side; what it says goes into a queue that the test delivers from."""

    said: deque[Any] = field(default_factory=deque)
    state: LinkState = LinkState.WELCOMED
    is_draining: bool = False
    has_events: bool = False

    def ping(self) -> None:
        self.said.append("ping")

    def drain_off(self) -> None:
        self.is_draining = True
        self.said.append("drain")


class End:
    """One side of a connection, as far as ``Peer`` looks at it."""

    def __init__(self, name: str, *, is_dialled: bool, session: int = 1, boot: int = 1) -> None:
        self.name = name
        self.pipe = type("Pipe", (), {"is_dialled": is_dialled})()
        self.link = FakeLink()
        self.peer = Identity(boot)
        self.session = session
        self.has_peer_drained = False
        self.is_idle = True
        self.is_closed = False

    def queued(self) -> None: ...

    def connect(self) -> End:
        self.link.state = LinkState.CONNECTED
        return self


def peer(*, is_decider: bool = True) -> Any:
    return Peer(is_decider=is_decider)


def test_a_later_dial_of_the_same_side_replaces_the_earlier_one() -> None:
    those = peer()
    first, second, late = (End(name, is_dialled=False, session=n) for name, n in (("1", 5), ("2", 6), ("0", 4)))
    assert those.add(first) == []
    assert those.add(second) == [(first, "its dialler has made a newer link")]
    those.remove(first)
    assert those.add(late) == [(late, "its dialler has made a newer link")]
    assert those.add(End("other", is_dialled=True, session=1)) == []


def test_a_later_start_of_the_peer_replaces_all_links_of_the_earlier_one() -> None:
    those = peer()
    old = [End("a", is_dialled=False, session=9), End("b", is_dialled=True, session=9)]
    for end in old:
        those.add(end)
    outdated = those.add(End("new", is_dialled=False, session=1, boot=2))
    assert outdated == [(end, "the peer has started anew") for end in old]


def test_new_work_stays_where_it_is_until_that_is_drained_or_ends() -> None:
    those = peer(is_decider=False)
    first, second = End("first", is_dialled=False), End("second", is_dialled=True)
    those.add(first)
    those.add(second)
    second.connect()
    those.connected()
    assert those.current is second
    first.connect()
    those.connected()
    assert those.current is second
    second.link.drain_off()
    those.drained()
    assert those.current is first
    first.link.state = LinkState.BUSY
    those.drained()
    assert those.current is first  # what a busy peer holds stays
    assert those.remove(first)
    assert those.current is second  # better a link that is being drained than none
    second.link.state = LinkState.CLOSED
    assert those.remove(second)
    assert those.current is None
    assert not those.remove(second)


def test_only_the_lower_node_decides_and_only_on_what_was_proven() -> None:
    for is_decider in (True, False):
        those = peer(is_decider=is_decider)
        own, theirs = End("own", is_dialled=True).connect(), End("theirs", is_dialled=False).connect()
        those.add(theirs)
        those.connected()
        those.add(own)
        those.connected()
        assert list(own.link.said) == (["ping"] if is_decider else [])
        those.answered(theirs)
        assert not theirs.link.is_draining
        those.answered(own)
        assert theirs.link.is_draining is is_decider
        assert those.current is (own if is_decider else theirs)


def test_a_link_on_which_events_wait_is_drained_when_they_have_left() -> None:
    those = peer()
    own, theirs = End("own", is_dialled=True).connect(), End("theirs", is_dialled=False).connect()
    theirs.link.has_events = True
    for end in (theirs, own):
        those.add(end)
        those.connected()
    those.answered(own)
    assert not theirs.link.is_draining
    assert not those.settle()
    theirs.link.has_events = False
    assert those.settle()
    assert theirs.link.is_draining
    assert those.current is own
    assert not those.settle()


def test_leave_is_taken_on_what_is_drained_and_idle_while_another_carries_on() -> None:
    those = peer()
    own, theirs = End("own", is_dialled=True).connect(), End("theirs", is_dialled=False).connect()
    for end in (theirs, own):
        those.add(end)
        those.connected()
    those.answered(own)
    assert list(those.spent()) == []
    theirs.has_peer_drained = True
    theirs.is_idle = False
    assert list(those.spent()) == []
    theirs.is_idle = True
    assert list(those.spent()) == [theirs]
    those.remove(own)
    assert list(those.spent()) == []
    other = peer(is_decider=False)
    other.add(theirs)
    other.connected()
    assert list(other.spent()) == []


class Play:
    """Two nodes with two links that crossed: messages of each link come in order, the two links in any.

    The lower node is side 0. Link 0 was dialled by it, link 1 by the other.
    """

    def __init__(self) -> None:
        self.peers = [peer(is_decider=True), peer(is_decider=False)]
        self.ends = [[End(f"side {s} link {k}", is_dialled=s == k) for k in (0, 1)] for s in (0, 1)]
        self.heard: list[list[int]] = [[], []]
        self.held: list[list[int]] = [[], []]
        self.published = [0, 0]
        for side in (0, 1):
            for end in self.ends[side]:
                end.link.said.append("complete")

    def greet(self, side: int, k: int) -> None:
        assert self.peers[side].add(self.ends[side][k]) == []

    def publish(self, side: int) -> None:
        current = self.peers[side].current
        if current is not None:
            current.link.said.append(self.published[side])
            self.published[side] += 1

    def deliver(self, side: int, k: int) -> bool:
        """Let the next message of a link arrive at a side."""
        queue, end, here = self.ends[1 - side][k].link.said, self.ends[side][k], self.peers[side]
        if not queue or end not in here.links or self.ends[1 - side][k] not in self.peers[1 - side].links:
            return False
        what = queue.popleft()
        if what == "complete":
            end.connect()
            here.connected()
        elif what == "ping":
            end.link.said.append("pong")
        elif what == "pong":
            here.answered(end)
        elif what == "drain":
            end.has_peer_drained = True
            if not end.link.is_draining:
                end.link.drain_off()
                here.drained()
            self.release(side)
        elif here.is_ahead(end):
            self.held[side].append(what)
        else:
            self.heard[side].append(what)
        return True

    def release(self, side: int) -> None:
        if not self.peers[side].is_ahead(self.ends[side][side]) and not self.peers[side].is_ahead(
            self.ends[side][1 - side]
        ):
            self.heard[side] += self.held[side]
            self.held[side].clear()

    def settle(self) -> None:
        """Let everything come that is under way, the links in turn."""
        has_more = True
        while has_more:
            has_more = False
            for side, k in ((0, 0), (0, 1), (1, 0), (1, 1)):
                has_more |= self.deliver(side, k)


@given(
    greetings=strategies.permutations([(side, k) for side in (0, 1) for k in (0, 1)]),
    moves=strategies.lists(
        strategies.one_of(
            strategies.tuples(strategies.just("deliver"), strategies.integers(0, 1), strategies.integers(0, 1)),
            strategies.tuples(strategies.just("publish"), strategies.integers(0, 1), strategies.just(0)),
        ),
        max_size=80,
    ),
)
@settings(max_examples=400, deadline=None)
def test_in_whatever_order_messages_come_both_sides_agree_and_events_keep_their_order(
    greetings: list[tuple[int, int]], moves: list[tuple[str, int, int]]
) -> None:
    play = Play()
    waiting = deque(greetings)
    for what, side, k in moves:
        if waiting:
            play.greet(*waiting.popleft())
        if what == "publish":
            play.publish(side)
        else:
            play.deliver(side, k)
    while waiting:
        play.greet(*waiting.popleft())
    play.settle()
    for side in (0, 1):
        play.publish(side)
    play.settle()
    for side in (0, 1):
        assert play.held[side] == []
        assert play.heard[side] == list(range(play.published[1 - side]))
        assert play.peers[side].current is play.ends[side][0]  # the one that the lower node dialled
        assert play.ends[side][1].has_peer_drained
    assert list(play.peers[0].spent()) == [play.ends[0][1]]


@pytest.mark.parametrize("is_decider", [True, False])
def test_events_of_a_lone_link_never_wait(is_decider: bool) -> None:
    those = peer(is_decider=is_decider)
    for is_dialled in (True, False):
        end = End("only", is_dialled=is_dialled).connect()
        those.add(end)
        those.connected()
        assert not those.is_ahead(end)
        those.remove(end)
