"""Dials: all addresses of a peer a little apart, peers side by side, and patience with whoever cannot be reached."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from orbitmesh.core.errors import ConfigError
from orbitmesh.core.ids import NodeId
from orbitmesh.runtime.dialling import MAX_ADDRESSES, SIDE_BY_SIDE, STAGGER_SECONDS, Attempt, Dialler
from orbitmesh.testing import VirtualLoop

KEY = bytes(32)


class FakePipe:
    """One dial; the test says what becomes of it."""

    peer_key = KEY
    is_dialled = True

    def __init__(self, address: str) -> None:
        self.address = address
        self.is_open = True

    def send(self, frames: Any) -> bool:
        return self.is_open

    def close(self) -> None:
        self.is_open = False


class Desk:
    """A dialler over a transport that does what it is told."""

    def __init__(self) -> None:
        self.loop = VirtualLoop()
        self.pipes: list[FakePipe] = []
        self.won: list[tuple[Attempt, FakePipe]] = []
        self.failed: list[Attempt] = []
        self.dialler = Dialler(
            self.loop,
            dial=self.dial,
            won=lambda attempt, pipe: self.won.append((attempt, cast(FakePipe, pipe))),  # as it dials no other
            failed=self.failed.append,
            random=lambda: 0.0,
        )

    def dial(self, address: str, *, key: bytes) -> Any:
        if address.startswith("odd"):
            raise ConfigError(f"{address} is of another transport")
        self.pipes.append(FakePipe(address))
        return self.pipes[-1]

    def pass_time(self, seconds: float) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    @property
    def open(self) -> list[FakePipe]:
        return [pipe for pipe in self.pipes if pipe.is_open]

    def lose(self, pipe: FakePipe, reason: str = "refused") -> bool:
        pipe.is_open = False
        return self.dialler.lost(pipe, reason)

    def connect(self, pipe: FakePipe) -> bool:
        return self.dialler.connected(pipe)


@pytest.fixture
def desk() -> Any:
    made = Desk()
    yield made
    made.dialler.close()
    made.loop.close()


def node(number: int) -> NodeId:
    return NodeId(f"{number:032x}")


def test_addresses_are_dialled_a_little_apart_and_the_first_that_answers_wins(desk: Desk) -> None:
    desk.dialler.begin(node(1), KEY, ["a", "b", "c", "d"])
    assert [pipe.address for pipe in desk.open] == ["a"]
    desk.pass_time(STAGGER_SECONDS * 2.5)
    assert [pipe.address for pipe in desk.open] == ["a", "b", "c"]
    first, second, third = desk.pipes
    assert desk.connect(second)
    assert [pipe.address for pipe in desk.open] == ["b"]
    assert [pipe.address for _, pipe in desk.won] == ["b"]
    assert not desk.connect(third)  # too late
    assert not desk.lose(first)
    desk.pass_time(10)
    assert len(desk.pipes) == 3
    assert desk.dialler.is_trying(node(1), KEY)
    desk.dialler.ended(desk.won[0][0])
    assert not desk.dialler.is_busy


def test_a_refusal_leads_to_the_next_address_at_once_and_the_last_one_to_the_end(desk: Desk) -> None:
    desk.dialler.begin(node(1), KEY, ["a", "odd", "b"])
    desk.lose(desk.pipes[0], "nobody listens")
    assert [pipe.address for pipe in desk.open] == ["b"]
    desk.lose(desk.pipes[1], "nobody listens either")
    (attempt,) = desk.failed
    assert attempt.reason == "b: nobody listens either"
    assert desk.dialler.counts == {"dials": 2, "failed_dials": 3, "failed_attempts": 1}
    assert not desk.dialler.is_busy


@pytest.mark.parametrize("addresses", [[], ["odd", "odd 2"]])
def test_without_an_address_that_can_be_dialled_the_attempt_fails_next_turn(desk: Desk, addresses: list[str]) -> None:
    desk.dialler.begin(node(1), KEY, addresses)
    assert desk.failed == []
    desk.pass_time(0)
    assert len(desk.failed) == 1
    assert desk.failed[0].reason == ("odd 2 is of another transport" if addresses else "it has no address")


def test_one_node_is_tried_once_at_a_time_and_by_another_key_beside_it(desk: Desk) -> None:
    desk.dialler.begin(node(1), KEY, ["a"])
    desk.dialler.begin(node(1), KEY, ["b"])
    desk.dialler.begin(node(1), bytes(31) + b"x", ["c"])
    assert [pipe.address for pipe in desk.open] == ["a", "c"]


def test_so_many_nodes_are_dialled_at_one_time_and_the_others_in_turn(desk: Desk) -> None:
    for number in range(SIDE_BY_SIDE + 10):
        desk.dialler.begin(node(number), KEY, [f"{number}"])
    assert len(desk.open) == SIDE_BY_SIDE
    desk.lose(desk.pipes[0])
    assert len(desk.open) == SIDE_BY_SIDE
    assert desk.open[-1].address == str(SIDE_BY_SIDE)
    desk.connect(desk.open[0])
    assert len(desk.open) == SIDE_BY_SIDE  # its link is not there yet
    desk.dialler.ended(desk.won[0][0])
    assert len(desk.open) == SIDE_BY_SIDE + 1  # it is no dial any more


def test_of_many_addresses_the_first_ones_are_tried(desk: Desk) -> None:
    desk.dialler.begin(node(1), KEY, [f"a{number}" for number in range(1000)])
    desk.pass_time(1000)
    assert len(desk.pipes) == MAX_ADDRESSES
    assert desk.dialler.counts["addresses_left_out"] == 1000 - MAX_ADDRESSES


def test_whoever_cannot_be_reached_is_left_alone_for_longer_each_time(desk: Desk) -> None:
    tries: list[float] = []
    started = desk.loop.time()

    def again() -> None:
        if desk.dialler.may_try(node(1), again):
            tries.append(desk.loop.time() - started)
            desk.dialler.missed(node(1))
            assert not desk.dialler.may_try(node(1), again)

    again()
    desk.pass_time(3600)
    waits = [after - before for before, after in pairwise(tries)]
    assert waits[:5] == pytest.approx([0.25, 0.5, 1, 2, 2.5])
    assert max(wait for at, wait in zip(tries, waits, strict=False) if at < 290) == pytest.approx(2.5)
    assert max(waits) == pytest.approx(15)
    assert all(before <= after + 1e-9 for before, after in pairwise(waits))
    desk.dialler.forgive(node(1))
    assert desk.dialler.may_try(node(1), again)
    desk.dialler.forgive(node(1))  # harmless


def test_one_timer_waits_for_a_node_however_often_it_is_asked_for(desk: Desk) -> None:
    woken: list[int] = []
    desk.dialler.missed(node(1))
    for number in range(5):
        assert not desk.dialler.may_try(node(1), lambda number=number: woken.append(number))  # type: ignore[misc]  # bound now
    desk.pass_time(10)
    assert woken == [0]


def test_once_closed_nothing_is_dialled_and_nothing_told(desk: Desk) -> None:
    desk.dialler.begin(node(1), KEY, ["a", "b"])
    desk.dialler.begin(node(2), KEY, ["c"])
    desk.dialler.begin(node(3), KEY, [])
    desk.connect(desk.pipes[1])
    desk.dialler.missed(node(4))
    assert not desk.dialler.may_try(node(4), lambda: pytest.fail("it is closed"))
    desk.dialler.close()
    desk.dialler.close()
    assert [pipe.address for pipe in desk.open] == ["c"]  # its link decides about it
    desk.dialler.begin(node(5), KEY, ["d"])
    assert not desk.dialler.may_try(node(6), lambda: pytest.fail("it is closed"))
    late = FakePipe("late")
    assert not desk.connect(late)
    assert not late.is_open
    assert not desk.lose(desk.pipes[0])
    desk.dialler.ended(desk.won[0][0])
    desk.pass_time(60)
    assert len(desk.pipes) == 2
    assert desk.failed == []


class Dialling(RuleBasedStateMachine):
    """Whatever happens in whatever order: each attempt ends once, in one way, and nothing of it stays open."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.begun: list[tuple[NodeId, bytes]] = []
        self.ended = 0

    def teardown(self) -> None:
        self.desk.dialler.close()
        self.desk.pass_time(100)
        timers = [handle for handle in self.desk.loop._scheduled if not handle.cancelled()]  # type: ignore[attr-defined]  # nobody else knows
        self.desk.loop.close()
        won = {id(pipe) for _, pipe in self.desk.won}
        assert all(id(pipe) in won for pipe in self.desk.open)
        assert timers == []

    @rule(
        number=strategies.integers(0, 90),
        addresses=strategies.lists(strategies.sampled_from(["a", "b", "odd"]), max_size=4),
    )
    def begin(self, number: int, addresses: list[str]) -> None:
        if not self.desk.dialler.is_trying(node(number), KEY):
            self.begun.append((node(number), KEY))
        self.desk.dialler.begin(node(number), KEY, addresses)

    @rule(first=strategies.integers(0, 60), count=strategies.integers(1, 90))
    def begin_many(self, first: int, count: int) -> None:
        for number in range(first, first + count):
            self.begin(number, ["a", "b"])

    @precondition(lambda self: self.desk.open)
    @rule(data=strategies.data())
    def lose(self, data: Any) -> None:
        self.desk.lose(data.draw(strategies.sampled_from(self.desk.open)))

    @precondition(lambda self: self.desk.open)
    @rule(data=strategies.data())
    def connect(self, data: Any) -> None:
        pipe = data.draw(strategies.sampled_from(self.desk.open))
        if all(pipe is not winner for _, winner in self.desk.won):
            assert self.desk.connect(pipe)

    @precondition(lambda self: self.desk.won)
    @rule(data=strategies.data())
    def end(self, data: Any) -> None:
        attempt, _ = data.draw(strategies.sampled_from(self.desk.won))
        self.desk.dialler.ended(attempt)

    @rule(seconds=strategies.sampled_from([0.0, 0.1, 0.2, 5.0]))
    def wait(self, seconds: float) -> None:
        self.desk.pass_time(seconds)

    @invariant()
    def each_attempt_has_one_end(self) -> None:
        assert len(self.desk.won) + len(self.desk.failed) <= len(self.begun)
        assert len({id(attempt) for attempt, _ in self.desk.won} | {id(a) for a in self.desk.failed}) == len(
            self.desk.won
        ) + len(self.desk.failed)

    @invariant()
    def what_waits_waits_for_room_alone(self) -> None:
        dialler = self.desk.dialler
        running = len(dialler._attempts) - len(dialler._waiting)
        assert running <= SIDE_BY_SIDE
        assert not dialler._waiting or running == SIDE_BY_SIDE

    @invariant()
    def all_of_an_attempt_is_closed_with_it(self) -> None:
        live = {id(pipe) for attempt in self.desk.dialler._attempts.values() for pipe in attempt.pipes}
        won = {id(pipe) for _, pipe in self.desk.won}
        assert all(id(pipe) in live | won for pipe in self.desk.open)


TestDialling = Dialling.TestCase
TestDialling.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
