"""Small parts of a node, each by itself: tasks, backlogs, metrics, middleware, discoveries, types of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, strategies

from orbitmesh import Event
from orbitmesh.core.errors import ConfigError
from orbitmesh.core.settings import Settings
from orbitmesh.link.outbox import EVENT_BYTES, EVENTS
from orbitmesh.runtime.access import temporary_access
from orbitmesh.runtime.backlog import Backlog
from orbitmesh.runtime.clock import LoopClock
from orbitmesh.runtime.events import Arrived
from orbitmesh.runtime.metrics import Metric, Sampler, checked_metric
from orbitmesh.runtime.middleware import Intercepted, compile_chain, items_of
from orbitmesh.runtime.presence import Presence, bind_addresses, is_open
from orbitmesh.runtime.subscriptions import event_type
from orbitmesh.runtime.tasks import TRIES, Tasks, cancelled
from orbitmesh.runtime.threads import HandlerThreads
from orbitmesh.spi.discovery import Hint, Vanished
from orbitmesh.testing import run_virtually
from orbitmesh.wire.envelopes import Event as Envelope

# Tasks


def test_a_task_that_fails_is_told_by_its_name_and_others_end_with_their_group() -> None:
    failed: list[tuple[str, BaseException]] = []

    async def fail() -> None:
        raise ValueError("no")

    async def main() -> None:
        tasks = Tasks(lambda name, error: failed.append((name, error)))
        tasks.spawn(fail(), "failing")
        endless = tasks.spawn(asyncio.sleep(10**6), "endless")
        await asyncio.sleep(1)
        await tasks.close()
        assert endless.cancelled()
        await tasks.close()

    run_virtually(main())
    assert [(name, str(error)) for name, error in failed] == [("failing", "no")]


def test_a_task_that_catches_its_cancellation_is_cancelled_again_and_then_left() -> None:
    async def stubborn(times: int) -> str:
        for _ in range(times):
            try:
                await asyncio.sleep(10**6)
            except asyncio.CancelledError:
                continue
        return "done"

    async def main() -> None:
        obeying, stubborn_one = asyncio.ensure_future(stubborn(2)), asyncio.ensure_future(stubborn(TRIES + 1))
        await asyncio.sleep(1)
        assert await cancelled({obeying, stubborn_one}) == {stubborn_one}
        assert obeying.result() == "done"
        assert await cancelled({stubborn_one}) == set()
        assert await cancelled([]) == set()

    run_virtually(main())


# Backlogs


def arrived(publisher: str, size: int, missed: int = 0) -> Arrived:
    return Arrived(Envelope(0, "t", b"", 0, missed), publisher, None, size)  # type: ignore[arg-type]  # nobody decodes it


@given(
    strategies.lists(
        strategies.one_of(
            strategies.tuples(
                strategies.sampled_from("ab"), strategies.sampled_from([1, 1000, EVENT_BYTES // 3, EVENT_BYTES * 2])
            ),
            strategies.none(),
        ),
        max_size=60,
    )
)
def test_a_backlog_is_bounded_and_no_event_goes_unaccounted(moves: list[tuple[str, int] | None]) -> None:
    backlog, put, got, told = Backlog(), 0, 0, 0
    for move in moves:
        if move is not None:
            backlog.put(arrived(*move))
            put += 1
        elif backlog:
            _, missed = backlog.take()
            got, told = got + 1, told + missed
        size = sum(event.size for event in backlog._events)
        assert size == backlog._size
        assert len(backlog) <= EVENTS
        assert size <= EVENT_BYTES or len(backlog) == 1
    assert put == got + len(backlog) + backlog.dropped
    assert told + sum(backlog._missed.values()) == backlog.dropped
    assert backlog.clear() == put - got - backlog.dropped
    assert not backlog


def test_what_an_event_says_was_missed_before_it_is_missed_with_it() -> None:
    backlog = Backlog()
    for number in range(EVENTS + 2):
        backlog.put(arrived("a", 1, missed=number))
    assert backlog.take()[1] == 3  # two of them, and the one that the second had missed


# Metrics


def test_metrics_are_checked_by_what_they_take() -> None:
    assert checked_metric("m", lambda: 1.0, "500ms").every == 0.5

    def optional(x: float = 3.0) -> float:
        return x

    assert checked_metric("m", optional, 1).every == 1
    assert checked_metric("m", lambda *args, **options: 1.0, 1).every == 1
    assert checked_metric("m", dict, 1).function is dict
    assert checked_metric("m", _Unsigned(), 1).name == "m"
    with pytest.raises(ConfigError, match="takes parameters"):
        checked_metric("m", abs, 1)  # type: ignore[arg-type]  # what a user gets wrong


class _Unsigned:
    """Something that shows no signature."""

    __signature__ = "none"

    def __call__(self) -> float:
        return 1.0


async def test_samples_come_from_the_loop_or_a_thread_and_what_fails_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    threads = HandlerThreads(2)
    sampler = Sampler(threads)
    values: Iterator[Any] = iter([2, "warm", float("inf"), SystemExit(3), 10**400, 4])

    def next_value() -> Any:
        value = next(values)
        if isinstance(value, BaseException):
            raise value
        return value

    async def on_the_loop() -> float:
        return 1.5

    metric = Metric("in-a-thread", next_value, 1)
    await sampler.sample(Metric("on-the-loop", on_the_loop, 1))
    await sampler.sample(metric)
    before = sampler.values
    assert before == {"on-the-loop": 1.5, "in-a-thread": 2}
    for failures in range(1, 5):
        await sampler.sample(metric)
        assert sampler.values == {"on-the-loop": 1.5}
        assert sampler.failed == {"in-a-thread": failures}
    assert before == {"on-the-loop": 1.5, "in-a-thread": 2}  # replaced, never changed
    assert [record.event for record in caplog.records] == ["metric-failed"]  # type: ignore[attr-defined]  # extra
    await sampler.sample(metric)
    assert sampler.values["in-a-thread"] == 4
    assert sampler.failed == {}
    await threads.close(10)


# Middleware


async def test_a_chain_of_none_is_none_and_one_runs_in_order() -> None:
    assert compile_chain([]) is None
    notes: list[str] = []

    def named(name: str) -> Any:
        async def m(call: Any, proceed: Any) -> Any:
            notes.append(name)
            return await proceed(call)

        return m

    chain = compile_chain([named("a"), named("b")])
    assert chain is not None

    async def core(call: Any) -> str:
        return f"core {call.name}"

    assert await chain(Intercepted("x", "call", {}, {}, "peer"), core) == "core x"
    assert notes == ["a", "b"]


async def test_a_stream_through_middleware_is_an_async_iterator_awaited_or_not() -> None:
    async def items() -> AsyncIterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        return items()

    assert [item async for item in await items_of(items(), "s")] == [1]
    assert [item async for item in await items_of(later(), "s")] == [1]
    with pytest.raises(TypeError, match="the stream 's' returned int, no async iterator"):
        await items_of(7, "s")


# Discoveries


class FakeSession:
    """A discovery that fails where it is told to."""

    def __init__(self, sink: Callable[[Hint], None], fails: str) -> None:
        self.sink = sink
        self.fails = fails
        self.did: list[str] = []

    def _do(self, what: str) -> None:
        self.did.append(what)
        if what == self.fails:
            raise OSError(f"cannot {what}")

    async def browse(self) -> None:
        self._do("browse")
        self.sink(Vanished("fake", "place"))

    async def announce(self, announcer: Any, *, addresses: Any) -> None:
        self._do("announce")
        assert announcer() == announcer(["a"]) == b"box a"

    def counters(self) -> dict[str, int]:
        return {"seen": 1}

    async def close(self) -> None:
        self._do("close")


class FakeDiscovery:
    def __init__(self, name: str, fails: str = "") -> None:
        self.name = name
        self.fails = fails
        self.sessions: list[FakeSession] = []

    async def open(self, settings: Any, sink: Callable[[Hint], None]) -> FakeSession:
        if self.fails == "open":
            raise ConfigError("it cannot be opened")
        self.sessions.append(FakeSession(sink, self.fails))
        return self.sessions[-1]


class Around:
    """A presence with what is around it."""

    def __init__(self) -> None:
        self.faults: list[str] = []
        self.hints: list[Hint] = []
        self.looked = 0
        self.tasks = Tasks(lambda name, error: self.faults.append(name))
        self.presence = Presence(
            self.tasks,
            self.hints.append,
            announcement=lambda addresses: f"box {addresses[0]}".encode(),
            addresses=lambda: ["a"],
            looked=self._count,
        )

    def _count(self) -> None:
        self.looked += 1

    async def open(self, *discoveries: Any) -> None:
        clock = LoopClock(asyncio.get_running_loop())
        await self.presence.open(discoveries, Settings(), await temporary_access(clock), clock)


@pytest.mark.parametrize("fails", ["browse", "announce", "close"])
async def test_a_discovery_that_fails_costs_no_other_and_no_node(fails: str, caplog: pytest.LogCaptureFixture) -> None:
    around, broken, fine = Around(), FakeDiscovery("broken", fails), FakeDiscovery("fine")
    await around.open(broken, fine)
    assert around.presence.is_discovering
    for _ in range(3):
        await asyncio.sleep(0)
    assert not around.presence.is_discovering
    assert around.looked == 2
    assert fine.sessions[0].did == ["browse", "announce"]
    around.presence.withdraw()
    around.presence.withdraw()
    await asyncio.sleep(0)
    fine.sessions[0].sink(Vanished("fine", "late"))
    await around.presence.close()
    assert around.faults == []
    assert len(around.hints) == (1 if fails == "browse" else 2)
    counters = around.presence.counters()
    assert counters["broken"]["failed"] == (2 if fails == "close" else 1)  # when it withdrew, and when it was closed
    assert counters["fine"] == {"seen": 1, "failed": 0}
    assert all(f"broken could not {fails if fails != 'browse' else 'look'}" in text for text in caplog.messages)
    assert len(caplog.messages) == counters["broken"]["failed"]
    await around.tasks.close()


async def test_a_node_that_stops_while_it_still_looks_announces_nothing() -> None:
    around, slow = Around(), FakeDiscovery("slow")
    going = asyncio.Event()

    async def browse() -> None:
        await going.wait()

    await around.open(slow)
    slow.sessions[0].browse = browse  # type: ignore[method-assign]  # it takes its time
    await asyncio.sleep(0)
    around.presence.withdraw()
    going.set()
    for _ in range(3):
        await asyncio.sleep(0)
    assert "announce" not in slow.sessions[0].did
    await around.presence.close()
    await around.tasks.close()


async def test_a_discovery_that_cannot_be_opened_fails_the_start_and_closes_the_others() -> None:
    around, fine = Around(), FakeDiscovery("fine")
    with pytest.raises(ConfigError, match="cannot be opened"):
        await around.open(fine, FakeDiscovery("broken", "open"))
    assert fine.sessions[0].did == ["close"]


def test_a_mesh_of_one_device_listens_on_the_loopback_interface_alone() -> None:
    assert bind_addresses(Settings()) == ["tcp://127.0.0.1:0"]
    assert not is_open(Settings())
    assert bind_addresses(Settings(bind=("tcp://127.0.0.1:7",), secret="s")) == ["tcp://127.0.0.1:7"]
    for opened in (Settings(secret="s"), Settings(bind=("tcp://127.0.0.1:7",)), Settings(interfaces=("lo",))):
        assert is_open(opened)
    several = bind_addresses(Settings(interfaces=("lo",)))
    assert several[0] == "tcp://127.0.0.1:0"
    assert not any(address.startswith(("tcp://0.0.0.0", "tcp://[::]", "tcp://[fe80:")) for address in several)


# Types of events


class Handlers:
    async def method(self, event: Event[int]) -> None: ...


def test_the_annotation_of_an_event_handler_says_what_its_data_has_to_be() -> None:
    async def typed(event: Event[int]) -> None: ...
    async def bare(event: Event) -> None: ...  # type: ignore[type-arg]  # as users write it
    async def untyped(event) -> None: ...  # type: ignore[no-untyped-def]  # as users write it
    async def any_(event: Any) -> None: ...
    async def two(first: Event[int], second: int) -> None: ...
    async def none() -> None: ...
    async def other(event: int) -> None: ...
    async def lost(event: Event[Unknown]) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - as users do

    assert event_type(typed) is int
    assert event_type(Handlers().method) is int
    for function in (bare, untyped, any_):
        assert event_type(function) is Any
    for wrong, words in (
        (two, "takes one parameter, the event"),
        (none, "takes one parameter, the event"),
        (other, "write Event, or Event"),
        (lost, "cannot be resolved"),
        (_Unsigned(), "no signature to read"),
    ):
        with pytest.raises(ConfigError, match=words):
            event_type(wrong)


# Virtual time


def test_on_virtual_time_an_hour_takes_no_time_and_what_waits_for_ever_fails() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.gather(*(asyncio.sleep(seconds) for seconds in (3600, 60, 0.5)))
        assert await asyncio.to_thread(lambda: 7) == 7
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)
        return loop.time() - begun

    assert run_virtually(main()) == 3600

    async def for_ever() -> None:
        await asyncio.get_running_loop().create_future()

    with pytest.raises(RuntimeError, match="would wait for ever"):
        run_virtually(for_ever())


def test_the_testing_package_says_what_it_has_not() -> None:
    import orbitmesh.testing as package

    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = package.Nothing
    assert {package.MemoryMesh.__name__, package.VirtualLoop.__name__} == {"MemoryMesh", "VirtualLoop"}
