"""Calls: results, parameters, errors, deadlines, cancellation, nesting, room."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from orbitmesh import (
    Agent,
    AgentInfo,
    Cancelled,
    CommandError,
    ConfigError,
    Context,
    DeadlineExceeded,
    InvalidParameters,
    InvalidResult,
    NoAgent,
    Overloaded,
    PayloadTooLarge,
    PeerLost,
    RemoteError,
    Target,
    UnknownCommand,
    Unserializable,
)
from orbitmesh.testing import MemoryMesh


@dataclass
class Summary:
    """Something structured that comes back."""

    count: int
    mean: float


@dataclass
class Whole:
    """What a caller mistakes it for."""

    mean: int


def calculator() -> Agent:
    agent = Agent("calculator", groups=["workers"], tags={"site": "roof"})

    @agent.command()
    async def summarise(rows: list[int], scale: float = 1.0) -> Summary:
        """Count and average."""
        return Summary(len(rows), scale * sum(rows) / len(rows))

    @agent.command()
    async def nothing() -> None:
        return None

    return agent


async def test_a_result_comes_back_in_the_type_that_was_asked_for() -> None:
    async with MemoryMesh(calculator()) as mesh:
        assert await mesh.invoke("summarise", {"rows": [1, 3]}, returns=Summary) == Summary(2, 2.0)
        assert await mesh.invoke("summarise", {"rows": [1, 3], "scale": 2}) == {"count": 2, "mean": 4.0}
        assert await mesh.invoke("nothing") is None


async def test_a_decorated_function_stands_for_its_command_and_its_type() -> None:
    agent = Agent("a")

    @agent.command("total")
    async def add_up(rows: list[int]) -> Summary:
        return Summary(len(rows), sum(rows))

    async with MemoryMesh(agent) as mesh:
        result = await mesh.invoke(add_up, {"rows": [1, 2]})
        assert result.mean == 3
        assert await add_up([4]) == Summary(1, 4)


async def test_what_does_not_fit_is_told_and_the_handler_never_runs() -> None:
    ran: list[int] = []
    agent = Agent("a")

    @agent.command()
    async def take(number: int, factor: float = 1.0) -> None:
        ran.append(number)

    async with MemoryMesh(agent) as mesh:
        with pytest.raises(InvalidParameters) as caught:
            await mesh.invoke("take", {"number": "seven", "faktor": 2})
        assert "number: expected int" in str(caught.value)
        assert "unknown parameter 'faktor' (did you mean 'factor'?)" in str(caught.value)
        with pytest.raises(InvalidParameters, match="missing parameter 'number'"):
            await mesh.invoke("take")
        with pytest.raises(InvalidParameters, match="a mapping of names to values"):
            await mesh.invoke("take", [1, 2])
    assert ran == []


async def test_a_result_that_does_not_fit_names_its_path() -> None:
    async with MemoryMesh(calculator()) as mesh:
        with pytest.raises(InvalidResult, match="mean: expected int, got float"):
            await mesh.invoke("summarise", {"rows": [1, 2]}, returns=Whole)


class Strange(Exception):
    """An exception that cannot even say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no words")


async def test_whatever_escapes_a_handler_reaches_the_caller_and_costs_nothing_else() -> None:
    agent = Agent("a")
    raised: dict[str, BaseException] = {
        "key": KeyError("x"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
        "generator": GeneratorExit(),
        "stop": StopAsyncIteration(),
        "strange": Strange(),
        "surrogate": ValueError("\ud800"),
        "long": ValueError("x" * 100_000),
        "group": ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
        "own": InvalidParameters("from the handler's own code"),
    }

    @agent.command()
    async def fail(how: str) -> None:
        raise raised[how]

    @agent.command()
    async def fine() -> str:
        return "fine"

    async with MemoryMesh(agent) as mesh:
        for how, error in raised.items():
            with pytest.raises(RemoteError) as caught:
                await mesh.invoke("fail", {"how": how})
            assert caught.value.type == type(error).__name__
            assert caught.value.traceback is None
            assert await mesh.invoke("fine") == "fine"


async def test_a_command_error_keeps_code_data_and_whether_to_retry() -> None:
    agent = Agent("a")

    @agent.command()
    async def buy() -> None:
        raise CommandError("out-of-stock", "none left", data={"until": 7}, retryable=True)

    async with MemoryMesh(agent) as mesh:
        with pytest.raises(RemoteError) as caught:
            await mesh.invoke("buy")
    error = caught.value
    assert (error.code, error.message, error.data, error.retryable) == ("out-of-stock", "none left", {"until": 7}, True)


async def test_what_cannot_be_serialized_is_told_to_whoever_sent_it() -> None:
    agent = Agent("a")

    @agent.command()
    async def give() -> Any:
        return {"rows": [object()]}

    async with MemoryMesh(agent) as mesh:
        with pytest.raises(Unserializable, match="rows"):
            await mesh.invoke("give")
        with pytest.raises(Unserializable, match="object"):
            await mesh.invoke("give", {"x": object()})


async def test_a_body_over_the_limit_is_refused_on_either_side() -> None:
    agent = Agent("a", max_body=200_000)

    @agent.command()
    async def swell(size: int) -> bytes:
        return bytes(size)

    @agent.command()
    async def measure(data: bytes) -> int:
        return len(data)

    async with MemoryMesh(agent, max_body=100_000) as mesh:
        assert await mesh.invoke("measure", {"data": bytes(90_000)}) == 90_000
        with pytest.raises(PayloadTooLarge, match="stream"):
            await mesh.invoke("measure", {"data": bytes(100_001)})
        with pytest.raises(PayloadTooLarge, match="stream"):
            await mesh.invoke("swell", {"size": 300_000})


async def test_large_bodies_travel_in_chunks_both_ways() -> None:
    agent = Agent("a")

    @agent.command()
    async def mirror(data: bytes) -> bytes:
        return data[::-1]

    async with MemoryMesh(agent) as mesh:
        data = bytes(range(256)) * 12_000
        results = await asyncio.gather(*(mesh.invoke("mirror", {"data": data[: n * 700_000]}) for n in range(1, 5)))
        assert [len(result) for result in results] == [700_000, 1_400_000, 2_100_000, 2_800_000]
        assert results[3] == data[:2_800_000][::-1]


async def test_unknown_commands_and_kinds_say_what_there_is() -> None:
    agent = calculator()

    @agent.stream()
    async def numbers() -> AsyncIterator[int]:
        yield 1

    async with MemoryMesh(agent) as mesh:
        with pytest.raises(UnknownCommand, match="'summarise' \\(call\\)"):
            await mesh.invoke("summarize", on="calculator")
        with pytest.raises(UnknownCommand, match="use stream"):
            await mesh.invoke("numbers", on="calculator")
        with pytest.raises(UnknownCommand, match="use invoke"):
            async with mesh.stream("nothing", on="calculator"):
                pass
        with pytest.raises(NoAgent, match="did you mean 'summarise'"):
            await mesh.invoke("summarize", timeout=0.1)
        with pytest.raises(NoAgent, match="nobody is known by the name 'nobody'"):
            await mesh.invoke("summarise", on="nobody", wait=False)


async def test_a_call_waits_for_an_agent_that_comes_later() -> None:
    late = calculator()
    async with MemoryMesh() as mesh:
        call = asyncio.ensure_future(mesh.invoke("summarise", {"rows": [5]}, returns=Summary, timeout=60))
        await asyncio.sleep(20)
        assert not call.done()
        await late.start(join=mesh)
        assert (await call).mean == 5
        await late.stop()


async def test_a_deadline_travels_and_ends_the_work_on_both_sides() -> None:
    agent = Agent("a")
    seen: list[float | None] = []
    ended = asyncio.Event()

    @agent.command()
    async def dawdle(ctx: Context) -> None:
        seen.append(ctx.remaining)
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append(ctx.remaining)
            ended.set()

    async with MemoryMesh(agent) as mesh:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        with pytest.raises(DeadlineExceeded):
            await mesh.invoke("dawdle", timeout="2s")
        assert loop.time() - begun == pytest.approx(2, abs=0.01)
        await asyncio.wait_for(ended.wait(), 1)
    assert seen[0] == pytest.approx(2, abs=0.01)
    assert seen[1] == 0


async def test_the_handlers_own_timeout_counts_when_it_is_earlier() -> None:
    agent = Agent("a")

    @agent.command(timeout=0.5)
    async def dawdle(ctx: Context) -> None:
        assert ctx.remaining is not None
        assert ctx.remaining <= 0.5
        await asyncio.sleep(3600)

    @agent.command(timeout=5)
    async def give_up() -> None:
        raise TimeoutError("of its own")

    async with MemoryMesh(agent) as mesh:
        with pytest.raises(DeadlineExceeded, match="its own timeout"):
            await mesh.invoke("dawdle", timeout=60)
        with pytest.raises(RemoteError, match="of its own"):
            await mesh.invoke("give-up")


async def test_cancelling_a_call_cancels_the_handler() -> None:
    agent = Agent("a")
    began, ended = asyncio.Event(), asyncio.Event()

    @agent.command()
    async def dawdle() -> None:
        began.set()
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    async with MemoryMesh(agent) as mesh:
        call = asyncio.ensure_future(mesh.invoke("dawdle"))
        await began.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.wait_for(ended.wait(), 1)


async def test_nested_calls_carry_deadline_caller_and_cancellation() -> None:
    inner, outer = Agent("inner"), Agent("outer")
    ended = asyncio.Event()
    seen: list[Any] = []

    @inner.command()
    async def deep(ctx: Context) -> None:
        seen.extend([ctx.caller.name, ctx.remaining])
        try:
            await asyncio.sleep(3600)
        finally:
            ended.set()

    @outer.command()
    async def shallow(ctx: Context) -> None:
        await ctx.mesh.invoke("deep", on="inner", timeout=100)

    async with MemoryMesh(inner, outer, name="caller") as mesh:
        with pytest.raises(DeadlineExceeded):
            await mesh.invoke("shallow", on="outer", timeout=3)
        await asyncio.wait_for(ended.wait(), 1)
    assert seen[0] == "caller"
    assert seen[1] == pytest.approx(3, abs=0.05)


async def test_errors_of_nested_calls_arrive_as_remote_errors_with_their_code() -> None:
    agent = Agent("a")

    @agent.command()
    async def ask(ctx: Context) -> None:
        await ctx.mesh.invoke("nowhere", on="calculator")

    async with MemoryMesh(agent, calculator()) as mesh:
        with pytest.raises(RemoteError) as caught:
            await mesh.invoke("ask", on="a")
    assert (caught.value.type, caught.value.code) == ("UnknownCommand", "unknown-command")


async def test_headers_travel_with_a_call() -> None:
    agent = Agent("a")

    @agent.command()
    async def tell(ctx: Context) -> dict[str, str]:
        return dict(ctx.headers)

    async with MemoryMesh(agent) as mesh:
        assert await mesh.invoke("tell", headers={"tenant": "blue"}) == {"tenant": "blue"}
        with pytest.raises(ConfigError, match="header"):
            await mesh.invoke("tell", headers={"tenant": 7})  # type: ignore[dict-item]  # what a user gets wrong


async def test_beyond_concurrency_calls_wait_and_beyond_the_line_they_are_refused() -> None:
    agent = Agent("a", concurrency=2, queue=2)
    going = asyncio.Event()
    most = running = 0

    @agent.command()
    async def work() -> None:
        nonlocal most, running
        running += 1
        most = max(most, running)
        await going.wait()
        running -= 1

    async with MemoryMesh(agent) as mesh:
        calls = [asyncio.ensure_future(mesh.invoke("work")) for _ in range(5)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        (refused,) = done
        error = refused.exception()
        assert isinstance(error, Overloaded)
        assert error.retry_after > 0
        going.set()
        await asyncio.gather(*(call for call in calls if call is not refused))
    assert most == 2


async def test_an_agent_that_calls_itself_by_name_is_told_so_at_once() -> None:
    agent = Agent("a")

    @agent.command()
    async def ask(ctx: Context, on: str) -> None:
        await ctx.mesh.invoke("ask", {"on": on}, on=on)

    async with MemoryMesh(agent) as mesh:
        (info,) = await mesh.agents()
        for name in ("a", info.full_name, info.id):
            with pytest.raises(RemoteError, match="this very node") as caught:
                await mesh.invoke("ask", {"on": name}, on="a")
            assert caught.value.code == "config-error"


async def test_a_call_that_was_cancelled_while_it_waited_never_runs() -> None:
    agent = Agent("a", concurrency=1, queue=5)
    going = asyncio.Event()
    ran: list[str] = []

    @agent.command()
    async def work(who: str) -> None:
        ran.append(who)
        await going.wait()

    async with MemoryMesh(agent) as mesh:
        first = asyncio.ensure_future(mesh.invoke("work", {"who": "first"}))
        second = asyncio.ensure_future(mesh.invoke("work", {"who": "second"}))
        third = asyncio.ensure_future(mesh.invoke("work", {"who": "third"}))
        await asyncio.sleep(1)
        second.cancel()
        await asyncio.sleep(1)
        going.set()
        await asyncio.gather(first, third)
    assert ran == ["first", "third"]


async def test_concurrency_of_one_command_leaves_room_for_others() -> None:
    agent = Agent("a")
    going = asyncio.Event()

    @agent.command(concurrency=1)
    async def slow() -> None:
        await going.wait()

    @agent.command()
    async def quick() -> str:
        return "quick"

    async with MemoryMesh(agent) as mesh:
        slow_ones = [asyncio.ensure_future(mesh.invoke("slow")) for _ in range(3)]
        await asyncio.sleep(1)
        assert await mesh.invoke("quick") == "quick"
        going.set()
        await asyncio.gather(*slow_ones)


async def test_a_crash_of_the_agent_ends_its_calls_at_once_with_peer_lost() -> None:
    agent = Agent("a")
    began = asyncio.Event()

    @agent.command()
    async def dawdle() -> None:
        began.set()
        await asyncio.sleep(3600)

    async with MemoryMesh(agent) as mesh:
        (info,) = await mesh.agents()
        call = asyncio.ensure_future(mesh.invoke("dawdle", on="a", timeout=600))
        await began.wait()
        loop = asyncio.get_running_loop()
        crashed = loop.time()
        mesh.network.crash((await mesh.describe("a")).addresses[0])
        with pytest.raises(PeerLost):
            await call
        assert loop.time() - crashed < 1
        assert isinstance(info, AgentInfo)


async def test_stopping_an_agent_lets_what_runs_end_and_refuses_the_rest() -> None:
    agent = Agent("a")
    began, going = asyncio.Event(), asyncio.Event()

    @agent.command()
    async def work() -> str:
        began.set()
        await going.wait()
        return "done"

    async with MemoryMesh(agent) as mesh:
        call = asyncio.ensure_future(mesh.invoke("work", on="a"))
        await began.wait()
        stopping = asyncio.ensure_future(agent.stop(grace=30))
        await asyncio.sleep(1)
        with pytest.raises((Overloaded, NoAgent)):
            await mesh.invoke("work", on="a", wait=False)
        going.set()
        assert await call == "done"
        await stopping


async def test_after_the_grace_what_still_runs_is_cancelled_and_the_caller_is_told() -> None:
    agent = Agent("a")
    began = asyncio.Event()

    @agent.command()
    async def work() -> None:
        began.set()
        await asyncio.sleep(3600)

    async with MemoryMesh(agent) as mesh:
        call = asyncio.ensure_future(mesh.invoke("work", on="a", timeout=100))
        await began.wait()
        await agent.stop(grace=2)
        with pytest.raises(Cancelled, match="the agent stopped"):
            await call


async def test_calls_go_to_the_least_loaded_of_several_agents() -> None:
    agents = [Agent(f"worker-{number}", concurrency=8) for number in range(4)]
    ran: dict[str, int] = {}

    def add_work(agent: Agent) -> None:
        @agent.command()
        async def work() -> None:
            assert agent.name is not None
            ran[agent.name] = ran.get(agent.name, 0) + 1
            await asyncio.sleep(1)

    for agent in agents:
        add_work(agent)
    async with MemoryMesh(*agents) as mesh:
        await mesh.agents()
        await asyncio.gather(*(mesh.invoke("work") for _ in range(32)))
    assert sum(ran.values()) == 32
    assert len(ran) == 4
    assert max(ran.values()) <= 16


async def test_targets_narrow_down_who_runs_it() -> None:
    first, second = calculator(), Agent("other", groups=["workers"], capabilities=["gpu"])

    @second.command()
    async def summarise(rows: list[int]) -> str:
        return "by the other"

    async with MemoryMesh(first, second) as mesh:
        assert await mesh.invoke("summarise", {"rows": [1]}, on=Target(capability="gpu")) == "by the other"
        roof = await mesh.select(tags={"site": "roof"})
        assert roof.name == "calculator"
        assert (await mesh.invoke("summarise", {"rows": [1]}, on=roof))["count"] == 1
        outcomes = await mesh.invoke_all("summarise", {"rows": [1]}, on=Target(group="workers"))
        assert [(outcome.agent.name, outcome.ok) for outcome in outcomes] == [("calculator", True), ("other", True)]
        outcomes = await mesh.invoke_all("nothing", on=Target(group="workers"))
        assert [outcome.ok for outcome in outcomes] == [True, False]
        assert isinstance(outcomes[1].error, UnknownCommand)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"on": 7}, "on=7"),
        ({"timeout": "soon"}, "timeout 'soon'"),
        ({"timeout": -1}, "out of range"),
        ({"on": "not a name"}, "cannot be used"),
    ],
)
async def test_wrong_arguments_are_told_before_anything_is_sent(wrong: dict[str, Any], words: str) -> None:
    async with MemoryMesh(calculator()) as mesh:
        with pytest.raises(ConfigError, match=words):
            await mesh.invoke("nothing", **wrong)
