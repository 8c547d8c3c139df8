"""Two honest links, whatever they say in whatever order it leaves and arrives: nobody is accused, nothing is lost."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from orbitmesh.core.errors import Overloaded, PayloadTooLarge
from orbitmesh.link import outbox
from orbitmesh.link.errors import to_wire
from orbitmesh.link.outputs import Closed, Expired, Granted, Heard, Output, Refused, Silent, Withdrawn, Writable
from orbitmesh.link.states import LinkState
from orbitmesh.wire import limits
from orbitmesh.wire.encoding import decode
from orbitmesh.wire.envelopes import (
    CONTROL,
    Call,
    Drain,
    End,
    Error,
    Event,
    Heartbeat,
    Info,
    Item,
    Kind,
    Notify,
    Pong,
    Raw,
    Reply,
    Subscribe,
    Unsubscribe,
)

if TYPE_CHECKING:
    from orbitmesh.link.traffic import Traffic
    from tests.unit.link.conftest import Pair, Side

SIDES = st.sampled_from([0, 1])
PICKS = st.integers(0, 1 << 16)
EXAMPLES: Final = int(os.environ.get("ORBITMESH_CONVERSATIONS", "40"))
WALKS: Final = int(os.environ.get("ORBITMESH_WALKS", "16"))
"""More of them, for a machine with time."""


def body_of(number: int, size: int) -> bytes:
    """A body of this size that no other number has, as far as the size allows."""
    return (number.to_bytes(8, "big") * (size // 8 + 1))[:size]


@dataclass
class Track:
    """Items in one direction of an exchange: what the producer still wants to send, has sent, and what came."""

    backlog: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    came: int = 0
    taken: int = 0
    is_ending: bool = False
    is_ended: bool = False


@dataclass
class Exchange:
    """The truth about one exchange, which neither link knows whole."""

    caller: int
    kind: Kind
    body: bytes
    deadline: float
    is_cancelled: bool = False
    is_delivered: bool = False
    is_answered: bool = False
    is_withdrawn: bool = False
    answer: bytes | None = None
    ends: list[Output] = field(default_factory=list)
    up: Track = field(default_factory=Track)
    down: Track = field(default_factory=Track)

    @property
    def is_served(self) -> bool:
        return self.is_delivered and not self.is_answered and not self.is_withdrawn

    @property
    def is_over(self) -> bool:
        return self.is_cancelled or bool(self.ends)


class Conversation(RuleBasedStateMachine):
    """Both applications and both drivers; each rule is one step of one of them."""

    new_pair: Callable[..., Pair]
    sizes: tuple[int, ...]
    bodies: tuple[int, ...]

    def __init__(self) -> None:
        super().__init__()
        self.number = 0
        self.exchanges: dict[tuple[int, int], Exchange] = {}
        self.subscriptions: dict[tuple[int, int], bool] = {}
        self.published: list[list[bytes]] = [[], []]
        self.heard: list[int] = [0, 0]
        self.one_way: list[list[bytes]] = [[], []]
        self.pings: list[int] = [0, 0]
        self.is_finished = False

    @initialize(small=st.sampled_from([None, 0, 1]))
    def begin(self, small: int | None) -> None:
        options: list[dict[str, Any]] = [{"max_body": self.bodies[-1]}, {"max_body": self.bodies[-1]}]
        if small is not None:
            options[small]["max_body"] = self.bodies[0]
        self.max_body = [option["max_body"] for option in options]
        self.pair = self.new_pair(dialler=options[0], acceptor=options[1]).connect()
        self.sides: list[Side] = [self.pair.dialler, self.pair.acceptor]

    # What an application does

    @rule(caller=SIDES, size=PICKS, kind=st.sampled_from([1, 1, 2, 3]), ttl=st.sampled_from([inf, inf, 0.5, 5.0]))
    def call(self, caller: int, size: int, kind: int, ttl: float) -> None:
        body, side = self.fresh(size), self.sides[caller]
        try:
            id_ = side.call(body=body, kind=Kind(kind), deadline=side.now + ttl)
        except PayloadTooLarge:
            assert len(body) > self.max_body[caller]
            return
        except Overloaded:
            table = side.traffic.own
            assert len(table.calls) >= limits.CALL_SLOTS or len(table.flows) >= limits.STREAM_SLOTS
            return
        assert (caller, id_) not in self.exchanges
        self.exchanges[caller, id_] = Exchange(caller, Kind(kind), body, side.now + ttl)

    @rule(pick=PICKS, size=PICKS, fails=st.booleans())
    def answer(self, pick: int, size: int, fails: bool) -> None:
        served = self.served(Kind.CALL)
        if served:
            id_, exchange = served[pick % len(served)]
            self.reply(id_, exchange, self.fresh(size), fails=fails)

    @rule(pick=PICKS, size=PICKS, count=st.integers(1, 6), is_last=st.booleans(), up=st.booleans())
    def produce(self, pick: int, size: int, count: int, is_last: bool, up: bool) -> None:
        """A stream's or channel's producer has items; it sends them as far as credit goes, the rest when it is told."""
        open_ = self.producers(up=up)
        if not open_:
            return
        id_, exchange = open_[pick % len(open_)]
        producer = exchange.caller if up else 1 - exchange.caller
        track = exchange.up if up else exchange.down
        bodies = [self.fresh(size + n) for n in range(count)]
        track.backlog += [body for body in bodies if len(body) <= self.max_body[producer]]
        track.is_ending = is_last
        self.send_items(producer, id_, exchange)

    @rule(pick=PICKS, count=st.integers(1, 8), up=st.booleans())
    def consume(self, pick: int, count: int, up: bool) -> None:
        """The other application takes items."""
        open_ = [pair for pair in self.exchanges.items() if self.untaken(pair[1], up=up)]
        if open_:
            (_, id_), exchange = open_[pick % len(open_)]
            self.take_items(id_, exchange, count, up=up)

    @rule(pick=PICKS)
    def cancel(self, pick: int) -> None:
        open_ = [pair for pair in self.exchanges.items() if not pair[1].is_over]
        if open_:
            (caller, id_), exchange = open_[pick % len(open_)]
            self.sides[caller].traffic.cancel(id_)
            exchange.is_cancelled = True

    @rule(pick=PICKS, code=st.sampled_from(["raised", "refused"]))
    def fail_stream(self, pick: int, code: str) -> None:
        served = self.served(Kind.STREAM, Kind.CHANNEL)
        if served:
            id_, exchange = served[pick % len(served)]
            callee = self.sides[1 - exchange.caller]
            if callee.traffic.fail(id_, Error(0, code, "on purpose")):
                exchange.is_answered = True

    @rule(sender=SIDES, size=PICKS, is_raw=st.booleans())
    def send_one_way(self, sender: int, size: int, is_raw: bool) -> None:
        body, traffic = self.fresh(size), self.sides[sender].traffic
        if len(body) <= self.max_body[sender]:
            if is_raw:
                traffic.raw(body, headers={"name": "value"})
            else:
                traffic.notify("work", body)
            self.one_way[sender].append(body)

    @rule(sender=SIDES, size=PICKS, count=st.integers(1, 12))
    def publish(self, sender: int, size: int, count: int) -> None:
        for _ in range(count):
            body = self.fresh(size)
            if len(body) <= self.max_body[sender]:
                self.sides[sender].traffic.publish(Event(0, "topic", body, len(self.published[sender])))
                self.published[sender].append(body)

    @rule(sender=SIDES)
    def subscribe(self, sender: int) -> None:
        self.subscriptions[sender, self.sides[sender].traffic.subscribe("a.*")] = False

    @rule(sender=SIDES, what=st.sampled_from(["beat", "ping", "unsubscribe", "drain", "say"]))
    def say(self, sender: int, what: str) -> None:
        link = self.sides[sender].link
        match what:
            case "beat":
                link.heartbeat(Heartbeat(0, 1, 0, 4))
            case "ping":
                link.ping()
                self.pings[sender] += 1
            case "unsubscribe":
                link.traffic.unsubscribe("a.*")
            case "drain":
                link.drain_off()
            case _:
                link.say(Info(0, groups=["x"]))

    # What drivers and the network do

    @rule(sender=SIDES, most=st.sampled_from([1, 2, 1 << 30]))
    def flush(self, sender: int, most: int) -> None:
        self.sides[sender].flush(most)

    @rule(sender=SIDES, most=st.sampled_from([1, 3, 1 << 30]), flushes=st.booleans())
    def deliver(self, sender: int, most: int, flushes: bool) -> None:
        self.pair.deliver(self.sides[sender], most)
        self.act(1 - sender)
        if flushes:
            self.sides[1 - sender].flush()

    @rule(seconds=st.sampled_from([0.1, 0.6, 3.0]))
    def pass_time(self, seconds: float) -> None:
        self.pair.pass_time(seconds)
        self.act(0)
        self.act(1)

    # What must hold at any time

    @invariant()
    def nobody_is_accused(self) -> None:
        for side in getattr(self, "sides", ()):
            assert side.state in (LinkState.CONNECTED, LinkState.BUSY) or self.is_finished

    @invariant()
    def what_lies_unread_is_bounded(self) -> None:
        for side in getattr(self, "sides", ()):
            data, size, control = 0, 0, 0
            for frames in side.queue:
                if all(type(envelope) in CONTROL for envelope in decode(frames[0], frames[1:])):
                    control += 1
                else:
                    data += 1
                    size += sum(map(len, frames))
            assert data <= limits.LINK_MESSAGES
            assert size <= limits.LINK_BYTES + limits.MAX_FRAMES * limits.MAX_FRAME_BYTES
            assert control <= limits.CONTROL_MESSAGES + limits.CONTROL_SPARE

    @invariant()
    def what_nobody_took_is_bounded(self) -> None:
        for exchange in self.exchanges.values():
            for track in (exchange.up, exchange.down):
                assert track.came - track.taken <= limits.STREAM_ITEMS

    # The end: every application does what it owes, and the links have nothing more to say

    def teardown(self) -> None:
        if sys.exc_info()[0] is not None:
            return  # a step has failed: that is what has to be seen
        for _ in range(10_000):
            self.owe()
            moved = [side.flush() for side in self.sides] + [self.pair.deliver(side) for side in self.sides]
            self.act(0)
            self.act(1)
            if not any(moved) and all(side.link.is_flushed for side in self.sides):
                break
        else:
            raise AssertionError("the links never came to rest")
        self.check_the_end()
        self.part()

    def owe(self) -> None:
        for id_, exchange in self.served(Kind.CALL):
            self.reply(id_, exchange, b"", fails=False)
        for up in (True, False):
            for id_, exchange in self.producers(up=up):
                (exchange.up if up else exchange.down).is_ending = True
                self.send_items(exchange.caller if up else 1 - exchange.caller, id_, exchange, only_end=True)
            for (_, id_), exchange in self.exchanges.items():
                self.take_items(id_, exchange, 1 << 30, up=up)

    def check_the_end(self) -> None:
        for exchange in self.exchanges.values():
            assert len(exchange.ends) == (0 if exchange.is_cancelled else 1), exchange
            if exchange.kind is not Kind.CALL and exchange.ends and isinstance(exchange.ends[0], End):
                assert exchange.down.came == len(exchange.down.sent)
                assert not exchange.down.backlog
        assert all(self.subscriptions.values())
        for sender, side in enumerate(self.sides):
            assert self.pings[sender] == 0
            assert side.traffic.own.calls == side.traffic.served.calls == {}
            assert side.traffic.own.flows == side.traffic.served.flows == {}
            assert not side.link.is_short
            assert self.one_way[sender] == []
            incoming = side.traffic._bodies._incoming
            assert incoming._held == 0
            assert [*incoming._open, *incoming._waiting, *incoming._whole] == []
            # Nothing published is forgotten: it came, or it stands in what the next event says was missed.
            self.sides[sender].traffic.publish(Event(0, "last", b"", len(self.published[sender])))
            self.published[sender].append(b"")
        self.pair.settle()
        self.act(0)
        self.act(1)
        assert self.heard == [len(published) for published in self.published]

    def part(self) -> None:
        """One leaves: its last words, however large, come before its goodbye."""
        self.is_finished = True
        leaving, other = self.sides
        leaving.traffic.notify("last words", body_of(0, self.max_body[0]))
        leaving.link.leave(leaving.now)
        self.pair.settle()
        said, heard = leaving.drain(), other.drain()
        for outputs in (said, heard):
            assert [o for o in outputs if isinstance(o, Closed)] == [Closed(None, is_goodbye=True)]
        is_taken = self.max_body[0] <= self.max_body[1]
        assert any(isinstance(output, Notify) for output in heard) is is_taken
        assert any(isinstance(output, Refused) for output in said) is not is_taken

    # One step of an application

    def fresh(self, size: int) -> bytes:
        self.number += 1
        return body_of(self.number, self.sizes[size % len(self.sizes)])

    def served(self, *kinds: Kind) -> list[tuple[int, Exchange]]:
        return [(id_, e) for (_, id_), e in self.exchanges.items() if e.is_served and e.kind in kinds]

    def producers(self, *, up: bool) -> list[tuple[int, Exchange]]:
        """Exchanges whose producer of this direction may still have something to say."""
        return [
            (id_, e)
            for (_, id_), e in self.exchanges.items()
            if (
                e.kind is Kind.CHANNEL and not e.is_over and not e.up.is_ended
                if up
                else e.kind is not Kind.CALL and e.is_served
            )
        ]

    def reply(self, id_: int, exchange: Exchange, body: bytes, *, fails: bool) -> None:
        callee = 1 - exchange.caller
        traffic = self.sides[callee].traffic
        if fails:
            # An error's data is not bounded by this side's limit: whoever is told judges.
            is_sent = traffic.fail(id_, Error(0, "raised", "on purpose", raised="KeyError", body=body))
        else:
            try:
                is_sent = traffic.reply(id_, body)
            except PayloadTooLarge as error:
                assert len(body) > self.max_body[callee]
                is_sent = traffic.fail(id_, to_wire(error))
                body = b""
        assert is_sent
        exchange.is_answered = True
        exchange.answer = body

    def send_items(self, producer: int, id_: int, exchange: Exchange, *, only_end: bool = False) -> None:
        traffic = self.sides[producer].traffic
        is_up = producer == exchange.caller
        track = exchange.up if is_up else exchange.down
        if track.is_ended or (exchange.is_over if is_up else not exchange.is_served):
            return
        while track.backlog and not only_end and traffic.may_send_item(id_):
            if not traffic.item(id_, track.backlog[0]):
                self.check_over(traffic, id_)
                return
            track.sent.append(track.backlog.pop(0))
        if track.is_ending and not track.backlog:
            if not traffic.end(id_):
                self.check_over(traffic, id_)
                return
            track.is_ended = True
            exchange.is_answered |= not is_up

    @staticmethod
    def check_over(traffic: Traffic, id_: int) -> None:
        """The link knows already that an exchange is over; the application hears of it within the same drain."""
        assert id_ not in traffic.own.flows
        assert id_ not in traffic.served.flows

    @staticmethod
    def untaken(exchange: Exchange, *, up: bool) -> int:
        track = exchange.up if up else exchange.down
        return track.came - track.taken

    def take_items(self, id_: int, exchange: Exchange, most: int, *, up: bool) -> None:
        track = exchange.up if up else exchange.down
        consumer = 1 - exchange.caller if up else exchange.caller
        count = min(most, self.untaken(exchange, up=up))
        for body in track.sent[track.taken : track.taken + count]:
            self.sides[consumer].traffic.took(id_, 1, len(body))
        track.taken += count

    # What a link tells its application

    def act(self, index: int) -> None:
        side = self.sides[index]
        for output in side.drain():
            match output:
                case Call():
                    exchange = self.exchanges[1 - index, output.id]
                    assert not exchange.is_delivered
                    assert (output.kind, output.body) == (exchange.kind, exchange.body)
                    exchange.is_delivered = True
                case Reply() if (index, output.id) in self.subscriptions:
                    self.subscriptions[index, output.id] = True
                case Reply() | Error() | Expired() | End() if (index, output.id) in self.exchanges:
                    self.ended(index, self.exchanges[index, output.id], output)
                case Refused():
                    self.refused(index, output)
                case Withdrawn():
                    exchange = self.exchanges[1 - index, output.id]
                    assert exchange.is_served
                    exchange.is_withdrawn = True
                case Item():
                    self.item_came(index, output)
                case End():
                    assert not self.exchanges[1 - index, output.id].is_withdrawn
                case Granted():
                    exchange = self.exchanges.get((index, output.id)) or self.exchanges[1 - index, output.id]
                    self.send_items(index, output.id, exchange)
                case Writable():
                    for (_, id_), exchange in self.exchanges.items():
                        if exchange.kind is not Kind.CALL:
                            self.send_items(index, id_, exchange)
                case Event():
                    self.event_came(index, output)
                case Notify() | Raw():
                    self.one_way[1 - index].remove(bytes(output.body))
                case Subscribe():
                    side.traffic.confirm(output.id)
                case Pong():
                    self.pings[index] -= 1
                case Unsubscribe() | Drain() | Info() | Heartbeat() | Silent() | Heard():
                    pass
                case _:
                    raise AssertionError(f"{output} between honest links")

    def ended(self, index: int, exchange: Exchange, output: Output) -> None:
        assert not exchange.is_over
        exchange.ends.append(output)
        match output:
            case Reply():
                assert exchange.kind is Kind.CALL
                assert output.body == exchange.answer
            case Error(code="raised", body=body) if exchange.kind is Kind.CALL:
                assert body == exchange.answer
            case Expired():
                assert exchange.deadline <= self.sides[index].now

    def refused(self, index: int, output: Refused) -> None:
        assert isinstance(output.error, PayloadTooLarge)
        exchange = self.exchanges.get((index, output.id))
        if exchange is not None:
            self.ended(index, exchange, output)
        elif not output.id:
            self.forget_too_large(index)

    def forget_too_large(self, index: int) -> None:
        """One-way bodies that the peer does not take; which of them it was nobody says."""
        limit = self.max_body[1 - index]
        large = [body for body in self.one_way[index] if len(body) > limit]
        if large:
            self.one_way[index].remove(large[0])

    def item_came(self, index: int, item: Item) -> None:
        exchange = self.exchanges.get((index, item.id))
        if exchange is not None:
            assert not exchange.is_over
            track = exchange.down
        else:
            exchange = self.exchanges[1 - index, item.id]
            assert exchange.is_delivered
            assert not exchange.is_withdrawn
            track = exchange.up
        assert item.body == track.sent[track.came]
        track.came += 1

    def event_came(self, index: int, event: Event) -> None:
        self.heard[index - 1] += event.missed
        position = self.heard[index - 1]
        assert event.time_ms == position, "an event out of order, or one lost in silence"
        assert event.body == self.published[1 - index][position]
        self.heard[index - 1] += 1


# One class of each for hypothesis, which shrinks what it finds; walks of many steps find what takes long to come about.

NEAR: Final = (0, 10, 63, 64, 200, 256, 257, 512, 600, 1500, 2048, 2049)
NEAR_LIMITS: Final = (300, 2048)
REAL: Final = (0, 10, 1000, 70_000, 300_000, 1_200_000, 3_000_000)
REAL_LIMITS: Final = (400_000, limits.MAX_BODY)


def conversation(make_pair: type[Pair], all_sizes: tuple[int, ...], all_limits: tuple[int, int]) -> type[Conversation]:
    class Made(Conversation):
        new_pair = make_pair
        sizes = all_sizes
        bodies = all_limits

    return Made


@pytest.fixture
def near(make_pair: type[Pair], monkeypatch: pytest.MonkeyPatch, small_limits: None) -> type[Conversation]:
    """Every bound is near, so that a handful of small bodies reaches it."""
    monkeypatch.setattr(outbox, "EVENTS", 6)
    monkeypatch.setattr(outbox, "EVENT_BYTES", 1024)
    return conversation(make_pair, NEAR, NEAR_LIMITS)


def explore(machine: type[Conversation], *, examples: int, steps: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


def walk(machine: Conversation, *, seed: str, steps: int) -> None:
    """Many steps, the likely ones more often, with two moods: busy talkers, or a network that brings nothing."""
    random = Random(seed)
    machine.begin(small=random.choice([None, 0, 1]))
    pick = partial(random.randrange, 1 << 16)
    flag = partial(random.choice, [False, True])
    moves: dict[Callable[[], None], float] = {
        lambda: machine.call(
            random.randrange(2), pick(), random.choice([1, 2, 3]), random.choice([inf] * 4 + [0.5, 5.0])
        ): 8,
        lambda: machine.answer(pick(), pick(), flag()): 8,
        lambda: machine.produce(pick(), pick(), random.randint(1, 6), random.random() < 0.2, flag()): 14,
        lambda: machine.consume(pick(), random.randint(1, 8), flag()): 8,
        lambda: machine.cancel(pick()): 3,
        lambda: machine.fail_stream(pick(), "raised"): 1,
        lambda: machine.send_one_way(random.randrange(2), pick(), flag()): 4,
        lambda: machine.publish(random.randrange(2), pick(), random.randint(1, 12)): 4,
        lambda: machine.subscribe(random.randrange(2)): 1,
        lambda: machine.say(
            random.randrange(2), random.choice(["beat", "ping", "ping", "unsubscribe", "drain", "say"])
        ): 5,
        lambda: machine.pass_time(0.1): 1,
    }
    network: dict[Callable[[], None], float] = {
        lambda: machine.flush(random.randrange(2), random.choice([1, 2, 1 << 30])): 3,
        lambda: machine.deliver(random.randrange(2), random.choice([1, 3, 1 << 30]), flag()): 3,
    }
    speed = 1.0
    for step in range(steps):
        if step % 50 == 0:
            speed = random.choice([0.2, 4.0, 8.0])
        weights = [*moves.values(), *(speed * weight for weight in network.values())]
        random.choices([*moves, *network], weights)[0]()
        machine.nobody_is_accused()
        machine.what_lies_unread_is_bounded()
        machine.what_nobody_took_is_bounded()
    machine.teardown()


@pytest.mark.parametrize("steps", [12, 60])
def test_two_honest_links_near_every_bound(near: type[Conversation], steps: int) -> None:
    explore(near, examples=EXAMPLES, steps=steps)


def test_two_honest_links_with_the_bounds_that_hold(make_pair: type[Pair]) -> None:
    explore(conversation(make_pair, REAL, REAL_LIMITS), examples=EXAMPLES // 3, steps=30)


@pytest.mark.parametrize("seed", range(WALKS))
def test_a_long_conversation_near_every_bound(near: type[Conversation], seed: int) -> None:
    walk(near(), seed=f"near {seed}", steps=600)


def test_a_long_conversation_with_the_bounds_that_hold(make_pair: type[Pair]) -> None:
    walk(conversation(make_pair, REAL, REAL_LIMITS)(), seed="real", steps=300)
